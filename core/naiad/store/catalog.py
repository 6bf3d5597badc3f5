"""The catalog: a table of all runs of a store, with the value of every atom and the last one of every series.

It is a cache. Everything in it comes from the run folders; it is brought up to date before it is read, thrown away
when it is damaged, and kept in memory where the store cannot be written. What is written to a run later is found by
its mark (`changed/<uid>`) or, for folders that were copied in or removed, by listing.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import (
    Column,
    Connection,
    Float,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    select,
)
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DatabaseError, OperationalError

from naiad.errors import DamagedData, DamageWarning, MissingField, NewerFormat
from naiad.plain import from_microseconds, unpack_text
from naiad.store import derived
from naiad.store.database import open_for_writing, open_in_memory
from naiad.store.folder import RunFolder
from naiad.store.keeping import settle
from naiad.store.kinds import BY_FOLDER, RUN, ContainerKind
from naiad.store.leases import read_leases
from naiad.store.picture import FLOAT_SERIES, STRING_SERIES, STRING_SET
from naiad.store.reader import ATOMS, Reader

if TYPE_CHECKING:
    from naiad.store.store import Store

__all__ = ["Catalog", "Summary"]

T = TypeVar("T")
FORMAT = 2
BATCH = 256
"""Runs that are brought up to date in one transaction: others wait for milliseconds, not for the whole store."""

metadata = MetaData()

version = Table("version", metadata, Column("format", Integer, primary_key=True, autoincrement=False))

run = Table(
    "run",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("uid", Text, nullable=False, unique=True),
    Column("container", Text, nullable=False),  # the folder of its kind: runs, models, versions, projects
    Column("id", Text),
    Column("project", Text),
    Column("state", Text, nullable=False),
    Column("created", Integer),  # microseconds
    Column("stamp", Text, nullable=False),  # of the files it was read from
    Index("run_created", "created"),
)

path = Table(
    "path",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("path", Text, nullable=False, unique=True),
)

attr = Table(
    "attr",
    metadata,
    Column("run", Integer, primary_key=True, autoincrement=False),
    Column("path", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("num", Float),  # numbers, booleans, last values; NaN is null here and whole in the run
    Column("integer", Integer),  # exact, where num may round; microseconds of a datetime
    Column("txt", Text),
    Column("count", Integer),
    Column("step", Float),
    Column("time", Integer),  # milliseconds
    Index("attr_num", "path", "num", "run"),
    Index("attr_txt", "path", "txt", "run"),
)

tag = Table(
    "tag",
    metadata,
    Column("run", Integer, primary_key=True, autoincrement=False),
    Column("path", Integer, primary_key=True, autoincrement=False),
    Column("tag", Text, primary_key=True),
    Index("tag_tag", "path", "tag", "run"),
)


@dataclass(frozen=True)
class Summary:
    """One run, or other container, as a listing shows it; `state` is also `damaged` or `newer` if it cannot be read."""

    uid: str
    kind: ContainerKind
    id: str
    project: str
    name: str
    state: str
    created: datetime | None
    modified: datetime | None
    owner: str
    tags: tuple[str, ...]
    group_tags: tuple[str, ...]
    description: str
    size: float
    failed: bool
    custom_run_id: str | None
    trashed: bool
    model_id: str | None
    stage: str | None


class Catalog:
    """The catalog of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._engine: Engine | None = None

    def rows(
        self,
        project: str | None = None,
        tags: Sequence[str] = (),
        state: str | None = None,
        *,
        kind: ContainerKind | None = RUN,
        is_trashed: bool | None = False,
    ) -> list[Summary]:
        """The runs of the store as they are now, newest first; those of a project, with all the tags, in a state.

        Args:
            project: of this one only.
            tags: with all of these.
            state: in this one.
            kind: models, versions or projects instead; None for containers of every kind.
            is_trashed: those in the trash instead; None for both.
        """
        found = select(run).order_by(run.c.created.desc(), run.c.number.desc())
        if kind is not None:
            found = found.where(run.c.container == kind.folder)
        if is_trashed is not None:
            in_trash = select(attr.c.run).join(path, path.c.number == attr.c.path)
            in_trash = in_trash.where(path.c.path == "sys/trashed", attr.c.num == 1)
            found = found.where(run.c.number.in_(in_trash) if is_trashed else run.c.number.not_in(in_trash))
        if project is not None:
            found = found.where(run.c.project == project)
        if state is not None:
            found = found.where(run.c.state == state)
        for wanted in tags:
            has_tag = select(tag.c.run).join(path, path.c.number == tag.c.path)
            has_tag = has_tag.where(path.c.path.in_(TAG_PATHS), tag.c.tag == _shown(wanted))
            found = found.where(run.c.number.in_(has_tag))
        return self._current(lambda connection: _summaries(connection, list(connection.execute(found))))

    def refresh(self) -> None:
        """Bring it up to date."""
        self._current(lambda _connection: None)

    def rebuild(self) -> None:
        """Throw it away and make it anew from the run folders."""
        self._discard()
        self.refresh()

    def _current(self, read: Callable[[Connection], T]) -> T:
        """Read in a transaction after everything that has changed was read again."""
        try:
            return self._read(read)
        except OperationalError:  # a store that cannot be written: this process's own catalog serves
            self._engine = open_in_memory()
            metadata.create_all(self._engine)
        except DatabaseError:  # damaged, and nothing is lost by that
            self._discard()
        return self._read(read)

    def _read(self, read: Callable[[Connection], T]) -> T:
        self._read_changed()
        with self._opened().begin() as connection:
            return read(connection)

    def _opened(self) -> Engine:
        if self._engine is None:
            place = self._store.root / "catalog.db"
            if not self._store.root.is_dir():
                self._engine = open_in_memory()
            else:
                self._engine = open_for_writing(place)
            with self._engine.begin() as connection:
                metadata.create_all(connection)
                known = connection.execute(select(version.c.format)).scalar()
                if known is None:
                    connection.execute(insert(version).values(format=FORMAT))
                elif known != FORMAT:
                    raise DatabaseError("another format", None, Exception("another format"))
        return self._engine

    def _discard(self) -> None:
        self._engine = None
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                (self._store.root / f"catalog.db{suffix}").unlink()

    def _read_changed(self) -> None:
        engine = self._opened()
        with engine.begin() as connection:
            known = {row.uid: row for row in connection.execute(select(run.c.uid, run.c.number, run.c.stamp))}
        folders = {folder.uid: folder for folder in self._store.folders()}
        marks = self._marks()
        gone = [known[uid].number for uid in known if uid not in folders]
        todo = [folder for uid, folder in folders.items() if uid in marks or uid not in known]
        stale = [item for item in ((folder, _stamp(folder)) for folder in todo) if _is_stale(item, known)]
        for start in range(0, max(len(stale), 1), BATCH):
            entries = [_read(self._store, folder, stamp) for folder, stamp in stale[start : start + BATCH]]
            if gone or entries:
                with engine.begin() as connection:
                    _forget(connection, gone)
                    _put(connection, entries)
                gone = []
        self._unmark([folder for folder in todo if folder.uid in marks], marks)

    def _marks(self) -> dict[str, int]:
        """The runs that may have changed, and when they were marked; each beginning of a run marks it anew."""
        try:
            with os.scandir(self._store.root / "changed") as entries:
                return {entry.name: entry.stat().st_mtime_ns for entry in entries}
        except FileNotFoundError:
            return {}

    def _unmark(self, folders: Iterable[RunFolder], marks: dict[str, int]) -> None:
        """Of runs that were sealed when they were read, and not begun again since."""
        for folder in folders:
            mark = self._store.root / "changed" / folder.uid
            with contextlib.suppress(OSError):
                if folder.seal.exists() and mark.stat().st_mtime_ns == marks[folder.uid]:
                    mark.unlink()
                    if not folder.seal.exists():
                        mark.touch()


TAG_PATHS = ("sys/tags", "sys/group_tags")


@dataclass(frozen=True)
class _Entry:
    """What the catalog keeps of one run."""

    uid: str
    container: str
    id: str
    project: str
    state: str
    created: int | None
    stamp: str
    attrs: list[dict[str, Any]]
    tags: list[tuple[str, str]]


def _stamp(folder: RunFolder) -> str:
    """Changes with every write to the run; empty while somebody may be writing it."""
    if any(read_leases(folder.journal).values()):
        return ""
    files = []
    for directory in (folder.path, folder.journal):
        with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.endswith((".db", ".json", ".ops", ".seg")):
                    stat = entry.stat()
                    files.append(f"{entry.name}:{stat.st_size}:{stat.st_mtime_ns}")
    return " ".join(sorted(files))


def _is_stale(item: tuple[RunFolder, str], known: dict[str, Any]) -> bool:
    folder, stamp = item
    row = known.get(folder.uid)
    return row is None or not stamp or row.stamp != stamp


def _read(store: Store, folder: RunFolder, stamp: str) -> _Entry:
    try:
        settle(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DamageWarning)  # opening the run says it; a listing need not
            return _entry(store, folder, stamp)
    except (DamagedData, OSError):
        return _Entry(folder.uid, folder.kind.folder, store.id_of(folder), "", "damaged", None, stamp, [], [])
    except NewerFormat:
        return _Entry(folder.uid, folder.kind.folder, store.id_of(folder), "", "newer", None, stamp, [], [])


def _entry(store: Store, folder: RunFolder, stamp: str) -> _Entry:
    reader = Reader(folder)
    kinds = reader.kinds()
    values = {at: unpack_text(value) if isinstance(value, bytes) else value for at, value in reader.values().items()}
    attrs = [_atom(at, kinds[at], values[at]) for at in values if kinds.get(at) in ATOMS and at not in derived.KINDS]
    attrs += [_atom(at, derived.KINDS[at], values[at]) for at in derived.KINDS]
    tags: list[tuple[str, str]] = []
    for at, kind in kinds.items():
        with contextlib.suppress(MissingField):  # of a run that is being written, some may be removed meanwhile
            if kind in (FLOAT_SERIES, STRING_SERIES):
                attrs.append(_series(at, kind, reader))
            elif kind == STRING_SET:
                tags += [(at, value) for value in sorted({_shown(value) for value in reader.tags(at)})]
                attrs.append({"path": at, "kind": kind})
    number = str(values.get("sys/id") or store.id_of(folder))
    project = _shown(str(values.get("sys/project") or store.projects().get(number.partition("-")[0], "")))
    created = values.get("sys/creation_time")
    state = str(values["sys/state"])
    created = created if isinstance(created, int) else None
    return _Entry(folder.uid, folder.kind.folder, number, project, state, created, stamp, attrs, tags)


def _atom(at: str, kind: str, value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return {"path": at, "kind": kind, "txt": _shown(value)}
    integer = int(value) if isinstance(value, int) else None
    return {"path": at, "kind": kind, "num": None if value is None else float(value), "integer": integer}


def _series(at: str, kind: str, reader: Reader) -> dict[str, Any]:
    facts = reader.facts(at)
    row = {"path": at, "kind": kind, "count": facts.count, "time": facts.last_time}
    row["step"] = None if facts.last_step is None else float(facts.last_step)
    last = facts.last_value
    if isinstance(last, (str, bytes)):
        row["txt"] = _shown(unpack_text(last))
    elif last is not None:
        row["num"] = float(last)
    return row


ATTR_DEFAULTS = {"num": None, "integer": None, "txt": None, "count": None, "step": None, "time": None}


def _put(connection: Connection, entries: list[_Entry]) -> None:
    uids = [entry.uid for entry in entries]
    known = {
        row.uid: row.number for row in connection.execute(select(run.c.uid, run.c.number).where(run.c.uid.in_(uids)))
    }
    _forget(connection, list(known.values()))
    numbers = _path_numbers(connection, {row["path"] for entry in entries for row in entry.attrs})
    attrs: list[dict[str, Any]] = []
    tags: list[dict[str, Any]] = []
    for entry in entries:
        row = {
            name: getattr(entry, name) for name in ("uid", "container", "id", "project", "state", "created", "stamp")
        }
        number = connection.execute(insert(run), row).inserted_primary_key[0]  # type: ignore[index]  # one row, one key
        attrs += [{"run": number, **ATTR_DEFAULTS, **one, "path": numbers[one["path"]]} for one in entry.attrs]
        tags += [{"run": number, "path": numbers[at], "tag": value} for at, value in entry.tags]
    if attrs:
        connection.execute(insert(attr), attrs)
    if tags:
        connection.execute(insert(tag), tags)


def _path_numbers(connection: Connection, paths: set[str]) -> dict[str, int]:
    known = {row.path: row.number for row in connection.execute(select(path))}
    new = [{"path": at} for at in sorted(paths - known.keys())]
    if new:
        connection.execute(insert(path), new)
        known = {row.path: row.number for row in connection.execute(select(path))}
    return known


def _forget(connection: Connection, numbers: list[int]) -> None:
    rows = [{"b_run": number} for number in numbers]
    for table, column in ((attr, attr.c.run), (tag, tag.c.run), (run, run.c.number)):
        if rows:
            connection.execute(delete(table).where(column == bindparam("b_run")), rows)


SHOWN = (
    "sys/name",
    "sys/owner",
    "sys/description",
    "sys/custom_run_id",
    "sys/modification_time",
    "sys/size",
    "sys/failed",
    "sys/trashed",
    "sys/model_id",
    "sys/stage",
)


def _summaries(connection: Connection, rows: list[Any]) -> list[Summary]:
    """Rows of the run table with what their `sys` fields say."""
    wanted = {row.number for row in rows}
    values: dict[int, dict[str, Any]] = {number: {} for number in wanted}
    facts = select(attr, path.c.path.label("at")).join(path, path.c.number == attr.c.path).where(path.c.path.in_(SHOWN))
    for row in connection.execute(facts):
        if row.run in wanted:
            values[row.run][row.at] = next((v for v in (row.txt, row.integer, row.num) if v is not None), None)
    tags: dict[tuple[int, str], list[str]] = {}
    for row in connection.execute(select(tag.c.run, path.c.path, tag.c.tag).join(path, path.c.number == tag.c.path)):
        tags.setdefault((row.run, row.path), []).append(row.tag)
    return [_summary(row, values[row.number], tags) for row in rows]


def _summary(row: Any, values: dict[str, Any], tags: dict[tuple[int, str], list[str]]) -> Summary:
    modified = values.get("sys/modification_time")
    return Summary(
        uid=row.uid,
        kind=BY_FOLDER[row.container],
        id=row.id,
        project=row.project,
        name=values.get("sys/name") or "",
        state=row.state,
        created=None if row.created is None else from_microseconds(row.created),
        modified=None if modified is None else from_microseconds(modified),
        owner=values.get("sys/owner") or "",
        tags=tuple(tags.get((row.number, TAG_PATHS[0]), ())),
        group_tags=tuple(tags.get((row.number, TAG_PATHS[1]), ())),
        description=values.get("sys/description") or "",
        size=values.get("sys/size") or 0.0,
        failed=bool(values.get("sys/failed")),
        custom_run_id=values.get("sys/custom_run_id"),
        trashed=bool(values.get("sys/trashed")),
        model_id=values.get("sys/model_id"),
        stage=values.get("sys/stage"),
    )


def _shown(text: str) -> str:
    """Lone surrogates replaced: a database takes none, and the run itself keeps them."""
    return text.encode("utf-8", "replace").decode()
