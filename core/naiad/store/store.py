"""The store: the root folder, and the ids, projects and runs in it. Nothing here opens a database to begin a run.

.naiad/format              version of the layout
.naiad/runs/<uid>/         one run
.naiad/ids/<KEY>/<n>       the uid of run KEY-n; made exclusively, which is what takes the id
.naiad/keys/<KEY>          the project that has this key
.naiad/custom/<sha256>     the run that a custom_run_id of a project means
.naiad/changed/<uid>       the catalog has to look at this run again
.naiad/catalog.db          a table of all runs that can be made anew from them
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from naiad import clock, ids
from naiad.errors import NewerFormat, RunNotFound, StoreNotWritable
from naiad.settings import setting
from naiad.store.folder import RunFolder
from naiad.store.keeping import settle
from naiad.store.seal import sync_folder

if TYPE_CHECKING:
    from naiad.store.catalog import Catalog

__all__ = ["Store", "Ticket", "refusals", "remember_to_sync", "sync_names"]

FOLDER = ".naiad"
FORMAT = 1
BEGIN_SECONDS = 1.0
"""How long to wait for a run whose id another process has taken; after that it was deleted and is begun anew."""


@dataclass(frozen=True)
class Ticket:
    """A run to begin or to join."""

    folder: RunFolder
    id: str
    is_new: bool


@dataclass(frozen=True)
class Store:
    """A folder of runs; nothing of it needs to exist yet."""

    root: Path

    @classmethod
    def locate(cls, store: str | os.PathLike[str] | None = None, start: Path | None = None) -> Store:
        """The store a program means: argument, NAIAD_STORE, the nearest `.naiad` here or above, else a new one here.

        Args:
            store: what the program names.
            start: what counts as here; the working directory if None.
        """
        named = store or setting("STORE")
        if named:
            return cls(Path(named).expanduser().absolute())
        here = start or Path.cwd()
        for folder in (here, *here.parents):
            if (folder / FOLDER).is_dir():
                return cls(folder / FOLDER)
        return cls(here / FOLDER)

    def create(self) -> None:
        """Make the folder if it is not there.

        Raises:
            StoreNotWritable: it cannot be made or written.
            NewerFormat: a later release made it.
        """
        if not self._has_format():
            with refusals(self.root):
                self.root.mkdir(parents=True, exist_ok=True)
                (self.root / ".gitignore").write_text("*\n")
                _claim(self.root / "format", f"{FORMAT}\n")

    def _has_format(self) -> bool:
        """Whether the store says in which format it is; False of a folder that is not begun.

        Raises:
            StoreNotWritable: what it says is no format.
            NewerFormat: a later release made it.
        """
        version = self.root / "format"
        try:
            known = int(version.read_text())
        except (FileNotFoundError, NotADirectoryError):
            return False
        except (OSError, ValueError) as error:
            raise StoreNotWritable(
                f"{version} cannot be read: {error}", errno=errno.EIO, filename=str(version)
            ) from error
        if known > FORMAT:
            raise NewerFormat(
                f"The store {self.root} was made by a later release of naiad "
                f"(format {known}; this one knows {FORMAT}).\n"
                "Install that release to use it; nothing was changed."
            )
        return True

    def default_project(self) -> str:
        """NAIAD_PROJECT, NEPTUNE_PROJECT, else the name of the folder that holds the store."""
        place = self.root.parent if self.root.name == FOLDER else self.root
        name = place.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")  # folders may have any bytes
        return setting("PROJECT") or name or "project"

    def new_run(self, project: str, custom_run_id: str | None = None) -> Ticket:
        """Take the next id of the project; with a custom id that is known already, its run instead.

        Raises:
            StoreNotWritable: the store takes no files; nothing is left behind.
        """
        self.create()
        with refusals(self.root):
            if custom_run_id is not None:
                known = self._custom(project, custom_run_id)
                if known is not None:
                    return known
            return self._take_id(project, custom_run_id)

    def abandon(self, ticket: Ticket) -> None:
        """Take back a run that could not be begun."""
        key, _, number = ticket.id.rpartition("-")
        with contextlib.suppress(OSError):
            import shutil  # like difflib and hashlib below, it would cost each start some milliseconds

            shutil.rmtree(ticket.folder.path, ignore_errors=True)
            (self.root / "ids" / key / number).unlink(missing_ok=True)
            (self.root / "changed" / ticket.folder.uid).unlink(missing_ok=True)
            for place in (self.root / "custom").glob("[0-9a-f]*"):
                if json.loads(_content(place))["uid"] == ticket.folder.uid:
                    place.unlink(missing_ok=True)

    def find_run(self, name: str) -> RunFolder:
        """The run with this id (`KEY-12`) or uid.

        A run that was copied in from another store is found by its own `sys/id` too, as long as no other run has it.

        Raises:
            RunNotFound: there is none; the message names ids that look alike.
            NewerFormat: a later release made the store.
        """
        self._has_format()
        key, _, number = name.rpartition("-")
        uid = name if ids.is_uid(name) else ""
        if key.isalnum() and number.isdigit():
            with contextlib.suppress(OSError):
                uid = _content(self.root / "ids" / key / number).strip()
        folder = self.folder(uid) if ids.is_uid(uid) else None
        if folder is None or not folder.path.is_dir():
            folder = self._copied_in(name)
        settle(folder)
        return folder

    def _copied_in(self, name: str) -> RunFolder:
        found = [row.uid for row in self.catalog().rows() if row.id == name] if self.root.is_dir() else []
        if len(found) > 1:
            raise RunNotFound(
                f"Store {self.root} has several runs {name!r}, copied from other stores: {', '.join(found)}.\n"
                "Give one of these names instead.",
                run_id=name,
            )
        if not found:
            raise self._not_found(name)
        return self.folder(found[0])

    def id_of(self, folder: RunFolder) -> str:
        """The id under which the store knows a run whose own `sys/id` cannot be read; its uid if there is none."""
        for key in self.projects():
            for place in (self.root / "ids" / key).glob("[0-9]*"):
                if _content(place) == folder.uid:
                    return f"{key}-{place.name}"
        return folder.uid

    def folder(self, uid: str) -> RunFolder:
        """The folder of a run, there or not. The uid was checked by `ids.is_uid`."""
        return RunFolder(self.root / "runs" / uid)

    def folders(self) -> Iterator[RunFolder]:
        """All runs, the oldest first."""
        with contextlib.suppress(FileNotFoundError):
            for name in sorted(os.listdir(self.root / "runs")):
                if ids.is_uid(name):
                    yield self.folder(name)

    def projects(self) -> dict[str, str]:
        """Project by key."""
        found = {}
        with contextlib.suppress(FileNotFoundError):
            for name in sorted(os.listdir(self.root / "keys")):
                if not name.startswith("."):
                    found[name] = _content(self.root / "keys" / name)
        return found

    def catalog(self) -> Catalog:
        """The table of all runs, brought up to date.

        Raises:
            NewerFormat: a later release made the store.
        """
        self._has_format()
        from naiad.store.catalog import Catalog

        return Catalog(self)

    def _take_id(self, project: str, custom_run_id: str | None) -> Ticket:
        uid = ids.new_uid()
        key = self._key(project)
        folder = self.root / "ids" / key
        number = self._hint(folder) + 1
        while not _claim(folder / str(number), uid):
            number += 1
        _note(folder / ".last", str(number))
        ticket = Ticket(self.folder(uid), f"{key}-{number}", is_new=True)
        if custom_run_id is not None:
            place = self._custom_place(project, custom_run_id)
            place.parent.mkdir(exist_ok=True)
            if not _claim(place, json.dumps({"uid": uid, "id": ticket.id})):
                self.abandon(ticket)
                return self._custom(project, custom_run_id) or ticket
        return ticket

    def _hint(self, folder: Path) -> int:
        """A number that is surely taken, near the last one. It only saves time, so it may be stale or torn."""
        try:
            hint = int((folder / ".last").read_text())
        except (OSError, ValueError):
            folder.mkdir(parents=True, exist_ok=True)
            return max((int(name) for name in os.listdir(folder) if name.isdigit()), default=0)
        return hint if (folder / str(hint)).exists() else 0

    def _key(self, project: str) -> str:
        wish = ids.project_key(project)
        folder = self.root / "keys"
        key, n = wish, 1
        while True:
            try:
                owner = _content(folder / key)
            except FileNotFoundError:
                folder.mkdir(exist_ok=True)
                owner = project if _claim(folder / key, project) else _content(folder / key)
            if owner == project:
                return key
            n += 1
            key = f"{wish}{n}"

    def _custom_place(self, project: str, custom_run_id: str) -> Path:
        import hashlib

        name = hashlib.sha256(f"{project}\0{custom_run_id}".encode("utf-8", "surrogatepass")).hexdigest()
        return self.root / "custom" / name

    def _custom(self, project: str, custom_run_id: str) -> Ticket | None:
        try:
            known = json.loads(_content(self._custom_place(project, custom_run_id)))
        except FileNotFoundError:
            return None
        folder = self.folder(known["uid"])
        until = clock.monotonic() + BEGIN_SECONDS
        while not folder.path.exists() and clock.monotonic() < until:  # another process is about to make it
            clock.sleep(0.01)
        return Ticket(folder, known["id"], is_new=not folder.path.exists())

    def _not_found(self, name: str) -> RunNotFound:
        known = []
        for key in self.projects():
            with contextlib.suppress(FileNotFoundError):
                known += [f"{key}-{number}" for number in os.listdir(self.root / "ids" / key) if number.isdigit()]
        import difflib

        near = difflib.get_close_matches(name, known, 3, 0.5)
        hint = f" Nearby: {', '.join(near)}." if near else " List its runs with: naiad ls" if known else ""
        return RunNotFound(f"Store {self.root} has no run {name!r}.{hint}", run_id=name)


_unsynced: set[Path] = set()
_lasting: set[Path] = set()  # folders whose own names are on disk


def remember_to_sync(path: Path) -> None:
    """Let the next `sync_names` put this file or folder of the store on disk."""
    _unsynced.add(path)


def sync_names() -> None:
    """Put on disk what this process has made beside the content of runs: a power cut must not take a run's id.

    Raises:
        OSError: the disk refuses; it is tried again next time.
    """
    paths = list(_unsynced)
    folders = dict.fromkeys(path.parent for path in paths)
    new = {parent for folder in folders for parent in (folder, *folder.parents[:2]) if parent not in _lasting}
    for path in [*paths, *folders, *(folder.parent for folder in new)]:
        with contextlib.suppress(FileNotFoundError, PermissionError):  # it was removed, or lies above what is ours
            sync_folder(path)
    _lasting.update(new)
    _unsynced.difference_update(paths)


def _claim(path: Path, content: str) -> bool:
    """Make a file that nobody else makes; whoever sees it sees it whole. False when it is there already."""
    if path.exists():
        return False
    hidden = path.with_name(f".{path.name}.{ids.new_writer_id()}")
    try:
        hidden.write_bytes(content.encode("utf-8", "surrogatepass"))
        os.link(hidden, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if not hidden.exists() or hidden.stat().st_size < len(content):
            raise
        if not _create(path, content):
            return False
    finally:
        hidden.unlink(missing_ok=True)
    remember_to_sync(path)
    return True


def _content(path: Path) -> str:
    """What `_claim` wrote, to the letter: no line end is translated."""
    return path.read_bytes().decode("utf-8", "surrogatepass")


def _create(path: Path, content: str) -> bool:
    try:
        with path.open("xb") as stream:
            stream.write(content.encode("utf-8", "surrogatepass"))
    except FileExistsError:
        return False
    return True


def _note(path: Path, content: str) -> None:
    with contextlib.suppress(OSError):
        path.write_bytes(content.encode())


@contextlib.contextmanager
def refusals(root: Path) -> Iterator[None]:
    """Turn what the disk refuses into one error that says what to do."""
    try:
        yield
    except OSError as error:
        raise StoreNotWritable(
            f"The store {root} cannot be written: {os.strerror(error.errno) if error.errno else error}.\n"
            "Make room or give permission there, or name another folder by init_run(store=...) or NAIAD_STORE.",
            errno=error.errno,
            filename=str(error.filename or root),
        ) from error
