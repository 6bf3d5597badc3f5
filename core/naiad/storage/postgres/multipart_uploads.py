"""Multipart uploads: large content that programs send to the objects themselves, in parts, and that is joined here.

    program                            replica                                        objects
    POST blobs/<sha256>/upload --- which parts are there?
        addresses of the others <--'   each permits to put one part, for a while
    PUT of each part ---------------------------------------------------------------> uploads/<project>/<sha256>/<start>
    POST blobs/<sha256>/upload --- all are there: a thread claims them, ------------> uploads/<project>/<sha256>/claim
                                   hashes them as it reads them, and writes the
        wait a little <------------'   same bytes on -------------------------------> blobs/ab/<sha256>
    POST blobs/<sha256>/upload --- has the project this content?
        yes <----------------------'

The parts may be anything and may be replaced at any time. Only bytes that were hashed are written on, and the object
with the name of the content appears when all of them have that hash, or not at all. An interrupted upload goes on with
the parts that are there; gc removes the parts of one that does not.

A claim keeps other replicas from the same work, and no transaction is open meanwhile: its time moves on as long as the
thread lives. Where it stands still, another replica takes over. Two that join the same parts write the same object.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from naiad import clock
from naiad.errors import DamagedData, NaiadValueError, StorageError
from naiad.storage.postgres.objects import PIECE, Objects, blob_name
from naiad.storage.postgres.sent_content import SentContent
from naiad.storage.receiving import Content, ContentPart, Upload

LEAST = 8 * 1024 * 1024
"""Bytes of content below which it goes through a replica."""
PART = 64 * 1024 * 1024
MOST_PARTS = 16
"""Parts in one answer: a program has to begin each before its address ends."""
FOLDER = "uploads"
THREADS = 3
"""Uploads that a replica joins at once, so that one of many gigabytes holds up no others. Each takes some 40 MB, and
up to a core for its hash, which requests need too."""
CLAIM_SECONDS = 30.0
"""For how long the claim of another replica counts after its time was last seen to move."""
RENEWAL_SECONDS = 5.0
FORGET_SECONDS = 3600.0
CLAIMED_SECONDS = 2.0
"""How long the claims of a project are remembered once they were listed."""
MOST_REMEMBERED = 1_000
"""Projects whose claims are remembered."""

Key = tuple[str, str]
"""A project and the SHA-256 of content: of two projects that send the same, neither can replace parts of the other."""


class MultipartUploads:
    """The uploads to the objects of a database, and the threads that join them."""

    least = LEAST

    def __init__(self, objects: Objects, sent: SentContent) -> None:
        self._objects = objects
        self._sent = sent
        self._joins: dict[Key, Future[None]] = {}
        self._sizes: dict[Key, int] = {}
        """The bytes of the joins that are not over."""
        self._joined: list[tuple[str, int]] = []
        """Project and bytes of the content that was joined, until it is counted."""
        self._claims: dict[str, tuple[datetime.datetime, float]] = {}
        """The times of the claims of other replicas, and when each was first seen."""
        self._claimed: dict[str, tuple[float, Mapping[str, int]]] = {}
        """The content that other replicas join for each project, and when it was listed."""
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._pool = ThreadPoolExecutor(THREADS, "naiad-join")

    def next(self, project: str, sha256: str, size: int) -> Upload:
        """Return the next parts of content to be sent, or whether all of them are there.

        Raises:
            NaiadValueError, StorageError: as in the protocol.
        """
        if self._sent.of(project, [(sha256, size)]):
            return Upload(is_there=True)
        with self._lock:
            join = self._joins.get((project, sha256))
            if join is not None and join.done():
                del self._joins[project, sha256]
        if join is not None:
            if join.done():
                join.result()
            return Upload()
        folder = f"{_folder(project)}/{sha256}"
        there = {name: (length, made) for name, length, made in self._objects.all(folder)}
        lengths = {name: length for name, (length, _made) in there.items()}
        missing = [each for each in _places(size) if lengths.get(f"{folder}/{each[0]}") != each[1]]
        if missing:
            link = self._objects.link
            return Upload(
                [ContentPart(*each, link(f"{folder}/{each[0]}", method="PUT")) for each in missing[:MOST_PARTS]]
            )
        claim = there.get(f"{folder}/claim")
        return Upload(is_complete=claim is None or not self._is_claimed(folder, claim[1]))

    def join(self, project: str, sha256: str, size: int) -> None:
        """Begin to join content whose parts are all there, unless that has begun."""
        with self._lock:
            # Those of programs that did not come back for the result go.
            self._joins = dict(filter(_is_running, self._joins.items()))
            key = project, sha256
            if key not in self._joins and not self._is_over.is_set():
                self._sizes[key] = size
                self._joins[key] = self._pool.submit(self._join, project, sha256, size)

    def joining(self, project: str, sha256: str, claimed: Mapping[str, int]) -> int:
        """Return the bytes of other content of a project that is being joined, or was and is not counted yet."""
        with self._lock:
            sizes, joined = dict(self._sizes), [*self._joined]
        running = {**claimed, **{name: size for (of, name), size in sizes.items() if of == project}}
        running.pop(sha256, None)
        return sum(running.values()) + sum(size for name, size in joined if name == project)

    def claimed(self, project: str) -> Mapping[str, int]:
        """Return the bytes of the content that other replicas join for a project, by SHA-256.

        They are listed every few seconds, also if each request of many programs asks for them. Content that the project
        has got since is left out: the replica that joined it counts it.

        Raises:
            StorageError: the objects or the database cannot be used now.
        """
        now = clock.monotonic()
        with self._lock:
            known = self._claimed.get(project)
        if known is None or now >= known[0] + CLAIMED_SECONDS:
            known = now, self._listed_of_others(project)
            with self._lock:
                if len(self._claimed) >= MOST_REMEMBERED:
                    self._claimed.clear()
                self._claimed[project] = known
        # After the list: a join may have ended since, and a replica that was killed at the end of one leaves its claim.
        sent = self._sent.among(project, known[1])
        return {sha256: size for sha256, size in known[1].items() if sha256 not in sent}

    def _listed_of_others(self, project: str) -> dict[str, int]:
        own = self._running(project)
        found = self._listed(project)
        own |= self._running(project)
        return {sha256: size for sha256, size in found.items() if sha256 not in own}

    def _running(self, project: str) -> set[str]:
        """Return the SHA-256 of the content that this replica joins for a project."""
        with self._lock:
            running = [*self._sizes]
        return {sha256 for of, sha256 in running if of == project}

    def _listed(self, project: str) -> dict[str, int]:
        """Return the bytes of the parts of each content of a project that has a claim which counts, by SHA-256."""
        lengths: dict[str, int] = {}
        claims: dict[str, datetime.datetime] = {}
        for name, length, made in self._objects.all(_folder(project), is_brief=True):
            folder, _, part = name.rpartition("/")
            if part == "claim":
                claims[folder] = made
            else:
                lengths[folder] = lengths.get(folder, 0) + length
        return {
            folder.rpartition("/")[2]: lengths.get(folder, 0)
            for folder, made in claims.items()
            if self._is_claimed(folder, made)
        }

    def joined(self) -> list[tuple[str, int]]:
        """Return project and bytes of each content that was joined since the last call."""
        with self._lock:
            joined, self._joined = self._joined, []
        return joined

    def _join(self, project: str, sha256: str, size: int) -> None:
        is_taken = False
        try:
            is_taken = self._take(project, sha256, size)
        finally:
            with self._lock:
                del self._sizes[project, sha256]
                self._joined += [(project, size)] * is_taken

    def _take(self, project: str, sha256: str, size: int) -> bool:
        """Make the content of its parts; return whether the project got it by that."""
        folder = f"{_folder(project)}/{sha256}"
        claim = f"{folder}/claim"
        names = [claim, *(f"{folder}/{start}" for start, _length in _places(size))]
        # While this waited for a thread, another replica may have begun with it.
        made = next((made for name, _length, made in self._objects.all(folder) if name == claim), None)
        if made is not None and self._is_claimed(folder, made):
            return False
        self._renew(claim)
        is_new = False
        try:
            # Through a replica, or by the join of another one, it may have come meanwhile.
            if not self._sent.of(project, [(sha256, size)]):
                self._objects.put_pieces(blob_name(sha256), self._checked(folder, sha256, size), size)
                is_new = self._sent.add(project, sha256, size)
        except NaiadValueError:  # other content, which no further try makes right
            self._remove(names)
            raise
        except DamagedData:  # gc, or another program of the project, has changed a part: it is asked for again
            self._remove([claim])
            return False
        except StorageError:
            self._remove([claim])
            raise
        self._remove(names)
        return is_new

    def _checked(self, folder: str, sha256: str, size: int) -> Iterator[bytes]:
        """Yield the content piece by piece, and raise instead of the end if its hash is another one."""
        found: list[bytes] = []
        content = Content(lambda data, _start: found.append(data))
        renewed_at = clock.monotonic()
        for start, length in _places(size):
            for place in range(0, length, PIECE):
                if self._is_over.is_set():
                    raise StorageError("The server ends. Another one goes on with the upload.")
                if clock.monotonic() >= renewed_at + RENEWAL_SECONDS:
                    renewed_at = clock.monotonic()
                    self._renew(f"{folder}/claim")
                content.write(self._objects.get(f"{folder}/{start}", place, min(PIECE, length - place)))
                if content.size == size:
                    content.require(sha256)
                yield found.pop()

    def _is_claimed(self, folder: str, made: datetime.datetime) -> bool:
        """Whether another replica joins the parts in a folder, by the time of its claim."""
        # Compared with the time seen before, and not with a clock: that of the objects is another one.
        now = clock.monotonic()
        with self._lock:
            known = self._claims.get(folder)
            if known is not None and known[0] == made:
                return now < known[1] + CLAIM_SECONDS
            self._claims = self._claims_seen_after(now - FORGET_SECONDS)
            self._claims[folder] = made, now
        return True

    def _claims_seen_after(self, time: float) -> dict[str, tuple[datetime.datetime, float]]:
        # No condition at a jump below the lock: see tests/core/storage/test_locks.py
        return {name: each for name, each in self._claims.items() if time < each[1]}

    def _renew(self, claim: str) -> None:
        with contextlib.suppress(StorageError):  # only to save work
            self._objects.put(claim, b"")

    def _remove(self, names: list[str]) -> None:
        with contextlib.suppress(StorageError):  # gc removes them
            self._objects.delete(names)

    def close(self) -> None:
        """Stop the joins that are running, soon; the parts that were sent stay."""
        self._is_over.set()
        self._pool.shutdown(cancel_futures=True)


def _folder(project: str) -> str:
    return f"{FOLDER}/{hashlib.sha256(project.encode()).hexdigest()[:32]}"


def _is_running(join: tuple[Key, Future[None]]) -> bool:
    return not join[1].done()


def _places(size: int) -> list[tuple[int, int]]:
    """Return start and length of the parts of content."""
    return [(start, min(PART, size - start)) for start in range(0, size, PART)]
