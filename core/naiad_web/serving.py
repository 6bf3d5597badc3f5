"""Serving: uvicorn around the application, until a signal stops it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

import uvicorn

from naiad.storage.base import Store
from naiad_web.protocol import Protocol
from naiad_web.server.access import Access, own_token
from naiad_web.server.app import application

STOP_SECONDS = 2


class Listening(uvicorn.Server):
    """A server with a callback for the moment when it listens."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._say = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.started:
            self._say()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, beginning with the event streams, which last as long as their browsers."""
        await self.lifespan.state["watchers"].end()
        await super().shutdown(sockets)


def serve(
    store: Store,
    listener: socket.socket,
    hosts: frozenset[str],
    started: Callable[[str], None],
    *,
    is_editable: bool,
    is_new: bool,
) -> None:
    """Serve a store until a signal ends it.

    Args:
        store: the store.
        listener: a socket that listens.
        hosts: the names by which the server is known.
        started: is called with the token once requests are answered.
        is_editable: whether changes are possible.
        is_new: make a new token.
    """
    access = Access(own_token(store.url(), is_new=is_new), hosts, is_editable)
    config = uvicorn.Config(
        application(store, access),
        http=Protocol,
        ws="none",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
        h11_max_incomplete_event_size=64 * 1024,
    )
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again after its orderly end
        Listening(config, lambda: started(access.token)).run([listener])
