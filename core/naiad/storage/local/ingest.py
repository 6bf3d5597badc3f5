"""The intake of a writer: content on its way into the store.

Content is copied in the caller's thread, so that it is the content at the moment of the call. Hashing it and putting
it into its place follows in a thread of its own, which lives only while there is something to do: points are synced
once a second even while a large file is hashed.

    caller                          thread "naiad files"             killed here: the next writer or gc finds
    copy to incoming, as "w.1"                                       a copy that no op names: it may go
    own("w.1"); write an op         .                                an op that names "w.1", which is there
      that names "w.1"
    settle("w.1") ----------------> hash it, link it under its hash  the same; both names lead to the content
                                    log Stored{"w.1": hash}, sync    a reader resolves "w.1" to the hash
                                    release "w.1"                    nothing is left to do

At each moment the name in the op leads to the content: "w.1" goes only after `Stored` is on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from naiad import clock
from naiad.disk import Report, nothing
from naiad.errors import DamagedData
from naiad.file import File
from naiad.refs import FileRef
from naiad.storage.base import RunReader
from naiad.storage.local.blobs import Blob, Blobs, Incoming, is_incoming
from naiad.storage.local.journal.files import list_journal
from naiad.storage.local.layout import INCOMING, RunDirectory
from naiad.storage.local.packs import Slice, Taken, take_all

Log = Callable[[dict[str, str]], bool]
BATCH = 256
"""Files whose folders are synced together; their hashes are logged before the next ones are begun."""


class Ingest:
    """The content that one writer copies into the store.

    Args:
        blobs: those of its store.
        log: writes where content is now, and returns whether the names under which it came in may be given up.
        warn: called when the disk reports an error.
    """

    def __init__(self, blobs: Blobs, log: Log, warn: Callable[[OSError], object]) -> None:
        self.blobs = blobs
        self._log = log
        self._warn = warn
        self.forget()

    def forget(self) -> None:
        """Reset in a forked child; earlier content belongs to its parent."""
        self._changed = threading.Condition()
        self._waiting: list[str] = []
        self._owned: set[str] = set()  # named by an op, or about to be
        self._is_working = False
        self._error: OSError | None = None

    def take(self, file: File, writer: str, report: Report = nothing) -> FileRef:
        """Copy the current content of a file.

        Raises:
            FileError: it is no file that can be read.
            OSError: the store cannot take it.
        """
        if file.path is None:
            return _kept(self.blobs.take_bytes(file.content, writer), file.extension)
        return _kept(self.blobs.take(os.path.expanduser(file.path), writer, report), file.extension)

    def take_all(self, paths: Sequence[str], writer: str, report: Report = nothing) -> list[FileRef]:
        """Copy the current content of many files, all or none; small ones share a blob.

        Raises:
            FileError: one is no file that can be read.
            OSError: the store cannot take them.
        """
        taken = take_all(self.blobs, paths, writer, report)
        return [_kept(content, File(path).extension) for path, content in zip(paths, taken, strict=True)]

    def adopt(self, reader: RunReader, file: FileRef, writer: str) -> FileRef:
        """Take in a file of some run: by name if it is in this store and settled, else as a copy.

        Raises:
            DamagedData: its content is missing.
            OSError: the store cannot take it.
        """
        if file.content is not None:
            return file
        from naiad.storage.local.reader import Reader  # a run that takes files in is rarely read

        # Within one store the content is there already, under its hash: then only a reference is written.
        is_ours = isinstance(reader, Reader) and reader.folder.blobs == self.blobs.root
        known = reader.resolve(file.blob) if isinstance(reader, Reader) and is_ours else ""
        if known and "." not in known:  # a name with a dot has no hash yet, and may go before this op is written
            self.blobs.renew(known)
            return file.moved(known)
        with reader.open_file(file, is_checked=True) as stream:
            taken = _kept(self.blobs.take_stream(stream, writer), file.extension)
        return replace(taken, name=file.name, description=file.description, modified=file.modified)

    def own(self, names: Iterable[str]) -> None:
        """Keep content from being dropped, because an op may refer to it."""
        self._owned.update(names)

    def disown(self, names: Iterable[str]) -> None:
        """No op names it after all."""
        self._owned.difference_update(names)

    def drop(self, names: Iterable[str]) -> None:
        """Give up content that no op names."""
        for name in names:
            if name not in self._owned:
                self._release(name)

    def _release(self, name: str) -> None:
        with contextlib.suppress(OSError):
            self.blobs.release(name)

    def settle(self, names: Iterable[str]) -> None:
        """Put content into its place, in time; an op names it by now."""
        with self._changed:
            self._waiting += names
            if self._waiting and not self._is_working:
                self._error = None
                self._is_working = True
                try:
                    threading.Thread(target=self._work, name="naiad files", daemon=True).start()
                except RuntimeError as error:  # the system has no more threads; the next call tries again
                    self._is_working = False
                    self._error = OSError(errno.EAGAIN, str(error))

    def wait(self) -> None:
        """Return when all that was taken in is in its place and on the disk itself.

        Raises:
            OSError: the disk reports an error, or content is missing; the latter is raised once.
        """
        self.settle(())  # once more what was refused before
        with self._changed:
            self._changed.wait_for(lambda: not self._is_working)
            error = self._error
            self._error = error if self._waiting else None
        if error is not None:
            raise error

    def finish(self, until: float) -> bool:
        """The same, as far as it goes in the time; whether nothing is left."""
        self.settle(())
        with self._changed:
            is_done = self._changed.wait_for(lambda: not self._is_working, max(0.0, until - clock.monotonic()))
            return is_done and not self._waiting

    def _work(self) -> None:
        names: list[str] = []
        error: OSError | None = None
        try:
            while names := self._next():
                found = self._settled(names)
                # Released only after the op with the hash is on the disk; see the sketch.
                if self._log({name: blob.sha256 for name, blob in found.items()}):
                    for name in found:
                        self._release(name)
                    self._owned.difference_update(found)
        except OSError as refused:
            error = refused
        finally:
            self._rest(names, error)

    def _settled(self, names: list[str]) -> dict[str, Blob]:
        """Move content to its place; missing content is noted, and the rest goes on."""
        found: dict[str, Blob] = {}
        try:
            found = self.blobs.settle_all(names)
        except DamagedData:  # one of them was removed
            for name in names:
                try:
                    found |= self.blobs.settle_all([name])
                except DamagedData as error:
                    self._error = OSError(errno.ENOENT, str(error))
        for name, blob in list(found.items()):
            try:
                self.blobs.renew(blob.sha256)
            except DamagedData:  # settling the others took so long that it was removed as unused
                found |= self.blobs.settle_all([name])
        return found

    def _next(self) -> list[str]:
        with self._changed:
            names, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            return names

    def _rest(self, names: list[str], error: OSError | None) -> None:
        """Pause after an error; the remaining content waits for the next call."""
        with self._changed:
            self._waiting = names + self._waiting
            self._error = error or self._error
            self._is_working = False
            self._changed.notify_all()
            is_left = bool(self._waiting) and error is None  # something came between the last look and now
        if error is not None:
            self._warn(error)
        elif is_left:
            self.settle(())


def left_behind(folder: RunDirectory, but: str = "") -> list[str]:
    """Return the names of content that dead writers of a run took in and did not put in its place.

    Args:
        folder: of the run.
        but: a writer that lives, and puts its own in place.
    """
    try:
        found = {name: name.partition(".")[0] for name in os.listdir(folder.blobs / INCOMING)}
    except FileNotFoundError:
        return []
    names = {name: writer for name, writer in found.items() if writer != but and is_incoming(name)}
    if not names:
        return []
    own = {file.writer for file in list_journal(folder.journal)}
    # Without an index the journal has all writers, so that what lies there, nearly always of other runs, is told apart
    # without reading the run.
    if own.isdisjoint(names.values()) and not folder.index.exists():
        return []
    from naiad.storage.local.reader import Reader  # a run that takes files in is rarely read

    reader = Reader(folder)
    # A copy of a lease belongs to a run in another folder of this store, whose writer may be about to settle the same
    # content.
    others = {writer for writer, each in reader.candidates().items() if each.is_copy or not each.is_dead}
    own |= set(reader.projection().writers)
    return [name for name, writer in names.items() if writer in own and writer not in others]


def _kept(content: Taken, extension: str) -> FileRef:
    if isinstance(content, Incoming):
        return FileRef(content.size, extension, blob=content.name)
    if isinstance(content, Slice):
        return FileRef(content.size, extension, blob=content.pack, start=content.start, sha256=content.sha256)
    return FileRef.of_bytes(content, extension)
