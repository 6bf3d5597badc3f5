"""Objects: content that never changes, in an S3-compatible store or a folder, under names with its hash."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import threading
import urllib.parse
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import obstore
from obstore.store import LocalStore, S3Store

from naiad import clock
from naiad.disk import sync_folder
from naiad.errors import DamagedData, NaiadError, StorageError
from naiad.settings import number, setting
from naiad.storage.postgres import temporary

MOST_COPIED = 10 * 1024**3
"""Bytes of the copies that a process keeps of objects, unless NAIAD_SERVER_CACHE_BYTES is set."""
LINK_SECONDS = 300.0
"""How long a presigned address can be used."""
PIECE = 8 * 1024 * 1024
MOST_PIECES = 9_000
"""Requests in which an object is stored; S3 permits 10,000, of 5 GiB each, and 5 TiB in all."""
AT_ONCE = 64 * 1024 * 1024
"""Bytes of a file that are sent at once, or two pieces of a very large one: they are in memory."""
GAP = 16 * 1024
"""Bytes between two parts of an object that are read with them: another request takes longer."""
RETRIES: Any = {"max_retries": 2, "retry_timeout": datetime.timedelta(seconds=5)}
"""A request waits for these tries; the client's own ones follow."""
READ_SECONDS = 10.0
"""The longest wait for the next bytes of an answer: a store may take connections and never answer."""
BRIEF_SECONDS = 3.0
"""The longest try of `put_briefly`, whose caller has another place for the content."""
SLOW_SECONDS = 2.0
"""A request that fails after so long was not answered; a store that is not there refuses at once."""
MOST_UNANSWERED = 2
REST_SECONDS = 10.0
_log = logging.getLogger("naiad_server")


class Breaker:
    """A circuit breaker: no request is sent for a while after several in a row without an answer.

    Each such request holds a thread until its limit of time: without this, readers of a store that has stopped to
    answer would hold all threads of a replica, and folds that need it all the time of a worker.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._unanswered = 0
        self._until = 0.0
        self._logged = -REST_SECONDS
        self.failures = 0
        """Requests that have failed, those that were not sent among them."""

    def unusable(self, error: Exception) -> StorageError:
        """Return the error for programs; the text of the S3 client goes to the log, once in a while."""
        if clock.monotonic() >= self._logged + REST_SECONDS:
            self._logged = clock.monotonic()
            _log.warning("The objects in %s cannot be used now: %s", self._url, " ".join(str(error).split())[:1000])
        return StorageError(f"The objects in {self._url} cannot be used now. The log of the server has the reason.")

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Send one request in the block.

        Raises:
            StorageError: the last ones had no answer a moment ago.
        """
        began = clock.monotonic()
        if began < self._until:
            self.failures += 1
            raise StorageError(f"The objects in {self._url} cannot be used now: the last requests had no answer.")
        try:
            yield
        except StorageError:
            self.failures += 1
            if clock.monotonic() >= began + SLOW_SECONDS:
                self._unanswered += 1
                if self._unanswered >= MOST_UNANSWERED:
                    self._until = clock.monotonic() + REST_SECONDS
            raise
        self._unanswered = 0


class Objects:
    """A place for objects: `s3://bucket/prefix`, or `file:///folder` for one host."""

    def __init__(self, url: str) -> None:
        """Open it, without a request.

        S3 is configured by the environment, as AWS documents it: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION,
        AWS_ENDPOINT_URL.

        Raises:
            StorageError: it is no address of a place for objects.
        """
        parts = urllib.parse.urlsplit(url)
        self.url = url
        self._prefix = ""
        self._folder: Path | None = None
        self._copies: OrderedDict[Path, int] = OrderedDict()
        self._copied = 0
        self._most_copied = number("SERVER_CACHE_BYTES", MOST_COPIED)
        self._lock = threading.Lock()
        self._breaker = Breaker(url)
        # Off unless an operator says that programs reach the store of objects, which often has no address for them.
        presigned = (setting("SERVER_PRESIGNED") or "0") if parts.scheme == "s3" else "0"
        self.is_linking = presigned == "1" or presigned.startswith(("https://", "http://"))
        """Whether programs may use the store of objects themselves, by presigned addresses."""
        if parts.scheme == "s3" and parts.netloc:
            endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
            client = {"allow_http": endpoint.startswith("http://"), "connect_timeout": "3s", "timeout": "60s"}
            client["read_timeout"] = f"{READ_SECONDS:g}s"
            options: dict[str, Any] = {"client_options": client, "retry_config": RETRIES}
            # obstore reads the other settings by itself; plain HTTP, as of a store in the same rack, it has to be
            # allowed.
            if endpoint:
                options["endpoint"] = endpoint
            self._store: Any = S3Store(parts.netloc, **options)
            # A signature is valid for one host: that by which programs reach the store, if it has another name for
            # them.
            public = {**options, "endpoint": presigned} if presigned not in ("0", "1") else options
            self._public_store: Any = S3Store(parts.netloc, **public)
            # Of a request that was sent twice, one answer says nothing about the other.
            options["retry_config"] = {**RETRIES, "max_retries": 0}
            self._single_store: Any = S3Store(parts.netloc, **options)
            brief = {**client, "timeout": f"{BRIEF_SECONDS:g}s"}
            self._brief_store: Any = S3Store(parts.netloc, **{**options, "client_options": brief})
            self._prefix = parts.path.strip("/")
        elif url.startswith("file:///"):
            self._folder = Path(parts.path)
            self._store = self._brief_store = self._single_store = self._public_store = LocalStore(
                self._folder, mkdir=True
            )
        else:
            raise StorageError(f"--objects has to be s3://bucket/prefix or file:///folder, not {url!r}.")

    @property
    def failures(self) -> int:
        """The requests that have failed since it was opened."""
        return self._breaker.failures

    def _place(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def put(self, name: str, content: bytes | Path) -> None:
        """Store content under a name; a name that has content already keeps it or gets the same again.

        Raises:
            StorageError: the store of objects takes nothing.
        """
        self._put(self._store, name, content)

    def put_briefly(self, name: str, content: bytes) -> None:
        """The same with a single try of a few seconds, for content that can be kept elsewhere.

        Raises:
            StorageError: the store of objects has not taken it in that time.
        """
        self._put(self._brief_store, name, content)

    def _put(self, store: Any, name: str, content: bytes | Path) -> None:
        with self._breaker.request():
            try:
                # A file that is larger than one piece goes in several requests.
                piece = _piece_of(len(content) if isinstance(content, bytes) else content.stat().st_size)
                obstore.put(
                    store,
                    self._place(name),
                    content,
                    chunk_size=piece,
                    max_concurrency=max(2, AT_ONCE // piece),
                )
                if self._folder is not None:
                    _sync(self._folder, name)
            except (obstore.exceptions.BaseError, OSError) as error:
                raise self._breaker.unusable(error) from error

    def put_pieces(self, name: str, pieces: Iterator[bytes], size: int) -> None:
        """Store content that comes in pieces; nothing if they end in an error, which is raised.

        Raises:
            StorageError: the store of objects takes nothing.
            NaiadError: that of the pieces.
        """
        raised: list[NaiadError] = []
        # Read in another thread, since obstore permits no request of its own inside of another one; and one ahead.
        with ThreadPoolExecutor(1, "naiad-read") as reading:

            def arriving() -> Iterator[bytes]:
                try:
                    while (piece := ahead.pop().result()) is not None:
                        ahead.append(reading.submit(next, pieces, None))
                        yield piece
                except NaiadError as error:
                    raised.append(error)
                    raise

            ahead = [reading.submit(next, pieces, None)]
            try:
                # In several requests, the last of which makes the object appear. After an error none of them stays.
                obstore.put(
                    self._store,
                    self._place(name),
                    arriving(),
                    use_multipart=True,
                    chunk_size=_piece_of(size),
                    max_concurrency=2,
                )
            except (NaiadError, obstore.exceptions.BaseError, OSError) as error:
                if raised:
                    raise raised[0] from None
                raise self._breaker.unusable(error) from error

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return content, or a part of it.

        Raises:
            DamagedData: it is missing.
            StorageError: the store of objects does not answer.
        """
        with self._breaker.request():
            return self._get(name, start, length)

    def _get(self, name: str, start: int, length: int | None) -> bytes:
        try:
            if length is None:
                return bytes(obstore.get(self._store, self._place(name)).bytes())
            found = bytes(obstore.get_range(self._store, self._place(name), start=start, length=length))
        except (obstore.exceptions.NotFoundError, FileNotFoundError) as error:
            raise DamagedData(
                f"The object {name} is missing in {self.url}.", file=name, offset=0, what="missing"
            ) from error
        except (obstore.exceptions.BaseError, OSError) as error:
            # Every store has an error of its own for a part behind the end; such an object never becomes readable. Of
            # one that does not answer, the size is not asked: that would take as long again.
            if length is not None and "range" in str(error).lower() and self._size(name) < start + length:
                raise self._short(name, start + length) from error
            raise self._breaker.unusable(error) from error
        if len(found) < length:
            raise self._short(name, start + length)
        return found

    def _short(self, name: str, size: int) -> DamagedData:
        what = f"it has less than {size} bytes"
        return DamagedData(f"The object {name} in {self.url} is damaged: {what}.", file=name, offset=0, what=what)

    def fetch(self, name: str, path: Path) -> None:
        """Copy content into a file, which appears whole or not at all, unless it is there.

        The copies that were used least recently go when all of them take too much room. A file that is open stays
        readable, so that is the caller's next step.

        Raises:
            DamagedData, StorageError: as by `get`.
        """
        self._touch(path)
        # Content never changes under its hash, so that one copy serves for as long as there is room.
        if not path.exists():
            self._note(path, self._copy(name, path))

    def read(self, name: str, places: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return parts of content, each given by its place and length, from a copy if they were read before.

        Raises:
            DamagedData, StorageError: as by `get`.
        """
        stretches = _joined(places)
        content = {start: self._stretch(name, start, stop) for start, stop in stretches}
        starts = sorted(content)
        found = []
        for place, length in places:
            start = starts[bisect_right(starts, place) - 1]
            found.append(content[start][place - start : place - start + length])
        return found

    def _stretch(self, name: str, start: int, stop: int) -> bytes:
        path = temporary.folder() / "stretches" / f"{name.replace('/', '-')}.{start}-{stop}"
        self._touch(path)
        # Read before it can be removed: another thread may make room at any moment.
        with contextlib.suppress(FileNotFoundError):
            return path.read_bytes()
        data = self.get(name, start, stop - start)
        # A copy only saves the next request: the bytes are returned although the disk is full.
        with contextlib.suppress(OSError):
            with _hidden(path) as hidden:
                hidden.write_bytes(data)
            self._note(path, len(data))
        return data

    def _touch(self, path: Path) -> None:
        with self._lock:
            if path in self._copies:
                self._copies.move_to_end(path)

    def _note(self, path: Path, size: int) -> None:
        """Note a new copy, and make room for it."""
        with self._lock:
            self._copied += size - self._copies.pop(path, 0)
            self._copies[path] = size
            self._make_room()

    def _make_room(self) -> None:
        # The new one stays even if it is larger than all the room: it is about to be read.
        while self._copied > self._most_copied and len(self._copies) > 1:
            oldest, its_size = self._copies.popitem(last=False)
            oldest.unlink(missing_ok=True)
            self._copied -= its_size

    def _copy(self, name: str, path: Path) -> int:
        """Copy an object into a new file, and return its bytes."""
        with _hidden(path) as hidden, hidden.open("wb") as stream:
            size = self.size(name)
            # In pieces, so that a checkpoint of gigabytes takes no more memory than one of them.
            for start in range(0, size, PIECE):
                stream.write(self.get(name, start, min(PIECE, size - start)))
        return size

    def link(self, name: str, seconds: float = LINK_SECONDS, method: str = "GET") -> str:
        """Return a presigned address, valid for some seconds and without credentials; empty if there is none.

        It permits to read the object, or with the method `PUT` to store one of that name.

        Raises:
            StorageError: the credentials cannot sign.
        """
        if not self.is_linking:
            return ""
        try:
            until: Any = datetime.timedelta(seconds=seconds)
            return str(obstore.sign(self._public_store, method, self._place(name), until))  # type: ignore[call-overload]  # one of its methods
        except (obstore.exceptions.BaseError, OSError) as error:
            raise self._breaker.unusable(error) from error

    def size(self, name: str) -> int:
        """Return the bytes of an object.

        Raises:
            DamagedData, StorageError: as by `get`.
        """
        with self._breaker.request():
            return self._size(name)

    def has(self, name: str) -> bool:
        """Whether there is an object of a name.

        Raises:
            StorageError: the store of objects does not answer.
        """
        try:
            return self.size(name) >= 0
        except DamagedData:
            return False

    def _size(self, name: str) -> int:
        try:
            return int(obstore.head(self._store, self._place(name))["size"])
        except (obstore.exceptions.NotFoundError, FileNotFoundError) as error:
            raise DamagedData(
                f"The object {name} is missing in {self.url}.", file=name, offset=0, what="missing"
            ) from error
        except (obstore.exceptions.BaseError, OSError) as error:
            raise self._breaker.unusable(error) from error

    def delete(self, names: list[str]) -> None:
        """Remove objects, with a single try; those that are not there are passed over.

        Raises:
            StorageError: the store of objects does not answer; it may remove them later.
        """
        try:
            obstore.delete(self._single_store, [self._place(name) for name in names])
        except (obstore.exceptions.NotFoundError, FileNotFoundError):
            return
        except (obstore.exceptions.BaseError, OSError) as error:
            raise self._breaker.unusable(error) from error

    def all(self, folder: str, *, is_brief: bool = False) -> Iterator[tuple[str, int, datetime.datetime]]:
        """Yield name, bytes and time of the objects below a folder.

        Args:
            folder: its name.
            is_brief: whether each request is a single try of a few seconds, for a caller that is waited for.

        Raises:
            StorageError: the store of objects does not answer.
        """
        # Names come without the prefix, as all other methods take them.
        cut = len(self._prefix) + 1 if self._prefix else 0
        pages: Any = obstore.list(self._brief_store if is_brief else self._store, self._place(folder))
        while (page := self._page(pages)) is not None:
            for each in page:
                yield str(each["path"])[cut:], int(each["size"]), each["last_modified"]

    def _page(self, pages: Iterator[Any]) -> Any:
        """Return the next page of a list; None at its end."""
        with self._breaker.request():
            try:
                return next(pages, None)
            except (obstore.exceptions.BaseError, OSError) as error:
                raise self._breaker.unusable(error) from error


def _piece_of(size: int) -> int:
    """Return the bytes of each request that stores an object of so many."""
    return max(PIECE, -(-size // MOST_PIECES))


def _sync(folder: Path, name: str) -> None:
    """Let an object in a folder reach the disk, before a row that refers to it does.

    Raises:
        OSError: the disk reports an error.
    """
    path = folder / name
    for each in (path, *path.parents):
        sync_folder(each)
        if each == folder:
            return


def _joined(places: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the stretches, start and stop, that contain all places; those that nearly touch are one."""
    found: list[tuple[int, int]] = []
    for place, length in sorted(places):
        if found and place <= found[-1][1] + GAP:
            found[-1] = (found[-1][0], max(found[-1][1], place + length))
        else:
            found.append((place, place + length))
    return found


@contextlib.contextmanager
def _hidden(path: Path) -> Iterator[Path]:
    """Give the path of a new file, which gets its name at the end, or is removed."""
    hidden = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield hidden
        hidden.replace(path)
    finally:
        hidden.unlink(missing_ok=True)


def blob_name(sha256: str) -> str:
    """Return the name of the object with the content of a file."""
    return f"blobs/{sha256[:2]}/{sha256}"
