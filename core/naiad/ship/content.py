"""Content of the files of one run, which the server has to have before the ops that name it."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from naiad import clock
from naiad.ship import presigned
from naiad.ship.client import Client
from naiad.ship.uploads import SMALL, Uploads

MOST_BLOBS = 5000
"""Hashes in one request."""
KNOWN_SECONDS = 300.0
"""How long content that the server has is not asked for again. A server frees content that nothing has referred to for
ten minutes, such as that of a file before the next one in its place; then ops that name it once more need it again."""


class Blobs(Protocol):
    """The content of a store."""

    def path(self, name: str) -> Path:
        """Return where content of a SHA-256 is, or would be."""

    def open(self, name: str) -> BinaryIO:
        """Return content to read."""


class ContentSender:
    """Which content the server has, and the rest on its way: small content at once, large content in a thread."""

    def __init__(
        self,
        blobs: Blobs,
        client: Client,
        project: Callable[[], str],
        pace: Callable[[int], object],
        *,
        is_awaited: bool,
    ) -> None:
        """Begin with a server of which nothing is known.

        Args:
            blobs: the content here.
            client: the connection.
            project: returns the name of the run's project on the server.
            pace: called with the bytes of each request that was answered; it may wait.
            is_awaited: whether large content is sent at once too.
        """
        self._blobs = blobs
        self._client = client
        self._project = project
        self._pace = pace
        self._is_awaited = is_awaited
        self._sent: dict[str, float] = {}
        self._least_presigned: int | None = None
        self._uploads: Uploads | None = None

    def forget(self) -> None:
        """Forget the answers of a server that was set back."""
        self._sent.clear()

    def send(self, names: Collection[str]) -> set[str]:
        """Send content by its hashes, and return content on its way. Hashes of something else do no harm.

        A hash without content here may be a text that was logged before the file: it is looked for again.

        Raises:
            ServerError: the server does not take it.
        """
        coming = self._uploads.pending() if self._uploads is not None else set()
        now = clock.now()
        # By the time of day, since the other clock stands still while a machine sleeps; it may be set back.
        self._sent = {name: at for name, at in self._sent.items() if abs(now - at) < KNOWN_SECONDS}
        new = {*names} - self._sent.keys() - coming
        sizes = self._sizes(sorted(new))
        for name in self._lacking(sizes):
            if sizes[name] <= SMALL or self._is_awaited:
                self._put(self._client, name, sizes[name])
            else:
                self._in_background().add(name, sizes[name])
                coming.add(name)
        self._sent |= dict.fromkeys(sizes.keys() - coming, now)
        return coming

    def send_bytes(self, data: bytes) -> None:
        """Send bytes that are no file here.

        Raises:
            ServerError: the server does not take them.
        """
        name = hashlib.sha256(data).hexdigest()
        if self._lacking({name: len(data)}):
            self._client.put_file(f"blobs/{name}", io.BytesIO(data), len(data), {"project": self._project()})

    def missing(self, names: Sequence[str]) -> list[str]:
        """Return the content that the server does not have, of names of blobs here.

        Raises:
            ServerError: the server cannot be reached.
        """
        hashed = [name for name in names if "." not in name]  # others are still coming in here
        sizes = self._sizes(hashed)
        has = sizes.keys() - set(self._lacking(sizes))
        return [name for name in hashed if name not in has]

    def _sizes(self, names: Sequence[str]) -> dict[str, int]:
        sizes = {}
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                sizes[name] = self._blobs.path(name).stat().st_size
        return sizes

    def _lacking(self, sizes: Mapping[str, int]) -> list[str]:
        names, lacking = list(sizes), []
        for start in range(0, len(names), MOST_BLOBS):
            some = names[start : start + MOST_BLOBS]
            asked = {"project": self._project(), "blobs": [[name, sizes[name]] for name in some]}
            answer = self._client.post("blobs", asked)
            have, self._least_presigned = set(answer["have"]), answer.get("presigned")
            lacking += [name for name in some if name not in have]
        return lacking

    def _in_background(self) -> Uploads:
        if self._uploads is None:
            apart = Client(self._client.url)
            self._uploads = Uploads(lambda name, size: self._put(apart, name, size), apart.close)
        return self._uploads

    def _put(self, client: Client, name: str, size: int) -> None:
        project = self._project()
        is_large = self._least_presigned is not None and size >= self._least_presigned
        if is_large and presigned.send(client, name, size, project, lambda: self._blobs.open(name), self._pace):
            return
        with self._blobs.open(name) as stream:
            client.put_file(f"blobs/{name}", stream, size, {"project": project})
        self._pace(size)
