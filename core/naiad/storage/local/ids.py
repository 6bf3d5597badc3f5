"""The register: which folder an id means, and which ids, keys and names are taken.

KEY-12          ids/KEY/12         a run
KEY-CNN         ids/KEY/CNN        a model
KEY-CNN-3       ids/KEY-CNN/3      a version of it
KEY             ids/KEY/project    the project's own fields

Each of these files has the uid of a folder. An id stays taken when its run is deleted: it never means another one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from msgspec import Struct

from naiad import ids
from naiad.container_kinds import KINDS, MODEL, PROJECT, RUN, ContainerKind, RunId, is_project_key, kind_of_id
from naiad.disk import sync_all, write_all
from naiad.errors import DamagedData, ProjectExists, StoreNotWritable, shown
from naiad.storage.local.layout import open_lock, take_lock

_unsynced: set[str] = set()
_lasting: set[str] = set()  # folders whose own names are on disk
_rooted: set[str] = set()  # those of them that had files, so that the names of the folders above are on disk too
HINT_STEP = 16
"""How many numbers are taken before the hint is written again: emptying a file costs more than looking for 16."""
SOURCE_SECONDS = 24 * 3600.0
"""How long an import waits for another one of the same source."""
OWN = "project"
"""The name of a project itself among its ids; no model key is written in small letters."""


class Register(Struct, frozen=True, dict=True):
    """The ids, keys and custom ids of one store; nothing of it needs to exist yet."""

    root: Path

    # Ids

    def uid(self, name: str) -> str:
        """The uid of the container with this id; empty if there is none."""
        place = self.place(name)
        if place is not None:
            with contextlib.suppress(OSError):
                found = place.read_bytes().strip().decode("ascii", "replace")
                return found if ids.is_uid(found) else ""
        return ""

    def take(self, name: str, uid: str) -> bool:
        """Let an id mean this folder; False when it is taken."""
        place = self.place(name)
        assert place is not None, name
        place.parent.mkdir(parents=True, exist_ok=True)
        return create_exclusively(place, uid)

    def take_number(self, prefix: str, uid: str) -> str:
        """Let the next free id `PREFIX-N` mean this folder, and return it."""
        folder = self.root / "ids" / prefix
        # Two processes that take a number at once:
        #
        #     A   hint 11 -> link ids/KEY/12 ........ made -> 12, hint 12
        #     B   hint 11 -> link ids/KEY/12 .. taken -> link ids/KEY/13 .. made -> 13, hint 13
        #     a kill after the link: the number stays taken, and is a gap in the ids, never an id of two runs
        # From the hint upwards until a file can be created: of several processes each gets a number of its own,
        # without a lock.
        known, last = _hint(str(folder))
        number = last + 1
        while not _create_new(f"{folder}/{number}", uid):
            number += 1
        if number >= known + HINT_STEP:
            write_hint(folder / ".last", str(number))
        return f"{prefix}-{number}"

    def take_variant(self, name: str, uid: str) -> str:
        """Let an id, or it with `_2`, `_3`, ... behind it, mean this folder, and return it."""
        number, found = 1, name
        while not self.take(found, uid):
            number += 1
            found = f"{name}_{number}"
        return found

    def take_wish(self, run: RunId, project: str, wish: str | None, parent: str) -> str:
        """Let the id wished for mean a container if it is free, else the next one; return it."""
        found = run.kind.id_form.match(wish) if wish else None
        key = found[1].partition("-")[0] if found else None
        if key is not None and is_project_key(key):
            with contextlib.suppress(ProjectExists):  # then the project has another key, and the id may be free still
                self.key(project, key)
        if wish and found and self.take(wish, run.uid):
            return wish
        key = self.key(project)
        if run.kind is MODEL:
            stem = wish.partition("-")[2] if wish and found else "IMPORTED"
            return self.take_variant(f"{key}-{stem}", run.uid)
        prefix = key if run.kind is RUN else parent or (found[1] if found else f"{key}-IMPORTED")
        return self.take_number(prefix, run.uid)

    def release(self, name: str) -> None:
        """Release an id that was not used."""
        place = self.place(name)
        if place is not None:
            place.unlink(missing_ok=True)

    def id_of(self, uid: str) -> str:
        """The id that means this folder; empty if there is none."""
        return next((name for name in self.ids() if self.uid(name) == uid), "")

    def ids(self, kind: ContainerKind | None = None) -> Iterator[str]:
        """All ids ever taken; those of one kind."""
        for folder in _names(self.root / "ids"):
            for name in _names(self.root / "ids" / folder):
                found = folder if name == OWN else f"{folder}-{name}"
                if kind is None or kind_of_id(found) is kind:
                    yield found

    def place(self, name: str) -> Path | None:
        """Return the file of an id, or None if the name is not an id."""
        for kind in KINDS:
            found = re.match(kind.form, name)
            if found is not None:
                return self.root / "ids" / found[1] / (OWN if kind is PROJECT else found[2])
        return None

    # Projects

    def projects(self) -> dict[str, str]:
        """Project by key."""
        found = {key: _readable(self.root / "keys" / key) for key in _names(self.root / "keys")}
        return {key: name for key, name in found.items() if name is not None}

    def known_key(self, project: str) -> str:
        """The key of a project; empty if it has none yet."""
        return next((key for key, name in self.projects().items() if name == project), "")

    def key(self, project: str, wish: str | None = None) -> str:
        """The key of a project, taken now if it has none.

        Raises:
            ProjectExists: another project has the key wished for.
        """
        wanted = wish or ids.project_key(project)
        folder = self.root / "keys"
        key, n = wanted, 1
        while True:
            try:
                owner = _owner(folder / key)
            except FileNotFoundError:
                folder.mkdir(exist_ok=True)
                known = self.known_key(project)  # another one than its name would give, if it was made with one
                if known:
                    return known
                # If another process was faster, the file has its project, which may be this one.
                owner = project if create_exclusively(folder / key, project) else _owner(folder / key)
            if owner == project:
                return key
            if wish is not None:
                raise ProjectExists(f"The key {wish!r} belongs to project {owner!r} of store {self.root}.")
            n += 1
            key = f"{wanted}{n}"

    def forget_project(self, key: str) -> None:
        """Free the key of a deleted project and every id with it."""
        import shutil  # loads many modules, and a run needs none of them

        for folder in _names(self.root / "ids"):
            if folder.partition("-")[0] == key:
                shutil.rmtree(self.root / "ids" / folder, ignore_errors=True)
        (self.root / "keys" / key).unlink(missing_ok=True)

    # Custom ids of runs

    def custom(self, project: str, custom_run_id: str) -> tuple[str, str] | None:
        """Uid and id of the run that has a custom id in a project.

        Raises:
            DamagedData: the file of the id is damaged.
        """
        place = self._custom_place(project, custom_run_id)
        try:
            text = read_created(place)
        except FileNotFoundError:
            return None
        except UnicodeDecodeError:
            text = ""
        known = read_ticket(text)
        if known is None:
            raise DamagedData(
                f"{place} is damaged: it no longer names the run with custom_run_id {shown(custom_run_id)}.\n"
                "Open the run with with_id=..., or remove the file to free the custom id for a new run.",
                file=str(place), offset=0, what="no name of a run",
            )  # fmt: skip
        return known

    def take_custom(self, project: str, custom_run_id: str, uid: str, name: str) -> bool:
        """Let a custom id mean this run; False when it is taken."""
        place = self._custom_place(project, custom_run_id)
        place.parent.mkdir(exist_ok=True)
        return create_exclusively(place, json.dumps({"uid": uid, "id": name}))

    def release_custom(self, uid: str, *known: str) -> None:
        """Free the custom id of a run, if it has one. Where project and custom id are known, no other is looked at."""
        names = _names(self.root / "custom") if not known else [self._custom_place(*known).name]
        for name in names:
            place = self.root / "custom" / name
            with contextlib.suppress(FileNotFoundError, UnicodeDecodeError):
                ticket = read_ticket(read_created(place))
                if ticket is not None and ticket[0] == uid:
                    place.unlink(missing_ok=True)

    # Sources of imported containers: custom ids of a project that no other can be, as its name is empty

    def source(self, source: str) -> tuple[str, str] | None:
        """Uid and id of the container that was made of a source.

        Raises:
            DamagedData: the file that names it is damaged.
        """
        return self.custom("", source)

    def take_source(self, source: str, uid: str, name: str) -> tuple[str, str]:
        """Let a source mean this container, unless it means one already; return the one that it means."""
        if not self.take_custom("", source, uid, name):
            return self.source(source) or (uid, name)
        return uid, name

    def rename_source(self, source: str, uid: str, name: str) -> None:
        """Note the id of the container that a source means."""
        place = self._custom_place("", source)
        hidden = place.with_name(f".{place.name}.{ids.new_writer_id()}")
        hidden.write_text(json.dumps({"uid": uid, "id": name}))
        # Replaced in one step: a reader finds the former id or the new one, and never a torn file.
        os.replace(hidden, place)

    @contextlib.contextmanager
    def lock_source(self, source: str) -> Iterator[None]:
        """Keep out other processes that lock the same source. There are 256 locks, so some sources share one."""
        import hashlib  # it would cost each start some milliseconds

        place = self.root / "locks" / hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()[:2]
        with refusals(self.root):
            place.parent.mkdir(exist_ok=True)
            lock = open_lock(place)
        try:
            take_lock(lock, SOURCE_SECONDS, place)
            yield
        finally:
            os.close(lock)

    def _custom_place(self, project: str, custom_run_id: str) -> Path:
        import hashlib  # like difflib elsewhere, it would cost each start some milliseconds

        # A hash, because users' ids may have any characters and any length, and file names may not.
        name = hashlib.sha256(f"{project}\0{custom_run_id}".encode("utf-8", "surrogatepass")).hexdigest()
        return self.root / "custom" / name


def _hint(folder: str) -> tuple[int, int]:
    """Return the number in the hint, and one that is surely taken, near the last one.

    It only saves time, so it may be stale or torn.
    """
    try:
        with open(f"{folder}/.last", "rb", buffering=0) as stream:
            hint = int(stream.read())
    except (OSError, ValueError):
        os.makedirs(folder, exist_ok=True)
        return 0, max((int(name) for name in os.listdir(folder) if name.isdigit()), default=0)
    return (hint, hint) if os.path.exists(f"{folder}/{hint}") else (0, 0)


def read_ticket(text: str) -> tuple[str, str] | None:
    """Return uid and id from the file of a custom id; None if it is damaged."""
    try:
        ticket = json.loads(text)
        uid, name = ticket["uid"], ticket["id"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return (uid, name) if isinstance(uid, str) and ids.is_uid(uid) and isinstance(name, str) else None


def _owner(place: Path) -> str:
    """The project that a key belongs to; empty if that is damaged, so that the key stays taken.

    Raises:
        FileNotFoundError: the key is free.
    """
    try:
        return read_created(place)
    except UnicodeDecodeError:
        return ""


def _readable(place: Path) -> str | None:
    """Return the text of a file; None if it has gone meanwhile, is damaged, or may not be read."""
    try:
        return read_created(place)
    except (FileNotFoundError, PermissionError, IsADirectoryError, UnicodeDecodeError):
        return None


def _names(folder: Path) -> list[str]:
    """Return the entries of a folder without hidden ones; none if it is not readable."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def remember_to_sync(path: str | Path) -> None:
    """Let the next `sync_names` put this file or folder of the store on disk."""
    _unsynced.add(os.fspath(path))


def sync_names(*are_synced: Path) -> None:
    """Sync the names this process has created, so that a power cut cannot take a run's id.

    Args:
        *are_synced: those that are on disk since they were created, so that this is not done twice.

    Raises:
        OSError: the disk reports an error; it is tried again next time.
    """
    paths = list(_unsynced)
    folders = dict.fromkeys(map(os.path.dirname, paths))
    # A new folder has a name of its own in the folder above, which has to reach the disk as well.
    new = {parent for folder in folders if folder not in _rooted for parent in _with_parents(folder)} - _lasting
    wanted = dict.fromkeys([*paths, *folders, *map(os.path.dirname, new)])
    for path in are_synced:
        wanted.pop(str(path), None)
    for error in sync_all([*wanted]):
        if not isinstance(error, FileNotFoundError | PermissionError):  # it was removed, or lies above what is ours
            raise error
    _lasting.update(new)
    _rooted.update(folders)
    _unsynced.difference_update(paths)


def _with_parents(folder: str) -> list[str]:
    """The folder and the two above it: a store, and the folder that it is in."""
    above = os.path.dirname(folder)
    return [folder, above, os.path.dirname(above)]


def create_exclusively(path: Path, text: str) -> bool:
    """Create a file exclusively, whole or not at all. False if it exists."""
    return _create_new(str(path), text)


def _create_new(path: str, text: str) -> bool:
    """Create a file as `create_exclusively` does."""
    if os.path.exists(path):
        return False
    folder, name = os.path.split(path)
    hidden = f"{folder}/.{name}.{ids.new_writer_id()}"
    data = text.encode("utf-8", "surrogatepass")
    try:
        fd = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            write_all(fd, data)
        finally:
            os.close(fd)
        # A link fails if the name exists, and the file has its whole content from the first moment: `O_EXCL` alone
        # would show it empty.
        os.link(hidden, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        # The disk is full, which is no reason to try without links.
        if not os.path.exists(hidden) or os.stat(hidden).st_size < len(data):
            raise
        if not _create(path, data):
            return False
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(hidden)
    remember_to_sync(path)
    return True


def read_created(path: Path) -> str:
    """Return the text of a created file, without translating line ends."""
    return path.read_bytes().decode("utf-8", "surrogatepass")


def _create(path: str, data: bytes) -> bool:
    try:
        with open(path, "xb") as stream:
            stream.write(data)
    except FileExistsError:
        return False
    return True


def write_hint(path: Path, text: str) -> None:
    """Write a hint, ignoring errors of the disk."""
    with contextlib.suppress(OSError):
        path.write_bytes(text.encode())


@contextlib.contextmanager
def refusals(root: Path) -> Iterator[None]:
    """Turn errors of the disk within this context into one error with a remedy."""
    try:
        yield
    except OSError as error:
        raise StoreNotWritable(
            f"The store {root} is not writable: {os.strerror(error.errno) if error.errno else error}.\n"
            "Free space or grant permission there, or choose another folder with init_run(store=...) or NAIAD_STORE.",
            errno=error.errno,
            filename=str(error.filename or root),
        ) from error


def listed_ids(catalog: Path, name: str, uid: str) -> list[tuple[str, str]]:
    """Return uid and `sys/id` of the container `uid`, and of those with the id `name`, in the catalog as last read.

    Opening a run calls this each time, so the catalog is neither brought up to date nor opened through SQLAlchemy.
    """
    if not catalog.is_file():
        return []
    import sqlite3  # a run that was never listed needs none

    with contextlib.suppress(sqlite3.Error):
        target = f"file:{quote(os.fsencode(catalog))}?mode=ro"
        with contextlib.closing(sqlite3.connect(target, uri=True, timeout=0.1)) as connection:
            query = "SELECT uid, id FROM container WHERE id = ? OR uid = ? ORDER BY uid"
            return [(str(found), str(own)) for found, own in connection.execute(query, (name, uid))]
    return []
