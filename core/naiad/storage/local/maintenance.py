"""Maintenance of a run: selecting files to fold, folding them, and sealing.

A journal file belongs to this process, to another writer that may still write it, or to no process: its writer stopped
in order, or is proven dead. Files without a process are folded and removed by the next writer. Of another's file only
the present bytes are folded: the file stays, and the index has how far it was read, so that each point is folded once.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from naiad import clock
from naiad.errors import DamagedData, DamageWarning
from naiad.forks import holding_forks
from naiad.settings import Tuning
from naiad.slots import RECORD
from naiad.storage.local.integrity.seal import BASE, write_seal
from naiad.storage.local.journal.coverage import read_coverage
from naiad.storage.local.journal.files import JournalFile, Source, list_journal
from naiad.storage.local.journal.journal import Journal
from naiad.storage.local.journal.leases import SUFFIX, TAKEN, Liveness, may_be_written, read_leases, read_taken
from naiad.storage.local.journal.op_log import OpsFile, reserve_names
from naiad.storage.local.journal.segment import Segment
from naiad.storage.local.journal.sums import SUFFIX as SUMS
from naiad.storage.local.journal.sums import Sums, lone_sums
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.outbox import retire_file
from naiad.storage.results import Shadowed

if TYPE_CHECKING:
    from naiad.storage.local.fold_process import FoldProcess  # loaded for a large journal
    from naiad.storage.local.index.fold import Fold

Action = Callable[[], object]
OPS_BYTES = 4 * 1024 * 1024
SMALL_OPS_BYTES = 256 * 1024
DEFINE_BYTES = 64
"""About what an op takes that gives a series its number: having many series is no reason to fold."""
MOST_OPS_BYTES = 64 * 1024 * 1024
"""Ops that wait no longer, though a fold has just ended."""
PIECE_BYTES = 16 * 1024 * 1024
"""Ops that one transaction takes: what a fold needs of memory does not depend on how much has gathered."""
PIECE_POINTS_BYTES = 8 * 1024 * 1024
"""The same for segments, which are taken whole."""
MOST_PIECE_POINTS_BYTES = 32 * 1024 * 1024
"""The same where there are so many series that their rows, written once a piece, are most of the work."""
LARGE_POINTS = 65_536
LARGE_OPS_BYTES = 1024 * 1024
"""What makes a fold so large that it is better done beside the program than in a thread of it."""
IDLE_SECONDS = 30.0
"""After that the process that folds may end, so that a program that logs little has its memory for itself."""
REST = 4
"""How many times as long as a fold took the next one waits for ops: it takes the interpreter from who prints."""
MOST_RECORDS = 1_000_000
PER_SERIES = 16


class Maintenance:
    """Folds and finishes one run for one process. `journal` is this process's own; None for who only comes by."""

    def __init__(self, folder: RunDirectory, tuning: Tuning) -> None:
        self._folder = folder
        self._tuning = tuning
        self._index: Fold | None = None
        self._process: FoldProcess | None = None
        self._has_no_process = False  # it could not be started, or was lost
        self._unanswered: set[str] = set()
        """The files that a lost process may have folded to their end."""
        self._rests_until = -math.inf
        self.folds = 0

    def is_due(self, journal: Journal) -> bool:
        """Whether enough has gathered. Rows are made a series at a time, so many series wait for more points."""
        wanted = max(self._tuning.fold_records, min(MOST_RECORDS, PER_SERIES * journal.series))
        most_ops = max(OPS_BYTES, DEFINE_BYTES * journal.series)
        pending = journal.op_log.pending()
        is_rested = clock.monotonic() >= self._rests_until or pending >= max(most_ops, MOST_OPS_BYTES)
        return journal.point_log.pending() >= wanted or (pending >= most_ops and is_rested)

    def rest(self) -> None:
        """End a fold process that has had no work for a while."""
        # It is not started ahead of the first fold: importing NumPy there takes 0.2 s of a core beside the loop that
        # logs, and what gathers in the journal meanwhile, 32 bytes a point, is far below `Tuning.most_waiting`.
        if self._process is not None and clock.monotonic() - self._process.used_at > IDLE_SECONDS:
            self.close()

    def close(self) -> None:
        """Let the process that folds end."""
        process, self._process = self._process, None
        if process is not None:
            process.close()

    def fold(
        self,
        journal: Journal | None,
        until: float = math.inf,
        between: Action = lambda: None,
        received: Mapping[str, bool] = MappingProxyType({}),
    ) -> None:
        """Fold the journals of this process, of dead writers and of other machines, in pieces.

        Args:
            journal: this process's own, if it has one.
            until: when to give up, by the monotonic clock.
            between: is called after each piece.
            received: the names of files from other machines, and whether nothing of them is missing.

        Raises:
            OSError: the disk or the index reports an error, or it takes too long; pieces that are folded stay so.
        """
        if journal is not None:
            self._begin_process(journal)
        files = list_journal(self._folder.journal)  # before the leases: a writer takes its lease before its first file
        me = "" if journal is None else journal.directory.writer
        leases, free = self._standing(files, me)
        own = {} if journal is None or journal.directory.is_troubled else _own_files(journal)  # see Writer._go_round
        mine = [Source(file, is_final=own[file.name]) for file in files if file.name in own]
        dead = [Source(file, is_final=True) for file in files if file.writer in free]
        # Of a living writer on this machine only ops are folded here; it folds its points itself, as far as no thread
        # holds a slot.
        others = [
            Source(file, is_final=received.get(file.name, False), is_awaited=_is_remote(file, leases))
            for file in files
            if file.writer != me and file.writer not in free and (file.suffix == "ops" or not _is_alive(file, leases))
        ]
        began = clock.monotonic()
        held: set[str] = set()
        notes = {me}
        series = 0 if journal is None else journal.series
        most = max(PIECE_POINTS_BYTES, min(MOST_PIECE_POINTS_BYTES, PER_SERIES * RECORD * series))
        for piece in _pieces(mine + dead + others, self._positions, most):
            wanted = [source for source in piece if source.file.suffix == "ops" or source.file.writer not in held]
            with self._noting(journal) as noting:
                done = self._folded(wanted, me, until)
                noting.note_index(*self._folding.counts)
                notes.add(noting.writer)
            self.folds += 1
            held.update(_held(wanted, self._positions))
            # Files go only after the commit, and a kill in between leaves files whose positions say that they are
            # folded.
            self._clear(journal, done)
            between()
        self._rests_until = clock.monotonic() + REST * (clock.monotonic() - began)
        self._remove_dead_leases({me})
        if dead or journal is None:  # without a journal each fold leaves sums of its own
            alive = {writer for writer, each in leases.items() if not each.is_dead}
            self._drop_sums(alive | notes)

    @property
    def _folding(self) -> Fold | FoldProcess:
        """The fold in use: the process, or one in this thread."""
        return self._process or self._own_fold()

    def _own_fold(self) -> Fold:
        """Return the fold in this thread."""
        with holding_forks():
            from naiad.storage.local.index.fold import Fold

        if self._index is None:
            self._index = Fold(self._folder)
        return self._index

    @property
    def _positions(self) -> dict[str, tuple[int, bool]]:
        found = self._process or self._index
        return {} if found is None else found.positions

    def _folded(self, sources: list[Source[JournalFile]], me: str, until: float) -> list[JournalFile]:
        """Fold one piece; by this thread where the process is lost."""
        if clock.monotonic() > until:
            raise TimeoutError(errno.ETIMEDOUT, "there was not enough time to fold its whole journal")
        if self._process is not None:
            from naiad.storage.local.fold_process import FoldProcessLost

            known = self._process.positions
            try:
                return self._process.fold(sources, me, until)
            except FoldProcessLost:
                # It may have been done. These files were whole when they were sent, and are so if they are folded.
                sent = (source.file.name for source in sources if source.is_final)
                self._unanswered.update(name for name in sent if not known.get(name, (0, False))[1])
                self._lose_process()
        return self._own_fold().fold(sources)

    def _begin_process(self, journal: Journal) -> None:
        """Start the process if much waits, unless that has failed before."""
        is_large = journal.point_log.pending() >= LARGE_POINTS or journal.op_log.pending() >= LARGE_OPS_BYTES
        if self._process is not None or self._has_no_process or not is_large:
            return
        with holding_forks():
            from naiad.storage.local.fold_process import FoldProcess
            from naiad.storage.local.processes import can_start

        if not can_start():
            self._has_no_process = True
            return
        try:
            self._process = FoldProcess(self._folder)
        except OSError:
            self._has_no_process = True

    def _lose_process(self) -> None:
        """Fold in this thread from now on."""
        self._has_no_process = True
        lost, self._process = self._process, None
        found = self._own_fold()
        if lost is not None:
            # What the process had folded is known, so that its files can be removed without reading the index again.
            found.positions = lost.positions
            found.finished |= lost.finished
            lost.close()

    def may_fold(self) -> bool:
        """Whether SQLite's locks hold between this process and every other one that may fold this run now.

        A lease of another machine on a shared folder is a reason to wait: its locks may not reach here.
        """
        return all(each.is_dead or each.is_near for each in read_leases(self._folder.journal).values())

    def positions(self) -> dict[str, tuple[int, bool]]:
        """Return the folded position of each journal file, and whether it is complete.

        Raises:
            OSError: the index reports an error.
        """
        if not self._folder.index.exists():
            return {}
        self._lose_process()
        return self._own_fold().known_positions()

    def _standing(self, files: list[JournalFile], me: str) -> tuple[dict[str, Liveness], set[str]]:
        """Return the other writers without an end, and the dead ones."""
        journal = self._folder.journal
        taken, leases = read_taken(journal), read_leases(journal)
        loose = {file.writer for file in files}.difference(taken, leases, (me,))
        if loose:  # they stopped in order and wait to be folded, or their leases were deleted
            leases = _writers(self._folder)
        known = {writer: each for writer, each in {**taken, **leases}.items() if writer != me}
        free = loose.difference(known).union(writer for writer, each in known.items() if each.is_dead)
        return known, free

    @contextlib.contextmanager
    def _noting(self, journal: Journal | None) -> Iterator[Sums]:
        """Context that writes sums before and after the index changes, so that its loss is noticed."""
        if journal is not None:
            journal.cover()
            yield journal.directory.sums
            journal.cover()
        else:
            with lone_sums(self._folder.journal) as sums:
                yield sums
                sums.cover((), ())

    def shadowed(self, writer: str) -> list[Shadowed]:
        """Return the fields of this writer that are hidden, as far as they are folded."""
        found = self._process or self._index
        return [] if found is None else found.shadowed(writer)

    def finish(self, journal: Journal | None, until: float, let_go: Action = lambda: None) -> None:
        """Fold the journal and seal the run, unless another process still writes it.

        `let_go` gives up this process's own lease. That happens under the lock: of several writers that stop at once,
        the one that comes last sees no other and seals. It comes after the seal, so that the lease of a writer killed
        before shows that no seal was removed.

        Raises:
            OSError: the disk or the index reports an error; everything is still in the journal.
            DamagedData: the files to seal differ from those written.
        """
        with self._folder.lock(max(0.1, until - clock.monotonic())):
            if journal is None and self._folder.seal.exists():
                return  # another process has finished it meanwhile
            self._finish(journal, until)
            let_go()

    def _finish(self, journal: Journal | None, until: float) -> None:
        me = "" if journal is None else journal.directory.writer
        names = os.listdir(self._folder.journal)
        is_alone = _is_alone(me, names)
        # Another writer may still write, or is in doubt: the one that comes last seals.
        if not is_alone and may_be_written(self._standing(list_journal(self._folder.journal), me)[0]):
            return
        if self._folder.index.exists() or not self._is_small(names):
            self.fold(journal, until)
            self._close_index(until)
        elif journal is not None and journal.directory.sums.is_made:
            journal.cover()
        # Before the seal, whose checksums would declare damaged bytes to be the right ones. A run of a second or less
        # has no sums to compare with; those that were made and are gone are damage.
        has_sums = journal is not None and journal.directory.sums.is_made
        has_sums = has_sums or any(name.endswith((SUMS, BASE)) for name in names)
        if has_sums or not is_alone or self._folder.index.exists():
            self._refuse_damage()
        if not is_alone:
            self._remove_dead_leases({me})
        write_seal(self._folder, "" if journal is None else journal.op_log.reserve.name)

    def _refuse_damage(self) -> None:
        """Raise if the sums of a writer show damage, which a seal would hide."""
        positions = self._positions
        self.close()
        damage = read_coverage(self._folder).first_damage(self._folder, positions)
        if damage is not None:
            raise DamagedData(
                f"The run in {self._folder.path} is damaged: {damage}.\n"
                f"Save its intact parts with: naiad repair {self._folder.uid}",
                file=damage.file, offset=damage.offset or 0, what=damage.what,
            )  # fmt: skip

    def _close_index(self, until: float) -> None:
        if self._process is not None:
            from naiad.storage.local.fold_process import FoldProcessLost

            try:
                self._process.finish(until)
            except FoldProcessLost:
                self._lose_process()
            else:
                return
        with holding_forks():
            from naiad.storage.local.index.compact import finish_index

        finish_index(self._folder, max(0.1, until - clock.monotonic()))

    def _is_small(self, names: Iterable[str]) -> bool:
        sizes = {"seg": 0, "ops": 0}
        for name in names:
            suffix = name.rpartition(".")[2]
            if suffix in sizes and not name.startswith("."):
                sizes[suffix] += os.stat(f"{self._folder.journal}/{name}").st_size
        return sizes["seg"] <= self._tuning.small_run_records * 32 + 4096 and sizes["ops"] <= SMALL_OPS_BYTES

    def _clear(self, journal: Journal | None, done: Iterable[JournalFile]) -> None:
        """Remove the files that are folded completely, and note the positions of the others."""
        found = self._folding
        own: dict[str, Segment | OpsFile] = {}
        if journal is not None:
            own.update((file.name, file) for file in journal.op_log.files)
            own.update((segment.name, segment) for segment in journal.point_log.segments)
        for name, (upto, _is_done) in found.positions.items():
            if name in own:
                own[name].folded = upto
        for file in done:
            if journal is not None and file.name in own:
                # Folded to its end by this process. If another one did it, it took this writer for dead, and what was
                # added since has to be written again elsewhere.
                if file.name in found.finished or file.name in self._unanswered:
                    journal.forget(own[file.name])
                else:
                    journal.is_displaced = True
            else:
                retire_file(file.path)

    def _remove_dead_leases(self, own: set[str]) -> None:
        """Remove the leases of dead writers that have no files left, and the room that was reserved for their ends."""
        journal = self._folder.journal
        # A lease goes last: without it, files that are left would look like those of a writer that stopped in order.
        with_files = {file.writer for file in list_journal(journal)} | own
        for suffix, found in ((SUFFIX, read_leases(journal)), (TAKEN, read_taken(journal))):
            for writer, each in found.items():
                if each.is_dead and writer not in own:
                    for name in reserve_names(writer):
                        (journal / name).unlink(missing_ok=True)
                if each.is_dead and writer not in with_files:
                    (journal / (writer + suffix)).unlink(missing_ok=True)

    def _drop_sums(self, alive: set[str]) -> None:
        """Remove the sums of dead writers whose data is all in the index."""
        coverage = read_coverage(self._folder)
        positions = self._positions
        open_ones = {name.partition(".")[0] for name in coverage.files if not positions.get(name, (0, False))[1]}
        for writer in coverage.writers - open_ones - alive:
            (self._folder.journal / (writer + SUMS)).unlink(missing_ok=True)


def _is_alone(me: str, names: Iterable[str]) -> bool:
    """Whether no other writer has left anything in the journal folder, so that no lease needs to be judged.

    One listing shows it, and most runs end like that; judging leases opens and locks files.
    """
    own = (me + ".", ".")  # hidden: being made; a writer that joins takes its lease under the folder's lock first
    return bool(me) and all(name.startswith(own) for name in names)


def _pieces(
    sources: list[Source[JournalFile]], positions: Mapping[str, tuple[int, bool]], most: int
) -> Iterator[list[Source[JournalFile]]]:
    """Parts of the files to fold: ops files first, then at most so many bytes of points, with all ops that define them.

    The parts in which files are folded make no difference to readers.
    """
    ops = [source for source in sources if source.file.suffix == "ops"]
    segments = [source for source in sources if source.file.suffix != "ops"]
    *early, last = _sized(ops, positions, PIECE_BYTES) or [[]]
    yield from early
    for part in _sized(sorted(segments, key=lambda source: source.file), positions, most) or [[]]:
        yield last + part
        last = ops  # in which meanwhile more may say what the next points mean


def _sized(
    sources: list[Source[JournalFile]], positions: Mapping[str, tuple[int, bool]], most: int
) -> list[list[Source[JournalFile]]]:
    """Cut them into parts of one file, or so many new bytes."""
    parts: list[list[Source[JournalFile]]] = []
    size = 0
    for source in sources:
        new = _size(source) - positions.get(source.file.name, (0, False))[0]
        if not parts or size + new > most:
            parts.append([])
            size = 0
        parts[-1].append(source)
        size += new
    return parts


def _size(source: Source[JournalFile]) -> int:
    try:
        return source.file.path.stat().st_size
    except FileNotFoundError:  # another process has folded it
        return 0


def _held(sources: list[Source[JournalFile]], positions: Mapping[str, tuple[int, bool]]) -> Iterator[str]:
    """Yield the writers with a segment that was folded up to a hole.

    A record that comes late must not be overtaken.
    """
    for source in sources:
        upto, is_done = positions.get(source.file.name, (0, False))
        if source.file.suffix != "ops" and not is_done and upto + RECORD <= _size(source):
            yield source.file.writer


def _writers(folder: RunDirectory) -> dict[str, Liveness]:
    """Return the writers that have no end in the run; reading it is not worth loading for a run that ends alone."""
    from naiad.storage.local.index import derived
    from naiad.storage.local.index.snapshot import Snapshot

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DamageWarning)  # reading the run says it
        with Snapshot(folder).current() as projection:
            return derived.writers(projection, folder)


def _is_alive(file: JournalFile, leases: dict[str, Liveness]) -> bool:
    """Whether its writer folds it itself; that of another machine does not."""
    found = leases.get(file.writer)
    return found is not None and found.is_alive and not _is_remote(file, leases)


def _is_remote(file: JournalFile, leases: dict[str, Liveness]) -> bool:
    """Whether a server of this store receives it: its points may have come before the ops that define them."""
    found = leases.get(file.writer)
    return found is not None and found.is_remote


def _own_files(journal: Journal) -> dict[str, bool]:
    """This process's files, and whether each is final. Active ones are only read up to where no late record can come.

    Segments that were full a while ago are closed: a thread that still holds a slot in one has to append elsewhere,
    so nothing can appear in them after they were read for the last time.
    """
    found = {}
    for segment in tuple(journal.point_log.segments):
        is_old = segment.is_retired()
        if is_old:
            segment.shut()
        if segment.is_stored:
            found[segment.name] = is_old or journal.is_closed
    for ops in tuple(journal.op_log.files):
        found[ops.name] = ops is not journal.op_log.files[-1] or journal.is_closed
    return found
