"""The store: the root folder, and the projects and containers in it. Nothing here opens a database to begin one.

.naiad/format              version of the layout
.naiad/runs/<uid>/         one run; likewise models/, versions/ and projects/
.naiad/ids/<KEY>/<n>       the uid of run KEY-n; created exclusively, which takes the id. More in ids.py
.naiad/keys/<KEY>          the project that has this key
.naiad/custom/<sha256>     the run that a custom_run_id of a project means, or that was imported from a source
.naiad/locks/<xx>          locked while a source is imported
.naiad/changed/<uid>       the catalog has to look at this run again
.naiad/catalog.db          a table of all runs that can be made anew from them; catalog.sum proves that it is whole
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from naiad import clock, ids
from naiad.container_kinds import MODEL, MODEL_VERSION, PROJECT, RUN, ContainerKind, RunId, kind_of_id
from naiad.errors import (
    ContainerNotFound,
    DamagedData,
    DamageWarning,
    MissingField,
    ModelKeyTaken,
    NaiadError,
    NameTaken,
    NewerFormat,
    ServerError,
    StoreNotWritable,
)
from naiad.kinds import FORMER_IDS
from naiad.ops import Op
from naiad.paths import alike
from naiad.scalars import unpack_text
from naiad.settings import setting
from naiad.storage.base import BEGIN_SECONDS, BlankProject, Reservation, RunReader
from naiad.storage.local.ids import Register, create_exclusively, listed_ids, refusals
from naiad.storage.local.layout import FORMAT, SERVER, UNSHIPPED, Layout, RunDirectory, newer_format
from naiad.storage.local.place import FOLDER, named_place, nearest_place
from naiad.storage.results import FIRST, Joining

if TYPE_CHECKING:
    from naiad.storage.catalog import Summary
    from naiad.storage.local.catalog import Catalog
    from naiad.storage.local.reader import Reader  # loaded by the first read: a script that logs needs none
    from naiad.storage.local.writer import Shipping, Writer  # loaded by the first writer: commands that list need none


class Store(Struct, frozen=True, dict=True):
    """A folder of runs and other containers; nothing of it needs to exist yet. See `naiad.storage.base.Store`."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def __reduce__(self) -> tuple[type[Store], tuple[Path]]:
        return Store, (self.root,)

    def has_begun(self) -> bool:
        """Whether its folder is there, and is not one of other things, such as that of a project.

        A listing of another folder would be empty without a word, and leave a catalog in it.
        """
        if not self.root.is_dir():
            return False
        # A store that was copied in part may lack the one or the other.
        if any(os.path.lexists(self.root / name) for name in ("format", "runs", SERVER, UNSHIPPED)):
            return True
        try:
            with os.scandir(self.root) as entries:
                # One that a process begins now, or an empty one, in which reading leaves a catalog.
                return all(entry.name.startswith((".", "catalog.")) for entry in entries)
        except OSError:
            return True  # reading it says what is wrong

    def is_made(self) -> bool:
        """Whether a process has made it. It may lack the format file if its first run began on another machine."""
        return any((self.root / name).exists() for name in ("format", UNSHIPPED))

    def url(self, run: RunId | None = None) -> str:
        """Return the address of its folder, or of a run's, which a browser or file manager opens."""
        path = self.root if run is None else self.directory(run).path
        return path.absolute().as_uri()

    @cached_property
    def layout(self) -> Layout:
        """Where the folders of its containers are."""
        return Layout(self.root)

    @cached_property
    def _readers(self) -> dict[RunId, Reader]:
        """The reader that has looked at the container found last, until it is asked for."""
        return {}

    @cached_property
    def register(self) -> Register:
        """Which folder an id means."""
        return Register(self.root)

    @classmethod
    def locate(cls, store: str | os.PathLike[str] | None = None, start: Path | None = None) -> Store:
        """Return the store that a program means.

        It is the argument, NAIAD_STORE, the nearest `.naiad` here or above, else a new one.

        A new one is made at the root of the git repository here; else in the folder of the script, if here is below
        it, as jobs that change their folder are; else here.

        Args:
            store: the place that the program names.
            start: the folder to start from; the working directory if None.

        Raises:
            NotPermitted: the nearest one was put by another user into a folder that every user may write.
            StorageError: no folder can have the name given.
        """
        named = store or setting("STORE")
        return cls(named_place(named)) if named else cls.nearest(start)

    @classmethod
    def nearest(cls, start: Path | None = None) -> Store:
        """Return the store that no argument and no setting names; see `locate`.

        Raises:
            NotPermitted: the nearest one was put by another user into a folder that every user may write.
        """
        return cls(nearest_place(start))

    def create(self) -> None:
        """Make the folder if it is not there.

        Raises:
            StoreNotWritable: it cannot be made or written.
            NewerFormat: a later release made it.
        """
        if self.format_version() is None:
            with refusals(self.root):
                self.root.mkdir(parents=True, exist_ok=True)
                # Before the format file, which makes the folder a store: a `git add` at this moment would take
                # everything.
                (self.root / ".gitignore").write_text("*\n")
                create_exclusively(self.root / "format", f"{FORMAT}\n")

    def format_version(self) -> int | None:
        """Return the version in its format file; None for a folder that is not initialized.

        Raises:
            StoreNotWritable: its content is no format.
            NewerFormat: a later release made it.
        """
        version = self.root / "format"
        try:
            known = int(version.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise StoreNotWritable(
                f"{version} cannot be read: {error}",
                errno=getattr(error, "errno", errno.EIO),
                filename=str(version),
            ) from error
        if known > FORMAT:
            raise newer_format(known, FORMAT, f"The store {self.root}")
        return known

    def waits_in(self) -> str:
        """Return nothing: runs stay here."""
        return ""

    def default_project(self) -> str:
        """NAIAD_PROJECT, NEPTUNE_PROJECT, else the name of the folder that holds the store."""
        place = self.root.parent if self.root.name == FOLDER else self.root
        name = place.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")  # folders may have any bytes
        return setting("PROJECT") or name or "project"

    def reserve_run(self, project: str, custom_run_id: str | None = None) -> Reservation:
        """Take the next id of the project; with a custom id that is known already, its run instead.

        Raises:
            StoreNotWritable: the store takes no files; nothing is left behind.
        """
        self.create()
        with refusals(self.root):
            known = custom_run_id is not None and self.register.custom(project, custom_run_id)
            if known:
                return self._join(RUN, *known)
            # The number first, then the custom id: if another process has bound that meanwhile, the number is given
            # back and its run joined.
            own = self._numbered(RUN, self.register.key(project))
            if custom_run_id is None or self.register.take_custom(project, custom_run_id, own.run.uid, own.id):
                return own
            self.release(own)
            known = self.register.custom(project, custom_run_id)
            return self._join(RUN, *known) if known else own

    def reserve_unnumbered(self, kind: ContainerKind, project: str, custom_run_id: str | None = None) -> Reservation:
        """Begin a container, or join the one with a custom id, whose id a server gives later; until then it is the uid.

        Raises:
            StoreNotWritable: the store takes no files; nothing is left behind.
        """
        self.create()
        with refusals(self.root):
            known = custom_run_id is not None and self.register.custom(project, custom_run_id)
            if known:
                return self._join(kind, *known)
            uid = ids.new_uid()
            if custom_run_id is not None:
                self.register.take_custom(project, custom_run_id, uid, uid)
            return Reservation(RunId(uid, kind), uid, is_new=True)

    def bind_custom(self, project: str, custom_run_id: str, earlier: RunId, run: RunId) -> None:
        """Let a custom id mean another run than it did, because a server knows it as the id of that one.

        Raises:
            StoreNotWritable: the store takes no files.
        """
        with refusals(self.root):
            self.register.release_custom(earlier.uid, project, custom_run_id)
            self.register.take_custom(project, custom_run_id, run.uid, run.uid)

    def reserve_model(self, project: str, key: str) -> Reservation:
        """Take the id that a model with this key has in a project.

        Raises:
            ModelKeyTaken: another model has it.
            StoreNotWritable: the store takes no files; nothing is left behind.
        """
        self.create()
        with refusals(self.root):
            found = self._named(MODEL, f"{self.register.key(project)}-{key}")
        if not found.is_new:
            raise ModelKeyTaken(
                f"Project {project!r} already has a model {found.id}.\n"
                f'Open it with: naiad.init_model(with_id="{found.id}"). Or give the new model another key.',
                key=key,
                model_id=found.id,
            )
        return found

    def reserve_version(self, model: str) -> Reservation:
        """Take the next id among the versions of the model with this id.

        Raises:
            StoreNotWritable: the store takes no files; nothing is left behind.
        """
        self.create()
        with refusals(self.root):
            return self._numbered(MODEL_VERSION, model)

    def reserve_project(self, project: str, key: str | None = None) -> Reservation:
        """Begin or join the fields of a project itself. Its id is its key.

        Raises:
            ProjectExists: the key wished for belongs to another project.
            StoreNotWritable: the store takes no files; nothing is left behind.
        """
        self.create()
        with refusals(self.root):
            return self._named(PROJECT, self.register.key(project, key))

    def reserve_source(
        self, source: str, kind: ContainerKind, project: str, wish: str | None = None, parent: str = ""
    ) -> Reservation:
        """Take an id for a container from elsewhere, or join the one that was made of the same source.

        Raises:
            StoreNotWritable: the store takes no files; nothing is left behind.
        """
        self.create()
        with refusals(self.root):
            # The source is bound to a uid before anything is written: two imports of one source meet in one
            # container.
            uid, name = self.register.source(source) or self.register.take_source(source, ids.new_uid(), wish or "")
            run = RunId(uid, kind)
            if self.exists(run):
                return Reservation(run, name, is_new=False)
            if not name or self.register.uid(name) != uid:
                name = self.register.take_wish(run, project, wish, parent)
                self.register.rename_source(source, uid, name)
            return Reservation(run, name, is_new=True)

    def find_source(self, source: str) -> Reservation | None:
        """Return the container that was made of a source, which may not be begun yet; None if there is none."""
        known = self.register.source(source)
        if known is None:
            return None
        folder = self.layout.find(known[0])
        return Reservation(RunId(known[0], folder.kind if folder else RUN), known[1], is_new=folder is None)

    def bind_source(self, source: str, run: RunId, name: str) -> bool:
        """Let a source mean a container that exists; False if it means one already."""
        with refusals(self.root):
            return self.register.take_source(source, run.uid, name)[0] == run.uid

    def lock_source(self, source: str) -> AbstractContextManager[None]:
        """Keep out other processes that lock the same source."""
        self.create()
        return self.register.lock_source(source)

    def release(self, reservation: Reservation) -> None:
        """Take back a container that could not be begun."""
        with contextlib.suppress(OSError):
            import shutil  # like difflib elsewhere, it would cost each start some milliseconds

            uid = reservation.run.uid
            shutil.rmtree(self.directory(reservation.run).path, ignore_errors=True)
            self.register.release(reservation.id)
            self.layout.unmark(uid)
            self.register.release_custom(uid)

    def find(self, name: str, kind: ContainerKind | None = None) -> RunId:
        """Return the container with this id (`KEY-12`, `KEY-CNN`, `KEY-CNN-3`, `KEY`) or uid.

        One that was copied in from another store is found by its own `sys/id` too, as long as no other has it; an id
        that means several raises as soon as a listing has shown them.

        Raises:
            ContainerNotFound: there is none, or it is of another kind. It is the error of the kind asked for, and
                names ids that look alike.
            NewerFormat: a later release made the store.
        """
        self.format_version()
        folder = (
            self._by_registered_id(name)
            or self.layout.find(name)
            or self._by_own_id(name, kind or _kind_for_message(name))
        )
        if kind is not None and folder.kind is not kind:
            raise kind.not_found(
                f"{name!r} is a {folder.kind.noun}, not a {kind.noun}.\nOpen it with: naiad.{folder.kind.opener}"
                + ("()." if folder.kind is PROJECT else f'(with_id="{name}").'),
                run_id=name,
            )
        return RunId(folder.uid, folder.kind)

    def find_to_write(self, name: str, kind: ContainerKind) -> RunId:
        """Return the container with this id or uid: a folder is always there."""
        return self.find(name, kind)

    def note_to_write(self, reader: RunReader) -> None:
        """Do nothing: all of it is here."""

    def put_in_trash(self, runs: Sequence[RunId], *, is_out: bool) -> Sequence[RunId]:  # noqa: ARG002 (likewise)
        """Return all of them: a folder is written by anyone who may write its files."""
        return runs

    def goes_on_here(self, run: RunId, problem: ServerError) -> bool:  # noqa: ARG002 (the interface passes it)
        """Return False: a folder has no server that could go away."""
        return False

    def reader_here(self, run: RunId, problem: ServerError) -> Reader | None:  # noqa: ARG002 (as above)
        """Return None: a folder has no server that could be away."""
        return None

    def find_custom(self, project: str, custom_run_id: str) -> RunId | None:
        """Return the run that has this custom id in a project; None if there is none."""
        known = self.register.custom(project, custom_run_id)
        run = RunId(known[0], RUN) if known else None
        return run if run and self.exists(run) else None

    def find_directory(self, name: str, kind: ContainerKind | None = None) -> RunDirectory:
        """Return the folder of the container that `find` finds."""
        return self.directory(self.find(name, kind))

    def find_project(self, project: str) -> RunId | None:
        """Return the container of the project's own fields; None if nothing was ever written to them."""
        key = self.register.known_key(project)
        uid = self.register.uid(key) if key else ""
        return RunId(uid, PROJECT) if uid else None

    def exists(self, run: RunId) -> bool:
        """Whether a container was begun and not deleted."""
        return self.directory(run).path.is_dir()

    def reader(self, run: RunId) -> Reader:
        """Read a container, which need not be begun yet."""
        from naiad.storage.local.reader import Reader

        return self._readers.pop(run, None) or Reader(self.directory(run))

    def project_reader(self, project: str) -> RunReader:
        """Read a project to which nothing was written."""
        return BlankProject(self.register.known_key(project), project)

    def writer(
        self,
        run: RunId,
        *,
        role: str = "owner",
        first_ops: Sequence[Op] = (),
        on_error: str = "warn",
        remote: bytes | None = None,
        joining: Joining = FIRST,
        shipping: Shipping | None = None,
    ) -> Writer:
        """Write a container, new or not; `first_ops` are in it from its first moment. See `Writer.open`."""
        if remote is not None:  # of a server: the container may have begun elsewhere, and be the first one here
            self.create()
        self._mend(run)
        from naiad.storage.local.writer import Writer

        return Writer.open(
            self.directory(run), role=role, first_ops=first_ops, on_error=on_error, remote=remote, joining=joining,
            shipping=shipping, reader=self._readers.get(run),
        )  # fmt: skip

    def _mend(self, run: RunId) -> None:
        """Repair a sealed run that is damaged before a writer removes its seal, the only witness of that.

        Raises:
            StoreNotWritable: the disk reports an error.
        """
        folder = self.directory(run)
        if not folder.seal.exists():
            return
        reader = self.reader(run)
        reader.refresh()
        if reader.damages and folder.seal.exists():
            from naiad.storage.local.integrity.repair import repair

            with refusals(folder.path.parent.parent):
                repair(folder)
        else:
            self._readers.clear()
            self._readers[run] = reader  # the run is about to be read, and was compared with its seal

    def move(self, run: RunId, project: str) -> str:
        """Give a run the next id of another project, and return it; see `naiad.storage.base.Store.move`.

            take the id -> write id, project and former id in one op frame -> let the custom id mean it there too

        A kill after the first step leaves an id that means nothing, as it is in no run.
        """
        name = self.id_of(run)
        with self.lock_source(f"move {run.uid}"):
            values = self.reader(run).values("sys")
            custom = _text(values.get("sys/custom_run_id"))
            taken = self.register.custom(project, custom) if custom else None
            if taken and taken[0] != run.uid:
                raise NameTaken(
                    f"Project {project!r} has another run with custom_run_id={custom!r}: {taken[1]}.\n"
                    f"{run.kind.title} {name} stays in its project.",
                    run_id=name,
                )
            if _text(values.get("sys/project")) != project:
                from naiad.storage.edits import edit, move_changes
                from naiad.storage.local.gc import refuse_written

                refuse_written(self.directory(run), name, "moved")
                with refusals(self.root):
                    former, name = name, self.register.take_number(self.register.key(project), run.uid)
                edit(self, run, move_changes(former, name, project))
                if (self.root / SERVER).is_dir():
                    from naiad.storage.local.registrar import note_moved  # SQLAlchemy

                    note_moved(self.root, run, name, project)
            if custom:
                with refusals(self.root):
                    self.register.take_custom(project, custom, run.uid, name)
        return name

    def delete(self, runs: Sequence[tuple[str, RunId]]) -> None:
        """Delete containers for good, each given with the id that errors shall name it by.

        Their folders are gone at once. The content of files that no other run has goes with them, except content used
        in the last ten minutes: `naiad gc` frees that later.

        Raises:
            ContainerProtected: one of them is protected; then nothing is deleted.
            BeingWritten: one of them is being written; then nothing is deleted.
            StoreNotWritable: the store cannot be changed.
        """
        from naiad.storage.local.gc import delete

        delete(self.layout, self.register, [(name, self.directory(run)) for name, run in runs])

    def unfreed(self) -> tuple[int, float] | None:
        """Return the bytes that nothing refers to and that were used too recently to be freed, and when they can be."""
        from naiad.storage.local.gc import unfreed

        return unfreed(self.layout)

    def forget_project(self, project: str) -> None:
        """Free the key of a project whose containers were deleted."""
        key = self.register.known_key(project)
        if key:
            with refusals(self.root):
                self.register.forget_project(key)

    def _by_registered_id(self, name: str) -> RunDirectory | None:
        """The folder that an id of this store means, unless the container has another id, or others have it too."""
        folder = self.layout.find(self.register.uid(name))
        listed = listed_ids(self.root / "catalog.db", name, folder.uid) if folder is not None else []
        if folder is None:
            return None
        if (folder.uid, name) not in listed and not self._has_id(folder, name):
            return None  # the file of the id is damaged, and the run is found by its own id
        known = {folder.uid, *(uid for uid, own in listed if own == name)}
        if len(known) > 1:  # the rows were not checked
            known &= {folder.uid, *(row.uid for row in self._listed(name))}
            # One that a client sent a moment ago has the id of a folder there, and another one is registered for it.
            known = {uid for uid in known if uid == folder.uid or self.register.id_of(uid) in ("", name)}
            self._refuse_several(folder.kind, name, sorted(uid for uid in known if self.layout.find(uid)))
        return folder

    def _has_id(self, folder: RunDirectory, name: str) -> bool:
        """Whether a container has an id, or had it before it was moved; True also if that cannot be read.

        One that a client sent has the id of a folder there, or its uid, until the id that is registered is written.
        """
        from naiad.storage.local.reader import Reader

        reader = Reader(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DamageWarning)  # opening it says so
            try:
                own = reader.value("sys/id")
                # Also if it has an id of another store, or one by which this store means another run.
                is_its = own in (name, folder.uid) or self.register.uid(_text(own)) != folder.uid
                is_its = is_its or name in reader.tags(FORMER_IDS)
            except MissingField:
                return "sys/id" not in reader.kinds()
            except (NaiadError, OSError):
                return True
        if not reader.damages:
            self._readers.clear()
            self._readers[RunId(folder.uid, folder.kind)] = reader  # the run is about to be read
        return is_its

    def _refuse_several(self, kind: ContainerKind, name: str, uids: list[str]) -> None:
        if len(uids) > 1:
            raise kind.not_found(
                f"Store {self.root} has several {kind.noun}s {name!r}, copied from other stores: "
                f"{', '.join(uids)}.\nUse one of these names instead.",
                run_id=name,
            )

    def _listed(self, name: str) -> list[Summary]:
        return [row for row in self.catalog().summaries(kind=None, is_trashed=None) if row.id == name]

    def _by_own_id(self, name: str, kind: ContainerKind) -> RunDirectory:
        found = self._listed(name) if self.root.is_dir() else []
        if found:
            self._refuse_several(found[0].kind, name, [row.uid for row in found])
        if not found:
            raise self._not_found(name, kind)
        return self.layout.folder(found[0].uid, found[0].kind)

    def id_of(self, run: RunId) -> str:
        """The id of a container; one that is registered for it if its own cannot be read, else its uid."""
        from naiad.storage.local.reader import Reader

        with contextlib.suppress(DamagedData, NewerFormat, OSError):
            own = _text(Reader(self.directory(run)).values("sys").get("sys/id"))
            if own and self.register.uid(own) == run.uid:
                return own
        return self.register.id_of(run.uid) or run.uid

    @functools.lru_cache(maxsize=64)  # noqa: B019 (a store is two paths, and 64 of them may stay)
    def directory(self, run: RunId) -> RunDirectory:
        """The folder of a container, there or not; reader and writer share one, which remembers its paths."""
        return self.layout.folder(run.uid, run.kind)

    def folders(self) -> Iterator[RunDirectory]:
        """All containers: the runs, then the other kinds, each the oldest first."""
        return self.layout.folders()

    def projects(self) -> dict[str, str]:
        """Project by key."""
        return self.register.projects()

    def listener(self) -> None:
        """Return None: a folder announces no changes."""

    def catalog(self) -> Catalog:
        """The table of all runs, brought up to date.

        Raises:
            NewerFormat: a later release made the store.
        """
        self.format_version()
        from naiad.storage.local.catalog import Catalog

        return Catalog(self.layout, self.register)

    def _numbered(self, kind: ContainerKind, prefix: str) -> Reservation:
        uid = ids.new_uid()
        return Reservation(RunId(uid, kind), self.register.take_number(prefix, uid), is_new=True)

    def _named(self, kind: ContainerKind, name: str) -> Reservation:
        uid = ids.new_uid()
        if self.register.take(name, uid):
            return Reservation(RunId(uid, kind), name, is_new=True)
        return self._join(kind, self.register.uid(name), name)

    def _join(self, kind: ContainerKind, uid: str, name: str) -> Reservation:
        folder = self.layout.folder(uid, kind)
        until = clock.monotonic() + BEGIN_SECONDS
        while not folder.path.exists() and clock.monotonic() < until:  # another process is about to make it
            clock.sleep(0.01)
        return Reservation(RunId(uid, kind), name, is_new=not folder.path.exists())

    def _not_found(self, name: str, kind: ContainerKind) -> ContainerNotFound:
        known = [each for each in self.register.ids(kind) if each != name]
        near = alike(name, known, cutoff=0.5)
        hint = (
            f" Nearby: {', '.join(near)}." if near else f" List its {kind.noun}s with: {kind.listing}" if known else ""
        )
        gone = " any more: it was deleted" if self.register.uid(name) else ""
        return kind.not_found(f"Store {self.root} has no {kind.noun} {name!r}{gone}.{hint}", run_id=name)


def _text(value: object) -> str:
    return unpack_text(value) if isinstance(value, str | bytes) else ""


def _kind_for_message(name: str) -> ContainerKind:
    """Return the container kind to name in a not-found message when the caller gave none."""
    kind = kind_of_id(name)
    return RUN if kind is None or kind is PROJECT else kind  # a uid looks like the id of a project
