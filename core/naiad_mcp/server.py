"""The server: the tools of one store, offered over standard input and output by the official SDK."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from mcp.server import MCPServer

from naiad import __version__
from naiad.errors import NaiadError
from naiad.storage.base import Store
from naiad_mcp.tools import NOTE, Tools

INSTRUCTIONS = f"Runs of machine learning in the store {{store}}, as naiad keeps them. {NOTE}"


def server(store: Store, *, is_editable: bool = False) -> MCPServer:
    """Return the server of a store."""
    tools = Tools(store)
    found = MCPServer("naiad", version=__version__, instructions=INSTRUCTIONS.format(store=store), log_level="ERROR")
    # Without the option the tool that edits is not offered, rather than refused.
    for tool in (*tools.reading(), *([tools.edit_run] if is_editable else [])):
        found.tool(structured_output=False)(_worded(tool))
    return found


def serve(store: Store, *, is_editable: bool) -> None:
    """Serve until the input ends."""
    server(store, is_editable=is_editable).run("stdio")


def _worded(tool: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Let an error of the store be an answer in words."""

    @functools.wraps(tool)
    def call(*args: Any, **named: Any) -> dict[str, Any]:
        try:
            return tool(*args, **named)
        except (NaiadError, OSError) as error:
            # As an answer, since the text says what to do, and a failed call may be shown without it.
            return {"error": type(error).__name__, "text": str(error)[:2_000]}

    return call
