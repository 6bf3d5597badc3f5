"""The plugin module, found by its entry point. It imports no web framework."""

from __future__ import annotations

from naiad.hookspecs import hookimpl
from naiad.integration import Commands
from naiad_server.command import server


@hookimpl
def naiad_commands(cli: Commands) -> None:
    """Add `naiad server`."""
    cli.add_command(server)
