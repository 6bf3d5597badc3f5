"""Imports: the containers of a source, one after the other or in several processes, each into its run of a store."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from naiad import clock, progress
from naiad.children import find_parent
from naiad.container import user_name
from naiad.container_kinds import KINDS, MODEL, MODEL_VERSION, RUN, ContainerKind, RunId
from naiad.errors import (
    DamagedData,
    FileWarning,
    ImportRefused,
    InvalidArgument,
    MissingField,
    NaiadError,
    StorageError,
)
from naiad.importer import Foreign, Importer, Progress, Source
from naiad.importers import pool
from naiad.importers.destination import Destination
from naiad.importers.ledger import COMPLETE, HOME, IMPORTING, STATE, Ledger
from naiad.importers.report import Reason, Report, RunReport
from naiad.importers.target import Target
from naiad.kinds import ATOM_OF, PARENT_UID, SYS
from naiad.ops import Assign, Op, Plain, Tags
from naiad.plugins import results
from naiad.scalars import pack_text, unpack_text
from naiad.storage.base import Change, Reservation, RunReader, Store
from naiad.storage.edits import edit
from naiad.storage.opening import Place, locate
from naiad.typing import ProgressBarType

ENDS = ("finished", "failed", "terminated")
WORTH_WORKERS = 4 << 20
"""Bytes of a source from which on several processes are worth their start."""
WORTH_WAITING = 64 << 20
"""Bytes of a source from which on more processes than cores are: almost half of an import is waiting for the disk."""
MOST_PROCESSES = 4
"""Of them, unless there are as many cores: each takes about 140 MiB."""


def importers() -> dict[str, Importer]:
    """Return the importers of all plugins by name."""
    return {each.name: each for each in sorted(results("naiad_importer"), key=lambda each: each.name)}


def import_runs(
    format: str,
    path: str | os.PathLike[str],
    *,
    store: Place = None,
    project: str | None = None,
    into: str | None = None,
    is_dry: bool = False,
    workers: int | None = None,
    progress_bar: ProgressBarType | None = None,
    **options: Any,
) -> Report:
    """Import the runs of another tool, and return a report of each.

    A run that was imported before is recognised: only new data of the source is added, and edits made in naiad are
    left alone. The source is never changed.

    Args:
        format: the name of an importer, such as "neptune-offline"; `importers()` lists them.
        path: the file or folder to read.
        store: where the runs go; else NAIAD_STORE, else the nearest `.naiad` here or above.
        project: of runs whose source names none; else the store's default.
        into: the id of a run that takes everything instead of a new one.
        is_dry: write nothing; the report shows the result of a real one.
        workers: how many processes read; chosen by the size of the source if None.
        progress_bar: False for none, or a class of your own.
        **options: those of the importer, with _ for -.

    Raises:
        ImportRefused: there is nothing of this format.
        InvalidArgument: there is no such format or option.
        RunNotFound: there is no run `into`.
    """
    importer = _importer(format)
    given = {name.replace("_", "-"): value for name, value in options.items() if value is not None}
    unknown = given.keys() - importer.options.keys()
    if unknown:
        known = ", ".join(importer.options) or "none"
        raise InvalidArgument(
            f"The importer {format!r} has no option {sorted(unknown)[0]!r}.\nIts options are: {known}."
        )
    place = Path(path).expanduser()
    if not os.path.lexists(place):
        raise ImportRefused(f"There is nothing at {str(place)!r} to import.", path=str(place))
    source = importer.open(place, given)
    return _Import(locate(store), importer, place, source, project, into, is_dry).run(workers, progress_bar)


def _importer(name: str) -> Importer:
    known = importers()
    if name not in known:
        raise InvalidArgument(f"There is no importer {name!r}.\nThe importers are: {', '.join(known) or 'none'}.")
    return known[name]


class _Import:
    """One source on its way into one store."""

    def __init__(
        self,
        store: Store,
        importer: Importer,
        path: Path,
        source: Source,
        project: str | None,
        into: str | None,
        is_dry: bool,
    ) -> None:
        self._source = source
        self._importer = importer
        self._job = Job(store, importer.name, str(path.absolute()), project, is_dry)
        self._into = into
        self._report = Report(importer.name, str(path), str(store), is_dry)

    def run(self, count: int | None, progress_bar: ProgressBarType | None) -> Report:
        """Import all containers."""
        report = self._report
        report.notes += self._source.notes
        report.problems += [
            Reason(each.path, each.kind, each.reason, each.count, each.is_loss, each.where)
            for each in self._source.problems
        ]
        containers = list(self._source.containers)
        size = sum(each.size for each in containers)
        with progress.showing(progress_bar, f"Importing {report.path}", size) as tell:
            if self._into is not None:
                report.runs += self._all_into(containers, tell)
            else:
                report.runs += self._each(containers, size, count, tell)
                if not self._job.is_dry:
                    self._link_children()
        return report

    def _link_children(self) -> None:
        """Let the runs that have a parent in the source belong to the run that was made of it."""
        store, runs = self._job.store, self._report.runs
        known = {name: each for each in runs for name in (each.source_id, each.identity) if name}
        for each in runs:
            if not each.parent or each.status in ("failed", "left alone"):
                continue
            found = known.get(each.parent)
            own = store.find_source(each.identity)
            its = None if found is None or found is each else store.find_source(found.identity)
            # Reserved and never begun, as after an import that was killed.
            if own is None or own.is_new:
                continue
            if its is None or its.is_new:
                each.note(f"Its parent {each.parent} is not in the source.")
            elif PARENT_UID not in store.reader(own.run).values("sys"):  # or it was changed in naiad since
                edit(store, own.run, find_parent(store, its.run.uid).changes())

    def _each(self, containers: Sequence[Foreign], size: int, count: int | None, tell: Progress) -> Iterator[RunReport]:
        wanted = count if count is not None else _worker_count(size)
        # Workers open the store by its name, which must mean the same store there.
        is_shared = self._importer.container is not None and str(locate(str(self._job.store))) == str(self._job.store)
        wanted = min(wanted, len(containers)) if is_shared else 1
        # Models come before their versions, so that a version finds its model.
        ordered = sorted(containers, key=lambda each: [kind.name for kind in KINDS].index(each.kind))
        if wanted <= 1:
            for each in ordered:
                yield import_container(self._job, each, tell)
        else:
            job, container = self._job, self._importer.container
            assert container is not None  # else there is one process
            name = (container.__module__, container.__qualname__)
            task = pool.Task(job.format, name, job.path, str(job.store), job.project, job.is_dry)
            for each in ordered:  # a version needs the id of its model, which another process may not have taken yet
                if each.kind != RUN.name:
                    yield import_container(job, each, tell)
            yield from pool.import_all(task, [each for each in ordered if each.kind == RUN.name], wanted, tell)

    def _all_into(self, containers: Sequence[Foreign], tell: Progress) -> Iterator[RunReport]:
        store = self._job.store
        run = store.find(str(self._into))
        if len(containers) != 1:
            raise InvalidArgument(
                f"{self._report.path!r} contains {len(containers)} runs, but into= takes one. Name one run folder."
            )
        for each in containers:
            known = store.find_source(each.identity)
            if known is not None and not known.is_new and known.run != run:
                raise InvalidArgument(
                    f"{each.identity!r} was imported before, as {known.id}.\nImport it again without into=."
                )
            yield import_container(self._job, each, tell, run)


def _worker_count(size: int) -> int:
    cores = os.cpu_count() or 1
    if size < WORTH_WORKERS:
        return 1
    return cores if size < WORTH_WAITING else max(cores, min(2 * cores, MOST_PROCESSES))


class Job:
    """The facts that all containers of an import share. It crosses to worker processes."""

    def __init__(self, store: Store, format: str, path: str, project: str | None, is_dry: bool) -> None:
        self.store = store
        self.format = format
        self.path = path
        self.project = project
        self.is_dry = is_dry


def import_container(job: Job, foreign: Foreign, tell: Progress, into: RunId | None = None) -> RunReport:
    """Import one container, and return its report, which names every failure."""
    report = RunReport("", "", foreign.kind)
    try:
        report.identity, report.source_id = foreign.identity, foreign.id or ""
        report.parent = foreign.parent if foreign.kind == RUN.name else ""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FileWarning)  # what is left out stands in the report
            _Container(job, foreign, report, into).run(tell)
    except (NaiadError, OSError, ValueError, OverflowError) as error:  # of one container; the others go on
        report.status = "failed"
        report.error = f"{error}" or type(error).__name__
        report.lost += 1
    return report


class _Container:
    """One container of a source, and the run that it becomes."""

    def __init__(self, job: Job, foreign: Foreign, report: RunReport, into: RunId | None) -> None:
        self._job = job
        self._foreign = foreign
        self._report = report
        self._into = into
        self._now: float | None = None
        self._kind: ContainerKind = next(kind for kind in KINDS if kind.name == foreign.kind)

    def run(self, tell: Progress) -> None:
        store, identity = self._job.store, self._foreign.identity
        if self._job.is_dry:
            self._import(store.find_source(identity) if store.has_begun() else None, tell)
            return
        # Two imports of one source at once: the second waits, and then finds the run with everything in it.
        with store.lock_source(identity):
            if self._into is not None:
                name = store.id_of(self._into)
                store.bind_source(identity, self._into, name)
                reservation = Reservation(self._into, name, is_new=False)
            else:
                reservation = self._reserved(store, identity)
            try:
                self._import(reservation, tell)
            except BaseException:  # only to clean up: whatever it is goes on
                # Without this an import that fails at once would leave a gap in the ids.
                if reservation.is_new and not store.exists(reservation.run):
                    store.release(reservation)
                raise

    def _project(self) -> str:
        return self._foreign.project or self._job.project or self._job.store.default_project()

    def _reserved(self, store: Store, identity: str) -> Reservation:
        if self._kind.name == "project":
            return store.reserve_project(self._project())
        wish, parent = self._foreign.id, self._foreign.parent
        model = store.find_source(parent) if self._kind is MODEL_VERSION and parent else None
        if model is not None:
            # The model has another id than at the source if that was taken, and its versions go with it.
            parent = model.id
            wish = f"{parent}-{wish.rpartition('-')[2]}" if wish else None
        elif not MODEL.id_form.match(parent):
            parent = ""  # the source does not have it
        return store.reserve_source(identity, self._kind, self._project(), wish, parent)

    def _import(self, reservation: Reservation | None, tell: Progress) -> None:
        store, report = self._job.store, self._report
        run = RunId("", self._kind) if reservation is None else reservation.run
        reader = store.reader(run)
        # Without an id nothing is in it: the process that was to begin it has died.
        is_new = reservation is None or reservation.is_new or "sys/id" not in reader.kinds()
        ledger = Ledger() if is_new else Ledger.read(reader)
        state = "" if is_new else _text(reader, STATE)
        self._describe(reservation, None if is_new else reader)
        if not is_new and self._into is None and self._is_left_alone(reader, tell):
            return
        # The writer is opened by the first new record: a run to which nothing is added stays untouched.
        opener = None if self._job.is_dry else self._opener(reservation, is_new, state == IMPORTING)
        target = Target(
            reader,
            opener,
            report,
            ledger,
            self._job.format,
            is_new=is_new,
            is_resumed=state == IMPORTING,
            default_time=self._created(None if is_new else reader),
        )
        destination = Destination(target)
        try:
            self._read(destination, tell)
            # Series that differ from an earlier import are taken once more, point by point. Progress was counted in the
            # first pass.
            if destination.begin_second_pass():
                self._read(destination, int)
            if is_new and not self._job.is_dry:
                target.begin()  # a container without any record is a run all the same
            if not self._job.is_dry and (target.is_changed or is_new or state == IMPORTING):
                destination.finish(self._last_ops())
        finally:
            if target.has_writer:
                target.writer.stop(self._end_state(reader, destination, is_new))
        report.status = "new" if is_new else "updated" if target.is_changed else "unchanged"
        if not self._job.is_dry:
            destination.check(store.reader(run))

    def _read(self, destination: Destination, tell: Progress) -> None:
        """Take all records until the source ends or cannot be read."""
        try:
            for record in self._foreign.records(tell):
                destination.take(record)
        except DamagedData as error:
            facts = error.facts
            self._report.skip(Reason(str(facts.get("path") or ""), "", str(error), where=str(facts.get("file") or "")))
        # The disk of the store: no other record could be written either.
        except StorageError:
            raise
        except (NaiadError, OSError) as error:
            self._report.skip(Reason("", "", f"the source cannot be read any further: {error}"))

    def _created(self, reader: RunReader | None) -> float:
        """Return the time of points that have none: that of the run's creation, which stays the same."""
        if self._foreign.created is not None:
            return self._foreign.created
        if self._now is None and reader is not None:
            with contextlib.suppress(MissingField):
                self._now = float(reader.value("sys/creation_time") or 0) / 1e6
        self._now = clock.now() if self._now is None else self._now
        return self._now

    def _describe(self, reservation: Reservation | None, reader: RunReader | None) -> None:
        report = self._report
        report.id = reservation.id if reservation is not None else self._foreign.id or ""
        report.project = self._project()
        if reader is not None:
            report.id = _text(reader, "sys/id") or report.id
            report.project = _text(reader, "sys/project") or report.project
        wish = self._foreign.id
        report.is_renumbered = bool(wish) and self._into is None and reservation is not None and report.id != wish
        if report.is_renumbered:
            report.note(f"The id {wish} is taken, so the run got the id {report.id}.")

    def _is_left_alone(self, reader: RunReader, tell: Progress) -> bool:
        """Whether the run is in the trash, and so takes nothing."""
        try:
            is_trashed = bool(reader.value("sys/trashed"))
        except MissingField:
            return False
        if is_trashed:
            self._report.status = "left alone"
            self._report.note(f"{self._report.id} is in the trash, so nothing was added to it.")
            tell(self._foreign.size)
        return is_trashed

    def _opener(self, reservation: Reservation | None, is_new: bool, is_resumed: bool) -> Callable[[], Any]:
        assert reservation is not None
        store = self._job.store

        def open_writer() -> Any:
            ops = self._first_ops(reservation.id) if is_new else []
            role = "owner" if is_new or is_resumed else "guest"  # the end of a guest leaves the state as it is
            writer = store.writer(reservation.run, role=role, first_ops=ops, on_error="raise")
            if not is_new:
                mark = Assign(STATE, ATOM_OF[str], IMPORTING)
                writer.write([Change(STATE, ATOM_OF[str], (mark,))])
            return writer

        return open_writer

    def _first_ops(self, name: str) -> list[Op]:
        """Return the ops that make a new container; records of the source replace them where it has others."""
        at = clock.now()
        created = self._created(None)
        texts = {
            "sys/id": name,
            "sys/project": self._project(),
            "sys/name": "Untitled",
            "sys/description": "",
            "sys/owner": user_name(),
            STATE: IMPORTING,
        }
        if self._kind.name == "model_version":
            texts |= {"sys/model_id": name.rpartition("-")[0], "sys/stage": "none"}
        flags = ("sys/failed", "sys/trashed") if self._kind is RUN else ("sys/trashed",)
        return [
            *(Assign(path, ATOM_OF[str], pack_text(text), at) for path, text in texts.items()),
            Assign("sys/creation_time", SYS["sys/creation_time"], round(created * 1e6), at),
            *(Assign(path, ATOM_OF[bool], False, at) for path in flags),
            Tags("sys/tags", [], [], False, at),
            Tags("sys/group_tags", [], [], False, at),
        ]

    def _last_ops(self) -> list[Assign]:
        """Return the ops that record the origin of the run."""
        home = f"{HOME}/{self._job.format}"
        facts: dict[str, Plain] = {
            "identity": self._foreign.identity,
            "location": self._job.path,
            **({"id": self._foreign.id} if self._foreign.id else {}),
            **({"project": self._foreign.project} if self._foreign.project else {}),
            **self._foreign.facts,
        }
        packed = {name: pack_text(value) if isinstance(value, str) else value for name, value in facts.items()}
        return [
            *(Assign(f"{home}/{name}", ATOM_OF[type(facts[name])], value) for name, value in packed.items()),
            Assign(f"{home}/time", SYS["sys/creation_time"], round(clock.now() * 1e6)),
            Assign(STATE, ATOM_OF[str], COMPLETE),
        ]

    def _end_state(self, reader: RunReader, destination: Destination, is_new: bool) -> str:
        if destination.end_state in ENDS:
            return destination.end_state
        if is_new:  # all that it has is from the source: reading a run again that is about to end took 5 ms
            return "failed" if destination.is_failed else "finished"
        reader.refresh()
        with contextlib.suppress(MissingField):
            return "failed" if reader.value("sys/failed") else "finished"
        return "finished"


def _text(reader: RunReader, path: str) -> str:
    try:
        value = reader.value(path)
    except MissingField:
        return ""
    return unpack_text(value) if isinstance(value, str | bytes) else ""
