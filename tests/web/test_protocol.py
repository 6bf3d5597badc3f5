"""The protocol of connections: what the system gets of an answer, and when."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from naiad_web.protocol import MOST_HELD, CorkedTransport


class CountedTransport:
    """A transport that notes the sizes of its writes."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.sizes: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self.sizes.append(len(data))
        self._transport.write(data)


async def sizes_of(*turns: list[bytes]) -> tuple[list[int], bytes]:
    """Write pieces in so many turns of the event loop, and close; return the sizes of the writes, and all bytes."""
    near, far = socket.socketpair()
    far.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, _protocol = await loop.create_connection(asyncio.Protocol, sock=near)
    counted = CountedTransport(transport)
    corked = CorkedTransport(counted)  # type: ignore[arg-type]  # it counts
    for turn in turns:
        for piece in turn:
            corked.write(piece)
        if turn is not turns[-1]:
            await asyncio.sleep(0.01)
    corked.close()
    received = b""
    while data := await loop.sock_recv(far, 1 << 20):
        received += data
    far.close()
    return counted.sizes, received


def finished(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run it in a thread of its own: in that of a browser's tests an event loop runs already."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


@pytest.mark.parametrize(
    ("turns", "sizes"),
    [
        ([[b"head", b"body"]], [8]),
        ([[b"head", b"body"], [b"next"]], [8, 4]),
        ([[b"h" * MOST_HELD, b"body"]], [MOST_HELD, 4]),
        ([[]], []),
    ],
    ids=["one answer", "two answers", "more than is held", "nothing"],
)
def test_writes_of_one_turn_leave_together_and_before_the_end(turns: list[list[bytes]], sizes: list[int]) -> None:
    """Each write is a system call, which costs as much as all else of a small answer."""
    assert (sizes, b"".join(piece for turn in turns for piece in turn)) == finished(sizes_of(*turns))


def test_writes_to_a_connection_that_was_lost_are_dropped() -> None:
    async def write() -> list[int]:
        near, far = socket.socketpair()
        transport, _protocol = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=near)
        counted = CountedTransport(transport)
        corked = CorkedTransport(counted)  # type: ignore[arg-type]  # it counts
        corked.write(b"head")
        transport.abort()
        await asyncio.sleep(0.01)
        far.close()
        return counted.sizes

    assert [] == finished(write())
