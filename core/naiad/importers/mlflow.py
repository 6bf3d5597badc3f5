"""Stores of MLflow, a database of SQLite or a folder `mlruns`, read as data: MLflow itself is not needed.

Since 3.13 MLflow does not open a folder unless MLFLOW_ALLOW_FILE_STORE is set, so that its data is stranded there.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from naiad.container_kinds import MODEL, MODEL_VERSION, RUN
from naiad.errors import DamagedData, ImportRefused
from naiad.files.globs import files_below
from naiad.hookspecs import hookimpl
from naiad.importer import Importer, Progress, Source
from naiad.importers import mlflow_registry, roots
from naiad.importers.mlflow_registry import Registered
from naiad.kinds import ATOM_OF
from naiad.records import Content, Members, Points, Record, Skipped, Tags, Value

NAME: Final = "mlflow"
ROWS: Final = 50_000
NESTED: Final = "mlflow.parentRunId"
"""The tag of a run that belongs to another one."""
NEEDED: Final = ("experiments", "runs", "metrics", "params", "tags")
COLUMNS: Final = (
    *("run_uuid", "name", "user_id", "status", "start_time", "end_time"),
    *("lifecycle_stage", "artifact_uri", "experiment_id"),
)
_HEX = re.compile(r"[0-9a-f]{32}\Z")
_FAILED = {"FAILED", "4"}
_TEXT = ATOM_OF[str]


@dataclass(frozen=True)
class Container:
    """One run of a store."""

    identity: str
    uuid: str
    place: str
    """The database, or the folder of the run."""
    project: str | None
    name: str
    owner: str
    status: str
    is_deleted: bool
    artifacts: str
    created: float | None
    size: int
    values: dict[str, str] = field(default_factory=dict)
    """Of a registered model or version: its single values."""
    aliases: list[str] = field(default_factory=list)
    roots: list[str] = field(default_factory=list)
    """Where its artifacts may lie."""
    facts: dict[str, Any] = field(default_factory=dict)
    kind: str = "run"
    id: str | None = None
    parent: str = ""

    def records(self, progress: Progress) -> Iterator[Record]:
        """Read parameters, tags, metrics and artifacts."""
        yield Value("sys/name", _TEXT, self.name)
        if self.owner:
            yield Value("sys/owner", _TEXT, self.owner)
        if self.kind != RUN.name:
            yield from (Value(path, _TEXT, text) for path, text in self.values.items())
            if self.aliases:
                yield Tags("sys/tags", self.aliases)
            yield from self._files("model")
            progress(self.size)
            return
        yield Value("sys/failed", ATOM_OF[bool], self.status in _FAILED)
        if self.is_deleted:
            yield Value("sys/trashed", ATOM_OF[bool], True)
        if os.path.isdir(self.place):
            yield from _of_folder(self.place)
        else:
            yield from _of_database(self.place, self.uuid)
        yield from self._files("artifacts")
        progress(self.size)

    def _files(self, path: str) -> Iterator[Record]:
        split = urlsplit(self.artifacts)
        if split.scheme not in ("", "file"):
            if self.artifacts:
                reason = f"its artifacts are at {self.artifacts!r}, which is not read"
                yield Skipped(path, "", reason, where=self.place)
            return
        folder = unquote(split.path) if split.scheme else self.artifacts
        has_own = self.kind == RUN.name and os.path.isdir(self.place)
        beside = os.path.join(self.place, "artifacts") if has_own else ""
        if not os.path.isabs(folder):
            folder = os.path.join(os.path.dirname(self.place), folder)
        folder = beside if beside and os.path.isdir(beside) else folder
        if not self.artifacts and folder != beside:
            return  # a path is joined to the folder of the database, so an empty one would be all of that
        refused = roots.refusal(folder, self.roots)
        if refused:
            yield Skipped(path, "", refused, where=self.place)
            return
        if not os.path.isdir(folder):
            return  # a run that has none
        files = {
            os.path.relpath(each, folder): Content(
                each, extension=os.path.splitext(each)[1][1:], modified=os.stat(each).st_mtime_ns
            )
            for each in files_below(folder, os.path.realpath(folder))
        }
        if files:
            yield Members(path, files)


def _entry(key: str, value: str, home: str) -> Record:
    return Value(f"{home}/{key}", _TEXT, value)


def _tag(key: str, value: str) -> Iterator[Record]:
    if key == "mlflow.note.content":
        yield Value("sys/description", _TEXT, value)
    yield _entry(key, value, "tags")


def find(path: Path, options: Mapping[str, Any]) -> Source:
    """Return the runs of a database or of a folder store."""
    if path.is_file():
        return Source(_readable(_runs_of_database(path), path.parent, options))
    databases = sorted(each for each in path.glob("*.db") if _is_database(each))
    folder = path / "mlruns" if (path / "mlruns").is_dir() else path
    problems: list[Skipped] = []
    containers = [each for database in databases for each in _runs_of_database(database)]
    containers += _runs_of_folder(folder, problems)
    if not containers and not databases and not problems:
        raise ImportRefused(
            f"{str(path)!r} contains no MLflow store: neither a database nor experiments with a meta.yaml.\n"
            "Name mlruns, mlflow.db or a folder that contains one of them.",
            path=str(path),
        )
    home = path.parent if folder == path and not databases else path
    return Source(_readable(containers, home, options), problems)


def _readable(containers: Iterable[Container], home: Path, options: Mapping[str, Any]) -> list[Container]:
    """Give runs the folders in which their artifacts may lie: that of the database or of `mlruns`, and named ones."""
    found = roots.of(home, options)
    return [replace(each, roots=found) for each in containers]


# The database


def _is_database(path: Path) -> bool:
    try:
        with _connected(path) as connection:
            return set(NEEDED) <= _tables(connection)
    except DamagedData:
        return False


@contextlib.contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        # Read-only, so that SQLite neither makes a journal beside the source nor changes it.
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            yield connection
        finally:
            connection.close()
    except sqlite3.Error as error:
        what = f"it is not a readable database ({error})"
        raise DamagedData(f"{path} is damaged: {what}.", file=str(path), offset=0, what=what) from error


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}


def _runs_of_database(path: Path) -> Iterator[Container]:
    with _connected(path) as connection:
        missing = set(NEEDED) - _tables(connection)
        if missing:
            raise ImportRefused(
                f"{str(path)!r} is not a database of MLflow: it has no table {sorted(missing)[0]!r}.", path=str(path)
            )
        known = _columns(connection, "runs")
        wanted = COLUMNS
        # Earlier releases lack some of the columns.
        chosen = ", ".join(name if name in known else f"NULL AS {name}" for name in wanted)
        experiments = dict(connection.execute("SELECT experiment_id, name FROM experiments"))
        projects: dict[str, str] = {}
        parents = dict(connection.execute("SELECT run_uuid, value FROM tags WHERE key = ?", (NESTED,)))
        for row in connection.execute(f"SELECT {chosen} FROM runs ORDER BY start_time, run_uuid").fetchall():
            facts = dict(zip(wanted, row, strict=True))
            uuid = str(facts["run_uuid"])
            (count,) = connection.execute("SELECT count(*) FROM metrics WHERE run_uuid = ?", (uuid,)).fetchone()
            project = str(experiments.get(facts["experiment_id"]) or "")
            projects[uuid] = project
            yield _container(facts, uuid, str(path), project, 50 * count + 1000, parents.get(uuid, ""))
        known_columns = {table: _columns(connection, table) for table in mlflow_registry.TABLES}
        registered = mlflow_registry.of_database(connection, _tables(connection), known_columns)
    yield from _registered(registered, projects, str(path))


def _registered(found: list[Registered], projects: Mapping[str, str], place: str) -> Iterator[Container]:
    """Yield the containers of a registry, whose runs have these projects."""
    for each, project, name in mlflow_registry.keyed(found, projects):
        kind = MODEL_VERSION if each.version else MODEL
        yield Container(
            identity=each.identity,
            uuid="",
            place=place,
            project=project,
            name=each.name,
            owner=each.owner,
            status="",
            is_deleted=False,
            artifacts=each.source,
            created=each.created,
            size=1000,
            values=dict(each.values()),
            aliases=sorted(
                alias
                for model in found
                for alias, number in model.aliases.items()
                if model.name == each.name and number == each.version
            ),
            facts={"name": each.name} | ({"version": each.version} if each.version else {}),
            kind=kind.name,
            id=name,
            parent=f"mlflow:model:{each.name}" if each.version else "",
        )


def _container(facts: Mapping[str, Any], uuid: str, place: str, project: str, size: int, parent: str) -> Container:
    given = {name: facts.get(name) for name in ("start_time", "end_time")}
    times = {name: int(value) for name, value in given.items() if value is not None and _is_whole(value)}
    status = str(facts.get("status") or "")
    known = {"run_id": uuid, "status": status, "experiment_id": str(facts.get("experiment_id")), **times}
    return Container(
        identity=f"mlflow:{uuid}",
        uuid=uuid,
        place=place,
        project=project or None,
        name=str(facts.get("name") or "Untitled"),
        owner=str(facts.get("user_id") or ""),
        status=status,
        is_deleted=facts.get("lifecycle_stage") == "deleted",
        artifacts=str(facts.get("artifact_uri") or ""),
        created=times["start_time"] / 1000 if "start_time" in times else None,
        size=size,
        facts=known,
        parent=f"mlflow:{parent}" if parent else "",
    )


def _is_whole(value: object) -> bool:
    return isinstance(value, int) or (isinstance(value, str) and value.isdigit())


def _of_database(place: str, uuid: str) -> Iterator[Record]:
    with _connected(Path(place)) as connection:
        for key, value in connection.execute("SELECT key, value FROM params WHERE run_uuid = ?", (uuid,)):
            yield _entry(str(key), "" if value is None else str(value), "params")
        for key, value in connection.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (uuid,)):
            yield from _tag(str(key), "" if value is None else str(value))
        chosen = "SELECT key, value, is_nan, timestamp, step FROM metrics WHERE run_uuid = ?"
        rows = connection.execute(f"{chosen} ORDER BY key, step, timestamp, rowid", (uuid,))
        while batch := rows.fetchmany(ROWS):
            yield from _metrics(map(_point, batch))


def _point(row: tuple[Any, ...]) -> tuple[str, float, Any, Any]:
    """Return key, value, time and step of a row; a NaN is stored as 0 with a mark."""
    key, value, is_nan, milliseconds, step = row
    return str(key), float("nan") if is_nan else float(value), milliseconds, step


def _metrics(rows: Iterator[tuple[str, float, Any, Any]]) -> Iterator[Record]:
    columns: dict[str, tuple[list[float], list[Any], list[float]]] = {}
    for key, value, milliseconds, step in rows:
        values, steps, times = columns.setdefault(key, ([], [], []))
        values.append(value)
        steps.append(step)
        times.append(int(milliseconds) / 1000)
    for key, (values, steps, times) in columns.items():
        yield Points(f"metrics/{key}", values, steps, times)


# The folder


def _registry_of_folder(root: Path) -> list[Registered]:
    """Return the registry of a folder: `<model>/version-<n>/meta.yaml`, with tags and aliases as files."""
    found: list[Registered] = []
    for folder in sorted(_folders(root)):
        model = _entry_of_registry(folder, folder.name, 0)
        aliases = {key: _read(path).strip() for path, key in _entries(str(folder), "aliases")}
        model.aliases = {alias: int(number) for alias, number in aliases.items() if number.isdigit()}
        numbered = [(each.name.removeprefix("version-"), each) for each in _folders(folder)]
        versions = [_entry_of_registry(each, model.name, int(number)) for number, each in numbered if number.isdigit()]
        found += [model, *(each for each in versions if each.stage != mlflow_registry.DELETED)]
    return found


def _entry_of_registry(folder: Path, name: str, version: int) -> Registered:
    facts = _yaml(folder / "meta.yaml")
    created = facts.get("creation_timestamp")
    return Registered(
        str(facts.get("name") or name),
        version,
        str(facts.get("description") or ""),
        created / 1000 if isinstance(created, int) else None,
        str(facts.get("user_id") or ""),
        str(facts.get("current_stage") or "none").lower() if version else "",
        str(facts.get("storage_location") or facts.get("source") or ""),
        str(facts.get("run_id") or ""),
        {key: _read(path) for path, key in _entries(str(folder), "tags")},
    )


def _runs_of_folder(root: Path, problems: list[Skipped]) -> Iterator[Container]:
    projects: dict[str, str] = {}
    for experiment in sorted(each for each in _folders(root) if (each / "meta.yaml").is_file()):
        title = str(_yaml(experiment / "meta.yaml").get("name") or experiment.name)
        # The folder named is an experiment and no store: its folders are runs.
        if "run_id" in _yaml(experiment / "meta.yaml") or "run_uuid" in _yaml(experiment / "meta.yaml"):
            yield _run_of_folder(experiment, "")
            continue
        for run in sorted(_folders(experiment)):
            if (run / "meta.yaml").is_file():
                container = _run_of_folder(run, title)
                projects[container.uuid] = title
                yield container
            elif _HEX.match(run.name):
                problems.append(Skipped("", "", "the run has no meta.yaml", where=str(run)))
    if (root / "models").is_dir():
        yield from _registered(_registry_of_folder(root / "models"), projects, str(root / "models"))
    if (root / ".trash").is_dir():
        for run in sorted(_folders(root / ".trash")):
            if (run / "meta.yaml").is_file():
                yield _run_of_folder(run, "")


def _folders(folder: Path) -> list[Path]:
    try:
        return [
            each
            for each in folder.iterdir()
            if each.is_dir() and not each.is_symlink() and not each.name.startswith(".")
        ]
    except OSError:
        return []


def _run_of_folder(folder: Path, project: str) -> Container:
    facts = _yaml(folder / "meta.yaml")
    facts["name"] = facts.get("run_name") or _read(folder / "tags" / "mlflow.runName")
    uuid = str(facts.get("run_id") or facts.get("run_uuid") or folder.name)
    size = sum(os.stat(path).st_size for path in files_below(str(folder), None))
    return _container(facts, uuid, str(folder), project, size, _read(folder / "tags" / NESTED).strip())


def _read(path: Path) -> str:
    if path.is_symlink() or path.parent.is_symlink():
        return ""  # MLflow makes no links, and one of a stranger could lead to any file
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _yaml(path: Path) -> dict[str, Any]:
    """Return the flat mapping that MLflow writes: one `key: value` a line."""
    found: dict[str, Any] = {}
    for line in _read(path).splitlines():
        key, colon, text = line.partition(":")
        if colon and key and not key.startswith((" ", "#", "-")):
            found[key] = scalar(text.strip())
    return found


def scalar(text: str) -> Any:
    """Return a scalar of YAML.

    >>> scalar("'it''s'"), scalar("3"), scalar("null"), scalar("plain")
    ("it's", 3, None, 'plain')
    """
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    # Double quotes have the escapes of JSON; single ones have none but the doubled quote.
    if len(text) >= 2 and text[0] == text[-1] == '"':
        try:
            return json.loads(text)
        except ValueError:
            return text[1:-1]
    if text in ("null", "~", ""):
        return None
    if text in ("true", "false"):
        return text == "true"
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def _of_folder(folder: str) -> Iterator[Record]:
    for path, key in _entries(folder, "params"):
        yield _entry(key, _read(path), "params")
    for path, key in _entries(folder, "tags"):
        yield from _tag(key, _read(path))
    for path, key in _entries(folder, "metrics"):
        rows = []
        for number, line in enumerate(_read(path).splitlines(), 1):
            parts = line.split()
            try:
                rows.append((key, float(parts[1]), int(parts[0]), int(parts[2]) if len(parts) > 2 else None))
            except (ValueError, IndexError):
                yield Skipped(
                    f"metrics/{key}", "", f"the line {line!r:.60} is not a metric", where=f"{path} line {number}"
                )
        yield from _metrics(iter(rows))


def _entries(folder: str, room: str) -> Iterator[tuple[Path, str]]:
    home = os.path.join(folder, room)
    if os.path.isdir(home):
        for path in files_below(home, os.path.realpath(home)):
            yield Path(path), os.path.relpath(path, home).replace(os.sep, "/")


@hookimpl
def naiad_importer() -> Importer:
    """Return the importer."""
    title = "stores of MLflow, folders (mlruns) and SQLite"
    return Importer(NAME, title, find, Container, roots.OPTIONS, repeated=roots.REPEATED)
