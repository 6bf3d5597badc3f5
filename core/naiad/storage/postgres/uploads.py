"""Uploads: large content that programs send to the objects themselves, in parts, and that is joined here.

    program                            replica                                        objects
    POST blobs/<sha256>/upload --- which parts are there?
        addresses of the others <--'   each permits to put one part, for a while
    PUT of each part ---------------------------------------------------------------> uploads/<project>/<sha256>/<start>
    POST blobs/<sha256>/upload --- all are there: a thread hashes them as it
        wait a little <------------'   reads them, and writes the same bytes on ----> blobs/ab/<sha256>
    POST blobs/<sha256>/upload --- has the project this content?
        yes <----------------------'

The parts may be anything and may be replaced at any time. Only bytes that were hashed are written on, and the object
with the name of the content appears when all of them have that hash, or not at all. An interrupted upload goes on with
the parts that are there; gc removes the parts of one that does not.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from sqlalchemy.engine import Engine

from naiad.errors import DamagedData, NaiadValueError, StorageError
from naiad.storage.postgres.connection import UPLOAD_LOCKS, transaction
from naiad.storage.postgres.objects import PIECE, Objects, blob_name
from naiad.storage.receiving import Content, ContentPart, Upload

LEAST = 8 * 1024 * 1024
"""Bytes of content below which it goes through a replica."""
PART = 64 * 1024 * 1024
MOST_PARTS = 16
"""Parts in one answer: a program has to begin each before its address ends."""
FOLDER = "uploads"

Has = Callable[[str, Sequence[tuple[str, int]]], list[str]]
"""Returns which content a project has, of some SHA-256 with their sizes."""
Take = Callable[[str, str, int], object]
"""Notes that a project has the content with a SHA-256 and a size, whose object is there."""


class Uploads:
    """The uploads to the objects of a database, and the thread that joins them one after the other."""

    least = LEAST

    def __init__(self, engine: Engine, objects: Objects, has: Has, take: Take) -> None:
        self._engine = engine
        self._objects = objects
        self._has = has
        self._take = take
        self._joins: dict[str, Future[None]] = {}
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        # One thread, so that the hashes of many uploads at once leave the other core to requests.
        self._joining = ThreadPoolExecutor(1, "naiad-join")

    def next(self, project: str, sha256: str, size: int, taken: Callable[[], object]) -> Upload:
        """Return the next parts of content to be sent; none while those that are there are joined.

        Raises:
            NaiadValueError, StorageError: as in the protocol.
        """
        if self._has(project, [(sha256, size)]):
            return Upload(is_there=True)
        # By the project too: of two that send the same content, neither can replace the parts of the other.
        of_project = f"{FOLDER}/{hashlib.sha256(project.encode()).hexdigest()[:32]}"
        folder = f"{of_project}/{sha256}"
        with self._lock:
            join = self._joins.get(folder)
            if join is not None and join.done():
                del self._joins[folder]
        if join is not None:
            if join.done():
                join.result()
            return Upload()
        there = {name: length for name, length, _made in self._objects.all(folder)}
        missing = [each for each in _places(size) if there.get(f"{folder}/{each[0]}") != each[1]]
        if missing:
            link = self._objects.link
            return Upload(
                [ContentPart(*each, link(f"{folder}/{each[0]}", method="PUT")) for each in missing[:MOST_PARTS]]
            )
        with self._lock:
            # Those of programs that did not come back for the result go.
            self._joins = dict(filter(_is_running, self._joins.items()))
            # One of a project at a time: its quota is checked before each, and counted at the end of it.
            is_free = not any(name.startswith(f"{of_project}/") for name in self._joins)
            if is_free and not self._is_over.is_set():
                self._joins[folder] = self._joining.submit(self._join, folder, project, sha256, size, taken)
        return Upload()

    def _join(self, folder: str, project: str, sha256: str, size: int, taken: Callable[[], object]) -> None:
        """Make the content of its parts, unless another replica does."""
        with transaction(self._engine) as raw:
            lock = "select pg_try_advisory_xact_lock(%s, hashtext(%s))"
            # Only to save work: two that join the same parts write the same object.
            if raw.execute(lock, [UPLOAD_LOCKS, folder]).fetchone() != (True,):
                return
            names = [f"{folder}/{start}" for start, _length in _places(size)]
            # Through a replica, or by the join of another one, it may have come meanwhile.
            if self._has(project, [(sha256, size)]):
                self._remove(names)
                return
            try:
                self._objects.put_pieces(blob_name(sha256), self._checked(folder, sha256, size), size)
                self._take(project, sha256, size)
                taken()
            except DamagedData:  # gc, or another program of the project, has changed a part: it is asked for again
                return
            except NaiadValueError:  # other content, which no further try makes right
                self._remove(names)
                raise
            self._remove(names)

    def _checked(self, folder: str, sha256: str, size: int) -> Iterator[bytes]:
        """Yield the content piece by piece, and raise instead of the end if its hash is another one."""
        found: list[bytes] = []
        content = Content(lambda data, _start: found.append(data))
        for start, length in _places(size):
            for place in range(0, length, PIECE):
                if self._is_over.is_set():
                    raise StorageError("The server ends. Another one goes on with the upload.")
                content.write(self._objects.get(f"{folder}/{start}", place, min(PIECE, length - place)))
                if content.size == size:
                    content.require(sha256)
                yield found.pop()

    def _remove(self, names: list[str]) -> None:
        with contextlib.suppress(StorageError):  # gc removes them
            self._objects.delete(names)

    def close(self) -> None:
        """End the join that runs, soon; its parts stay."""
        self._is_over.set()
        self._joining.shutdown(cancel_futures=True)


def _is_running(join: tuple[str, Future[None]]) -> bool:
    return not join[1].done()


def _places(size: int) -> list[tuple[int, int]]:
    """Return start and length of the parts of content."""
    return [(start, min(PART, size - start)) for start in range(0, size, PART)]
