"""The storage interface: protocols, results and promises of a back end.

A back end implements its protocols; fields, sessions and commands import only this module and the plain data of
`storage.results`. No method here takes or returns a folder, and a change crosses as data that can be read without
being executed. Methods with a body are right for any back end that derives from the protocol. Some of them read a
whole field, for which a back end with an index has quicker ones. Methods that return None may stay empty where nothing
is to be done.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, NoReturn, Protocol, runtime_checkable

from msgspec import Struct
from msgspec.structs import replace

from naiad.container_kinds import PROJECT, ContainerKind, RunId
from naiad.disk import Report, nothing, replacing, write_all
from naiad.errors import ContainerNotFound, MissingField, ServerError
from naiad.kinds import POINTS, SERIES, SYS
from naiad.ops import Op, Plain
from naiad.settings import setting
from naiad.slots import PointLog
from naiad.storage.catalog import Catalog
from naiad.storage.results import (
    FIRST,
    Chart,
    Damage,
    Joining,
    Last,
    PointColumns,
    PointPage,
    Points,
    Shadowed,
    TextPage,
    Texts,
)

if TYPE_CHECKING:
    from naiad.file import File  # with its conversions and plugins, of which a listing has no use
    from naiad.refs import FileRef


class Change(Struct, frozen=True, gc=False):
    """A checked change of one field, not yet written.

    Ops carry no time; the writer stamps them. A series that has no number yet has a `Define` with the number 0 among
    its ops: the writer gives it the next number, under which the points are written.
    """

    path: str
    kind: str
    ops: tuple[Op, ...] = ()
    points: PointColumns | None = None
    number: int = 0
    content: tuple[str, ...] = ()
    """Names of ingested content that the ops refer to."""


class Reservation(NamedTuple):
    """A container to begin, or to join if it is not new. Its id is taken, for good."""

    run: RunId
    id: str
    is_new: bool
    is_begun: bool = False
    """Whether it is known to have begun elsewhere, though its facts cannot be read now."""


BEGIN_SECONDS = 1.0
"""How long to wait for a container whose id another process has taken; after that it was deleted and is begun anew."""

STOP_SECONDS = 10.0
"""How long `RunWriter.stop` may take if no other time is given."""


class RunWriter(Protocol):
    """One process writing one run.

    Data that a method has accepted survives the end of the process, also by `kill -9`. Trouble of the disk is warned
    about once and counted, and the data waits in memory; only `wait` raises it, or every method if `is_raising`. After
    `stop` each method that writes raises InactiveContainer.
    """

    point_log: PointLog

    @property
    def is_degraded(self) -> bool:
        """Whether something written waits in memory for the disk, so that no reader sees all of it."""
        return False

    @property
    def is_raising(self) -> bool:
        """Whether trouble of the disk raises instead of being warned about."""
        return False

    def write(self, changes: Sequence[Change]) -> list[Change]:
        """Write the ops of all changes, all or none, and return the changes with the numbers of their series.

        Readers see all of these ops or none. Their points follow by `points`. The writer stamps the ops with one time,
        which is later than that of every earlier change of this writer.
        """

    def log_printed(self, path: str, data: bytes, line: int) -> None:
        """Write bytes that the program has printed to a stream; the first is in this line. It never raises."""

    def points(
        self, number: int, values: Sequence[float], steps: Sequence[int | float], times: Sequence[float]
    ) -> None:
        """Write points of the series with a number; the way out for a caller whose slot took no record."""

    def point_row(
        self, numbers: Sequence[int], values: Sequence[float], steps: Sequence[int], times: Sequence[float]
    ) -> None:
        """Write a point of each of many series, in this order."""
        for number, value, step, time in zip(numbers, values, steps, times, strict=True):
            self.points(number, (value,), (step,), (time,))

    def point_block(self, parts: Sequence[tuple[int, PointColumns]]) -> None:
        """Write points of many series at once, each with its number; the steps of one are all int or all float.

        Columns may be arrays of NumPy, of which no Python number is made.
        """
        for number, columns in parts:
            self.points(number, *columns)

    def ingest(self, file: File, report: Report = ...) -> FileRef:
        """Copy the content of a file as it is now, to be named by a change or dropped.

        Raises:
            FileError: it is no file that can be read.
            StorageError: the disk does not take it.
        """

    def ingest_all(self, paths: Sequence[str], report: Report = id) -> list[FileRef]:
        """Copy the content of many files as `ingest` does, all or none."""
        from naiad.file import File

        return [self.ingest(File(path), report) for path in paths]

    def adopt(self, reader: RunReader, file: FileRef) -> FileRef:
        """Take in the stored file of some run, which may be of another back end, as `ingest` does.

        Raises:
            DamagedData: its content is missing.
        """
        from naiad.file import File

        taken = self.ingest(File(content=reader.read_file(file), extension=file.extension))
        return replace(taken, name=file.name, description=file.description, modified=file.modified)

    @property
    def own_folder(self) -> str | None:
        """A folder of the back end's own files, which no upload takes in; None if it has none on this machine."""
        return None

    def drop(self, content: Sequence[str]) -> None:
        """Give up ingested content; names that a written change refers to are passed over."""

    def count_lost(self) -> None:
        """Note that something could not be stored: the run is incomplete."""

    def wait(self) -> None:
        """Return when everything written before is safe against a power cut.

        Raises:
            SyncFailed: it is not.
        """

    def peers_have_written(self) -> bool:
        """Whether other writers may have defined fields since the last call; False while `is_degraded`."""
        return not self.is_degraded

    def warn_of(self, shadowed: Shadowed) -> None:
        """Warn once that a field of this writer is not shown."""

    def rewind(self, path: str, step: int | float, *, is_first: bool = False, but: Sequence[str] = ()) -> None:
        """Hide the points above a step of the series at or below a path, or of all for "", that were logged before.

        Points of earlier sessions are hidden at any time, also those that arrive later. Points of this writer
        stay shown if `is_first`, and then the rewind is left out if this session has begun with the same one. Nothing
        is removed, and namespaces in `but` are left as they are.
        """

    def ship(self, seconds: float | None = None) -> None:
        """Return when the server, if the store has one, has everything written before; wait for ever if None.

        Raises:
            SyncFailed: it has not.
        """

    def note_end(self, state: str) -> None:
        """Write the end at once, without a lock, for a signal handler.

        The process may be gone the moment after, or go on and `stop` in order. It never raises.
        """

    def stop(self, state: str = ..., seconds: float | None = ...) -> None:
        """Store everything and end, within `seconds` (`STOP_SECONDS`). A second call does nothing.

        Raises:
            StorageError: something could not be stored, and the writer `is_raising`.
        """


class RunReader(Protocol):
    """One run, read, from any process and any thread.

    A call sees everything that was accepted by a writer before it began, and each change whole or not at all. Reading
    changes nothing in the run. Methods that take the path of a field raise MissingField if nothing is stored there,
    FieldConflict if a field of another kind is, and DamagedData if stored bytes differ from those written. Paths of
    `naiad.kinds.DERIVED` are fields like others.
    """

    @property
    def run(self) -> RunId:
        """The run that is read."""

    @property
    def damages(self) -> Sequence[Damage]:
        """All damage that was found so far."""
        return ()

    @property
    def is_partial(self) -> bool:
        """Whether it has read only some of very many fields so far, and finds one without reading all."""
        return False

    def refresh(self) -> None:
        """See everything that was accepted before this call.

        Raises:
            NewerFormat: a later release wrote the run.
        """

    def moment(self) -> AbstractContextManager[None]:
        """Return a context in which all calls of this thread may see the run as it was when the context began.

        For several calls about one run: each call outside of it looks for new data again.
        """
        return nullcontext()

    def kinds(self) -> dict[str, str]:
        """Return the kind of every field that is shown, by path."""

    def shadowed(self) -> list[Shadowed]:
        """Return the fields that are stored and not shown: two processes defined conflicting ones."""
        return []

    def value(self, path: str) -> Plain:
        """Return the stored value of an atom: a text as str or bytes, a datetime in microseconds, a file as text."""
        return self.atom(path)[1]

    def values(self, prefix: str = "") -> dict[str, Plain]:
        """Return the stored values of all atoms below a namespace, all at one moment."""
        return {path: value for path, (_kind, value) in self.atoms(prefix).items()}

    def atom(self, path: str) -> tuple[str, Plain]:
        """Return kind and stored value of an atom; of another field its kind, and a value without meaning."""

    def atoms(self, prefix: str = "") -> dict[str, tuple[str, Plain]]:
        """Return kind and stored value of all atoms below a namespace, all at one moment."""

    def tags(self, path: str) -> set[str]:
        """Return the strings of a string set."""

    def members(self, path: str) -> dict[str, str]:
        """Return the files of a file set as stored, by their names."""

    def config(self, path: str) -> tuple[float | None, float | None, str | None]:
        """Return chart minimum, maximum and unit of a float series."""

    def state(self) -> str:
        """Return running, finished, failed, terminated, killed or unknown.

        `running` while any writer lives; else the worst end of the owners that wrote it last.
        """

    def joining(self) -> Joining:
        """Return the place of a writer that comes now, for a back end that keeps a journal elsewhere."""
        return FIRST

    def is_incomplete(self) -> int:
        """Return how many points and ops could not be stored."""

    def points(self, path: str, *, include_rewound: bool = False) -> Points:
        """Return all points of a float series, those that a rewind hides only with `include_rewound`."""

    def point_page(self, path: str, start: int, limit: int) -> PointPage:
        """Return some points of a float series by their numbers, as `points` has them, without reading the others.

        A negative `start` counts from the end.
        """
        return PointPage.of(self.points(path), start, limit)

    def point_place(self, path: str, step: float, *, is_after: bool = False) -> int:
        """Return the number of the first point at or after a step, or only after it."""
        return int(self.points(path).steps.searchsorted(step, "right" if is_after else "left"))

    def point_range(self, path: str, start: float | None, stop: float | None, most: int) -> PointPage | None:
        """Return the points in a range of steps, with one on either side; None if more than `most` lie in it.

        None too if all points of the series have to be read for them, as `points` does. A range without a start or a
        stop is open there.
        """
        with self.moment():
            first = 0 if start is None else self.point_place(path, start)
            end = self.count(path) if stop is None else self.point_place(path, stop, is_after=True)
            return None if end - first > most else self.point_page(path, max(0, first - 1), end + 1 - max(0, first - 1))

    def texts(self, path: str, *kinds: str, include_rewound: bool = False) -> Texts:
        """Return all points of a string series; of a file series each text is a file as stored."""

    def text_page(self, path: str, start: int, limit: int, *kinds: str) -> TextPage:
        """Return some entries of a string series by their numbers, as `texts` has them, without reading the others.

        A negative `start` counts from the end.
        """
        return TextPage.of(self.texts(path, *kinds), start, limit)

    def text_place(self, path: str, *, step: float | None = None, time: float | None = None) -> int:
        """Return the number of the first entry at or after a step, or else a time in milliseconds since 1970."""
        found = self.texts(path)
        column, wanted = (found.times, time or 0) if step is None else (found.steps, step)
        return next((number for number, each in enumerate(column) if each >= wanted), len(column))

    def counts(self) -> dict[str, int]:
        """Return how many points each series has, by path, all at one moment."""
        with self.moment():
            return {path: self.count(path) for path, kind in self.kinds().items() if kind in SERIES}

    def aspects(self, path: str) -> Sequence[float | None]:
        """Return `ASPECTS` of a float series without reading it; without finite values the others are None."""
        import numpy as np

        values = self.points(path).values
        finite = values[np.isfinite(values)]
        facts = (finite.min(), finite.max(), finite.mean(), finite.var()) if len(finite) else (None,) * 4
        return [None if each is None else float(each) for each in (values[-1] if len(values) else None, *facts)]

    def chart(
        self,
        path: str,
        buckets: int = 1000,
        *,
        start: float | None = None,  # noqa: ARG002 (all of it is as fine)
        stop: float | None = None,  # noqa: ARG002 (all of it is as fine)
    ) -> Chart:
        """Return a float series in at most about `buckets` stretches. No spike is lost.

        Steps `start` and `stop`: those before and after them may be in fewer stretches, where that is quicker.
        """
        import numpy as np

        steps, values, _times = self.points(path)
        cuts = np.array_split(np.arange(len(values)), min(buckets, len(values))) if len(values) else []
        parts = [values[cut][np.isfinite(values[cut])] for cut in cuts]
        facts = [(part.min(), part.max(), part.mean()) if len(part) else (np.nan,) * 3 for part in parts]
        least, largest, mean = np.array(facts, float).reshape(-1, 3).T
        finite = np.array([len(part) for part in parts], int)
        return Chart(np.array([steps[cut[0]] for cut in cuts], float), least, largest, mean, finite)

    def last(self, path: str, *kinds: str) -> Last | None:
        """Return the last point of a series, None of an empty one, without reading the others."""
        if POINTS in (kinds or (self.kinds().get(path),)):
            steps, values, times = self.points(path)
            return Last(steps[-1].item(), values[-1].item(), times[-1].item()) if len(steps) else None
        texts = self.texts(path, *kinds)
        return Last(texts.steps[-1], texts.texts[-1], texts.times[-1]) if texts.steps else None

    def count(self, path: str) -> int:
        """Return how many points a series has."""
        is_float = self.kinds().get(path) == POINTS
        return len(self.points(path).steps if is_float else self.texts(path).steps)

    def digest(self, file: FileRef) -> str:
        """Return the SHA-256 of the content of a stored file; empty while it was not hashed yet."""
        return file.digest()

    def read_file(self, file: FileRef) -> bytes:
        """Return the content of a stored file, checked."""

    def open_file(self, file: FileRef, *, is_checked: bool = False) -> BinaryIO:  # noqa: ARG002 (all of it is checked)
        """Open the content of a stored file; `is_checked`: reading it to its end raises if it is damaged."""
        return BytesIO(self.read_file(file))

    def copy_file(self, file: FileRef, destination: Path, report: Report = nothing) -> None:
        """Make a file of the user's with this content, checked. It appears whole or not at all."""
        content = self.read_file(file)
        with replacing(destination) as fd:
            write_all(fd, content)
        report(len(content))

    def link(self, file: FileRef) -> str:  # noqa: ARG002 (most stores have none)
        """Return an address that gives the content of a file without a token for a while; empty if there is none."""
        return ""


class BlankProject(RunReader):
    """A project to which nothing was written: id, name and visibility are all its fields."""

    run = RunId("", PROJECT)

    def __init__(self, key: str, name: str) -> None:
        facts = {"sys/id": key, "sys/name": name, "sys/visibility": "priv"}
        self._atoms: dict[str, tuple[str, Plain]] = {path: (SYS[path], text) for path, text in facts.items() if text}

    def refresh(self) -> None:
        """Do nothing: its fields never change."""

    def kinds(self) -> dict[str, str]:
        """Return the kind of every field, by path."""
        return {path: kind for path, (kind, _value) in self._atoms.items()}

    def atoms(self, prefix: str = "") -> dict[str, tuple[str, Plain]]:
        """Return kind and value of all atoms below a namespace."""
        return {path: atom for path, atom in self._atoms.items() if not prefix or path.startswith(f"{prefix}/")}

    def atom(self, path: str) -> tuple[str, Plain]:
        """Return kind and value of an atom."""
        return self._atoms.get(path) or self._missing(path)

    def state(self) -> str:
        """Return unknown: it has no writers."""
        return "unknown"

    def is_incomplete(self) -> int:
        """Return 0: nothing was written to it."""
        return 0

    def read_file(self, file: FileRef) -> bytes:
        """Raise: it has no files."""
        self._missing(file.blob)

    def _missing(self, path: str, *_kinds: str, include_rewound: bool = False) -> NoReturn:  # noqa: ARG002 (as of `points`)
        raise MissingField(f'This project has no field "{path}".', path=path)

    tags = members = config = points = texts = _missing


class Listener(Protocol):
    """Waits for changes that a store announces. For one thread."""

    def wait(self, seconds: float) -> bool:
        """Wait until something may have changed, at most so many seconds; return whether it may.

        Raises:
            StorageError: changes are not announced now, and have to be looked for; the next call tries again.
        """

    def close(self) -> None:
        """Stop listening."""


@runtime_checkable
class Store(Protocol):
    """The runs, models, versions and projects of one place; `str(store)` names it in messages.

    It can be pickled; the copy is the same store. Nothing of it needs to exist before the first id is reserved.
    """

    def has_begun(self) -> bool:
        """Whether anything was ever stored in it."""

    def url(self, run: RunId | None = None) -> str:
        """Return the address of the store, or of one container, for people."""

    def waits_in(self) -> str:
        """Return the folder of this machine in which runs are kept until a server has them; empty if there is none."""
        return ""

    def format_version(self) -> int | None:
        """Return the version of the form in which the store keeps its data; None where only a server has it."""
        return None

    def default_project(self) -> str:
        """Return the name of the project of a run that names none."""
        return setting("PROJECT") or "project"

    def projects(self) -> dict[str, str]:
        """Return the names of the projects that have a key, by key."""

    def reserve_run(self, project: str, custom_run_id: str | None = None) -> Reservation:
        """Take the next id `KEY-N` of a project. A number is never given twice, also to other processes.

        Of several calls with one custom id the first is new, and the others join its run.

        Raises:
            StoreNotWritable: the store takes nothing; nothing is left behind.
        """

    def reserve_model(self, project: str, key: str) -> Reservation:
        """Take the id `PROJECT-KEY` for a model.

        Raises:
            ModelKeyTaken: another model has it.
        """

    def reserve_version(self, model: str) -> Reservation:
        """Take the next id among the versions of the model with this id."""

    def reserve_project(self, project: str, key: str | None = None) -> Reservation:
        """Begin or join the fields of a project itself. Its id is its key.

        Raises:
            ProjectExists: the key wished for belongs to another project.
        """

    def reserve_source(
        self, source: str, kind: ContainerKind, project: str, wish: str | None = None, parent: str = ""
    ) -> Reservation:
        """Take an id for a container from elsewhere, or join the one that was made of the same source.

        Call it while `lock_source` is held. The container is new until it is begun. It gets the id wished for if no
        other container has or had it, else the next one: of a project's runs or models, or of the versions of the
        model `parent`. A project that has no key yet takes that of the wish, if it is free.
        """

    def find_source(self, source: str) -> Reservation | None:
        """Return the container that was made of a source, which may not be begun yet; None if there is none."""

    def bind_source(self, source: str, run: RunId, name: str) -> bool:
        """Let a source mean a container that exists, with its id; False if it means one already."""

    def lock_source(self, source: str) -> AbstractContextManager[None]:
        """Keep out other processes that lock the same source. The lock ends with its process, however that dies."""

    def release(self, reservation: Reservation) -> None:
        """Take back the reservation of a container that could not be begun."""

    def find(self, name: str, kind: ContainerKind | None = None) -> RunId:
        """Return the container with this id or uid, of this kind or any.

        Raises:
            ContainerNotFound: there is none; it is the error of the given kind, and names ids that look alike.
        """

    def find_to_write(self, name: str, kind: ContainerKind) -> RunId:
        """Return the container with this id or uid for a program that writes, which no server may hold up.

        Raises:
            ContainerNotFound: as `find`.
        """
        return self.find(name, kind)

    def note_to_write(self, reader: RunReader) -> None:  # noqa: ARG002 (of stores behind a server)
        """Read all that a writer of a container needs, which begins later, when its server may be away.

        Raises:
            ServerError: the server does not answer.
        """
        return

    def put_in_trash(self, runs: Sequence[RunId], *, is_out: bool) -> Sequence[RunId]:  # noqa: ARG002 (as below)
        """Let a server move containers that it has into its trash or out of it, and return the others, which are here.

        Raises:
            NotAuthorized: the token may not delete runs.
            ServerError: the server does not answer.
        """
        return runs

    def goes_on_here(self, run: RunId, problem: ServerError) -> bool:  # noqa: ARG002 (of stores behind a server)
        """Whether a container whose server went away meanwhile is read from a folder here from now on."""
        return False

    def reader_here(self, run: RunId, problem: ServerError) -> RunReader | None:  # noqa: ARG002 (as above)
        """Return a reader of the folder here, of a container that is written here and whose server does not answer."""
        return None

    def find_custom(self, project: str, custom_run_id: str) -> RunId | None:
        """Return the run that has this custom id in a project; None if there is none."""

    def find_project(self, project: str) -> RunId | None:
        """Return the container of the project's own fields; None if nothing was ever written to them."""
        key = next((key for key, name in self.projects().items() if name == project), "")
        with suppress(ContainerNotFound):
            return self.find(key, PROJECT)
        return None

    def id_of(self, run: RunId) -> str:
        """Return the id under which a container is registered; its uid if there is none."""

    def exists(self, run: RunId) -> bool:
        """Whether the container was begun and not deleted."""

    def reader(self, run: RunId) -> RunReader:
        """Read a container, which need not be begun yet."""

    def project_reader(self, project: str) -> RunReader:
        """Read a project to which nothing was written: id, name and visibility are all its fields."""
        key = next((key for key, name in self.projects().items() if name == project), "")
        return BlankProject(key, project)

    def writer(
        self, run: RunId, *, role: str = "owner", first_ops: Sequence[Op] = (), on_error: str = "warn"
    ) -> RunWriter:
        """Write a container, new or not; `first_ops` are in it from its first moment.

        Args:
            run: the container.
            role: `owner`, whose end decides the state; `guest`, a child of an owner, which only keeps it running; or
                `editor`, which changes some fields and leaves the state as it is.
            first_ops: of a new container.
            on_error: whether trouble of the disk is warned about or raised.

        Raises:
            StoreNotWritable: it takes nothing; a new container leaves nothing behind.
        """

    def catalog(self) -> Catalog:
        """Return the catalog of the store."""

    def listener(self) -> Listener | None:
        """Return a listener to changes of the store; None if it announces none, as a folder does."""
        return None

    def move(self, run: RunId, project: str) -> str:
        """Give a run the next id of another project, and return it. Its former ids go on to mean it.

        Its custom id means it in both projects. A move that was killed has happened or not, and is finished by
        moving it again; one that is in the project already keeps its id.

        Raises:
            NameTaken: another run of that project has its custom id.
            BeingWritten: it is being written.
        """

    def delete(self, runs: Sequence[tuple[str, RunId]]) -> None:
        """Delete containers for good, each given with the id that errors shall name it by.

        Their ids are never given again; content that only they refer to is freed, in time.

        Raises:
            ContainerProtected: one of them is protected; then nothing is deleted.
            BeingWritten: one of them is being written; then nothing is deleted.
            StoreNotWritable: the store cannot be changed.
        """

    def unfreed(self) -> tuple[int, float] | None:
        """Return the bytes of deleted content that are still there, and the time when they can be freed; else None."""

    def forget_project(self, project: str) -> None:
        """Free the key of a project whose containers were deleted."""
