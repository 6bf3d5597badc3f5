"""Folding a run in PostgreSQL: everything in one transaction, which one worker at a time does for a run.

    advisory lock of the run -- lay out its tail -- fold into its rows -- sys/id as registered
    -- its line in the catalog -- drop folded rows of the inbox -- next look -- commit

A worker that dies has done nothing; one that finds the lock taken leaves the run to its holder.
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
from naiad.kinds import ATOM_OF
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
from naiad.storage.postgres.connection import CATALOG, CATALOG_LOCK, RUN_LOCKS, PostgresConnection, transaction
from naiad.storage.postgres.index import PostgresIndex
from naiad.storage.postgres.notices import CHANGED, DUE, Listener, Sender
from naiad.storage.postgres.objects import Objects
from naiad.storage.postgres.reader import Place, PostgresReader
from naiad.storage.postgres.scratch import make_scratch
from naiad.storage.sql.values import Stamp, forget, put

SILENT_SECONDS = 65
"""After the last sign of life of a writer its run is looked at again, once, since it may be over."""
MOST_FAILURES = 3
MOST_REWRITTEN = 32_000_000
"""Points of a run that is over and is rewritten if its series lie in many pieces; they are in memory, compressed."""
RETRY_SECONDS = 10
COMPACTION_SECONDS = 600
"""After which a merge of rows is tried again that the objects or the database did not permit."""

FACTS = "select uid, kind, id, project from naiad.run where number = %s"
DROP_ROWS = "delete from naiad.inbox where run = %s and file = %s and start = %s"
BYTES = """
update naiad.run set failures = 0, problem = null, bytes = own.bytes, archived_at = case
    when own.here < %(least)s then null
    when own.here >= %(most)s then now()
    else now() + make_interval(secs => case when %(is_over)s then %(over)s else %(silent)s end) end
from (select coalesce(sum(coalesce(octet_length(data), length)), 0) as bytes,
             coalesce(sum(octet_length(data)), 0) as here
      from (select data, length from naiad.run_chunk where run = %(run)s
            union all select data, length from naiad.run_pack where run = %(run)s) each) own
where number = %(run)s
"""
"""With the time from which its rows may be moved into objects: later than whatever else may come of the run."""
NEXT = """
update naiad.due set waiting = greatest(0, waiting - %(size)s), at = case
    when waiting > %(size)s then now() + interval '1 second'
    else coalesce((select max(seen_at) + make_interval(secs => %(silent)s) from naiad.writer
                   where run = %(run)s and state = 'alive' and seen_at > now() - make_interval(secs => %(silent)s)),
                  'infinity') end
where run = %(run)s
"""
FAILED = "update naiad.run set failures = failures + 1, problem = %s where number = %s returning failures"
LATER = (
    "update naiad.due set at = case when %s then 'infinity' else now() + make_interval(secs => %s) end where run = %s"
)
NEXT_DUE = """
select run, extract(epoch from at - now())::float8 from naiad.due where at < 'infinity' order by at limit 20
"""
DROPPED = (
    *("run_head", "run_writer", "run_position", "run_field", "run_chunk", "run_pack", "run_coarse"),
    *("received", "inbox", "writer", "due"),
)
"""The tables with rows of one run."""
BOUND = "select set_config('statement_timeout', '60s', true), set_config('lock_timeout', %s, true)"
LOCK_SECONDS = 10.0
"""The longest wait of a worker for one lock."""
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


class Folder:
    """Folds runs of one database."""

    def __init__(self, engine: Engine, objects: Objects) -> None:
        self._engine = engine
        self._objects = objects
        self._notices = Sender(engine)
        self._archive = archive.Archive(engine, objects)

    def due(self) -> tuple[list[int], float]:
        """Return the numbers of the runs that are due, the most urgent first, and the seconds until the next one is.

        Raises:
            StorageError: the database cannot be used now.
        """
        with transaction(self._engine) as raw:
            rows = raw.execute(NEXT_DUE).fetchall()
        return [number for number, left in rows if left <= 0], min((left for _, left in rows if left > 0), default=inf)

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
        uid, kind, name, project = facts
        run = RunId(uid, kind_named(kind))
        make_scratch(root)
        place = Place(self._engine, self._objects, Layout(root), run, number, raw)
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
            is_put_off = _compacted(raw, fold, is_over=is_over)
        for file, start, upto in taken:
            known, is_done = fold.positions.get(file, (0, False))
            # What a fold leaves, such as the torn end of a frame, stays in the inbox for the next.
            if is_done or known >= upto:
                raw.execute(DROP_ROWS, [number, file, start])
        reader = PostgresReader(place)
        if self._correct(raw, place, fold, reader, name, project):
            reader = PostgresReader(place)
        # Made before the lock of the catalog is taken, which all folds share until they commit.
        entry = entry_of(reader, Registry(name, project), Stamp("", ""))
        _bind(raw, until if until is None else max(until, clock.monotonic() + LAST_SECONDS))
        raw.execute("select pg_advisory_xact_lock(%s)", [CATALOG_LOCK])
        put(PostgresConnection(raw, CATALOG), [entry])
        raw.execute("select set_config('search_path', 'public', true)")
        raw.execute(BYTES, {"run": number, "is_over": place.scratch.is_over, **archive.WAITS})
        size = sum(upto - start for _file, start, upto in taken)
        raw.execute(NEXT, {"run": number, "size": size, "silent": SILENT_SECONDS})
        if is_put_off and is_over:  # nothing else would bring the worker back to it
            raw.execute(LATER, [False, COMPACTION_SECONDS, number])

    def _correct(
        self, raw: psycopg.Connection[Any], place: Place, fold: Fold, reader: PostgresReader, name: str, project: str
    ) -> bool:
        """Let `sys/id` and `sys/project` be the registered ones, in place of those of the client."""
        own = {"sys/id": name} | ({} if place.run.kind is PROJECT else {"sys/project": project})
        shown = reader.atoms("sys")
        # Only where the client has said something: a run that has not begun has no id to correct.
        wrong = {path: text for path, text in own.items() if path in shown and unpack_text(str(shown[path][1])) != text}
        if not wrong:
            return False
        joining = reader.joining()
        # Later than every op that is there, or the value of the client would win.
        at = max(joining.at + 1e-6, clock.now())
        text = ATOM_OF[str]
        ops: list[Op] = [Assign(path, text, pack_text(value), at) for path, value in wrong.items()]
        file = write_ops(raw, place.number, ops, joining.session, at)
        place.scratch.update(raw)
        fold.forget()
        fold.fold([Source(journal_file(file.partition(".")[0], 0, "ops", place.folder.journal / file), is_final=True)])
        raw.execute("delete from naiad.inbox where run = %s and file = %s", [place.number, file])
        return True


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
