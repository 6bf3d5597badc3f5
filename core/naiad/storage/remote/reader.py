"""Reading a run of a server: each call of the interface is one request; content of files comes in pieces.

A stored file is named to the server with the field that refers to it, because a hash alone gives no right to content.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from naiad.container_kinds import RUN, RunId
from naiad.disk import Report, nothing, replacing, write_all
from naiad.errors import DamagedData
from naiad.kinds import FILES, KINDS, MEMBERS, TEXTS
from naiad.ops import Plain
from naiad.refs import FileRef
from naiad.ship import presigned, shipper
from naiad.ship.client import ANSWER_SECONDS, Client
from naiad.storage.base import RunReader
from naiad.storage.remote.asking import ask
from naiad.storage.results import Chart, Damage, Joining, Last, PointPage, Points, Shadowed, TextPage, Texts
from naiad.storage.wire import CONTENT, LEAST_LINKED

FLUSH_SECONDS = 5.0
"""How long a read waits for what this process itself has written to reach the server."""

WRITE_SECONDS = 10.0
"""The longest wait of a write for an answer."""


class RemoteReader(RunReader):
    """One run, read from a server. The writes of this process are shipped before a call."""

    run = RunId("", RUN)  # each reader has its own; the protocol wants one

    def __init__(self, client: Client, run: RunId) -> None:
        self._client = client
        self.run = run
        self._fields: dict[str, str] = {}  # by the name of content, a field that refers to it

    @property
    def damages(self) -> Sequence[Damage]:
        """The damage that the server has found so far."""
        found: Sequence[Damage] = self._ask("damages")
        return found

    def refresh(self) -> None:
        """Bring the writes of this process to the server, which shows everything that it has in each answer."""
        problem = shipper.of_process.flush(self.run.uid, FLUSH_SECONDS, self._client.url)
        if problem is not None:
            raise problem

    def kinds(self) -> dict[str, str]:
        """Return the kind of every field that is shown, by path."""
        return dict(self._ask("kinds"))

    def shadowed(self) -> list[Shadowed]:
        """Return the fields that are stored and not shown."""
        return list(self._ask("shadowed"))

    def atom(self, path: str) -> tuple[str, Plain]:
        """Return kind and stored value of an atom."""
        kind, value = self._ask("atom", path=path)
        self._note(path, kind, [value])
        return kind, value

    def atoms(self, prefix: str = "") -> dict[str, tuple[str, Plain]]:
        """Return kind and stored value of all atoms below a namespace."""
        found: dict[str, tuple[str, Plain]] = self._ask("atoms", prefix=prefix)
        for path, (kind, value) in found.items():
            self._note(path, kind, [value])
        return found

    def tags(self, path: str) -> set[str]:
        """Return the strings of a string set."""
        return set(self._ask("tags", path=path))

    def members(self, path: str) -> dict[str, str]:
        """Return the files of a file set as stored, by their names."""
        found: dict[str, str] = self._ask("members", WRITE_SECONDS, path=path)
        self._note(path, MEMBERS, found.values())
        return found

    def config(self, path: str) -> tuple[float | None, float | None, str | None]:
        """Return chart minimum, maximum and unit of a float series."""
        found: tuple[float | None, float | None, str | None] = self._ask("config", path=path)
        return found

    def state(self) -> str:
        """Return running, finished, failed, terminated, killed or unknown."""
        return str(self._ask("state"))

    def joining(self) -> Joining:
        """Return the place of a writer that comes now."""
        found: Joining = self._ask("joining")
        return found

    def is_incomplete(self) -> int:
        """Return how many points and ops could not be stored."""
        return int(self._ask("is_incomplete"))

    def points(self, path: str, *, include_rewound: bool = False) -> Points:
        """Return all points of a float series."""
        found: Points = self._ask("points", path=path, include_rewound=include_rewound)
        return found

    def point_page(self, path: str, start: int, limit: int) -> PointPage:
        """Return some points of a float series by their numbers."""
        # Asked of the server: cut here, each page of an export would bring the whole series over the network.
        found: PointPage = self._ask("point_page", path=path, start=start, limit=limit)
        return found

    def point_place(self, path: str, step: float, *, is_after: bool = False) -> int:
        """Return the number of the first point at or after a step, or only after it."""
        return int(self._ask("point_place", path=path, step=step, is_after=is_after))

    def texts(self, path: str, *kinds: str, include_rewound: bool = False) -> Texts:
        """Return all points of a string series; of a file series each text is a file as stored."""
        found: Texts = self._ask("texts", path=path, kinds=list(kinds), include_rewound=include_rewound)
        self._note_all(path, kinds, found.texts)
        return found

    def text_page(self, path: str, start: int, limit: int, *kinds: str) -> TextPage:
        """Return some entries of a string series by their numbers."""
        found: TextPage = self._ask("text_page", path=path, start=start, limit=limit, kinds=list(kinds))
        self._note_all(path, kinds, found.texts)
        return found

    def text_place(self, path: str, *, step: float | None = None, time: float | None = None) -> int:
        """Return the number of the first entry at or after a step, or else a time."""
        return int(self._ask("text_place", path=path, step=step, time=time))

    def counts(self) -> dict[str, int]:
        """Return how many points each series has, by path."""
        return dict(self._ask("counts"))

    def aspects(self, path: str) -> Sequence[float | None]:
        """Return last, min, max, average and variance of a float series."""
        found: Sequence[float | None] = self._ask("aspects", path=path)
        return found

    def chart(
        self,
        path: str,
        buckets: int = 1000,
        *,
        start: float | None = None,  # noqa: ARG002 (an older server takes none)
        stop: float | None = None,  # noqa: ARG002 (likewise)
    ) -> Chart:
        """Return a float series in at most about `buckets` stretches."""
        found: Chart = self._ask("chart", path=path, buckets=buckets)
        return found

    def last(self, path: str, *kinds: str) -> Last | None:
        """Return the last point of a series, None of an empty one."""
        found: Last | None = self._ask("last", WRITE_SECONDS, path=path, kinds=list(kinds))
        if found is not None:
            self._note_all(path, kinds, [found.value])
        return found

    def count(self, path: str) -> int:
        """Return how many points a series has."""
        return int(self._ask("count", path=path))

    def digest(self, file: FileRef) -> str:
        """Return the SHA-256 of the content of a stored file; empty while it was not hashed yet."""
        return str(self._ask("digest", file=file)) if "." in file.blob else file.digest()

    # Content

    def read_file(self, file: FileRef) -> bytes:
        """Return the content of a stored file, checked.

        Raises:
            DamagedData: it is missing, or its bytes differ from those stored.
        """
        with self.open_file(file, is_checked=True) as stream:
            return stream.read()

    def open_file(self, file: FileRef, *, is_checked: bool = False) -> BinaryIO:
        """Open the content of a stored file; `is_checked`: reading it to its end raises if it is damaged."""
        if file.content is not None:
            return io.BytesIO(file.content)
        wanted = self.digest(file) if is_checked else ""
        link = str(self._content(file, 0, "link")) if file.size >= LEAST_LINKED else ""

        def piece(start: int) -> bytes:
            nonlocal link
            found = presigned.read(self._client.url, link, start, LEAST_LINKED) if link else b""
            if not found:
                link = ""  # over, or out of reach from here: the server gives the rest
            return found or bytes(self._content(file, start))

        return io.BufferedReader(_Content(piece, file.size, wanted), CONTENT)

    def copy_file(self, file: FileRef, destination: Path, report: Report = nothing) -> None:
        """Make a file of the user's with this content, checked. It appears whole or not at all."""
        with self.open_file(file, is_checked=True) as stream, replacing(destination) as fd:
            while data := stream.read(CONTENT):
                write_all(fd, data)
                report(len(data))

    def _content(self, file: FileRef, start: int, call: str = "read") -> Any:
        """Return a piece of a file, or the result of another call for its content."""
        # Usually known: the reference was read from a field a moment ago.
        path = self._fields.get(file.blob) or self._field_of(file.blob)
        return ask(self._client, "content", call, {"path": path, "file": file, "start": start}, self.run)

    def _field_of(self, blob: str) -> str:
        """Look for a field that refers to content.

        Raises:
            DamagedData: none does.
        """
        for path, kind in self.kinds().items():
            if KINDS[kind].keeps or kind in FILES:
                # Reading a field notes its content, which is all that this is for.
                if kind in TEXTS:
                    self.texts(path, kind)
                elif kind == MEMBERS:
                    self.members(path)
                else:
                    self.atom(path)
                if blob in self._fields:
                    return self._fields[blob]
        what = "no field of the run refers to it"
        raise DamagedData(f"The stored file {blob} cannot be read: {what}.", file=blob, offset=0, what=what)

    def _note_all(self, path: str, kinds: Sequence[str], texts: Sequence[Any]) -> None:
        for kind in kinds:
            self._note(path, kind, texts)

    def _note(self, path: str, kind: str, texts: Any) -> None:
        """Remember the field at a path as one that refers to the content in these texts."""
        # Texts of users are not looked at: one that resembles a reference would give no right to content.
        if kind not in FILES and not KINDS[kind].keeps:
            return
        for text in texts:
            for blob in _names(text):
                self._fields[blob] = path

    def _ask(self, call: str, seconds: float = ANSWER_SECONDS, **arguments: Any) -> Any:
        self.refresh()
        return ask(self._client, "reader", call, arguments, self.run, seconds=seconds)


class _Content(io.RawIOBase):
    """The content of a stored file as a stream: each piece is a request."""

    def __init__(self, ask: Callable[[int], bytes], size: int, wanted: str) -> None:
        self._ask = ask
        self._size = size
        self._wanted = wanted
        self._sha = hashlib.sha256()
        self._at = 0
        self._piece: tuple[int, bytes] = (0, b"")
        self._is_in_order = True

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def seekable(self) -> bool:
        """Whether any place of it can be read."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; content that is not read from its beginning to its end is not checked."""
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        self._is_in_order &= self._at == 0 and not self._piece[1]
        return self._at

    def tell(self) -> int:
        """Return the place."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes.

        Raises:
            DamagedData: they are not those that were stored.
        """
        view = memoryview(buffer).cast("B")
        start, piece = self._piece
        # One piece is remembered: BufferedReader asks for less than a request brings.
        if not start <= self._at < start + len(piece) and self._at < self._size:
            start, piece = self._piece = self._at, self._ask(self._at)
        data = piece[self._at - start : self._at - start + len(view)]
        view[: len(data)] = data
        self._at += len(data)
        self._sha.update(data)
        # At the end of the file, and only if it was read in order: the hash is that of the whole.
        if not data and self._wanted and self._is_in_order and self._sha.hexdigest() != self._wanted:
            what = "it is not the content that was stored"
            raise DamagedData(f"The stored file {self._wanted} is damaged: {what}.", file="", offset=0, what=what)
        return len(data)


def _names(text: object) -> list[str]:
    """Return the names of content in a stored text: a file's own, and that of the list of an artifact's files."""
    import json

    waiting, found = [text], []
    while waiting:
        one = waiting.pop()
        if isinstance(one, str | bytes):
            try:
                one = json.loads(one)
            except (ValueError, RecursionError):
                continue
            if isinstance(one, Mapping):
                if isinstance(one.get("blob"), str):
                    found.append(one["blob"])
                waiting.append(one.get("manifest"))
    return found
