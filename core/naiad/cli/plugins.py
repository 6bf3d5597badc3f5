"""`naiad plugins`: what is plugged in, and how it stands."""

from __future__ import annotations

from dataclasses import asdict

import click

from naiad.cli.document import json_option, print_document
from naiad.cli.rows import Cell, print_rows
from naiad.plugins import Plugin, installed

__all__ = ["plugins"]

HEADER = ("NAME", "DISTRIBUTION", "VERSION", "STATE", "HOOKS")
STATE_STYLES = {"failed": "red", "disabled": "dim"}


@click.command()
@json_option
def plugins(is_json: bool) -> None:
    """List the plugins of this environment.

    The columns are name, distribution, its version, state and the hooks it has. What made a plugin fail is said in
    a warning. NAIAD_PLUGINS=-NAME,-NAME disables plugins.
    """
    found = sorted(installed(), key=lambda plugin: plugin.name)
    if is_json:
        print_document([asdict(plugin) for plugin in found])
    else:
        print_rows(HEADER, map(_cells, found))


def _cells(plugin: Plugin) -> list[Cell]:
    return [
        Cell(plugin.name, "bold"),
        Cell(plugin.distribution),
        Cell(plugin.version, "dim"),
        Cell(plugin.state, STATE_STYLES.get(plugin.state, "")),
        Cell(", ".join(plugin.hooks), "cyan"),
    ]
