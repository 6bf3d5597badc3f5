"""`naiad plugins`: installed plugins with their state, and the mapping of an integration."""

from __future__ import annotations

from dataclasses import asdict, astuple
from typing import Any

import click
import msgspec

from naiad.cli.document import json_option, print_document
from naiad.cli.rows import Cell, print_rows
from naiad.integration import Integration, Row
from naiad.plugins import Plugin, installed, results

HEADER = ("NAME", "DISTRIBUTION", "VERSION", "STATE", "FRAMEWORK", "HOOKS")
ROW_HEADER = ("PATH", "KIND", "VERB", "EVENT", "WHEN", "MEANING")
STATE_STYLES = {"failed": "red", "disabled": "dim"}


@click.command()
@click.argument("name", required=False)
@json_option
def plugins(name: str | None, is_json: bool) -> None:
    """List the installed plugins, or the fields that the integration NAME writes.

    The columns of the list are name, distribution, its version, state, the framework with its version, and the hooks. A
    plugin that failed to load causes a warning with the reason. NAIAD_PLUGINS=-NAME,-NAME disables plugins.

    The columns of an integration are path, kind of the field, verb, the event of the framework, the condition under
    which the field is written, and the meaning.

    Example: naiad plugins lightning
    """
    integrations = {each.name: each for each in results("naiad_integration")}
    if name is not None:
        _print_mapping(_named(name, integrations), is_json)
        return
    found = sorted(installed(), key=lambda plugin: plugin.name)
    if is_json:
        print_document(
            [{**msgspec.structs.asdict(plugin), **_framework(integrations.get(plugin.name))} for plugin in found]
        )
    else:
        print_rows(HEADER, (_cells(plugin, integrations.get(plugin.name)) for plugin in found))


def _named(name: str, integrations: dict[str, Integration]) -> Integration:
    if name in integrations:
        return integrations[name]
    known = ", ".join(sorted(integrations)) or "none is installed"
    raise click.BadParameter(f"There is no integration {name!r}. The integrations are: {known}.", param_hint="NAME")


def _framework(integration: Integration | None) -> dict[str, Any]:
    """Return the installed versions of the framework, and whether they are supported."""
    if integration is None:
        return {"framework": None}
    found = [
        {"distribution": distribution, "version": version, "supported": integration.supports(version)}
        for distribution, version in integration.installed().items()
    ]
    return {"framework": {"name": integration.framework, "versions": integration.versions, "installed": found}}


def _framework_text(integration: Integration | None) -> str:
    if integration is None:
        return ""
    found = [
        f"{distribution} {version}" + ("" if integration.supports(version) else f" (needs {integration.versions})")
        for distribution, version in integration.installed().items()
    ]
    return ", ".join(found) or f"{integration.framework} is not installed"


def _cells(plugin: Plugin, integration: Integration | None) -> list[Cell]:
    return [
        Cell(plugin.name, "bold"),
        Cell(plugin.distribution),
        Cell(plugin.version, "dim"),
        Cell(plugin.state, STATE_STYLES.get(plugin.state, "")),
        Cell(_framework_text(integration)),
        Cell(", ".join(plugin.hooks), "cyan"),
    ]


def _print_mapping(integration: Integration, is_json: bool) -> None:
    if is_json:
        print_document({**asdict(integration), "installed": integration.installed()})
    else:
        print_rows(ROW_HEADER, map(_row_cells, integration.rows))


def _row_cells(row: Row) -> list[Cell]:
    event, path, kind, verb, meaning, when = astuple(row)
    return [Cell(path, "bold"), Cell(kind, "cyan"), Cell(verb), Cell(event), Cell(when, "dim"), Cell(meaning)]
