"""Folding a run in PostgreSQL: everything in one transaction, which one worker at a time does for a run.

    advisory lock of the run -- lay out its tail -- fold into its rows -- sys/id as registered
    -- its line in the catalog -- drop folded rows of the inbox -- next look -- commit

A worker that dies has done nothing; one that finds the lock taken leaves the run to its holder. Short runs that are due
at once share one transaction, see `naiad.storage.postgres.batch`; one of them that fails is folded alone.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psycopg
from sqlalchemy.engine import Engine

from naiad import clock
from naiad.container_kinds import PROJECT, RunId, kind_named
from naiad.errors import DamagedData, DamageWarning, NaiadError, StorageError
from naiad.ids import new_writer_id
from naiad.kinds import ATOM_OF, ATOMS
from naiad.ops import Assign, End, Op, Open, encode_ops
from naiad.scalars import pack_text, unpack_text
from naiad.storage.local.entries import entry_of
from naiad.storage.local.index.compact import is_scattered, is_worth_it, rewrite
from naiad.storage.local.index.fold import Fold
from naiad.storage.local.index.merge import MERGE_FOLDS, merge
from naiad.storage.local.journal.arrivals import HEADERS
from naiad.storage.local.journal.files import Source, journal_file, list_journal
from naiad.storage.local.journal.frames import encode_frame
from naiad.storage.local.layout import Layout
from naiad.storage.postgres import archive, statistics, temporary
from naiad.storage.postgres.batch import BatchScratch, RowsDatabase, RunRows, Tail, loaded, write
from naiad.storage.postgres.connection import CATALOG, CATALOG_LOCK, RUN_LOCKS, PostgresConnection, transaction
from naiad.storage.postgres.index import PostgresIndex
from naiad.storage.postgres.notices import CHANGED, DUE, Listener, Sender
from naiad.storage.postgres.objects import Objects
from naiad.storage.postgres.reader import Place, PostgresReader
from naiad.storage.postgres.scratch import make_scratch
from naiad.storage.sql.database import Database
from naiad.storage.sql.values import Entry, Stamp, forget, put

SILENT_SECONDS = 65
"""After the last sign of life of a writer its run is looked at again, once, since it may be over."""
MOST_FAILURES = 3
MOST_REWRITTEN = 32_000_000
"""Points of a run that is over and is rewritten if its series lie in many pieces; they are in memory, compressed."""
RETRY_SECONDS = 10
COMPACTION_SECONDS = 600
"""After which a merge of rows is tried again that the objects or the database did not permit."""

FACTS = """
select uid, kind, id, project, (select due.at::text from naiad.due where run = number) from naiad.run where number = %s
"""
LOCK_EACH = """
select number, pg_try_advisory_xact_lock(%s, (number %% 2147483648)::int) from unnest(%s::bigint[]) as number
"""
STILL_DUE = """
select due.run, uid, kind, id, project, at::text, bytes, failures from naiad.due left join naiad.run on number = due.run
where due.run = any(%s) and at <= now() order by at
"""
"""After the locks: another worker may have folded some of them just before."""
DROP_ROWS = """
delete from naiad.inbox i using unnest(%s::bigint[], %s::text[], %s::bigint[]) as done (run, file, start)
where i.run = any(%s) and i.run = done.run and i.file = done.file and i.start = done.start
"""
BYTES = """
update naiad.run set failures = 0, problem = null, bytes = coalesce(own.bytes, 0), archived_at = case
    when coalesce(own.here, 0) < %(least)s then null
    when own.here >= %(most)s then now()
    else now() + make_interval(secs => case when folded.is_over then %(over)s else %(silent)s end) end
from unnest(%(runs)s::bigint[], %(are_over)s::boolean[]) as folded (run, is_over) left join (
    select run, sum(coalesce(octet_length(data), length)) as bytes, sum(octet_length(data)) as here
    from (select run, data, length from naiad.run_chunk where run = any(%(runs)s)
          union all select run, data, length from naiad.run_pack where run = any(%(runs)s)) each
    group by run) own on own.run = folded.run
where number = folded.run
"""
"""With the time from which its rows may be moved into objects: later than whatever else may come of the run."""
HOLD_DUE = "select from naiad.due where run = any(%s) order by run for update"
"""In the order in which replicas change these rows, or each could wait for the other."""
NEXT = """
update naiad.due set waiting = greatest(0, waiting - size), at = case
    when waiting > size then now() + interval '1 second'
    when at::text <> was_at then at
    else coalesce((select max(seen_at) + make_interval(secs => %(silent)s) from naiad.writer w
                   where w.run = due.run and state = 'alive' and seen_at > now() - make_interval(secs => %(silent)s)),
                  'infinity') end
from unnest(%(runs)s::bigint[], %(sizes)s::bigint[], %(were_at)s::text[]) as folded (number, size, was_at)
where run = number
"""
"""An end that came during the fold has set the time anew, and may have brought no bytes: the run is due then.

As texts, since `infinity` is no time in Python.
"""
FAILED = "update naiad.run set failures = failures + 1, problem = %s where number = %s returning failures"
LATER = (
    "update naiad.due set at = case when %s then 'infinity' else now() + make_interval(secs => %s) end where run = %s"
)
NEXT_DUE = """
select run, extract(epoch from at - now())::float8, waiting from naiad.due where at < 'infinity' order by at limit 256
"""
BATCH = 64
"""Short runs that are folded in one transaction, at most. Each of them waits for all others of its batch."""
SHORT_BYTES = 256 * 1024
"""Waiting bytes of a run that is folded with others, at most."""
BATCH_BYTES = 2 * 1024 * 1024
"""Waiting bytes of all runs of a batch, at most: they are in memory."""
DROPPED = (
    *("run_head", "run_writer", "run_position", "run_field", "run_chunk", "run_pack", "run_coarse"),
    *("received", "inbox", "writer", "due"),
)
"""The tables with rows of one run."""
BOUND = "select set_config('statement_timeout', '60s', true), set_config('lock_timeout', %s, true)"
LOCK_SECONDS = 10.0
"""The longest wait of a worker for one lock."""
BATCH_LOCK_SECONDS = 2.0
"""The same of a batch, whose runs are folded alone after it."""
LAST_SECONDS = 1.0
"""The least wait for the last lock, which others hold for milliseconds: all work of the fold would be lost for it."""


class Registry(NamedTuple):
    """The registered names of one container; see `naiad.storage.local.catalog.Names`."""

    id: str
    project: str

    def id_of(self, uid: str) -> str:  # noqa: ARG002 (it is of one)
        """Return its id."""
        return self.id

    def projects(self) -> dict[str, str]:
        """Return its project by the key in its id."""
        return {self.id.partition("-")[0]: self.project}


class OpenFold(Fold):
    """The fold of a run inside a transaction that is open already."""

    def __init__(self, place: Place) -> None:
        super().__init__(place.folder)
        self._place = place

    def compact(self, *, is_over: bool) -> None:
        """Merge the rows of the index if they are many more than it needs, and make coarser pyramids of those of many.

        Raises:
            DamagedData: it is damaged; it is as it was.
        """
        index = self._open()
        if is_over and (is_worth_it(index) or is_scattered(index, MOST_REWRITTEN)):
            rewrite(index)
            index.drop_coarse()
            self.forget()  # its projection means the rows before
        # Not at each fold, since whether it is worth it takes as long to see as a small fold.
        elif (is_over or self.head.folds % MERGE_FOLDS == 0) and merge(index):
            self.forget()
        with index.view() as connection:
            index.add_coarse(connection, self._projection or index.load(connection)[0])

    def _is_first(self) -> bool:
        return False  # the tables are there for all runs

    def _open(self) -> PostgresIndex:
        index = PostgresIndex(self._folder, self._place.index, self._place.objects, self._place.number)
        with index.view() as connection:
            if not index.has_begun(connection):
                index.begin(connection)
        return index


class BatchPlace(Place):
    """The place of a run of a batch."""

    def __init__(
        self, engine: Engine, objects: Objects, layout: Layout, run: RunId, rows: RunRows, tail: Tail, stored: int
    ) -> None:
        super().__init__(engine, objects, layout, run, rows.number, rows.transaction)
        self.rows = rows
        self.scratch = BatchScratch(self.folder, rows, objects, tail)
        self._stored = stored

    @property
    def index(self) -> Database:
        """The index of the run."""
        return RowsDatabase(self.rows)

    def stored_bytes(self) -> int:
        """The bytes of the index of the run."""
        return self._stored


class Folded(NamedTuple):
    """A run whose rows are folded; the last statements of its transaction are missing."""

    number: int
    due_at: str | None
    """Before the fold looked at the run."""
    entry: Entry
    laid: list[tuple[str, int, int]]
    """File, start and end of the rows of the inbox that were there."""
    done: list[tuple[str, int]]
    """File and start of those that are in the index."""
    is_over: bool
    is_put_off: bool
    """Whether its rows are to be merged later."""


class _Alone(Exception):
    """This run cannot be folded with others."""


class Folder:
    """Folds runs of one database."""

    def __init__(self, engine: Engine, objects: Objects) -> None:
        self._engine = engine
        self._objects = objects
        self._notices = Sender(engine)
        self._archive = archive.Archive(engine, objects)

    def due(self) -> tuple[list[list[int]], float]:
        """Return the numbers of the runs that are due, the most urgent first, and the seconds until the next one is.

        Those that can be folded in one transaction are together.

        Raises:
            StorageError: the database cannot be used now.
        """
        with transaction(self._engine) as raw:
            rows = raw.execute(NEXT_DUE).fetchall()
        groups: list[list[int]] = []
        batch: list[int] = []
        room = 0
        for number, left, waiting in rows:
            if left > 0:
                continue
            if waiting > SHORT_BYTES:
                groups.append([number])
                continue
            if len(batch) in (0, BATCH) or waiting > room:
                batch, room = [], BATCH_BYTES
                groups.append(batch)
            batch.append(number)
            room -= waiting
        return groups, min((left for _, left, _ in rows if left > 0), default=inf)

    def listener(self) -> Listener:
        """Return a listener for runs that become due."""
        return Listener(self._engine, DUE)

    def analyze(self) -> None:
        """Update the planner statistics of tables of the catalog that have grown a lot.

        Raises:
            StorageError: the database cannot be used now.
        """
        statistics.analyze(self._engine)

    def archive(self) -> bool:
        """Move rows of one run into an object, if there is one with old rows; return whether there may be more.

        Raises:
            StorageError: the database or the objects cannot be used now; nothing has changed.
        """
        for number in self._archive.due():
            try:
                if self._archive.move(number):
                    return True
            except StorageError:
                with contextlib.suppress(StorageError):
                    self._archive.put_off(number)  # others may be moved meanwhile
                raise
        return False

    def fold_all(self, numbers: Sequence[int]) -> list[str]:
        """Fold runs, short ones in one transaction; return the reason for each that failed, else an empty text.

        Those that another process has are left to it, and out of the result.

        Raises:
            StorageError: the database or the objects cannot be used now; nothing more has changed.
        """
        if len(numbers) == 1:
            return [self.fold(numbers[0])]
        try:
            # Removed after the commit, since the runs are locked until then.
            with (
                tempfile.TemporaryDirectory(prefix="fold-", dir=temporary.folder()) as root,
                transaction(self._engine) as raw,
            ):
                folded, alone = self._fold_batch(raw, numbers, Path(root))
        except (_Alone, NaiadError, msgspec.MsgspecError, sqlite3.DatabaseError):
            folded, alone = 0, numbers  # all of it is undone; alone, the one that failed is found
        if folded:
            self._notices.send(CHANGED)
        return [""] * folded + [self.fold(number) for number in alone]

    def _fold_batch(
        self, raw: psycopg.Connection[Any], numbers: Sequence[int], root: Path
    ) -> tuple[int, Sequence[int]]:
        """Fold short runs in one transaction; return how many were, and those that are to be folded alone."""
        until = clock.monotonic() + BATCH_LOCK_SECONDS
        _bind(raw, until)
        locked = [number for number, is_held in raw.execute(LOCK_EACH, [RUN_LOCKS, [*numbers]]) if is_held]
        facts = {row[0]: row[1:] for row in raw.execute(STILL_DUE, [locked])} if locked else {}
        # Those that have failed before are folded alone, as are those that were deleted.
        sound = [number for number, (uid, *_, failures) in facts.items() if uid is not None and not failures]
        found = loaded(raw, sound, SHORT_BYTES) if sound else {}
        folded: list[Folded] = []
        places: list[BatchPlace] = []
        make_scratch(root)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DamageWarning)
            for number, (rows, tail) in found.items():
                uid, kind, name, project, due_at, size, _failures = facts[number]
                run = RunId(uid, kind_named(kind))
                place = BatchPlace(self._engine, self._objects, Layout(root), run, rows, tail, size)
                try:
                    folded.append(self._fold_rows(raw, place, name, project, due_at, is_alone=False))
                except (_Alone, NaiadError, msgspec.MsgspecError, sqlite3.DatabaseError):
                    if not rows.is_in_memory:
                        raise  # some of it was written
                    continue
                places.append(place)
        if folded:
            in_memory = [place.rows for place in places if place.rows.is_in_memory]
            if in_memory:
                write(in_memory)
            self._finish(raw, folded, until)
        done = {each.number for each in folded}
        return len(folded), [number for number in facts if number not in done]

    def fold(self, number: int, *, until: float | None = None) -> str:
        """Fold a run; return the reason if that failed.

        Args:
            number: of the run.
            until: the time, of the clock that never goes back, up to which to wait for locks, also of another process
                that is folding the run; None: such a run is left to that process.

        Raises:
            StorageError: the database or the objects cannot be used now; nothing has changed.
        """
        how = "pg_try_advisory_xact_lock" if until is None else "pg_advisory_xact_lock"
        problem = ""
        with transaction(self._engine) as raw:
            _bind(raw, until)
            row = raw.execute(f"select {how}(%s, %s)", [RUN_LOCKS, number % (1 << 31)]).fetchone()
            # Another worker has the run; nothing is lost, and no worker waits behind it.
            if until is None and row is not None and row[0] is False:
                return ""
            with (
                tempfile.TemporaryDirectory(prefix="fold-", dir=temporary.folder()) as root,
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore", DamageWarning)
                try:
                    # A savepoint: a fold that fails is undone, and the failure itself is noted and committed.
                    with raw.transaction():
                        self._fold(raw, number, Path(root), until)
                except StorageError as error:
                    # The objects are away, which is no failure of the run: it waits for them, however long.
                    problem = _reason(error)
                    raw.execute(LATER, [False, RETRY_SECONDS, number])
                except psycopg.Error as error:
                    # Of a connection that is lost, all runs wait; a reader is refused.
                    if raw.closed or until is not None:
                        raise
                    problem = _reason(error)
                    # A lock that others hold, or a limit of time: no failure of the run, nor a reason to delay others.
                    if isinstance(error, psycopg.OperationalError):
                        raw.execute(LATER, [False, RETRY_SECONDS, number])
                    else:
                        self._set_back(raw, number, problem)
                except (NaiadError, msgspec.MsgspecError, sqlite3.DatabaseError) as error:
                    problem = _reason(error)
                    self._set_back(raw, number, problem)
        self._notices.send(CHANGED)
        return problem

    def _set_back(self, raw: psycopg.Connection[Any], number: int, problem: str) -> None:
        """Try a run again later; set it aside after the third failure, so that it delays no other."""
        row = raw.execute(FAILED, [problem, number]).fetchone()
        raw.execute(LATER, [row is not None and row[0] >= MOST_FAILURES, RETRY_SECONDS, number])

    def _fold(self, raw: psycopg.Connection[Any], number: int, root: Path, until: float | None) -> None:
        facts = raw.execute(FACTS, [number]).fetchone()
        if facts is None:
            raw.execute("delete from naiad.due where run = %s", [number])
            return
        uid, kind, name, project, due_at = facts
        run = RunId(uid, kind_named(kind))
        make_scratch(root)
        place = Place(self._engine, self._objects, Layout(root), run, number, raw)
        self._finish(raw, [self._fold_rows(raw, place, name, project, due_at)], until)

    def _fold_rows(
        self,
        raw: psycopg.Connection[Any],
        place: Place,
        name: str,
        project: str,
        due_at: str | None,
        *,
        is_alone: bool = True,
    ) -> Folded:
        place.scratch.update(raw)
        fold = OpenFold(place)
        taken = place.scratch.laid
        files = list_journal(place.folder.journal)
        sealed, is_over, is_put_off = place.scratch.sealed, place.scratch.is_over, False
        # A file may be sealed after its last bytes were folded; then only that it is done is to be noted.
        has_new = bool(taken) or any(file.name in sealed for file in files)
        if has_new:
            over = place.scratch.over
            fold.fold([Source(each, each.name in sealed, is_awaited=each.writer not in over) for each in files])
        if has_new or (is_over and sealed):
            if is_alone:
                is_put_off = _compacted(raw, fold, is_over=is_over)
            else:
                fold.compact(is_over=is_over)
        # What a fold leaves, such as the torn end of a frame, stays in the inbox for the next.
        ends = {file: inf if is_done else upto for file, (upto, is_done) in fold.positions.items()}
        done = [(file, start) for file, start, upto in taken if ends.get(file, 0) >= upto]
        # Made before the lock of the catalog is taken, which all folds share until they commit.
        entry, wrong = self._look(place, name, project)
        if wrong and not is_alone:
            raise _Alone
        if wrong:
            self._correct(raw, place, fold, wrong)
            entry, _none = self._look(place, name, project)
        return Folded(place.number, due_at, entry, taken, done, place.scratch.is_over, is_put_off)

    def _finish(self, raw: psycopg.Connection[Any], folded: Sequence[Folded], until: float | None) -> None:
        """Change the catalog and the tables that folds share with replicas, last of all in a transaction."""
        runs = [each.number for each in folded]
        done = [(each.number, *row) for each in folded for row in each.done]
        if done:
            raw.execute(DROP_ROWS, [*map(list, zip(*done, strict=True)), runs])
        _bind(raw, until if until is None else max(until, clock.monotonic() + LAST_SECONDS))
        raw.execute("select pg_advisory_xact_lock(%s)", [CATALOG_LOCK])
        put(PostgresConnection(raw, CATALOG), [each.entry for each in folded])
        raw.execute("select set_config('search_path', 'public', true)")
        raw.execute(BYTES, {"runs": runs, "are_over": [each.is_over for each in folded], **archive.WAITS})
        sizes = [sum(upto - start for _file, start, upto in each.laid) for each in folded]
        raw.execute(HOLD_DUE, [runs])
        were_at = [each.due_at for each in folded]
        raw.execute(NEXT, {"runs": runs, "sizes": sizes, "were_at": were_at, "silent": SILENT_SECONDS})
        for each in folded:
            if each.is_put_off and each.is_over:  # nothing else would bring the worker back to it
                raw.execute(LATER, [False, COMPACTION_SECONDS, each.number])

    def _look(self, place: Place, name: str, project: str) -> tuple[Entry, dict[str, str]]:
        """Return the line of the catalog, and `sys/id` and `sys/project` where the client has said something else.

        Both from one look at the tail and the index.
        """
        own = {"sys/id": name} | ({} if place.run.kind is PROJECT else {"sys/project": project})
        reader = PostgresReader(place)
        with reader.moment():
            projection = reader.projection()
            entry = entry_of(reader, Registry(name, project), Stamp("", ""))
            # Only where the client has said something: a run that has not begun has no id to correct.
            said = {path: state for path in own if (state := projection.at(path)) and state.kind in ATOMS}
            wrong = {path: own[path] for path, each in said.items() if unpack_text(str(each.value)) != own[path]}
        return entry, wrong

    def _correct(self, raw: psycopg.Connection[Any], place: Place, fold: Fold, wrong: Mapping[str, str]) -> None:
        """Let fields be the registered ones, in place of those of the client."""
        joining = PostgresReader(place).joining()
        # Later than every op that is there, or the value of the client would win.
        at = max(joining.at + 1e-6, clock.now())
        text = ATOM_OF[str]
        ops: list[Op] = [Assign(path, text, pack_text(value), at) for path, value in wrong.items()]
        file = write_ops(raw, place.number, ops, joining.session, at)
        place.scratch.update(raw)
        fold.forget()
        fold.fold([Source(journal_file(file.partition(".")[0], 0, "ops", place.folder.journal / file), is_final=True)])
        raw.execute("delete from naiad.inbox where run = %s and file = %s", [place.number, file])


def _compacted(raw: psycopg.Connection[Any], fold: OpenFold, *, is_over: bool) -> bool:
    """Merge the rows of a run, if that is possible now; return whether it was put off."""
    # Damaged rows stay as they are, for verify to name: what came since must not wait for them. Nor must it wait for
    # archived ones, while the objects are away. A savepoint: rows are written only whole.
    try:
        with raw.transaction():
            fold.compact(is_over=is_over)
    except (StorageError, psycopg.OperationalError):
        if raw.closed:
            raise
        fold.forget()
        return True
    except (DamagedData, sqlite3.DatabaseError):
        fold.forget()
    return False


def _bind(raw: psycopg.Connection[Any], until: float | None) -> None:
    """Limit the statements of a fold, and their waits for locks, from now on."""
    left = LOCK_SECONDS if until is None else max(0.001, until - clock.monotonic())
    raw.execute(BOUND, [f"{round(1000 * left)}ms"])


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:1000]


def write_ops(raw: psycopg.Connection[Any], run: int, ops: Sequence[Op], session: int, at: float) -> str:
    """Write ops as the only frame of a journal file of a writer of their own, which is complete; return its name."""
    start = HEADERS["ops"]
    writer = new_writer_id()
    opened = Open(writer, 0, "", "", session, "editor", at)
    data = encode_frame(1, encode_ops([opened, *ops, End("finished", at)]))
    file = f"{writer}.0.ops"
    raw.execute(
        "insert into naiad.received (run, file, upto, crc, is_sealed) values (%s, %s, %s, 0, true)",
        [run, file, start + len(data)],
    )
    raw.execute(
        "insert into naiad.inbox (run, file, start, upto, data) values (%s, %s, %s, %s, %s)",
        [run, file, start, start + len(data), data],
    )
    return file


def drop(raw: psycopg.Connection[Any], runs: Mapping[int, str]) -> None:
    """Delete all rows of some runs, given by number and uid, with their lines in the catalog."""
    # All locks first, and that of the catalog last, in the order of a fold: else each could wait for the other.
    for run in sorted(runs):
        # After a fold that is going on, and after bytes that a replica is storing: their rows would otherwise appear
        # behind the deletion.
        raw.execute("select pg_advisory_xact_lock(%s, %s)", [RUN_LOCKS, run % (1 << 31)])
        raw.execute("select from naiad.run where number = %s for update", [run])
    for table in DROPPED:
        raw.execute(f"delete from naiad.{table} where run = any(%s)", [[*runs]])
    raw.execute("delete from naiad.run where number = any(%s)", [[*runs]])
    raw.execute("select pg_advisory_xact_lock(%s)", [CATALOG_LOCK])
    forget(PostgresConnection(raw, CATALOG), [*runs.values()])
    raw.execute("select set_config('search_path', 'public', true)")
