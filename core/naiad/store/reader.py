"""Reading a run: the index plus whatever the journal holds beyond it, from any process, also while it is being written.

Everything acknowledged before a call is seen by it. The order is what makes that true: list the journal, then take a
snapshot of the index, then read the listed files from where the snapshot says they are folded. A listed file that has
vanished was folded meanwhile, so everything is read again.
"""

from __future__ import annotations

import os
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from naiad.errors import DamagedData, DamageWarning, FieldConflict, MissingField, StorageError
from naiad.ops import Plain, Text
from naiad.store import derived
from naiad.store.folder import RunFolder
from naiad.store.forks import holding_forks
from naiad.store.frames import Frame
from naiad.store.leases import read_leases
from naiad.store.picture import (
    FILE_SET,
    FLOAT_SERIES,
    SERIES,
    STRING_SET,
    TEXT_SERIES,
    FieldState,
    Picture,
    Series,
    Shadowed,
    TextPoint,
    copy_series,
)
from naiad.store.seal import Seal, quick_check, read_seal
from naiad.store.tails import Damage, list_journal, read_ops

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from naiad.store.index import Index
    from naiad.store.points import Columns, Ints, Reals
    from naiad.store.series import Tail
    from naiad.store.tails import JournalFile

__all__ = ["Chart", "Last", "Points", "Reader", "Texts"]

T = TypeVar("T")
Refusal = Callable[[str, str, str], DamagedData]
ATTEMPTS = 50


class Points(NamedTuple):
    """A float series by step, equal steps in order of arrival; times are milliseconds since 1970 UTC.

    Steps are float64, or int64 where some step is an integer that float64 cannot hold.
    """

    steps: Reals | Ints
    values: Reals
    times: Ints


class Texts(NamedTuple):
    """A string series by step, equal steps in order of arrival; times are milliseconds since 1970 UTC."""

    steps: list[int | float]
    texts: list[str]
    times: list[int]


class Last(NamedTuple):
    """The point with the largest step, of equal ones the one that arrived last."""

    step: int | float
    value: float | str
    time: int


class Chart(NamedTuple):
    """Stretches of equally many points: the first step of each, and extremes, mean and number of its finite values."""

    steps: Reals
    minimum: Reals
    maximum: Reals
    mean: Reals
    finite: Ints


class Reader:
    """One run, read. Safe to use from several threads; after a fork each process goes on with its own."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.damages: list[Damage] = []
        self._lock = threading.RLock()
        self._forget()
        _readers.add(self)

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._index: Index | None = None
        self._inherited: Index | None = None
        self._folds: int | None = None
        self._seal_stamp: object = None
        self._inode: int | None = None
        self._picture = Picture()
        self._read: dict[str, int] = {}  # bytes of each journal file that the picture already holds
        self._folded: dict[str, tuple[int, bool]] = {}
        self._seal: Seal | None = None
        self._bad: dict[str, list[int]] = {}  # damaged blocks of each damaged file of the journal
        self._refused: dict[str, Damage] = {}  # what is known to be damaged, by path
        self._files: list[JournalFile] = []
        self._tail: Tail | None = None  # once a series was read

    def refresh(self) -> None:
        """See everything that any process was told is written before this call.

        Raises:
            NewerFormat: a later release wrote the run.
            DamagedData: the index cannot be read at all.
        """
        with self._lock:
            self._again(lambda: None)

    def picture(self) -> Picture:
        """The fields and writers of the run as they are now, to look at and not to change."""
        self.refresh()
        return self._picture

    def kinds(self) -> dict[str, str]:
        """The kind of every field, by path; derived `sys/*` fields included."""
        with self._lock:
            self._again(lambda: None)
            kinds = {path: state.kind for path in self._picture.fields if (state := self._picture.at(path))}
            return {**kinds, **derived.KINDS}

    def shadowed(self) -> list[Shadowed]:
        """Fields that are kept but not shown: two processes defined what cannot be side by side, these the later."""
        with self._lock:
            self._again(lambda: None)
            return self._picture.shadowed()

    def value(self, path: str) -> Plain:
        """The stored value of an atom.

        Raises:
            MissingField: there is none at this path.
            DamagedData: it is not as it was written.
        """
        return self.atom(path)[1]

    def values(self, prefix: str = "") -> dict[str, Plain]:
        """The stored values of all atoms below a namespace, in one pass; derived ones included."""
        return {path: value for path, (_kind, value) in self.atoms(prefix).items()}

    def atom(self, path: str) -> tuple[str, Plain]:
        """Kind and stored value of an atom; of other fields the kind, and None.

        Raises:
            MissingField: there is none at this path.
            DamagedData: it is not as it was written.
        """
        if path in derived.KINDS:
            return derived.KINDS[path], self._derived()[path]
        state = self._state(path)
        return state.kind, state.value

    def atoms(self, prefix: str = "") -> dict[str, tuple[str, Plain]]:
        """Kind and stored value of all atoms below a namespace, in one pass; derived ones included."""
        with self._lock:
            self._again(lambda: None)
            inside = prefix + "/" if prefix else ""
            found = {path: self._picture.at(path) for path in self._picture.fields if path.startswith(inside)}
            atoms = {
                path: (state.kind, state.value)
                for path, state in found.items()
                if state and state.kind in ATOMS and path not in self._refused
            }
            own = self._derived() if "sys/".startswith(inside) else {}
            return {**atoms, **{path: (derived.KINDS[path], value) for path, value in own.items()}}

    def tags(self, path: str) -> set[str]:
        """The strings of a string set.

        Raises:
            MissingField: there is none at this path.
            FieldConflict: it is of another kind.
        """
        return {_text(tag) for tag in self._state(path, STRING_SET).tags}

    def members(self, path: str) -> dict[str, str]:
        """The files of a file set, as stored, by their names.

        Raises:
            MissingField: there is none at this path.
            FieldConflict: it is of another kind.
        """
        return self._state(path, FILE_SET).members

    def resolve(self, name: str) -> str:
        """The name under which stored content is found now: its sha256, or the name under which it came in."""
        with self._lock:
            return self._picture.resolve(name)

    def config(self, path: str) -> tuple[float | None, float | None, str | None]:
        """Chart minimum, maximum and unit of a float series.

        Raises:
            MissingField: there is none at this path.
            FieldConflict: it is of another kind.
        """
        return self._state(path, FLOAT_SERIES).config

    def state(self) -> str:
        """running, finished, failed, terminated or killed."""
        with self._lock:
            self._again(lambda: None)
            return derived.run_state(self._picture, read_leases(self.folder.journal))

    def is_incomplete(self) -> int:
        """How many points and frames could not be stored."""
        with self._lock:
            self._again(lambda: None)
            return sum(writer.dropped_points + writer.dropped_frames for writer in self._picture.writers.values())

    def points(self, path: str) -> Points:
        """All points of a float series.

        Raises:
            MissingField: there is none at this path.
            DamagedData: some of them are not as they were written.
        """
        from naiad.store import series

        return self._series(path, lambda state: Points(*series.read_points(*self._parts(state))), FLOAT_SERIES)

    def texts(self, path: str, *kinds: str) -> Texts:
        """All points of a string series; of a file series each text is a file as stored.

        Raises:
            MissingField: there is none at this path.
            FieldConflict: it is of another kind.
            DamagedData: some of them are not as they were written.
        """
        from naiad.store import series

        return self._series(
            path,
            lambda state: Texts(*series.read_texts(state, self._rows(state, "chunks"), self._damage)),
            *(kinds or TEXT_SERIES),
        )

    def chart(self, path: str, buckets: int = 1000) -> Chart:
        """A float series in at most about `buckets` stretches; no spike is lost, and long series are not decoded.

        Raises:
            MissingField: there is none at this path.
            DamagedData: some of its points are not as they were written.
        """
        from naiad.store import series

        def draw(state: FieldState) -> Chart:
            if state.series.count >= buckets * series.DECODED_PER_BUCKET:
                tail = self._tail_of(state)
                heights = series.read_heights(state, self._rows(state, "pyramids"), tail, buckets, self._damage)
                if heights is not None:
                    return Chart(*heights)
            return Chart(*series.cut(series.read_points(*self._parts(state)), buckets))

        return self._series(path, draw, FLOAT_SERIES)

    def last(self, path: str, *kinds: str) -> Last | None:
        """The last point of a series, None of an empty one.

        Raises:
            MissingField: there is none at this path.
            FieldConflict: it is of another kind.
        """

        def find(state: FieldState) -> Last | None:
            facts = self._facts(state)
            if facts.last_step is None or facts.last_time is None:
                return None
            if facts.last_value is None:  # a text too long to be remembered in its field's row
                texts = self.texts(path)
                return Last(texts.steps[-1], texts.texts[-1], texts.times[-1])
            value = facts.last_value
            return Last(facts.last_step, _text(value) if isinstance(value, (str, bytes)) else value, facts.last_time)

        return self._series(path, find, *kinds)

    def facts(self, path: str) -> Series:
        """Count, minimum, maximum, sum and last point of a series, without reading it.

        Raises:
            MissingField: there is none at this path.
        """
        return self._series(path, self._facts)

    def shown(self) -> list[tuple[FieldState, Series | None]]:
        """All fields that are stored, whole and shown, in one pass; with each series its facts."""

        def find() -> list[tuple[FieldState, Series | None]]:
            tail = self._current_tail()
            late = tail.owners(self._picture) if tail else set()
            paths = (path for path in self._picture.fields if path not in derived.KINDS and path not in self._refused)
            states = [state for path in paths if (state := self._picture.at(path))]
            return [(state, self._known_facts(state, late) if state.kind in SERIES else None) for state in states]

        with self._lock:
            return self._again(find)

    def _known_facts(self, state: FieldState, late: set[int]) -> Series:
        return self._facts(state) if state.kind in TEXT_SERIES or id(state) in late else state.series

    def count(self, path: str) -> int:
        """How many points a series has.

        Raises:
            MissingField: there is none at this path.
        """
        return self.facts(path).count

    def _state(self, path: str, *kinds: str) -> FieldState:
        with self._lock:
            self._again(lambda: None)
            return self._found(path, *kinds)

    def _found(self, path: str, *kinds: str) -> FieldState:
        damage = self._refused.get(path)
        if damage is not None:
            raise self._damage(path, damage.file, damage.what)
        state = self._picture.at(path)
        if state is None:
            raise MissingField(f'The run in {self.folder.path} has no field "{path}".', path=path)
        if kinds and state.kind not in kinds:
            raise FieldConflict(
                f'"{path}" is of kind {state.kind} now, and was to be read as {" or ".join(kinds)}.', path=path
            )
        return state

    def _series(self, path: str, read: Callable[[FieldState], T], *kinds: str) -> T:
        with self._lock:
            return self._again(lambda: read(self._found(path, *(kinds or SERIES))))

    def _again(self, read: Callable[[], T]) -> T:
        """Bring the picture up to date and read; once more whenever a fold came in between."""
        for _ in range(ATTEMPTS):
            try:
                self._update()
                return read()
            except (FileNotFoundError, _Moved):
                self._folds = None
        raise DamagedData(
            f"The journal of the run in {self.folder.path} names files that are not there.",
            file=str(self.folder.journal), offset=0, what="missing",
        )  # fmt: skip

    def _update(self) -> None:
        if self._pid != os.getpid():
            inherited = self._index
            self._forget()
            self._inherited = inherited  # never closed here: that would drop the parent's locks on the database
        self._files = list_journal(self.folder.journal)
        self._load()
        frames: list[tuple[float, str, int, Frame]] = []
        for file in self._files:
            if file.suffix == "ops" and not self._folded.get(file.name, (0, False))[1]:
                found, upto, damages = read_ops(
                    file,
                    self._read.get(file.name, 0),
                    is_sealed=self._seal is not None,
                    is_header_damaged=0 in self._bad.get(file.place, ()),
                )
                self._note(damages)
                self._read[file.name] = upto
                frames += [(frame.ops[0].at, file.writer, frame.sequence, frame) for frame in found]
        for _at, writer, _sequence, frame in sorted(frames, key=lambda item: item[:3]):
            self._picture.apply(writer, frame.ops)
        self._adopt()

    def _adopt(self) -> None:
        """Give a field to points that a writer appended to a series after another writer had deleted it."""
        orphans = self._picture.orphans()
        tail = self._current_tail() if orphans else None
        if tail is not None:
            for writer, number, grave in orphans:
                if tail.has_since(writer, number, grave.retired_at or 0.0):
                    self._picture.heir(grave, writer)

    def _load(self) -> None:
        """Begin with what the index holds, when there is one and it has changed."""
        stamp = _stamp(self.folder)
        if stamp is not None and stamp == self._seal_stamp and self._folds is not None:
            return  # sealed, and still by the same seal
        inode = _inode(self.folder.index)
        if (stamp, inode) != (self._seal_stamp, self._inode):
            self._close_index()  # it is another file, or nobody writes it any more, and it is opened in another way
            self._folds = None
        if stamp != self._seal_stamp:
            self._check_seal(stamp)
        self._seal_stamp, self._inode = stamp, inode
        folds = 0
        has_index = self.folder.index.exists()
        if has_index:
            with self._snapshot(is_final=stamp is not None) as (index, connection):
                folds = index.folds(connection)
                if folds != self._folds:
                    picture, _head, positions, damages = index.load(connection)
        if folds != self._folds:
            self._picture, self._folded = (picture, positions) if has_index else (Picture(), {})
            self._read = {name: upto for name, (upto, _is_done) in self._folded.items()}
            self._tail = None
            self._folds = folds
            self._refused = {}
            if has_index:
                self._note(damages)

    @contextmanager
    def _snapshot(self, *, is_final: bool = False, path: str = "") -> Iterator[tuple[Index, Connection]]:
        with holding_forks():
            from sqlalchemy.exc import DBAPIError

            from naiad.store.database import is_refusal, open_for_reading
            from naiad.store.index import Index

        try:
            if self._index is None:
                self._index = Index(self.folder, open_for_reading(self.folder.index, is_final=is_final))
            with self._index.view() as connection:
                yield self._index, connection
        except DBAPIError as error:
            if is_refusal(error):
                raise StorageError(
                    f"The index {self.folder.index} cannot be opened: {error.orig}.", filename=str(self.folder.index)
                ) from error
            if _stamp(self.folder) != self._seal_stamp:
                raise _Moved from error  # somebody began to write what was opened as finished
            raise self._damage(path, self.folder.index.name, str(error.orig)) from error

    def _rows(self, state: FieldState, table: str) -> list[Any]:
        """Rows of the index that belong to a field, from the same fold as the picture."""
        if not state.id:
            return []
        with self._snapshot(path=state.path) as (index, connection):
            if index.folds(connection) != self._folds:
                raise _Moved
            rows: list[Any] = getattr(index, table)(connection, state.id)
            return rows

    def _parts(self, state: FieldState) -> tuple[FieldState, list[Any], list[Columns], list[Columns], Refusal]:
        from naiad.store.series import read_shares

        chunks = self._rows(state, "chunks")
        is_all = sum(row.count for row in chunks) == state.series.count
        shares = [] if is_all else read_shares(state, self._rows(state, "packs"), self._damage)
        return state, chunks, shares, self._tail_of(state), self._damage

    def _current_tail(self) -> Tail | None:
        """The records that are not in the index, if there are any."""
        from naiad.store.series import Tail

        segments = [
            file for file in self._files if file.suffix == "seg" and not self._folded.get(file.name, (0, False))[1]
        ]
        if not segments and not (self._seal and self._seal.records):
            return None
        if self._tail is None:
            self._tail = Tail(self._folded, self._bad, self._seal.records if self._seal else {})
        self._note(self._tail.update(segments))
        return self._tail

    def _tail_of(self, state: FieldState) -> list[Columns]:
        tail = self._current_tail()
        if tail is None:
            return []
        damaged = tail.damage_of(self._picture, state)
        if damaged is not None:
            raise self._damage(state.path, damaged.file, damaged.what)
        return tail.of(self._picture, state)

    def _facts(self, state: FieldState) -> Series:
        """What the index knows of a series, and the tail with it."""
        if state.kind == "float_series":
            parts = self._tail_of(state)
            if not parts:
                return state.series
            from naiad.store.series import with_tail

            return with_tail(state.series, parts)
        return _with_texts(state.series, state.texts)

    def _derived(self) -> dict[str, Plain]:
        with self._lock:
            self._again(lambda: None)
            return derived.values(self._picture, read_leases(self.folder.journal), self.folder)

    def _check_seal(self, stamp: object) -> None:
        self._seal, self._bad = None, {}
        seal = None if stamp is None else read_seal(self.folder)
        damages = [seal] if isinstance(seal, Damage) else []
        if isinstance(seal, Seal):
            self._seal = seal
            damages, self._bad = quick_check(self.folder, seal)
        if stamp != _stamp(self.folder):
            raise _Moved
        self._note(damages)

    def _close_index(self) -> None:
        if self._index is not None:
            self._index.engine.dispose()
            self._index = None

    def _damage(self, path: str, file: str, what: str) -> DamagedData:
        subject = f'"{path}"' if path else "The run"
        return DamagedData(
            f"{subject} cannot be read whole: {self.folder.path / file} is damaged ({what}).\n"
            f"Save what is whole with: naiad repair {self.folder.uid}",
            file=file, offset=0, what=what,
        )  # fmt: skip

    def _note(self, damages: list[Damage]) -> None:
        for damage in damages:
            if damage.path is not None:
                self._refused[damage.path] = damage
            if damage not in self.damages:
                self.damages.append(damage)
                warnings.warn(f"In run folder {self.folder.path}: {damage}.", DamageWarning, stacklevel=2)


_readers: weakref.WeakSet[Reader] = weakref.WeakSet()


def _renew_locks() -> None:
    """In a forked child: another thread of the parent may have been reading, and that thread does not exist here."""
    for reader in list(_readers):
        reader._lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


class _Moved(Exception):
    """A fold came between the picture and the rows, or a writer between the seal and what it says."""


ATOMS = frozenset(("bool", "int", "float", "string", "datetime"))


def _text(text: Text) -> str:
    return text.decode("utf-8", "surrogatepass") if isinstance(text, bytes) else text


def _with_texts(series: Series, texts: list[TextPoint]) -> Series:
    """The same with texts that are not in the index yet."""
    if not texts:
        return series
    whole = copy_series(series)
    step, time, text = max(reversed(texts), key=lambda point: point[0])
    whole.add(len(texts), 0, 0.0, 0.0, 0.0, step, text, round(time * 1000))
    return whole


def _stamp(folder: RunFolder) -> object:
    try:
        found = os.stat(folder.seal)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _inode(path: Path) -> int | None:
    """Another one is another index: stopping and repairing put a new file in its place."""
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None
