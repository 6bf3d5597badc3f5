"""Protocol: HTTP of a server, parsed by httptools where it is installed, else by h11, which is written in Python."""

from __future__ import annotations

import asyncio
from typing import Any

from naiad_web.protocol import CorkedTransport
from naiad_web.protocol import Protocol as PlainProtocol

MOST_HEAD = 64 * 1024
"""Bytes of the head of a request, about; the parser itself would take any number."""

try:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
except ModuleNotFoundError:  # there is no wheel of httptools for some platforms
    Protocol: Any = PlainProtocol
else:

    class FastProtocol(HttpToolsProtocol):
        """The protocol of one connection."""

        _head = 0
        _turns = 0
        """How many heads, parts of bodies and ends of bodies have come."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
            """Begin a connection."""
            super().connection_made(CorkedTransport(transport))  # type: ignore[arg-type]  # the part that uvicorn uses

        def data_received(self, data: bytes) -> None:
            """Take some bytes; a head that does not end is answered with 400, and so are lines behind a body."""
            turns = self._turns
            super().data_received(data)
            self._head = 0 if turns != self._turns else self._head + len(data)
            if self._head > MOST_HEAD and not self.transport.is_closing():
                self.send_400_response("Invalid HTTP request received.")

        def on_headers_complete(self) -> None:
            """Begin the body."""
            self._turns += 1
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            """Take a part of the body; header lines may follow it too."""
            self._turns += 1
            super().on_body(body)

        def on_message_complete(self) -> None:
            """End the request."""
            self._turns += 1
            super().on_message_complete()

    Protocol = FastProtocol
