"""The plugin module, found by its entry point. It imports no web framework."""

from __future__ import annotations

from collections.abc import Mapping

from naiad.errors import MissingPackage
from naiad.export.page import Page
from naiad.hookspecs import hookimpl
from naiad.integration import Commands
from naiad_web.command import ui


@hookimpl
def naiad_commands(cli: Commands) -> None:
    """Add `naiad ui`."""
    cli.add_command(ui)


@hookimpl
def naiad_html(subject: object, options: Mapping[str, object]) -> str | None:  # noqa: ARG001 (it knows no option)
    """Write runs as one HTML file that makes no request."""
    if not isinstance(subject, Page):
        return None
    try:
        from naiad_web.standalone import page
    except ModuleNotFoundError as error:
        raise MissingPackage(
            f'An HTML file of runs needs {error.name}.\nInstall it with: pip install "naiad[web]"',
            package=str(error.name),
        ) from error
    return page(subject.store, [run.uid for run in subject.runs])
