"""Asking a server for a call of the storage interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from naiad.container_kinds import RunId
from naiad.ship.client import ANSWER_SECONDS, Client
from naiad.storage import wire


def ask(
    client: Client,
    of: str,
    call: str,
    arguments: Mapping[str, Any],
    run: RunId | None = None,
    *,
    seconds: float = ANSWER_SECONDS,
) -> Any:
    """Return the result of one call: of the `store`, the `catalog`, or the `reader` of a container.

    Raises:
        ServerError: the server does not answer.
        NaiadError: the error of the call itself.
    """
    # A server of an earlier release passes over `columns`, and gives rows.
    request = wire.encode({"run": run, "call": call, "arguments": dict(arguments), "columns": True})
    return wire.decode(client.call(f"storage/{of}", request, seconds))
