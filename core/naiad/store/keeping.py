"""Keeping a run in good order: when to fold, what to fold, and how a run is finished.

A journal file belongs to a living writer, to this process, or to nobody. What belongs to nobody is folded by whoever
comes by, in a transaction of the index, so that it happens once.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from naiad import clock
from naiad.errors import DamagedData
from naiad.settings import Tuning
from naiad.store.blobs import INCOMING, is_incoming
from naiad.store.coverage import read_coverage
from naiad.store.folder import RunFolder
from naiad.store.forks import holding_forks
from naiad.store.journal import Journal
from naiad.store.leases import SUFFIX, read_leases
from naiad.store.opsfile import OpsFile
from naiad.store.picture import Shadowed
from naiad.store.reader import Reader
from naiad.store.reserve import reserve_names
from naiad.store.seal import write_seal
from naiad.store.segment import Segment
from naiad.store.sums import SUFFIX as SUMS
from naiad.store.sums import Sums, lone_sums
from naiad.store.tails import JournalFile, list_journal

if TYPE_CHECKING:
    from naiad.store.fold import Folder

__all__ = ["Action", "Keeper", "left_behind", "mark_changed", "settle"]

Action = Callable[[], object]
OPS_BYTES = 4 * 1024 * 1024
SMALL_OPS_BYTES = 256 * 1024
DEFINE_BYTES = 64
"""About what an op takes that gives a series its number: having many series is no reason to fold."""
MOST_RECORDS = 1_000_000
PER_SERIES = 16


class Keeper:
    """Folds and finishes one run for one process. `journal` is this process's own; None for who only comes by."""

    def __init__(self, folder: RunFolder, tuning: Tuning) -> None:
        self._folder = folder
        self._tuning = tuning
        self._index: Folder | None = None
        self.folds = 0

    def is_due(self, journal: Journal) -> bool:
        """Whether enough has gathered. Rows are made a series at a time, so many series wait for more points."""
        wanted = max(self._tuning.fold_records, min(MOST_RECORDS, PER_SERIES * journal.series))
        most_ops = max(OPS_BYTES, DEFINE_BYTES * journal.series)
        return journal.pending_records() >= wanted or journal.pending_ops() >= most_ops

    def fold(self, journal: Journal | None) -> None:
        """Fold this process's journal and those of the dead.

        Raises:
            OSError: the disk or the index refuses; nothing was changed.
        """
        with holding_forks():
            from naiad.store.fold import Folder, Source

        if self._index is None:
            self._index = Folder(self._folder)
        files = list_journal(self._folder.journal)  # before the leases: a writer takes its lease before its first file
        alive = {writer for writer, is_alive in read_leases(self._folder.journal).items() if is_alive}
        own = {} if journal is None or journal.is_troubled else _own_files(journal)  # see Writer._go_round
        me = "" if journal is None else journal.writer
        mine = [Source(file, is_final=own[file.name]) for file in files if file.name in own]
        dead = [Source(file, is_final=True) for file in files if file.writer not in alive and file.writer != me]
        living = alive - {me}
        others = [Source(file, is_final=False) for file in files if file.suffix == "ops" and file.writer in living]
        with self._noting(journal) as noting:
            done = self._index.fold(mine + dead + others)  # all ops: they take effect in the order of their time
            head = self._index.head
            noting.note_index(head.folds, head.points, head.fields)
        self.folds += 1
        self._clear(journal, done)
        self._bury(alive | {me})
        if dead:
            self._drop_sums(alive | {noting.writer})

    @contextlib.contextmanager
    def _noting(self, journal: Journal | None) -> Iterator[Sums]:
        """Sums that are there before the index is changed, and say afterwards what is in it, so that a loss shows."""
        if journal is not None:
            journal.cover()
            yield journal.sums
            journal.cover()
        else:
            with lone_sums(self._folder.journal) as sums:
                yield sums
                sums.cover((), ())

    def shadowed(self, writer: str) -> list[Shadowed]:
        """What this writer wrote and nobody is shown, as far as it is folded."""
        return [] if self._index is None else self._index.shadowed(writer)

    def finish(self, journal: Journal | None, until: float, let_go: Action = lambda: None) -> None:
        """Fold what is worth it and seal the run, unless somebody else still writes it.

        `let_go` gives up this process's own lease. That happens under the lock: of several writers that stop at once,
        the one that comes last sees nobody else and seals. It comes after the seal, so that the lease of who is killed
        before tells that nobody has removed a seal.

        Raises:
            OSError: the disk or the index refuses; everything is still in the journal.
            DamagedData: what would be sealed is not what was written.
        """
        with self._folder.lock(max(0.1, until - clock.monotonic())):
            self._finish(journal, until)
            let_go()

    def _finish(self, journal: Journal | None, until: float) -> None:
        me = journal.writer if journal else ""
        if any(alive for writer, alive in read_leases(self._folder.journal).items() if writer != me):
            return
        if self._folder.index.exists() or not self._is_small():
            self.fold(journal)
            self._close_index(until)
        elif journal is not None and journal.sums.is_made:
            journal.cover()
        self._refuse_damage()
        self._bury({me})
        write_seal(self._folder)

    def _refuse_damage(self) -> None:
        """A seal must not vouch for what the sums of a writer show to be damaged."""
        positions = {} if self._index is None else self._index.positions
        damage = read_coverage(self._folder).first_damage(self._folder, positions)
        if damage is not None:
            raise DamagedData(
                f"The run in {self._folder.path} is damaged: {damage}.\n"
                f"Save what is whole with: naiad repair {self._folder.uid}",
                file=damage.file, offset=damage.offset or 0, what=damage.what,
            )  # fmt: skip

    def _close_index(self, until: float) -> None:
        with holding_forks():
            from naiad.store.compact import compact_if_worth_it
            from naiad.store.database import make_single_file

        compact_if_worth_it(self._folder)
        make_single_file(self._folder.index, max(0.1, until - clock.monotonic()))

    def _is_small(self) -> bool:
        sizes = {"seg": 0, "ops": 0}
        for file in list_journal(self._folder.journal):
            sizes[file.suffix] += file.path.stat().st_size
        return sizes["seg"] <= self._tuning.small_run_records * 32 + 4096 and sizes["ops"] <= SMALL_OPS_BYTES

    def _clear(self, journal: Journal | None, done: Iterable[JournalFile]) -> None:
        """Remove what is wholly in the index, and note how far the rest is."""
        assert self._index is not None
        own: dict[str, Segment | OpsFile] = {}
        if journal is not None:
            own.update((file.name, file) for file in journal.ops_files)
            own.update((segment.name, segment) for segment in journal.segments)
        for name, (upto, _is_done) in self._index.positions.items():
            if name in own:
                own[name].folded = upto
        for file in done:
            if journal is not None and file.name in own:
                journal.forget(own[file.name])
            else:
                file.path.unlink(missing_ok=True)

    def _bury(self, alive: set[str]) -> None:
        """Remove the leases of dead writers that have no files left."""
        dead = {writer for writer, is_alive in read_leases(self._folder.journal).items() if not is_alive} - alive
        for name in (name for writer in dead for name in reserve_names(writer)):
            (self._folder.journal / name).unlink(missing_ok=True)
        for writer in dead.difference(file.writer for file in list_journal(self._folder.journal)) if dead else ():
            (self._folder.journal / (writer + SUFFIX)).unlink(missing_ok=True)

    def _drop_sums(self, alive: set[str]) -> None:
        """Remove the sums of dead writers of which everything is in the index: those of this process speak of that."""
        assert self._index is not None
        coverage = read_coverage(self._folder)
        positions = self._index.positions
        open_ones = {name.partition(".")[0] for name in coverage.files if not positions.get(name, (0, False))[1]}
        for writer in coverage.writers - open_ones - alive:
            (self._folder.journal / (writer + SUMS)).unlink(missing_ok=True)


def settle(folder: RunFolder) -> None:
    """Tidy up after a run whose writers are all gone: what is long is folded. One that is damaged or read-only stays.

    Nothing is sealed: that a run was not stopped in order is a fact to keep.
    """
    with contextlib.suppress(OSError, DamagedData):
        if not folder.seal.exists():
            with folder.lock(seconds=0.0):
                _fold_if_long(folder)


def _fold_if_long(folder: RunFolder) -> None:
    if any(read_leases(folder.journal).values()) or not os.access(folder.journal, os.W_OK):
        return
    keeper = Keeper(folder, Tuning.from_environment())
    if not keeper._is_small():
        keeper.fold(None)


def left_behind(folder: RunFolder) -> list[str]:
    """The names of content that dead writers of a run took in and did not put in its place."""
    try:
        names = [name for name in os.listdir(folder.blobs / INCOMING) if is_incoming(name)]
    except FileNotFoundError:
        return []
    if not names:
        return []
    alive = {writer for writer, is_alive in read_leases(folder.journal).items() if is_alive}
    mine = {file.writer for file in list_journal(folder.journal)} | set(Reader(folder).picture().writers)
    return [name for name in names if (writer := name.partition(".")[0]) in mine and writer not in alive]


def mark_changed(folder: RunFolder) -> None:
    """Tell the catalog that it has to look at this run again.

    Raises:
        OSError: the store takes no files.
    """
    mark = folder.path.parent.parent / "changed" / folder.uid
    try:
        mark.touch()
    except FileNotFoundError:
        mark.parent.mkdir(exist_ok=True)
        mark.touch()
    except PermissionError:  # another user of the store made it, and keeps it from being written
        mark.unlink(missing_ok=True)
        mark.touch()


def _own_files(journal: Journal) -> dict[str, bool]:
    """This process's files, and whether each is final. Active ones are only read up to where no late record can come.

    Segments that were full a second ago are closed: a thread that still holds a slot in one has to append elsewhere,
    so nothing can appear in them after they were read for the last time.
    """
    found = {}
    for segment in tuple(journal.segments):
        is_old = segment.is_retired()
        if is_old:
            segment.shut()
        if segment.is_stored:
            found[segment.name] = is_old or journal.is_closed
    for ops in tuple(journal.ops_files):
        found[ops.name] = ops is not journal.ops_files[-1] or journal.is_closed
    return found
