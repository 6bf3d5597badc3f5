"""Protocol: uvicorn's HTTP on connections whose answers leave with one system call.

uvicorn writes head and body of an answer one after the other, and the system sends each by itself. A call costs as much
as the answer of a small request, so writes of one turn of the event loop are put together.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_HELD = 64 * 1024
"""Bytes that are written at once: a stream must notice that its reader is slow."""


class Protocol(H11Protocol):
    """The protocol of one connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin a connection."""
        super().connection_made(CorkedTransport(transport))  # type: ignore[arg-type]  # the part that uvicorn uses


class CorkedTransport:
    """A transport that puts the writes of one turn of the event loop together."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._held: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write at the end of this turn, or now if it is much."""
        if not self._held:
            asyncio.get_running_loop().call_soon(self._flush)
        self._held.append(data)
        self._size += len(data)
        if self._size >= MOST_HELD:
            self._flush()

    def close(self) -> None:
        """Close the connection, once all that was written has left."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        held, self._held, self._size = self._held, [], 0
        if held and not self._transport.is_closing():
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))
