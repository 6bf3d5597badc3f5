"""Presigned addresses: large content goes to the object store of a server itself, in parts, and is read from there.

    POST blobs/<sha256>/upload -- {"have": false, "parts": [[0, 67108864, "https://..."], ...]}
    PUT of each part to its address
    POST blobs/<sha256>/upload -- {"have": false, "parts": []}: all are there, and the server hashes them
    POST blobs/<sha256>/upload -- {"have": true}

Whatever goes wrong with an address, the content goes through the server as before, and an upload that was interrupted
goes on with the parts that are there.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Annotated, Any, BinaryIO

import msgspec

from naiad import clock
from naiad.errors import ServerError
from naiad.ship import address
from naiad.ship.client import Client

ANSWER_SECONDS = 20.0
READ_SECONDS = 10.0
"""How long the object store may take to give the next bytes; then the server gives them."""
BLOCK = 256 * 1024
MOST_FAILURES = 3
"""Failures in a row, or times that one part is asked for, after which the content goes through the server."""
REST_SECONDS = 600.0
"""For how long an object store that cannot be reached is left alone."""
PAUSE_SECONDS, LONGEST_PAUSE = 0.1, 5.0
"""Between two questions whether all parts have been hashed."""
LEAST_RATE = 5_000_000
"""Bytes a second that a server hashes at least; after 60 s more, the content goes through it."""

_Start = Annotated[int, msgspec.Meta(ge=0)]
_Length = Annotated[int, msgspec.Meta(gt=0)]


class _Answer(msgspec.Struct, frozen=True):
    """Whether the server has the content, and if not, start, length and address of parts that it lacks."""

    have: bool
    parts: list[tuple[_Start, _Length, str]]


class _Staying(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it would lead to an address that was not checked."""

    def redirect_request(self, *_arguments: Any) -> None:
        """Return no other request."""


_unreachable: dict[str, float] = {}
"""The servers whose object store this process could not reach, and until when it is not tried again."""


def send(
    client: Client,
    name: str,
    size: int,
    project: str,
    open_content: Callable[[], BinaryIO],
    pace: Callable[[int], object],
) -> bool:
    """Send content with a SHA-256; return whether the server has it then. If not, it is to be sent to the server.

    Args:
        client: the connection.
        name: the SHA-256.
        size: of the content.
        project: the name of the project on the server.
        open_content: opens the content.
        pace: called with the bytes of each part that was sent; it may wait.

    Raises:
        ServerError: the server cannot be reached, or rejects it.
    """
    if clock.monotonic() < _unreachable.get(client.url, 0.0):
        return False
    tries: dict[int, int] = {}
    failures, pause, hashed_by = 0, PAUSE_SECONDS, clock.monotonic() + 60.0 + size / LEAST_RATE
    while True:
        answer = _asked(client, name, project, size)
        if answer is None or answer.have:
            return answer is not None
        if not answer.parts:
            if clock.monotonic() > hashed_by:
                return False
            clock.sleep(pause)
            pause = min(LONGEST_PAUSE, 2 * pause)
        for start, length, url in answer.parts:
            tries[start] = tries.get(start, 0) + 1
            # One that is missing again and again: it does not arrive where the server looks, or is other content.
            if tries[start] > MOST_FAILURES:
                _unreachable[client.url] = clock.monotonic() + REST_SECONDS
                return False
            # From the network: data of users leaves this machine only as it would to the server itself.
            is_sent = address.is_safe(url, client.url)
            if is_sent:
                with open_content() as stream:
                    is_sent = _put(url, stream, start, length)
            if is_sent:
                failures = 0
                hashed_by = clock.monotonic() + 60.0 + size / LEAST_RATE
                pace(length)
                continue
            failures += 1
            if failures >= MOST_FAILURES:
                _unreachable[client.url] = clock.monotonic() + REST_SECONDS
                return False
            clock.sleep(PAUSE_SECONDS * 10)
            break  # the addresses may have ended: new ones


def _asked(client: Client, name: str, project: str, size: int) -> _Answer | None:
    """Request the parts that are missing; None if this server, such as an older one beside another, gives none.

    Raises:
        ServerError: the server cannot be reached, or rejects it.
    """
    try:
        answer = client.post(f"blobs/{name}/upload", {"project": project, "size": size})
    except ServerError as error:
        if error.facts.get("status") in (404, 405, 409):
            return None
        raise
    try:
        return msgspec.convert(answer, _Answer)
    except msgspec.ValidationError:
        return None


def _put(url: str, stream: BinaryIO, start: int, length: int) -> bool:
    """Send a part of a file to an address; return whether it was taken."""
    stream.seek(start)
    # Without the token, which is none of the object store's business.
    headers = {"Content-Length": str(length), "Content-Type": "application/octet-stream"}
    asked = urllib.request.Request(url, _blocks(stream, length), headers, method="PUT")
    try:
        with urllib.request.build_opener(_Staying).open(asked, timeout=ANSWER_SECONDS) as answer:
            answer.read()
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        error.close()  # it has the connection
        return False
    except (OSError, http.client.HTTPException, ValueError):  # also of an address that is none
        return False


def read(server: str, url: str, start: int, length: int) -> bytes:
    """Return a piece of content from an address that a server gave; nothing if it does not give it."""
    if not address.is_safe(url, server):
        return b""
    asked = urllib.request.Request(url, headers={"Range": f"bytes={start}-{start + length - 1}"})
    try:
        with urllib.request.build_opener(_Staying).open(asked, timeout=READ_SECONDS) as answer:
            return bytes(answer.read(length)) if answer.status == 206 else b""
    except urllib.error.HTTPError as error:
        error.close()
        return b""
    except (OSError, http.client.HTTPException, ValueError):
        return b""


def _blocks(stream: BinaryIO, length: int) -> Iterator[bytes]:
    while length > 0 and (block := stream.read(min(BLOCK, length))):
        length -= len(block)
        yield block
