"""Serving: uvicorn around the application of the server, until a signal stops it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn

from naiad.storage.opening import locate, receiver
from naiad_server.app import application
from naiad_server.database import Database
from naiad_server.protocol import Protocol
from naiad_server.tokens import Tokens
from naiad_web.serving import Listening

STOP_SECONDS = 8


def serve(
    place: Path | Database,
    tokens: Tokens,
    listener: socket.socket,
    hosts: frozenset[str] | None,
    url: str,
    started: Callable[[], None],
    *,
    certificate: Path | None = None,
    key: Path | None = None,
    proxies: Sequence[str] = (),
) -> None:
    """Take runs for the store in a folder or a database, and serve it, until a signal ends that.

    Args:
        place: the folder, or the addresses of the database.
        tokens: the tokens of the server.
        listener: a socket that listens.
        hosts: the names by which the server is known; None: any.
        url: its address.
        started: is called once requests are answered.
        certificate: of TLS, with its chain.
        key: of the certificate.
        proxies: addresses or networks whose X-Forwarded headers count.

    Raises:
        StorageError: another process takes runs for this store.
    """
    if isinstance(place, Database):
        store, receiving = place.open()
        worker = place.worker
    else:
        store, receiving, worker = locate(place), receiver(place), None
    try:
        app = application(store, receiving, tokens, hosts, url, worker, proxies)
        config = uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=STOP_SECONDS,
            ssl_certfile=certificate,
            ssl_keyfile=key,
            proxy_headers=False,  # the application does that, from the trusted addresses alone
        )
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again after its orderly end
            Listening(config, started).run([listener])
    finally:
        receiving.close()
