"""Snapshots of a run: its projection, kept up to date with the index and the tail of the journal.

Everything acknowledged before a call is seen by it. The order is what makes that true: list the journal, then take a
snapshot of the index, then read the listed files from where the snapshot says they are folded. A listed file that has
vanished was folded meanwhile, so everything is read again.

    reader                                fold, in another thread or process
    1 list the journal: a, b              begin (SQLite's write lock)
    2 begin: positions say "a up to 640"    chunks, states, "a up to 960, final"
    3 read a from 640, b from 64          commit: from here on a reader's 2 sees "a up to 960, final"
    4 head unchanged? else from 1         remove a: from here on a reader's 3 fails, and it goes back to 1

No point is missed, because 1 comes before 2: a file that is not listed did not exist yet, or its points are in the
index that 2 sees. None is seen twice, because the positions are from the same commit as the chunks.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from naiad import clock
from naiad.cycles import search_paused
from naiad.errors import DamagedData, DamageWarning, NotPermitted, StorageError
from naiad.forks import holding_forks
from naiad.kinds import POINTS, TEXTS
from naiad.ops import Frame, Open
from naiad.storage.local.index.projection import Projection
from naiad.storage.local.index.states import FieldState
from naiad.storage.local.integrity.seal import Seal, damaged_blocks, quick_check, read_seal
from naiad.storage.local.journal.coverage import Coverage, read_coverage
from naiad.storage.local.journal.files import list_journal
from naiad.storage.local.journal.frames import read_ops
from naiad.storage.local.journal.sums import FileCover
from naiad.storage.local.layout import RunDirectory
from naiad.storage.results import Damage

if TYPE_CHECKING:
    from naiad.storage.local.index.index import Index
    from naiad.storage.local.index.points import Columns, Facts, Part
    from naiad.storage.local.index.short_tail import ShortTail
    from naiad.storage.local.index.tail import Tail
    from naiad.storage.local.journal.files import JournalFile
    from naiad.storage.sql.connection import Connection

T = TypeVar("T")
FREE_ATTEMPTS = 3
"""How often a run is read beside folds, before they are made to wait."""
ATTEMPTS = 50
"""How often it is read while folds wait, where they can be made to; after that files are really missing."""
WAIT_SECONDS = 30.0
"""After that it is not read again, since another process may keep its index locked for ever."""
MANY_FIELDS = 5_000
"""An index of more is compared with its seal, if it is short; then its fields are read as they are needed."""
BYTES_A_FIELD = 4_096
"""A longer index is not: comparing a byte takes a thousandth of the time in which a field is loaded."""
MOST_LOOKED_UP = 8
"""Paths that are looked up one by one, each by a look at all rows; a program that reads more needs all fields."""


class _ReadProjection:
    """The projection of a snapshot whose fields are unread, read at its first use; then it is an attribute again."""

    def __get__(self, snapshot: Snapshot, _owner: type) -> Projection:
        snapshot.read_fields()
        return snapshot.projection


class Snapshot:
    """One run as it is now. Safe to use from several threads; after a fork each process goes on with its own.

    The fields of a sealed index with very many are unread at first: its seal proves that all of it is whole, so few
    of them have to be looked up, each by its path. They stay unread when a writer joins, until it writes something.
    """

    projection = _ReadProjection()
    """The fields and writers at the last look."""

    def __init__(self, folder: RunDirectory) -> None:
        self.folder = folder
        self._index_path = folder.index
        self.damages: list[Damage] = []
        self._noted: set[Damage] = set()  # the same, to look one up
        self._lock = threading.RLock()
        self._is_held = False
        self._forget()
        _views.add(self)

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._index: Index | None = None
        self._inherited: Index | None = None
        self._folds: int | None = None
        self._seal_stamp: object = None
        self._inode: int | None = None
        self.fields = 0  # rows of the index
        self._whole: tuple[int | None, int] | None = None  # inode and folds of an index that was as it was sealed
        self._kinds: dict[str, str] | None = None  # of fields that are unread, once they were asked for
        self._looked_up: dict[str, dict[str, FieldState]] = {}  # by path, or "sys": the fields at and around it
        self.at: Callable[[str], FieldState | None]
        """Return the field that is shown at a path."""
        self.sys: Collection[str]
        """The paths of the fields, at least of all below `sys`."""
        self.unnoted: Sequence[Damage]
        """Damage of fields that were read since the last call of `note_fields`."""
        vars(self)["projection"] = projection = Projection()
        self.is_unread = False  # its fields
        self.at, self.sys, self.unnoted = projection.at, projection.fields, projection.damages
        self._read: dict[str, int] = {}  # bytes of each journal file that the projection already holds
        self._seen: dict[str, tuple[int, FileCover | None]] = {}  # size and sums of each ops file at its last reading
        self._folded: dict[str, tuple[int, bool]] = {}
        self._seal: Seal | None = None
        self._bad: dict[str, list[int]] = {}  # damaged blocks of each damaged file of the journal
        self._coverage = Coverage()
        self._missing: dict[str, Damage] = {}  # journal files that are not there, by name
        self.refused: dict[str, Damage] = {}  # what is known to be damaged, by path
        self._files: list[JournalFile] = []
        self._segments: list[JournalFile] = []  # those that are not folded whole
        self._tail: Tail | None = None  # once a series was read
        self._is_tail_read = False  # since the last look at the folder
        self._short: ShortTail | None = None  # the same, of a run with few points
        self._is_short_read = False
        # of the series asked for last, in this look: its count, last point and aspects are mostly asked for in turn
        self._facts_of_tail: tuple[FieldState, list[tuple[str, Facts]]] | None = None
        self.left: dict[int, list[Part]] = {}  # by identity of a series: what a deletion left of it in the index

    @contextmanager
    def current(self, *, has_fields: bool = True) -> Iterator[Projection]:
        """The projection as it is now, which no other thread brings further inside the block.

        Args:
            has_fields: False where writers are enough, and the fields need not be read.

        Raises:
            NewerFormat: a later release wrote the run.
            DamagedData: the index cannot be read at all.
        """
        with self._lock:
            self.read(_nothing)
            if has_fields and self.is_unread:
                self.read(self.read_fields)
            yield self._unread if self.is_unread else self.projection

    @contextmanager
    def moment(self) -> Iterator[None]:
        """Look at the folder once, and answer all calls of this thread inside the block from that look.

        Raises:
            NewerFormat: a later release wrote the run.
            DamagedData: the index cannot be read at all.
        """
        with self._lock:
            # Nested calls answer from the outer look: one command must not show two states of a run.
            if self._is_held:
                yield
                return
            self.read(_nothing)
            self._is_held = True
            try:
                yield
            finally:
                self._is_held = False

    def _show(self, projection: Projection) -> None:
        """Answer from the fields of a projection."""
        vars(self)["projection"], self.is_unread = projection, False
        self.at, self.sys, self.unnoted = projection.at, projection.fields, projection.damages

    def _leave_unread(self, projection: Projection, of_sys: dict[str, FieldState]) -> None:
        """Answer from a projection without fields, and look up those that are needed."""
        vars(self).pop("projection", None)
        self._unread, self.is_unread = projection, True
        self._looked_up["sys"] = of_sys
        self.at, self.sys, self.unnoted = self._look_up, of_sys, []

    def _look_up(self, path: str) -> FieldState | None:
        """The field that is shown at a path, read alone where that is enough."""
        place = "sys" if path.startswith("sys/") else path
        if place not in self._looked_up:
            found = None
            if len(self._looked_up) <= MOST_LOOKED_UP:
                with self._as_loaded() as (index, connection):
                    found = index.fields_around(connection, path)
            if found is None:
                return self.projection.at(path)
            self._looked_up[place] = found
        return self._looked_up[place].get(path)

    def read_fields(self) -> None:
        """Read the fields that were left unread."""
        if self.is_unread:
            if self._seal_stamp is None:  # the ops that were read meanwhile are to be applied to them
                self._load_all()
            with self._as_loaded() as (index, connection):
                projection, _head, _positions, damages = index.load(connection)
            self._show(projection)
            self._note(damages)

    def unread_kinds(self) -> dict[str, str]:
        """Return the kind of each field that is shown, by path, without reading the fields where that is enough."""
        if self.is_unread and self._kinds is None:
            with self._as_loaded() as (index, connection), search_paused():
                self._kinds = index.kinds(connection)
        return self._kinds if self.is_unread and self._kinds is not None else self.projection.kinds()

    def summed(self) -> tuple[Mapping[str, list[Any] | None], Projection, list[FieldState]] | None:
        """`ASPECTS` of each series of numbers by path, the writers, and all other fields, of an index that is sealed.

        Of fields that are unread; None where something about them is unusual.
        """
        with self._as_loaded() as (index, connection), search_paused():
            found = index.summed_fields(connection)
        return None if found is None else (found[0], self._unread, found[1])

    @contextmanager
    def _as_loaded(self) -> Iterator[tuple[Index, Connection]]:
        """The index, unless it was changed since it was loaded."""
        with self._snapshot(is_final=self._seal_stamp is not None) as (index, connection):
            if self._seal_stamp is None and index.folds(connection) != self._folds:
                raise _Moved
            yield index, connection
        if _stamp(self.folder) != self._seal_stamp:  # the seal goes before the first change
            raise _Moved

    @property
    def folds(self) -> int:
        """How often the index had been changed when it was last looked at."""
        return self._folds or 0

    def read(self, read: Callable[[], T]) -> T:
        """Read with the current snapshot, and again after a concurrent fold.

        Raises:
            NewerFormat: a later release wrote the run.
            DamagedData: the index cannot be read at all.
            StorageError: others changed the run all the time, and this user may not keep them from it.
        """
        with self._lock:
            try:
                for attempt in range(FREE_ATTEMPTS):
                    try:
                        if attempt or not self._is_held:
                            self._update()
                        return read()
                    except (FileNotFoundError, _Moved):
                        self._folds = None
                return self._read_without_folds(read)
            except PermissionError as error:
                raise NotPermitted(
                    f"This user has no permission to read the {self.folder.kind.noun} in {self.folder.path}: {error}.",
                    errno=error.errno, filename=error.filename,
                ) from error  # fmt: skip

    def _read_without_folds(self, read: Callable[[], T]) -> T:
        """Read while folds wait: in a process with a busy thread they can be faster than any read."""
        with holding_forks():
            from naiad.storage.local.index.index import without_folds

        found: set[object] = set()
        until = clock.monotonic() + WAIT_SECONDS
        for _attempt in range(ATTEMPTS):
            try:
                with without_folds(self.folder) as is_still:
                    self._update()
                    return read()
            except (FileNotFoundError, _Moved):
                found.add((self._seal_stamp, self._inode, self._folds))
                self._folds = None
            if clock.monotonic() > until:
                break
        if not is_still and len(found) > 1:
            raise StorageError(
                f"The {self.folder.kind.noun} in {self.folder.path} changed each time that it was read.\n"
                "Read it again later, or as a user who may write there and so can make its program wait.",
                errno=errno.EBUSY, filename=str(self.folder.path),
            )  # fmt: skip
        raise DamagedData(
            f"The journal of the run in {self.folder.path} names files that are not there.",
            file=str(self.folder.journal), offset=0, what="missing",
        )  # fmt: skip

    def refresh(self) -> None:
        """Load everything that was acknowledged to any process before this call.

        Raises:
            NewerFormat: a later release wrote the run.
            DamagedData: the index cannot be read at all.
        """
        self.read(_nothing)

    def resolve(self, name: str) -> str:
        """The name under which content is found, as far as this is known."""
        with self._lock:
            return (self._unread if self.is_unread else self.projection).resolve(name)

    def note_fields(self) -> None:
        """Note the fields that turned out to be damaged when they were read."""
        found = [*self.projection.damages]
        self.projection.damages.clear()
        self._note(found)

    def rows(self, state: FieldState, table: str, *which: range) -> list[Any]:
        """Rows of the index that belong to a field, from the same fold as the projection; of chunks also only some."""
        if not state.id:
            return []
        with self._snapshot(path=state.path) as (index, connection):
            if index.folds(connection) != self._folds:
                raise _Moved
            rows: list[Any] = getattr(index, table)(connection, state.id, *which)
            return rows

    def states(self, kinds: Collection[str], damaged: list[str] | None = None) -> list[tuple[FieldState, list[str]]]:
        """Every field of these kinds, shadowed ones too, and the texts of those that are series; all at one moment.

        With a list, fields that are damaged are left out, and their paths are added to it.

        Raises:
            DamagedData: some of them are not as they were written.
        """
        return self.read(lambda: self.states_now(kinds, damaged))

    def states_now(
        self, kinds: Collection[str], damaged: list[str] | None = None
    ) -> list[tuple[FieldState, list[str]]]:
        """The same, from the present look at the folder."""
        found: list[tuple[FieldState, list[str]]] = []
        for state in self.projection.of_kinds(kinds):
            texts: list[str] = []
            if state.kind in TEXTS:
                from naiad.storage.local.index.series import read_texts

                try:
                    texts = read_texts(state, self.rows(state, "chunks"), self.damage)[1]
                except DamagedData:
                    if damaged is None:
                        raise
                    damaged.append(state.path)
                    continue
            found.append((state, texts))
        return found

    def short_tail(self) -> ShortTail | None:
        """The same as `tail`, read without numpy; None where only `tail` can read it."""
        if not self._is_short_read:
            self._is_short_read, self._short = True, None
            places = {file.place for file in self._segments}
            is_odd = self._tail is not None or self._missing or self._bad or self.left or self.damages
            if not is_odd and (self._seal is None or self._seal.records.keys() <= places):
                from naiad.storage.local.index.short_tail import read_short_tail

                self._short = read_short_tail(self._segments, self._folded, self._coverage.files, self.projection)
        return self._short

    def tail(self) -> Tail | None:
        """The records that are not in the index, if there are any."""
        from naiad.storage.local.index.tail import Tail

        if not self._segments and not self._missing and not (self._seal and self._seal.records):
            return None
        if self._tail is None:
            self._tail = Tail(self._folded, self._bad, self._seal.records if self._seal else {})
        elif self._is_tail_read:
            return self._tail
        self._is_tail_read = True
        damages = self._tail.update(self._segments, self._coverage.files, self._missing)
        if damages:
            self._note(damages)
        return self._tail

    def version(self) -> object:
        """A value that differs whenever a series may have other points, or may be found damaged."""
        tail = self.tail()
        return (
            *(self._folds, self._seal_stamp, self._inode, self._pid),
            *(sum(self._read.values()), tail.version if tail else 0, len(self.damages)),
        )

    def tail_of(self, state: FieldState) -> list[Part]:
        """Return the tail of a float series: its points that are not in the index.

        Raises:
            DamagedData: some of it is not as it was written.
        """
        tail = self.tail()
        left = self.left.get(id(state), [])
        if tail is None:
            return left
        damaged = tail.damage_of(self.projection, state)
        if damaged is not None:
            raise self.damage(state.path, damaged.file, damaged.what)
        return left + tail.of(self.projection, state)

    def tail_facts(self, state: FieldState) -> list[tuple[str, Facts]]:
        """Return the facts of the tail of a float series, by writer.

        Raises:
            DamagedData: some of it is not as it was written.
        """
        short = None if "numpy" in sys.modules else self.short_tail()  # which is as fast as it is loaded
        if short is not None:
            return short.facts(state)
        if self._facts_of_tail is not None and self._facts_of_tail[0] is state:
            return self._facts_of_tail[1]
        parts = self.tail_of(state)
        found: list[tuple[str, Facts]] = []
        if parts:
            from naiad.storage.local.index.points import facts_by_writer

            found = facts_by_writer(parts)
        self._facts_of_tail = (state, found)
        return found

    def damage(self, path: str, file: str, what: str) -> DamagedData:
        """Return the error for damage at a path; at an empty one, of the whole run."""
        subject = f'"{path}"' if path else "The run"
        return DamagedData(
            f"{subject} cannot be read whole: {self.folder.path / file} is damaged ({what}).\n"
            f"Save what is whole with: naiad repair {self.folder.uid}",
            file=file, offset=0, what=what,
        )  # fmt: skip

    def _update(self) -> None:
        if self._pid != os.getpid():
            inherited = self._index
            self._forget()
            self._inherited = inherited  # never closed here: that would drop the parent's locks on the database
        if self._seal_stamp is not None and self._folds is not None and _stamp(self.folder) == self._seal_stamp:
            return  # nothing of a sealed run changes, and listing its journal again cost 0.4 ms a call
        self._is_tail_read = self._is_short_read = False
        self._facts_of_tail = None
        # Listed before the index is read, see above. The sums come in between: they promise files, which are listed
        # by then or folded.
        self._files = list_journal(self.folder.journal)
        is_sealed = os.path.exists(self.folder.seal)
        self._coverage = Coverage() if is_sealed else read_coverage(self.folder)  # before what it speaks of
        self._load()
        self._segments = [
            file for file in self._files if file.suffix == "seg" and not self._folded.get(file.name, (0, False))[1]
        ]
        self._check_coverage()
        frames: list[tuple[str, Frame]] = []
        for file in self._files:
            if file.suffix == "ops" and not self._folded.get(file.name, (0, False))[1]:
                # Files only grow, so one of the same size, with the same sums, has nothing new.
                state = os.stat(file.path).st_size, self._coverage.files.get(file.name)
                if self._seen.get(file.name) == state:
                    continue
                found, upto, damages = read_ops(
                    file,
                    self._read.get(file.name, 0),
                    is_sealed=self._seal is not None,
                    is_header_damaged=0 in self._bad.get(file.place, ()),
                    cover=state[1],
                )
                self._seen[file.name] = state
                if damages:
                    self._note(damages)
                self._read[file.name] = upto
                frames += zip(repeat(file.writer), found)
        if self.is_unread:
            self._take_in(frames)
            return
        if frames:
            self.projection.apply_all(frames)
        if self.projection.uncertain:
            self._settle()
        if self.projection.tombstones:  # only a deletion leaves points without a field
            self._adopt()

    def _take_in(self, frames: list[tuple[str, Frame]]) -> None:
        """Note who has joined the run, while its fields are unread; of ops that are about fields, all is read."""
        if any(type(op) is not Open for _writer, frame in frames for op in frame.ops):
            self._load_all()
        self._unread.apply_all(frames)

    def _load_all(self) -> NoReturn:
        """Begin the present look anew, with all fields."""
        self._whole = None
        raise _Moved

    def _check_coverage(self) -> None:
        """Note files missing by the writers' sums, unless a fold or a seal intervened."""
        self._missing = {}
        if self._seal_stamp is not None:
            return  # the seal tells
        folds = self._folds if self.folder.index.exists() else None
        index = self._coverage.index_damage(self.folder, folds)
        self._missing = dict(self._coverage.missing_files(self.folder, self._folded))
        sums = [*self._coverage.missing_sums(self.folder, self._files)]
        # Looks like damage, and may be a fold or a stop in between: it is damage only if nothing has changed
        # meanwhile.
        if (index or self._missing or sums) and self._has_moved():
            raise _Moved
        found = [*self._coverage.damages, *([index] if index else []), *self._missing.values(), *sums]
        if found:
            self._note(found)

    def _has_moved(self) -> bool:
        if _stamp(self.folder) != self._seal_stamp or _inode(self.folder.index) != self._inode:
            return True
        if self._index and self._index.engine.has_moved():
            return True
        if read_coverage(self.folder) != self._coverage:
            return True
        if self._inode is None:
            return False
        with self._snapshot() as (index, connection):
            return index.folds(connection) != self._folds

    def _settle(self) -> None:
        """Apply an unfolded deletion to points that are in the index."""
        for state in list(self.projection.uncertain.values()):
            from naiad.storage.local.index.series import left_points, left_texts

            with self._snapshot(path=state.path) as (index, connection):
                if index.folds(connection) != self._folds:
                    raise _Moved
                chunks, packs = index.remnant(connection, state)
            left: dict[str, list[Columns]] = {}
            if state.kind == POINTS:
                left = left_points(state, chunks, packs, self.damage)
                self.left[id(state)] = [(writer, part) for writer, parts in left.items() for part in parts]
            else:
                state.texts, state.remnant = left_texts(state, chunks, self.damage), None
            self.projection.settle(state, [*left, *state.texts])

    def _adopt(self) -> None:
        """Give a field to points that a writer appended to a series after another writer had deleted it."""
        orphans = self.projection.orphans()
        tail = self.tail() if orphans else None
        if tail is not None:
            for writer, number, state, since in orphans:
                if tail.has_since(writer, number, since):
                    self.projection.revive_after_deletion(state, writer)

    def _load(self) -> None:
        """Load the index, if there is one and it has changed."""
        stamp = _stamp(self.folder)
        if stamp is not None and stamp == self._seal_stamp and self._folds is not None:
            return  # sealed, and still by the same seal
        inode = _inode(self._index_path)
        if (stamp, inode) != (self._seal_stamp, self._inode) or (self._index and self._index.engine.has_moved()):
            # It is another file, or has changed since a copy was opened, or is written no more and opened in another
            # way.
            self._close_index()
            self._folds = None
        if stamp != self._seal_stamp:
            self._check_seal(stamp)
        self._seal_stamp, self._inode = stamp, inode
        folds = 0
        has_index = inode is not None
        if has_index:
            with self._snapshot(is_final=stamp is not None) as (index, connection):
                folds = index.folds(connection)
                if folds != self._folds:
                    of_sys = None
                    if folds > 0 and self._is_as_sealed(folds, index.head(connection).fields):
                        of_sys = self._looked_up.get("sys") or index.fields_around(connection, "sys")
                    projection, head, positions, damages = index.load(connection, has_fields=of_sys is None)
        if folds != self._folds:
            self.fields = head.fields if has_index else 0
            if has_index:
                self._folded = positions
                if of_sys is None:
                    self._show(projection)
                else:
                    self._leave_unread(projection, of_sys)
                self._read = {name: upto for name, (upto, _is_done) in positions.items()}
            else:
                # Also where nothing was applied: a look that failed may have counted files as read before it failed.
                self._folded, self._read = {}, {}
                if self.is_unread or self.projection.version or self.projection.writers:
                    self._show(Projection())
            self._seen = {}
            self._tail = None
            self.left = {}
            self._folds = folds
            self.refused = {}
            if has_index and damages:
                self._note(damages)

    def _is_as_sealed(self, folds: int, fields: int) -> bool:
        """Whether the index has very many fields, and is as it was sealed byte by byte with the whole run in it.

        It still is when a writer has removed the seal to join: before that this object has compared it.
        """
        if self._seal is not None:
            whole = (self._inode, folds) if self._is_proven_by(self._seal, fields) else None
            if whole != self._whole:
                self._whole, self._looked_up, self._kinds = whole, {}, None
        return self._whole == (self._inode, folds) and not self.damages

    def _is_proven_by(self, seal: Seal, fields: int) -> bool:
        name = self.folder.index.name
        if name not in seal.files or self._files or self.damages or fields < MANY_FIELDS:
            return False
        size, _crcs = seal.files[name]
        return size <= fields * BYTES_A_FIELD and damaged_blocks(self.folder, seal, name) == []

    @contextmanager
    def _snapshot(self, *, is_final: bool = False, path: str = "") -> Iterator[tuple[Index, Connection]]:
        with holding_forks():
            import sqlite3

            from naiad.storage.local.index.index import Index
            from naiad.storage.sql.database import is_refusal, open_for_reading

        try:
            if self._index is None:
                self._index = Index(self.folder, open_for_reading(self.folder.index, is_final=is_final))
            with self._index.view() as connection:
                try:
                    yield self._index, connection
                finally:
                    # Whatever was found, also damage.
                    if not self._index.engine.is_settled and self._index.engine.has_moved():
                        raise _Moved
        except sqlite3.Error as error:
            if is_refusal(error):
                raise StorageError(
                    f"The index {self.folder.index} cannot be opened: {error}.", filename=str(self.folder.index)
                ) from error
            if _stamp(self.folder) != self._seal_stamp:
                raise _Moved from error  # a process began to write the run that was opened as finished
            raise self.damage(path, self.folder.index.name, str(error)) from error

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

    def _note(self, damages: list[Damage]) -> None:
        if not damages:
            return
        self.refused.update((damage.path, damage) for damage in damages if damage.path is not None)
        fresh = [damage for damage in dict.fromkeys(damages) if damage not in self._noted]
        self._noted.update(fresh)
        self.damages += fresh
        # One damaged frame may be about very many fields; it is one warning.
        frames: dict[tuple[str, str, int | None], list[Damage]] = {}
        for damage in fresh:
            frames.setdefault((damage.file, damage.what, damage.offset), []).append(damage)
        for first, *others in frames.values():
            more = f" and {len(others):,} more" if others else ""
            warnings.warn(f"In run folder {self.folder.path}: {first}{more}.", DamageWarning, stacklevel=2)


class _Moved(Exception):
    """The index or seal changed while it was being read; retry from a new snapshot."""


def _nothing() -> None:
    """Read nothing: only the look at the folder counts."""


def _stamp(folder: RunDirectory) -> object:
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


_views: weakref.WeakSet[Snapshot] = weakref.WeakSet()


def _renew_locks() -> None:
    """In a forked child: another thread of the parent may have been reading, and that thread does not exist here."""
    for view in list(_views):
        view._lock = threading.RLock()
        view._is_held = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
