"""The catalog of a server: each call of the interface is one request."""

from __future__ import annotations

from typing import Any

from naiad.ship import shipper
from naiad.ship.client import Client
from naiad.storage.catalog import Catalog
from naiad.storage.remote.asking import ask

FLUSH_SECONDS = 5.0
"""How long a call waits for what this process itself has written to reach the server."""
SEQUENCES = ("tags", "sort", "columns", "by")
"""The arguments that are sequences of any type, and lists on the wire."""


class RemoteCatalog(Catalog):
    """The values of all containers that the token may see. See `naiad.storage.catalog.Catalog`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def answer(self, call: str, **arguments: Any) -> Any:
        """Send a call to the server, after the data that this process has written."""
        arguments.pop("progress_bar", None)  # one answer has no steps to show
        lists = {name: list(arguments[name]) for name in SEQUENCES if arguments.get(name) is not None}
        shipper.of_process.flush_all(self._client.url, FLUSH_SECONDS)
        return ask(self._client, "catalog", call, {**arguments, **lists})
