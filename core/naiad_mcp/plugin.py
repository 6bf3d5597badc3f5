"""The plugin module, found by its entry point. It imports nothing of the protocol's package."""

from __future__ import annotations

import click

from naiad.errors import MissingPackage, StorageError
from naiad.hookspecs import hookimpl
from naiad.integration import Commands
from naiad.storage.opening import Named, locate


@click.command()
@click.option("--edit", "is_editable", is_flag=True, help="Allow changes: names, descriptions and tags of runs.")
@click.pass_obj
def mcp(store: Named, is_editable: bool) -> None:
    """Let an agent read the runs of a store, by the Model Context Protocol.

    The agent starts this command and talks to it over its input and output; nothing listens on a network. It reads
    this store alone, changes nothing without --edit, and deletes nothing. Answers are bounded in size.

    Example: naiad --store /data/.naiad mcp
    """
    try:
        from naiad_mcp.server import serve
    except ModuleNotFoundError as error:
        raise MissingPackage(
            f'naiad mcp needs {error.name}.\nInstall it with: pip install "naiad[mcp]"', package=str(error.name)
        ) from error
    place = locate(store)
    if not place.has_begun():
        raise StorageError(f"There is no store at {place}.\nName one: naiad --store PATH mcp", filename=str(place))
    serve(place, is_editable=is_editable)


@hookimpl
def naiad_commands(cli: Commands) -> None:
    """Add `naiad mcp`."""
    cli.add_command(mcp)
