"""The store behind the address of a server. Runs are written in a folder here first, and shipped by a thread.

    init_run ----- register, at most NAIAD_CONNECT_SECONDS -----> server     no answer: the run goes on under its uid
    verbs -------> folder here (journal) ----- shipper ---------> server
    fetch -------> folder here, of a run that this process began
                   server, of every other; the writes of this process are shipped before

Trouble of the network never raises into a program that writes. Reading needs the server, and raises within 5 s.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar

import msgspec

from naiad import address, clock
from naiad.container_kinds import MODEL, MODEL_VERSION, PROJECT, RUN, ContainerKind, RunId
from naiad.errors import (
    ContainerNotFound,
    DamagedData,
    ModelKeyTaken,
    NeedsServer,
    NotAuthorized,
    ProjectExists,
    ServerError,
    ServerWarning,
    warn_once,
)
from naiad.ops import Op
from naiad.settings import number
from naiad.ship import shipper
from naiad.ship.client import ANSWER_SECONDS, Client
from naiad.storage.base import BlankProject, Reservation, RunReader, RunWriter, Store
from naiad.storage.catalog import Catalog
from naiad.storage.local.layout import Layout, RunDirectory
from naiad.storage.local.remote import Remote, read_remote
from naiad.storage.remote.asking import ask
from naiad.storage.remote.catalog import RemoteCatalog
from naiad.storage.remote.reader import RemoteReader
from naiad.storage.remote.shipping import RunShipping
from naiad.storage.results import FIRST, Joining

T = TypeVar("T")
CONNECT_SECONDS = 3.0
READ_SECONDS = 5.0
"""How long the first question of a reader may take; later ones have the time of any request."""


class WaitingRoom(Store, Protocol):
    """The folder store in which runs lie until they are shipped."""

    @property
    def root(self) -> Path:
        """Its folder."""

    @property
    def layout(self) -> Layout:
        """Where the folders of its containers are."""

    def directory(self, run: RunId) -> RunDirectory:
        """Return the folder of a container."""

    def writer(
        self,
        run: RunId,
        *,
        role: str = ...,
        first_ops: Sequence[Op] = ...,
        on_error: str = ...,
        remote: bytes | None = ...,
        joining: Joining = ...,
        shipping: RunShipping | None = ...,
    ) -> RunWriter:
        """Write a container."""

    def bind_custom(self, project: str, custom_run_id: str, earlier: RunId, run: RunId) -> None:
        """Let a custom id mean another run than it did."""

    def reserve_unnumbered(self, kind: ContainerKind, project: str, custom_run_id: str | None = None) -> Reservation:
        """Begin a container whose id a server gives later, or join the one with a custom id."""


@dataclass
class RemoteStore:
    """The runs of a server. See `naiad.storage.base.Store`."""

    address: str
    local: WaitingRoom
    is_offline: bool = False
    begun: set[str] = field(default_factory=set)
    """The runs that this program began, so that all of them is in the folder here."""
    _pending: dict[str, Remote] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the address.

        Raises:
            InvalidArgument: it is none of a server.
        """
        self._client = Client(self.address)
        self.address = self._client.url

    def __getstate__(self) -> tuple[Any, ...]:
        """Cross to another process without the connection, which has the token."""
        return self.address, self.local, self.is_offline, self.begun, self._pending

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.address, self.local, self.is_offline, self.begun, self._pending = state
        self._client = Client(self.address)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteStore) and other.address == self.address and other.local == self.local

    def __hash__(self) -> int:
        return hash(self.address)

    def __str__(self) -> str:
        return self.address

    def has_begun(self) -> bool:
        """Whether anything was ever stored in it."""
        return bool(self.projects())

    def url(self, run: RunId | None = None) -> str:
        """Return the address of the server, or of the page of one container."""
        if run is None:
            return self.address
        remote = self._pending.get(run.uid) or self._remote(run)
        project = remote.project if remote is not None else self.default_project()
        name = remote.id if remote is not None and remote.id else run.uid
        return address.page(self.address, "p", project, *_page(run.kind, name))

    def waits_in(self) -> str:
        """Return the folder in which runs are kept until the server has them."""
        return str(self.local.root)

    def format_version(self) -> int | None:
        """Return None: only the server has it."""
        return None

    def default_project(self) -> str:
        """NAIAD_PROJECT, else the name of the folder that holds the store here."""
        return self.local.default_project()

    def projects(self) -> dict[str, str]:
        """Return the names of the projects that have a key, by key."""
        found: dict[str, str] = self._call("projects")
        return found

    # Writing

    def reserve_run(self, project: str, custom_run_id: str | None = None) -> Reservation:
        """Register a run, or begin it under its uid if the server does not answer in time."""
        return self._reserve(self.local.reserve_unnumbered(RUN, project, custom_run_id), project, custom_run_id)

    def reserve_model(self, project: str, key: str) -> Reservation:
        """Register a model.

        Raises:
            ModelKeyTaken: another model has its id.
        """
        return self._reserve(self.local.reserve_unnumbered(MODEL, project), project, wish=f"MODEL-{key}")

    def reserve_version(self, model: str) -> Reservation:
        """Register a version of the model with this id."""
        project = self._project_of(model)
        return self._reserve(self.local.reserve_unnumbered(MODEL_VERSION, project), project, parent=model)

    def reserve_project(self, project: str, key: str | None = None) -> Reservation:
        """Begin or join the fields of a project itself.

        Raises:
            ProjectExists: the key wished for belongs to another project.
        """
        # Asked early for the message; without an answer the registration decides.
        if key is not None and not self.is_offline:
            with contextlib.suppress(ServerError):
                other = self.projects().get(key, project)
                if other != project:
                    raise ProjectExists(f"The key {key!r} belongs to project {other!r}. Give another one.", key=key)
        wish = key if key is not None and not self.is_offline else None
        return self._reserve(self.local.reserve_unnumbered(PROJECT, project), project, wish=wish)

    def _reserve(
        self,
        own: Reservation,
        project: str,
        custom_run_id: str | None = None,
        wish: str | None = None,
        parent: str | None = None,
    ) -> Reservation:
        if not own.is_new or own.run.uid in self._pending:  # a job that was started again with its custom id
            known = self._pending.get(own.run.uid) or self._remote(own.run)
            # One that began elsewhere goes on in the folder here if its server is away; its first ops are not here.
            is_begun = known is not None and not known.began and self._registered(own.run, known) is None
            if known is not None and (known.began or is_begun):
                self.begun.add(own.run.uid)
            if known is not None and not known.uid and known.url != self.address:
                self._pending[own.run.uid] = msgspec.structs.replace(known, url=self.address)  # it had a wrong address
            return Reservation(own.run, known.id if known is not None and known.id else own.id, own.is_new, is_begun)
        remote = Remote(
            self.address, project, clock.now(), custom_run_id=custom_run_id, wish=wish, parent=parent, began=True
        )
        answer = self._registered(own.run, remote)
        # The run begins under its uid and is registered by the shipper, as soon as the server answers.
        if answer is None:
            self.begun.add(own.run.uid)
            self._pending[own.run.uid] = remote
            return own
        run = RunId(answer["uid"], own.run.kind)
        is_new = bool(answer["is_new"])
        remote = msgspec.structs.replace(
            remote, uid=run.uid, id=answer["id"], project=answer["project"], epoch=self._client.epoch, began=is_new
        )
        self._pending[run.uid] = remote
        if is_new:
            self.begun.add(run.uid)
        # The server knows the custom id as that of another run: the next process here must join it too.
        if run != own.run and custom_run_id is not None:
            self.local.bind_custom(project, custom_run_id, own.run, run)
        return Reservation(run, answer["id"], is_new)

    def _registered(self, run: RunId, remote: Remote) -> dict[str, Any] | None:
        """Return the server's answer; None if there is none in time, and then one warning has the reason.

        Raises:
            ModelKeyTaken: another model has the id wished for.
        """
        if self.is_offline:
            return None
        request = {**remote.registration(self.local.directory(run)), "is_exact": True}
        seconds = number("CONNECT_SECONDS", CONNECT_SECONDS)
        try:
            answer: dict[str, Any] = self._client.post("runs", request, seconds)
        except ModelKeyTaken as error:
            taken = getattr(error, "model_id", "")
            raise ModelKeyTaken(
                f'{error}\nOpen it with: naiad.init_model(with_id="{taken}"). Or give the new model another key.',
                **error.facts,
            ) from None
        except ServerError as error:
            self._warn_of_absence(run, error, remote)
            return None
        return answer

    def _warn_of_absence(self, run: RunId, problem: ServerError, remote: Remote | None = None) -> None:
        """Warn once that a container goes on in the folder here."""
        remedy = "" if isinstance(problem, NotAuthorized) else "\nThe server is asked again in the background."
        warn_once(
            shipper.problem_key(run.uid, problem),
            f"{problem}\n"
            f"The {run.kind.noun} is written to {self.local.root}, and sent to the server as soon as the server "
            f"accepts it. After the program has ended, run: naiad sync{remedy}"
            f"{'' if remote is None else shipper.address_remedy(remote, self.local.directory(run))}",
            ServerWarning,
        )

    def reserve_source(
        self, source: str, kind: ContainerKind, project: str, wish: str | None = None, parent: str = ""
    ) -> Reservation:
        """Raise: an import goes to a folder first.

        Raises:
            NeedsServer: always.
        """
        self._refuse_import(source, kind, project, wish, parent)

    def find_source(self, source: str) -> Reservation | None:  # noqa: ARG002 (of the interface)
        """Return None: no container of a server is made of a source."""
        return None

    def bind_source(self, source: str, run: RunId, name: str) -> bool:
        """Raise, as `reserve_source`.

        Raises:
            NeedsServer: always.
        """
        self._refuse_import(source, run, name)

    def lock_source(self, source: str) -> AbstractContextManager[None]:
        """Raise, as `reserve_source`.

        Raises:
            NeedsServer: always.
        """
        self._refuse_import(source)

    def _refuse_import(self, *_source: object) -> NoReturn:
        raise NeedsServer(
            f"Nothing can be imported into {self.address} directly. Import into a folder, and send that:\n"
            f"naiad --store FOLDER import ..., then: naiad sync FOLDER --to {self.address}"
        )

    def release(self, reservation: Reservation) -> None:
        """Take back a container that could not be begun."""
        self._pending.pop(reservation.run.uid, None)
        self.begun.discard(reservation.run.uid)
        self.local.release(reservation)

    def writer(
        self, run: RunId, *, role: str = "owner", first_ops: Sequence[Op] = (), on_error: str = "warn"
    ) -> RunWriter:
        """Write a container in its folder here; the shipper brings it to the server."""
        folder = self.local.directory(run)
        remote = self._pending.pop(run.uid, None) or self._remote(run)
        if remote is None and self.is_offline:
            raise run.kind.not_found(
                f"{run.kind.title} {self.local.id_of(run)} in {self.local.root} was not logged for {self.address}, so "
                f"it cannot be resumed for it.\nOpen it with store={str(self.local.root)!r}.",
                run_id=run.uid,
            )
        if remote is None:
            remote = self._found(run)
        # All of a run that began here is in the folder; of another one the server knows which ops came before.
        joining = FIRST if first_ops or run.uid in self.begun or self.is_offline else self._joining(run)
        return self.local.writer(
            run,
            role=role,
            first_ops=first_ops,
            on_error=on_error,
            remote=None if folder.remote.exists() and remote == self._remote(run) else remote.encode(),
            joining=joining,
            shipping=None if self.is_offline else RunShipping(folder),
        )

    def _found(self, run: RunId) -> Remote:
        """Return the remote of a container that began elsewhere."""
        values = self._asked(lambda: self._reader(run).values("sys"))
        created = values.get("sys/creation_time")
        return Remote(
            self.address,
            str(values.get("sys/project") or self.default_project()),
            created / 1e6 if isinstance(created, int) else clock.now(),
            uid=run.uid,
            id=str(values.get("sys/id") or run.uid),
        )

    def _joining(self, run: RunId) -> Joining:
        """Return the place of a writer that comes now; without the server the folder here has to do."""
        try:
            return self._reader(run).joining()
        except (ServerError, ContainerNotFound):
            return FIRST

    def _remote(self, run: RunId) -> Remote | None:
        return read_remote(self.local.directory(run))

    def _project_of(self, model: str) -> str:
        """Return the project of a model, by the key in its id."""
        try:
            return self.projects().get(model.partition("-")[0]) or self.default_project()
        except ServerError:
            return self.default_project()

    # Reading

    def find(self, name: str, kind: ContainerKind | None = None) -> RunId:
        """Return the container with this id or uid; one that is in the folder here also while the server is away.

        Raises:
            ContainerNotFound: there is none.
            ServerError: the server does not answer, and the folder here does not have it either.
        """
        here = self._here(name)
        # The folder first: a run that was begun without the server is not there yet.
        if here is not None and (kind is None or here.kind is kind):
            return here
        if self.is_offline:
            return self._kept(name, kind) or self.local.find(name, kind)
        shipper.of_process.flush_all(self.address, READ_SECONDS)  # it may have been begun a moment ago
        return self._asked(lambda: self._find_there(name, kind))

    def _find_there(self, name: str, kind: ContainerKind | None, seconds: float = ANSWER_SECONDS) -> RunId:
        try:
            found: RunId = self._call("find", seconds, name=name, kind=kind)
        except ContainerNotFound as error:
            folder, remote = self.local.layout.find(name), None
            with contextlib.suppress(DamagedData):  # `naiad sync` names it
                remote = None if folder is None else read_remote(folder)
            if folder is None or remote is None or remote.url == self.address:
                raise
            raise type(error)(
                f"{error}\nIt is in {self.local.root}, and belongs to {remote.url}.\n"
                f"To send it to this server: naiad sync {folder.uid} --to {self.address}",
                **error.facts,
            ) from None
        return found

    def find_to_write(self, name: str, kind: ContainerKind) -> RunId:
        """Return the container with this id or uid; if the server does not answer in time, from the folder here.

        Such a container goes on here like one that this program began, and one warning has the reason.

        Raises:
            ContainerNotFound: there is none.
            ServerError: the server does not answer, and the folder here does not have it either.
        """
        here = self._here(name)
        if self.is_offline or (here is not None and here.kind is kind):
            return self.find(name, kind)
        try:
            return self._find_there(name, kind, number("CONNECT_SECONDS", CONNECT_SECONDS))
        except ServerError as error:
            kept = self._kept(name, kind)
            if kept is None:
                raise type(error)(
                    f"{error}\nThe {kind.noun} {name!r} is not in {self.local.root} either, so it cannot be resumed "
                    "without the server.",
                    **error.facts,
                ) from error
            self.begun.add(kept.uid)
            self._warn_of_absence(kept, error)
            return kept

    def note_to_write(self, reader: RunReader) -> None:
        """Read the remote of a container that is to be written later, unless it is in the folder here.

        Raises:
            ServerError: the server does not answer.
        """
        run = reader.run
        if not self.is_offline and run.uid not in self._pending and self._remote(run) is None:
            self._pending[run.uid] = self._found(run)

    def goes_on_here(self, run: RunId, problem: ServerError) -> bool:
        """Whether a container is in the folder here, which replaces the server from now on, with one warning."""
        if self._kept(run.uid, run.kind) != run:
            return False
        self.begun.add(run.uid)
        self._warn_of_absence(run, problem)
        return True

    def reader_here(self, run: RunId, problem: ServerError) -> RunReader:
        """Return a reader of the folder here, of a container that is written here; one warning has the reason."""
        self._warn_of_absence(run, problem)
        return self.local.reader(run)

    def _kept(self, name: str, kind: ContainerKind | None) -> RunId | None:
        """Return the container of this server, of the folder here, that has an id or uid on the server or here."""
        found: RunId | None = None
        for folder in self.local.layout.folders():
            if kind is not None and folder.kind is not kind:
                continue
            remote = None
            with contextlib.suppress(DamagedData):  # `naiad sync` names it
                remote = read_remote(folder)
            if remote is None or remote.url != self.address or name not in (folder.uid, remote.uid, remote.id):
                continue
            found = RunId(folder.uid, folder.kind)
            # Several may have been joined to one by their custom id: the others hold only what they wrote before.
            if folder.uid in (name, remote.uid):
                break
        return found

    def _here(self, name: str) -> RunId | None:
        """Return a container that this program began, or that is not registered yet."""
        folder = self.local.layout.find(name)
        if folder is None:
            return None
        run = RunId(folder.uid, folder.kind)
        remote = self._remote(run)
        is_only_here = remote is not None and remote.url == self.address and (not remote.uid or run.uid in self.begun)
        return run if is_only_here else None

    def find_custom(self, project: str, custom_run_id: str) -> RunId | None:
        """Return the run that has this custom id in a project."""
        if self.is_offline:
            return self.local.find_custom(project, custom_run_id)
        found: RunId | None = self._asked(
            lambda: self._call("find_custom", project=project, custom_run_id=custom_run_id)
        )
        return found

    def find_project(self, project: str) -> RunId | None:
        """Return the container of the project's own fields."""
        found: RunId | None = self._asked(lambda: self._call("find_project", project=project))
        return found

    def id_of(self, run: RunId) -> str:
        """Return the id under which a container is registered; its uid if there is none."""
        remote = self._pending.get(run.uid) or self._remote(run)
        if remote is not None and (remote.id or run.uid in self.begun):
            return remote.id or run.uid
        return str(self._call("id_of", run=run))

    def exists(self, run: RunId) -> bool:
        """Whether the container was begun and not deleted; of an offline program as far as the folder here shows."""
        if run.uid in self.begun or self.is_offline:
            return self.local.exists(run)
        try:
            return bool(self._call("exists", run=run))
        except ServerError as error:
            if run.uid in self._pending:  # it was found, and is to be written now
                self._warn_of_absence(run, error)
            elif not self.goes_on_here(run, error):
                raise self._unread(error) from error
            return True

    def reader(self, run: RunId) -> RunReader:
        """Read a container: here if this program began it, else from the server."""
        if run.uid in self.begun or self.is_offline:
            return self.local.reader(run)
        return self._reader(run)

    def _reader(self, run: RunId) -> RemoteReader:
        return RemoteReader(self._client, run)

    def project_reader(self, project: str) -> RunReader:
        """Read a project to which nothing was written."""
        keys = {name: key for key, name in self._asked(self.projects).items()}
        return BlankProject(keys.get(project, ""), project)

    def listener(self) -> None:
        """Return None: a server announces its changes to browsers alone."""

    def catalog(self) -> Catalog:
        """Return the catalog of the server."""
        return RemoteCatalog(self._client)

    def move(self, run: RunId, project: str) -> NoReturn:  # noqa: ARG002 (the interface passes it)
        """Raise NeedsServer: projects and ids of a server's runs are given by it alone."""
        raise NeedsServer(
            f"{self.id_of(run)} cannot be moved to another project of {self.address}: its server assigns the ids.\n"
            "Move runs in a folder, before they are sent."
        )

    def delete(self, runs: Sequence[tuple[str, RunId]]) -> None:
        """Delete containers that are in the trash, for good.

        Raises:
            BeingWritten: one of them is being written.
            NotInTrash: one of them is not in the trash.
        """
        models = {name for name, run in runs if run.kind is MODEL}
        for name, run in runs:
            # The server deletes versions with their model, which alone has to be in the trash.
            if run.kind is not MODEL_VERSION or name.rpartition("-")[0] not in models:
                self._client.ask("DELETE", f"containers/{run.uid}")

    def put_in_trash(self, runs: Sequence[RunId], *, is_out: bool) -> Sequence[RunId]:
        """Move containers into the trash of the server or out of it, and return those that it does not have yet.

        Raises:
            NotAuthorized: the token may not delete runs.
            ServerError: the server does not answer.
        """
        if self.is_offline:
            return runs
        here = [run for run in runs if (known := self._remote(run)) is not None and not known.uid]
        there = [run for run in runs if run not in here]
        if there:
            self._client.post("restore" if is_out else "trash", {"ids": [run.uid for run in there]})
        # This program reads those that it began in their folders, which are to show the same.
        return [*here, *(run for run in there if run.uid in self.begun)]

    def unfreed(self) -> tuple[int, float] | None:
        """Return None: the server frees deleted content by itself."""
        return None

    def forget_project(self, project: str) -> None:
        """Do nothing: the key of a project stays the server's."""

    def _call(self, call: str, seconds: float = ANSWER_SECONDS, **arguments: Any) -> Any:
        return ask(self._client, "store", call, arguments, seconds=seconds)

    def _asked(self, ask: Callable[[], T]) -> T:
        """Return the answer of the server; its absence raises with the remedy.

        Raises:
            ServerError: it does not.
        """
        try:
            return ask()
        except ServerError as error:
            raise self._unread(error) from error

    def _unread(self, error: ServerError) -> ServerError:
        """Return the error of a read that got no answer, with the remedy."""
        # A missing token is mended otherwise than a missing server, and its message says how.
        if isinstance(error, NotAuthorized):
            return error
        return type(error)(
            f"{error}\n"
            f"Reading needs the server. Runs that were written on this machine are in {self.local.root}; to "
            "read them, pass that folder as store=.",
            **error.facts,
        )


def _page(kind: ContainerKind, name: str) -> list[str]:
    """Return the names that follow the project in the address of a container's page."""
    if kind is PROJECT:
        return []
    if kind is MODEL_VERSION and "-" in name:
        return [MODEL.folder, name.rpartition("-")[0], name]
    return [MODEL.folder if kind is MODEL_VERSION else kind.folder, name]
