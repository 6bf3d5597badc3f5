"""Blobs: the content of files, kept once per store under its SHA-256.

.naiad/blobs/ab/<sha256>        content; never changes
.naiad/blobs/incoming/<name>    content just taken in, named by an op, not hashed yet: `<writer>.<16 hex digits>`
.naiad/blobs/.lock              held shared while a blob is put into place, alone while unused ones are removed

The way of a file: `take` it in the caller's thread (a copy, no hash, no sync), write an op that has the incoming name,
`settle` it in the background (hash, sync, link into place), write an op that has the sha256, `release` the incoming
name. A kill anywhere leaves either the incoming file or the blob under the name that the last op has.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from naiad.disk import Report, copy, digest, nothing, open_file, replacing, sync_folder, write_all
from naiad.errors import DamagedData
from naiad.storage.local.layout import INCOMING, open_lock

INLINE = 4 * 1024
"""Content below this travels in the op itself: a file of its own would take a block of the disk."""

CHUNK = 1024 * 1024
_sha256 = re.compile(r"[0-9a-f]{64}\Z")
_incoming = re.compile(r"[A-Za-z0-9_-]{1,64}\.[0-9a-f]{16}\Z")
FORWARD = ".to"  # a note beside an incoming name, where the file system has no hard links


class Incoming(Struct, frozen=True):
    """Content that was taken in and waits to be settled."""

    name: str
    size: int


class Blob(Struct, frozen=True):
    """Content in its place."""

    sha256: str
    size: int


class Blobs:
    """The blobs of one store. It holds no state, so threads and forked children may share it."""

    def __init__(self, root: Path) -> None:
        """`root` is the folder `blobs` of a store; it is made when it is first needed."""
        self.root = root

    def take(
        self, source: str | os.PathLike[str], writer: str, report: Report = nothing, few: int = INLINE
    ) -> bytes | Incoming:
        """Copy the current content of a file into the store; return its bytes instead if fewer than `few`.

        The file is hashed later, by another thread.

        Raises:
            FileNotFound, UnsupportedFile, UnreadableFile: it is no file that can be read.
            OSError: the disk reports an error; nothing is left behind.
        """
        fd = open_file(source)
        try:
            # The reported size is only a hint: files of /proc say 0, and others grow meanwhile.
            if os.fstat(fd).st_size < few:
                content = _few_bytes(fd, few)
                if content is not None:
                    return content
            with self.create(writer) as (name, target):
                return Incoming(name, copy(fd, target, report))
        finally:
            os.close(fd)

    def take_bytes(self, content: bytes | memoryview, writer: str) -> bytes | Incoming:
        """Take in bytes.

        Raises:
            OSError: the disk reports an error; nothing is left behind.
        """
        view = memoryview(content).cast("B")
        if view.nbytes < INLINE:
            return bytes(view)
        with self.create(writer) as (name, target):
            write_all(target, view, 0)
            return Incoming(name, view.nbytes)

    def take_stream(self, stream: BinaryIO, writer: str, report: Report = nothing) -> bytes | Incoming:
        """Copy the rest of a binary stream into the store.

        Raises:
            OSError: the disk reports an error; nothing is left behind.
        """
        first = _read_up_to(stream, INLINE)
        if len(first) < INLINE:
            return first
        with self.create(writer) as (name, target):
            size = 0
            while first:
                write_all(target, first, size)
                size += len(first)
                report(len(first))
                first = stream.read(CHUNK) or b""
            return Incoming(name, size)

    @contextlib.contextmanager
    def create(self, writer: str) -> Iterator[tuple[str, int]]:
        """Name and descriptor of a new incoming file, which goes again if the block raises.

        Raises:
            OSError: the disk reports an error.
        """
        # By the name of its writer gc finds out whether the op that will name this file may still come.
        name = f"{writer}.{os.urandom(8).hex()}"
        path = self.path(name)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            fd = os.open(path, flags, 0o444)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, flags, 0o444)
        try:
            yield name, fd
        except BaseException:  # only to clean up: whatever it is goes on
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)

    def settle(self, name: str, report: Report = nothing) -> Blob:
        """Hash an incoming file and put it into its place, on the disk itself. It may be done again at any time.

        The incoming name stays until `release`, which belongs after the op that has the sha256.

        Raises:
            DamagedData: there is no incoming file of this name.
            OSError: the disk reports an error; nothing has changed.
        """
        return self.settle_all([name], report)[name]

    def settle_all(self, names: Iterable[str], report: Report = nothing) -> dict[str, Blob]:
        """Settle many, which syncs each folder once; by name.

        Raises:
            DamagedData: there is no incoming file of one of the names.
            OSError: the disk reports an error; settling again later begins where this ended.
        """
        found = {name: self._settle(name, report) for name in names}
        # A name is on the disk only after its folder was synced, and the op that has the hash is written after this.
        for folder in sorted({self.path(blob.sha256).parent for blob in found.values()}):
            sync_folder(folder)
        return found

    def _settle(self, name: str, report: Report) -> Blob:
        path = self._incoming_path(name)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return self._forwarded(path)
        try:
            sha256, size = digest(fd, report)
            os.fsync(fd)
        finally:
            os.close(fd)
        blob = Blob(sha256, size)
        self._place(path, blob)
        return blob

    def put_in_place(self, name: str, sha256: str, size: int) -> None:
        """Put an incoming file of which the hash is known into its place, on the disk itself.

        Raises:
            OSError: the disk reports an error; nothing has changed.
        """
        path = self._incoming_path(name)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        self._place(path, Blob(sha256, size))
        sync_folder(self.path(sha256).parent)

    def release(self, name: str) -> None:
        """Give up an incoming name; the content stays if it was settled."""
        path = self._incoming_path(name)
        path.unlink(missing_ok=True)
        _note(path).unlink(missing_ok=True)

    def _incoming_path(self, name: str) -> Path:
        if not _incoming.match(name):
            raise _no_name(name)
        return self.root / INCOMING / name

    def _place(self, path: Path, blob: Blob) -> None:
        place = self.path(blob.sha256)
        if not place.parent.is_dir():
            place.parent.mkdir(exist_ok=True)
            sync_folder(self.root)
        with self.lock(fcntl.LOCK_SH):
            if not _has_size(place, blob.size):  # missing, or cut by a damage that this copy repairs
                _link(path, place, blob)
            _touch(place)  # it is in use: another process may be about to remove it

    def _forwarded(self, path: Path) -> Blob:
        try:
            sha256 = _note(path).read_text()
            return Blob(sha256, self.path(sha256).stat().st_size)
        except (FileNotFoundError, ValueError) as error:
            raise _missing(path) from error

    def path(self, name: str) -> Path:
        """Where content is, or would be: a blob by its sha256, an incoming file by its name.

        Raises:
            DamagedData: it is neither, and never becomes part of a path.
        """
        if _sha256.match(name):
            return self.root / name[:2] / name
        if _incoming.match(name):
            return self.root / INCOMING / name
        raise _no_name(name)

    def open(self, name: str) -> BinaryIO:
        """Content to read, unchecked: see `verify`.

        Raises:
            DamagedData: it is missing.
        """
        path = self.path(name)
        try:
            return path.open("rb")
        except FileNotFoundError as error:
            if _sha256.match(name):
                raise _missing(path) from error
        return self.path(self._forwarded(path).sha256).open("rb")

    def read(self, name: str) -> bytes:
        """Content as a whole, checked.

        Raises:
            DamagedData: it is missing, or its bytes differ from those stored.
        """
        with self.open(name) as stream:
            self._check(name, stream.fileno())
            return stream.read()

    def verify(self, sha256: str, report: Report = nothing) -> None:
        """Read a blob and compare it with its name.

        Raises:
            DamagedData: it is missing, or its bytes differ from those stored.
        """
        with self.open(sha256) as stream:
            self._check(sha256, stream.fileno(), report)

    def copy_to(self, name: str, destination: Path, report: Report = nothing) -> None:
        """Write this content to a file, checked and atomically, replacing an existing one.

        Names that come from data go through `names.safe_join` first.

        Raises:
            DamagedData: the content is missing, or differs from the stored bytes.
            OSError: the destination cannot be written.
        """
        with self.open(name) as stream, replacing(destination) as target:
            # Copied first and the copy checked: what is compared is what the user gets.
            copy(stream.fileno(), target, nothing if _sha256.match(name) else report)
            self._check(name, target, report)

    def _check(self, name: str, fd: int, report: Report = nothing) -> None:
        if _sha256.match(name) and digest(fd, report)[0] != name:
            raise damaged(str(self.path(name)), "it is not the content that was stored")

    def renew(self, sha256: str) -> None:
        """Before an op names a blob that was there already (a copied field): keep it from being removed just now.

        Raises:
            DamagedData: it is missing.
        """
        with self.lock(fcntl.LOCK_SH):
            try:
                _touch(self.path(sha256))
            except FileNotFoundError as error:
                raise _missing(self.path(sha256)) from error

    @contextlib.contextmanager
    def lock(self, how: int) -> Iterator[None]:
        """Hold `.lock`: shared to put a blob into place, alone to remove some."""
        fd = open_lock(self.root / ".lock")
        try:
            with contextlib.suppress(OSError):  # a file system without locks: the grace still holds
                fcntl.flock(fd, how)
            yield
        finally:
            os.close(fd)


def is_incoming(name: str) -> bool:
    """Whether a name is that of an incoming file."""
    return _incoming.match(name) is not None


def _few_bytes(fd: int, few: int) -> bytes | None:
    """Return the whole content if it is shorter than `few`, by reading rather than by the reported size."""
    content = b""
    while len(content) < few:
        more = os.pread(fd, few - len(content), len(content))
        if not more:
            return content
        content += more
    return None


def _read_up_to(stream: BinaryIO, size: int) -> bytes:
    content = b""
    while len(content) < size and (more := stream.read(size - len(content))):
        content += more
    return content


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


def _note(path: Path) -> Path:
    return path.with_name(path.name + FORWARD)


def _touch(place: Path) -> None:
    """Show that a blob was used now; one that belongs to another user is replaced by a copy that is ours."""
    try:
        os.utime(place)
    except PermissionError:
        with place.open("rb") as stream, replacing(place) as fd:
            copy(stream.fileno(), fd)
            os.fsync(fd)


def _link(path: Path, place: Path, blob: Blob) -> None:
    """Link a file to another name, atomically."""
    hidden = place.with_name(f".{place.name}.{os.urandom(4).hex()}")
    try:
        os.link(path, hidden)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT):
            raise
        # The note is on the disk before the move: a kill in between leaves either name leading to the content.
        _forward_to(path, blob)  # no hard links here, or not to another user's files
        os.replace(path, place)
    else:
        os.replace(hidden, place)
        with contextlib.suppress(FileNotFoundError):
            hidden.unlink()  # a rename between two names of one file leaves both


def _forward_to(path: Path, blob: Blob) -> None:
    """Leave a note where the content of an incoming name is going, so that a kill does not part them."""
    note = _note(path)
    with replacing(note) as fd:
        write_all(fd, blob.sha256.encode(), 0)
        os.fsync(fd)
    sync_folder(note.parent)


def _no_name(name: str) -> DamagedData:
    what = "it is the name of no stored content"
    return DamagedData(f"{name!r} cannot be read: {what}.", file=name, offset=0, what=what)


def _missing(path: Path) -> DamagedData:
    return damaged(str(path), "it is missing")


def damaged(file: str, what: str, offset: int = 0) -> DamagedData:
    """Return the error for stored content that differs from its hash."""
    return DamagedData(f"The stored file {file} is damaged: {what}.", file=file, offset=offset, what=what)
