"""The writer: owns this process's journal of one run, the thread that syncs and folds it, and its orderly end.

The one rule: trouble of the machine never raises into training, see `trouble.py`. What the disk does not take is
counted, and kept in memory until it does.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from naiad import clock, forks, ids, rewinds
from naiad.disk import Report, can_map, is_deleted, nothing
from naiad.errors import (
    DamageWarning,
    FieldWarning,
    FileError,
    InactiveContainer,
    NaiadError,
    NaiadWarning,
    StorageError,
    StorageWarning,
    SyncFailed,
    warn_once,
)
from naiad.file import File
from naiad.ops import Define, Dropped, End, Op, Open, Printed, Stored, Strings, yields
from naiad.periodic import PeriodicThread
from naiad.refs import FileRef
from naiad.rewinds import MONITORING, Rewind
from naiad.settings import Tuning
from naiad.slots import PointLog
from naiad.storage.base import STOP_SECONDS, Change, RunReader
from naiad.storage.local.ids import refusals, remember_to_sync, sync_names
from naiad.storage.local.journal.journal import Journal, JournalClosed
from naiad.storage.local.journal.leases import HEARTBEAT_SECONDS
from naiad.storage.local.journal.point_log import LARGEST_BLOCK
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.maintenance import Maintenance
from naiad.storage.local.outbox import attach, free, note_unshipped
from naiad.storage.local.peers import PeerWatcher
from naiad.storage.local.presence import Presence
from naiad.storage.local.trouble import Trouble
from naiad.storage.results import FIRST, Joining, PointColumns, Shadowed

if TYPE_CHECKING:
    from naiad.storage.local.ingest import Ingest  # loaded by the first file, as the reader is by the first read
    from naiad.storage.local.reader import Reader

T = TypeVar("T")
GUEST_SECONDS = 5.0
SEAL_SECONDS = 1.0
"""How much of that is kept for the seal while a disk that refuses is asked again and again."""
COVER_SECONDS = 0.4
"""Between two looks at what needs a checksum: each byte has one a second after it was logged."""
RETRY_SECONDS = 2.0
FREE_SECONDS = 2.0
"""Between two looks at what may be removed from the outboxes of the store while the disk takes nothing."""
FOLD_AGAIN_SECONDS = 30.0
MILLISECOND = 0.001
PRINTED_BYTES = 1024 * 1024
"""Of one op: a program may print a gigabyte in one call, and a fold takes an op whole."""


class Shipping(Protocol):
    """The way of a run's journal to its server; nothing of it is on the path of a verb, and none of it raises."""

    def begin(self, writer: Writer) -> None:
        """Ship the files of a writer of this process, from now on."""

    def flush(self, seconds: float) -> None:
        """Return when the server has everything.

        Raises:
            SyncFailed: it has not, within the time.
        """

    def finish(self, seconds: float) -> None:
        """After the writer's end: wait for the server so long, and warn of the rest."""


class Writer:
    """One process writing one run, through its journal."""

    def __init__(self, folder: RunDirectory, role: str, session: int, at: float) -> None:
        self.folder = folder
        self.role = role
        self.is_active = True
        self._session = session
        self._at = at
        self._tuning = Tuning.from_environment()
        self._lock = threading.RLock()  # a signal handler may log while its thread is inside
        self._rounds, self._covering = self._new_rounds()
        self._fold_after = -math.inf  # a fold that failed is not tried again at once
        self._has_ended = False
        self.is_released = False
        """Whether nothing is done any more for this writer: its run is folded and sealed, or left as it is."""
        self._noted_end = ""  # by a signal handler
        self._keeper = Maintenance(folder, self._tuning)
        self._others = PeerWatcher(folder, are_expected=True)
        self._ingest: Ingest | None = None
        directory = os.open(folder.journal, os.O_RDONLY | os.O_DIRECTORY)
        self.journal = Journal(directory, ids.new_writer_id(), self._tuning, is_mapped=self._is_mapped())
        self.point_log: PointLog = self.journal.point_log
        self.journal.directory.on_rotation = self._rounds.wake
        self._trouble = Trouble(folder, self.journal, self._tuning.memory_bytes)
        self.journal.directory.on_trouble = self._trouble.meet
        self.journal.on_recovery = self._return_to_folder
        self._presence = Presence(folder, self.journal)
        self._shipping: Shipping | None = None

    @classmethod
    def open(
        cls,
        folder: RunDirectory,
        *,
        role: str = "owner",
        first_ops: Sequence[Op] = (),
        on_error: str = "warn",
        remote: bytes | None = None,
        joining: Joining = FIRST,
        shipping: Shipping | None = None,
        reader: Reader | None = None,
    ) -> Writer:
        """Begin to write a run, new or not. A sealed one is unsealed; dead writers' data is folded in time.

        Args:
            folder: of the run.
            role: `owner`, `guest` or `editor`, as in `naiad.ops.Open`.
            first_ops: of a new run.
            on_error: whether trouble of the disk is warned about or raised.
            remote: the content of `remote.json` of a run that gets a remote now, before anything of it is folded.
            joining: the place among the writers that have written this run elsewhere.
            shipping: brings the journal to the server.
            reader: of the run, if it is open.

        Raises:
            StoreNotWritable: the folder cannot be written; a new run leaves nothing behind.
            NewerFormat: a later release wrote the run.
        """
        with refusals(folder.path.parent.parent):
            writer = cls._open(folder, role, first_ops, on_error, remote, joining, reader)
        if shipping is not None:
            writer._shipping = shipping
            shipping.begin(writer)
        return writer

    @classmethod
    def _open(
        cls,
        folder: RunDirectory,
        role: str,
        first_ops: Sequence[Op],
        on_error: str,
        remote: bytes | None,
        joining: Joining,
        reader: Reader | None,
    ) -> Writer:
        is_new = not folder.path.exists()
        if is_new:
            folder.path.mkdir(parents=True, exist_ok=True)
            remember_to_sync(folder.path)
        if remote is not None:
            attach(folder, remote)
        folder.journal.mkdir(exist_ok=True)
        if is_new:
            writer = cls._begin(folder, role, joining.session, max(clock.now(), joining.at), first_ops, on_error)
            writer._others = PeerWatcher(folder, are_expected=False)
            return writer
        # Under the lock of the folder no other process joins, stops or seals: the session is decided by who is alive
        # now, and must not be decided twice.
        with folder.lock():
            if folder.remote.exists():
                # What this writer adds is to be found by `naiad sync`, whatever becomes of it. Without the note,
                # `naiad sync --verify` finds it.
                with contextlib.suppress(OSError):
                    note_unshipped(folder)
            if reader is None:
                from naiad.storage.local.reader import Reader

                reader = Reader(folder)
            known = reader.joining()
            session = max(known.session, joining.session)
            # Later than every op of the run: the clock of this machine may be behind that of another, and what is
            # written after a resume must win over what was there.
            at = max(clock.now(), joining.at, known.at)
            writer = cls._begin(folder, role, session, at, first_ops, on_error)
            if reader.folds:
                writer.journal.directory.sums.note_index(reader.folds, 0, reader.fields)
        # Outside the lock, because hashing the files that a killed writer took in may take minutes.
        if folder.has_incoming():
            from naiad.storage.local.ingest import left_behind

            writer._intake.settle(left_behind(folder))
        return writer

    @classmethod
    def _begin(
        cls,
        folder: RunDirectory,
        role: str,
        session: int,
        at: float,
        ops: Sequence[Op],
        on_error: str,
    ) -> Writer:
        writer = cls(folder, role, session, at)
        try:
            writer._presence.join()
            writer._say_open(ops)
        except BaseException:  # only to clean up: whatever it is goes on
            writer._release()
            raise
        writer._trouble.is_raising = on_error == "raise"
        writer._rounds.start()
        forks.follow(writer)
        return writer

    def _say_open(self, ops: Sequence[Op]) -> None:
        name = self.journal.directory.writer
        first = Open(name, os.getpid(), ids.host_name(), ids.boot_id(), self._session, self.role, self.now())
        self.journal.write([*filter(yields, ops), first, *(op for op in ops if not yields(op))])

    def now(self) -> float:
        """Return the time for an op, later than that of every earlier one."""
        with self._lock:
            # Strictly later, also when the clock is set back: times decide which op of a writer came last.
            at = clock.now()
            self._at = at if at > self._at else math.nextafter(self._at, math.inf)
            return self._at

    def write(self, changes: Sequence[Change]) -> list[Change]:
        """Write the ops of all changes, all or none, and return the changes with the numbers of their series.

        Raises:
            InactiveContainer: the writer has stopped.
        """
        content: list[str] = []
        for change in changes:
            content += change.content
        intake = self._intake if content else None
        if intake is not None:
            intake.own(content)
        try:
            with self.journal.directory.lock:  # so that times and numbers grow in the order of the frames
                ops, written = self._stamped(changes, content)
                self.journal.write(ops)
        except JournalClosed:
            self._disown(content)
            raise self._inactive() from None
        except NaiadError:
            self._disown(content)
            raise
        if intake is not None:
            intake.settle(content)
        return written

    def _disown(self, content: Sequence[str]) -> None:
        """Take back that an op names content, because the op was not written."""
        if content:
            self._intake.disown(content)

    def _stamped(self, changes: Sequence[Change], content: Sequence[str]) -> tuple[list[Op], list[Change]]:
        """Return the ops of changes with their time, and the changes with the numbers that their series get."""
        at = self.now()
        ops: list[Op] = []
        numbered: list[Change] = []
        for change in changes:
            number = change.number
            for op in change.ops:
                if type(op) is Define:
                    number = self.journal.next_number()
                    ops.append(Define(number, op.path, op.fresh, at))
                else:
                    ops.append(msgspec.structs.replace(op, at=at))
            numbered.append(Change(change.path, change.kind, change.ops, change.points, number, change.content))
        if content:
            ops.append(Stored(dict.fromkeys(content, ""), at))
        return ops, numbered

    def log(self, ops: Sequence[Op], wait: bool = False) -> None:
        """Write ops that take effect together, each with its own time.

        Raises:
            InactiveContainer: the writer has stopped.
        """
        try:
            self.journal.write(ops)
        except JournalClosed:
            raise self._inactive() from None
        if wait:
            self.wait()

    def log_printed(self, path: str, data: bytes, line: int) -> None:
        """Write bytes that the program has printed; the first is in this line. Never raises: the program prints on."""
        if len(data) > PRINTED_BYTES:
            for start in range(0, len(data), PRINTED_BYTES):
                piece = data[start : start + PRINTED_BYTES]
                self.log_printed(path, piece, line)
                line += piece.count(b"\n")
            return
        try:
            self.journal.write_soon([Printed(path, data, line, self.now())])
        except (JournalClosed, OSError, NaiadError, NaiadWarning):
            return  # trouble of the disk is counted and warned about where it is met

    def bind(self, path: str, *, fresh: bool = False) -> int:
        """Return the number that this writer's records carry for the float series at `path`.

        Raises:
            InactiveContainer: the writer has stopped.
        """
        try:
            return self.journal.bind(path, self.now(), fresh=fresh)
        except JournalClosed:
            raise self._inactive() from None

    def points(self, fid: int, values: Sequence[float], steps: Sequence[int | float], times: Sequence[float]) -> None:
        """Write points of one float series; all three sequences have one length and were checked.

        Raises:
            InactiveContainer: the writer has stopped.
        """
        try:
            self.journal.point_log.append(fid, values, steps, times)
        except JournalClosed:
            raise self._inactive() from None

    def point_row(
        self, numbers: Sequence[int], values: Sequence[float], steps: Sequence[int], times: Sequence[float]
    ) -> None:
        """Write a point of each of many series, checked, in this order.

        Raises:
            InactiveContainer: the writer has stopped.
        """
        try:
            self.journal.point_log.append_row(numbers, values, steps, times)
        except JournalClosed:
            raise self._inactive() from None

    def point_block(self, parts: Sequence[tuple[int, PointColumns]]) -> None:
        """Write points of many series at once, checked; columns may be arrays of NumPy.

        Raises:
            InactiveContainer: the writer has stopped.
        """
        from naiad.storage.local.journal.records import pack_records  # NumPy, which a run of single points never needs

        try:
            for records in pack_records(parts, LARGEST_BLOCK):
                self.journal.point_log.append_block(records)
        except JournalClosed:
            raise self._inactive() from None

    def ingest(self, file: File, report: Report = nothing) -> FileRef:
        """Copy the current content of a file; a change must name it, or the copy be dropped.

        Raises:
            FileError: it is no file that can be read.
            StorageError: the disk does not take it.
            InactiveContainer: the writer has stopped.
        """
        return self._taking(lambda name: self._intake.take(file, name, report))

    def ingest_all(self, paths: Sequence[str], report: Report = nothing) -> list[FileRef]:
        """The same for many files, all or none; small ones share a blob."""
        return self._taking(lambda name: self._intake.take_all(paths, name, report))

    @property
    def _intake(self) -> Ingest:
        """The intake of files, made for the first one."""
        with self._lock:
            if self._ingest is None:
                from naiad.storage.local.blobs import Blobs
                from naiad.storage.local.ingest import Ingest

                self._ingest = Ingest(Blobs(self.folder.blobs), self._say_stored, self._trouble.warn_of_files)
            return self._ingest

    def _taking(self, take: Callable[[str], T]) -> T:
        try:
            return take(self.journal.name())
        except JournalClosed:
            raise self._inactive() from None
        except FileError:
            raise
        except OSError as error:
            raise StorageError(
                f"The store of the run in {self.folder.path} cannot store the file: {error}", errno=error.errno
            ) from error

    def drop(self, content: Sequence[str]) -> None:
        """Give up content that came in and no op names."""
        self._intake.drop(content)

    def adopt(self, reader: RunReader, file: FileRef) -> FileRef:
        """Take in a file of some run, as `ingest` does.

        Raises:
            DamagedData: its content is missing.
        """
        return self._taking(lambda name: self._intake.adopt(reader, file, name))

    def count_lost(self) -> None:
        """Note that something could not be stored: the run is incomplete."""
        with contextlib.suppress(JournalClosed):
            self.journal.write([Dropped(0, 1, self.now())])

    @property
    def own_folder(self) -> str | None:
        """The store's folder, which may lie inside an uploaded folder."""
        return str(self.folder.path.parent.parent)

    @property
    def is_degraded(self) -> bool:
        """Whether something written waits in memory for the disk, so that no reader sees all of it."""
        return self.journal.directory.is_troubled

    @property
    def is_raising(self) -> bool:
        """Whether trouble of the disk raises instead of being warned about."""
        return self._trouble.is_raising

    def _say_stored(self, blobs: dict[str, str]) -> bool:
        """Write where content is now; whether that is on disk, so that the names under which it came in may go."""
        try:
            # Synced below, before the incoming names may go: after a power cut this op would be lost, and with it the
            # only link from the names that other ops have to the content.
            self.journal.write([Stored(blobs, self.now())])
        except JournalClosed:  # who folds the run finds it out again
            return False
        self.journal.sync()
        return True

    def peers_have_written(self) -> bool:
        """Whether other writers may have defined fields since the last call; False while a reader misses our own."""
        if self.journal.directory.is_troubled:
            return False
        me = self.journal.directory.writer if self._presence.lease is not None else ""
        return self._others.have_written(me, self._keeper.folds)

    def warn_of(self, shadowed: Shadowed) -> None:
        """Warn once that a field of this process is hidden."""
        warn_once(
            (self.folder.uid, shadowed.path, "shadowed"),
            f"In run folder {self.folder.path} {shadowed}.\n"
            "The first one is shown. The other one is stored but hidden; use another path for it.",
            FieldWarning,
        )

    def wait(self) -> None:
        """Return when everything written before is on the disk itself.

        Raises:
            SyncFailed: it is not.
        """
        try:
            self._presence.sync()
            if self._ingest is not None:
                self._ingest.wait()
            self.journal.sync()
            sync_names()
        except OSError as error:
            raise SyncFailed(
                f"Part of the data of the run in {self.folder.path} is not on disk: {error}",
                errno=error.errno,
            ) from error

    def _inactive(self) -> InactiveContainer:
        kind = self.folder.kind
        return kind.inactive(f"The {kind.noun} in {self.folder.path} was stopped in this process and takes no more.")

    def _new_rounds(self) -> tuple[PeriodicThread, PeriodicThread]:
        """The background thread, and another for checksums, which a slow disk or a long fold must not delay."""
        seconds = min(self._tuning.sync_seconds, COVER_SECONDS)
        return PeriodicThread(seconds, self._go_round, self._leave), PeriodicThread(
            COVER_SECONDS, self._cover, lambda _is_late: None
        )

    def _cover(self) -> None:
        self.journal.cover()
        self.journal.mark_sums()

    def _go_round(self) -> None:
        """In the background: a spare segment, a sync a second, a fold when it is worth it, a sign of life."""
        if not self._covering.is_running():  # of a run that is over at once there is nothing to cover
            self._cover()
            with contextlib.suppress(RuntimeError):  # the system has no thread left: the next round tries again
                self._covering.start()
        self._tend()
        is_time = self._rounds.is_time
        if self.journal.directory.is_troubled and is_time("free", FREE_SECONDS):
            free(self.folder)
        if self.journal.directory.is_troubled and is_time("recover", RETRY_SECONDS) and self.journal.recover():
            self._settle_again()
        self._keeper.rest()
        # while the disk refuses, what a record's number means may wait in memory, and nothing is folded before that
        is_whole = not self.journal.directory.is_troubled and not self.journal.is_displaced
        is_due = is_whole and clock.monotonic() >= self._fold_after and self._keeper.is_due(self.journal)
        if is_due and self._keeper.may_fold():
            self.journal.point_log.brake(self._tuning.most_waiting)
            if self._trouble.attempt("folded", self._fold):
                self._rounds.wake()  # more may have gathered meanwhile
            else:
                # No brake while no fold is tried: appends would wait for room that nothing makes.
                self.journal.point_log.brake(math.inf)
                self._fold_after = clock.monotonic() + FOLD_AGAIN_SECONDS

    def _settle_again(self) -> None:
        """Put files into their places that the disk did not take before."""
        if self._ingest is not None:
            self._ingest.settle(())

    def _tend(self) -> None:
        """Do all that cannot wait for a long fold: a spare segment, a sync, a sign of life."""
        self.journal.point_log.prepare_spare()
        if self._rounds.is_time("sync", self._tuning.sync_seconds):
            self._trouble.attempt("synced", self._sync)
        if self._presence.lease is not None and self._rounds.is_time("beat", HEARTBEAT_SECONDS):
            self._trouble.attempt("touched", self._presence.lease.beat)

    def _leave(self, is_late: bool) -> None:
        """At the end of the thread: if `stop` could not wait for that, finish in its place."""
        if is_late:
            until = clock.monotonic() + STOP_SECONDS
            self._trouble.attempt("sealed", partial(self._keeper.finish, self.journal, until, self._presence.let_go))
            self._give_back()

    def _fold(self) -> None:
        self._keeper.fold(self.journal, between=self._between_pieces)
        for each in self._keeper.shadowed(self.journal.directory.writer):
            with contextlib.suppress(FieldWarning):  # where warnings are errors, they still must not end this thread
                self.warn_of(each)

    def _between_pieces(self) -> None:
        self.journal.point_log.brake(self._tuning.most_waiting)
        self._tend()

    def _sync(self) -> None:
        self._look_for_lease()
        self._presence.sync()
        # Before the sync: a sync of files that were deleted succeeds, and would confirm what no reader can find.
        self.journal.look_for_files()
        if not self.journal.directory.is_troubled:
            self.journal.sync()
            sync_names()
        # After the sync, which is what makes a full segment safe to close.
        self.journal.point_log.rest()

    def _return_to_folder(self) -> None:
        """Take a lease in an existing folder before a recovery, so that other processes see this writer.

        Raises:
            OSError: there is no such folder.
        """
        self._presence.recover()
        if self.journal.is_displaced:
            self._go_on_anew()

    def _look_for_lease(self) -> None:
        """Go on in new files if another process took the journal for final; the earlier ones are kept.

        Raises:
            OSError: not now; the old files can still be written and read.
        """
        if self._presence.is_lost():
            self._return_to_folder()

    def _go_on_anew(self) -> None:
        """Join the run again with a new journal, as a process that resumes it would.

        Raises:
            OSError: the disk reports an error; it may be done again.
        """
        self._presence.join_again()
        self._session = max(self._session, self._latest_session())
        # New files first, then the copy of what was taken for final: ops that are added to the old files during the
        # copy would be missed.
        self.journal.start_over()
        self.journal.put_again(self._keeper.positions())
        self._say_open(())

    def _latest_session(self) -> int:
        from naiad.storage.local.reader import Reader

        with contextlib.suppress(NaiadError), warnings.catch_warnings():
            warnings.simplefilter("ignore", DamageWarning)  # reading the run says it
            return max((each.session for each in Reader(self.folder).projection().writers.values()), default=0)
        return 0

    # Shipping: only a run with a remote has it

    @property
    def name(self) -> str:
        """The name that the journal files of this process begin with."""
        return self.journal.directory.writer

    @property
    def is_over(self) -> bool:
        """Whether it writes nothing any more."""
        return self.journal.is_closed

    def final_files(self) -> set[str]:
        """Return the files to which no thread adds any more.

        A segment that was full a while ago is closed first, so that a thread which still holds a slot in it, and died
        or sleeps there, cannot fill it after it was shipped.
        """
        retired = [segment for segment in tuple(self.journal.point_log.segments) if segment.is_retired()]
        for segment in retired:
            segment.shut()
        return {file.name for file in (*retired, *tuple(self.journal.op_log.files)[:-1]) if file.is_stored}

    def ship(self, seconds: float | None = None) -> None:
        """Return when the server of the run has everything written before; at once if there is none.

        Raises:
            SyncFailed: it has not, within the time.
        """
        if self._shipping is not None:
            self._shipping.flush(math.inf if seconds is None else seconds)

    def rewind(self, path: str, step: int | float, *, is_first: bool = False, but: Sequence[str] = ()) -> None:
        """Hide points above a step; see `RunWriter.rewind`."""
        found = Rewind(
            step, path, self.journal.name(), self._session, is_first, tuple(dict.fromkeys([MONITORING, *but]))
        )
        if is_first and self._has_rewound(step):
            return
        at = self.now()
        self.log([Strings(rewinds.PATH, [rewinds.encode(found)], [round(at * 1e6)], [at], False, at)])
        if not is_first:  # times are kept in milliseconds, and points that follow must be later than this
            clock.sleep(MILLISECOND)

    def _has_rewound(self, step: int | float) -> bool:
        """Whether this session began with the same rewind in another process."""
        from naiad.storage.local.reader import Reader

        return any(
            each.rewind.is_first and (each.rewind.session, each.rewind.step) == (self._session, step)
            for each in Reader(self.folder).rewinds()
        )

    def note_end(self, state: str) -> None:
        """Write the end to an ops file of its own; see `RunWriter.note_end`."""
        if self._has_ended or self.role != "owner":
            return
        self._noted_end = state
        with contextlib.suppress(OSError):  # a full disk: then the run is shown as killed
            self.journal.op_log.note_end(End(state, clock.now()))

    def stop(self, state: str = "finished", seconds: float | None = None) -> None:
        """Store everything and seal the run unless another process writes it. A second call does nothing.

        It ends within `seconds` (10) even if the disk hangs; one warning then has the count of lost points and ops.

        Raises:
            StorageError: with `on_error="raise"`, something could not be stored.
        """
        until = clock.monotonic() + (STOP_SECONDS if seconds is None else seconds)
        with self._lock:
            if not self.is_active:
                return
            self.is_active = False
        lost = 0
        try:
            if self.journal.has_begun:
                lost = self._end(state, until)
        finally:
            if not self.journal.is_closed:
                self._trouble.attempt("closed", self.journal.close)
            self._release()
        if self._shipping is not None and self.journal.has_begun:
            self._shipping.finish(STOP_SECONDS if seconds is None else max(0.0, until - clock.monotonic()))
        if lost:
            self._trouble.report_loss(lost)

    def _end(self, state: str, until: float) -> int:
        """Put everything on disk, as far as it goes; how much is lost."""
        # Nothing raises while there is still something to store: with "raise" one error comes at the end, with the
        # whole count.
        is_raising, self._trouble.is_raising = self._trouble.is_raising, False
        # Files first, since the ops that name their place have to come before the end.
        is_settled = self._settle_all(until - SEAL_SECONDS)
        self._has_ended = True
        try:
            with contextlib.suppress(StorageWarning):  # where warnings are errors
                self.journal.write([End(self._noted_end or state, self.now())])
                if self._noted_end:
                    self.journal.op_log.forget_end()
        finally:
            self._rounds.end()
            # Both threads end before the journal is closed, so that no sync or fold runs on files that are being cut.
            self._covering.end()
        self._rounds.join(max(0.0, until - clock.monotonic()))
        self._covering.join(max(0.0, until - clock.monotonic()))
        if not self._rounds.is_running():
            self._trouble.attempt("continued", self._look_for_lease)
            self._trouble.attempt("stored", self.journal.look_for_files)
        lost = self._store_rest(until - SEAL_SECONDS)
        self._trouble.is_raising = is_raising
        self._trouble.attempt("closed", self.journal.close)
        # Sealed only if all is stored and no thread of this process may still write: a seal promises that nothing
        # changes.
        is_alone = not self._rounds.is_running() and not self._covering.is_running()
        if lost == 0 and is_settled and is_alone:
            is_sealed = self._trouble.attempt(
                "sealed", partial(self._keeper.finish, self.journal, until, self._presence.let_go)
            )
            synced = [self.folder.path] if is_sealed and self.folder.seal.exists() else []  # with its seal
            self._trouble.attempt("synced", partial(sync_names, *synced))
        return lost + self.journal.recorded

    def _settle_all(self, until: float) -> bool:
        """Put the content of files into its place, that of dead writers too; whether all of it is."""
        if self._ingest is None and not self.folder.has_incoming():
            return True
        from naiad.storage.local.ingest import left_behind

        with contextlib.suppress(OSError, NaiadError):
            self._intake.settle(left_behind(self.folder, self.journal.directory.writer))
        is_settled = self._intake.finish(until)
        if not is_settled:
            self._trouble.warn_of_files(TimeoutError("stop() had no time for that, so the run is not sealed"))
        return is_settled

    def _store_rest(self, until: float) -> int:
        while self.journal.directory.is_troubled and not self.journal.recover():
            if clock.monotonic() > until or is_deleted(self.journal.directory.fd):
                break
            clock.sleep(0.1)
        return self.journal.give_up()

    def _release(self) -> None:
        self.is_active = False
        forks.unfollow(self)
        if not self._rounds.hand_over():  # else it hangs in the disk or in a long fold, and does this when it is out
            self._give_back()

    def _give_back(self) -> None:
        self.journal.release()
        with contextlib.suppress(OSError):
            self._presence.let_go()
        self._presence.close()
        self.is_released = True

    def forked(self) -> None:
        """In a forked child: go on as a guest with a journal of its own, made when something is first written."""
        self._lock = threading.RLock()  # a signal handler may log while its thread is inside
        self._rounds, self._covering = self._new_rounds()
        self._fold_after = -math.inf
        if self._ingest is not None:
            self._ingest.forget()
        self._has_ended, self._noted_end = False, ""
        self.role = "guest"
        self._keeper = Maintenance(self.folder, self._tuning)
        self._others = PeerWatcher(self.folder, are_expected=True)
        self._presence.forget()
        self.journal.directory.on_rotation = self._rounds.wake
        self.journal.abandon(self._begin_as_guest)

    # Stop against fork. Both take the lock of the run's folder, so a seal never stands beside a living writer:
    #
    #     parent                                     child, as a guest
    #     fork ------------------------------------> forked(): new locks, no files, no lease
    #     stop(): lock; no other has a lease:        first write: lock; take a lease under a new name;
    #       seal; release its lease; unlock            remove a seal, if the parent was faster; unlock
    #
    # If the child is faster, the parent finds its lease and leaves sealing to it. A child that writes nothing
    # has no lease and delays no other writer.
    def _begin_as_guest(self) -> None:
        # Read before the journal begins anew. The child's handlers hold the parent's numbers, and append with them
        # under the child's name.
        definitions, (_numbers, last) = self.journal.definitions(), self.journal.numbers()
        name = ids.new_writer_id()
        self.journal.begin(name, self.journal.directory.fd)
        try:
            with self.folder.lock(GUEST_SECONDS):
                self._presence.join()  # the parent may have stopped and sealed the run meanwhile
        except OSError as error:
            self.journal.bar(error)
        self._say_open(())
        self.journal.inherit(definitions, last)
        self._rounds.start()
        if self._shipping is not None:
            self._shipping.begin(self)

    def _is_mapped(self) -> bool:
        choice = self._tuning.journal
        return choice == "mmap" or (choice == "auto" and can_map(self.folder.path))
