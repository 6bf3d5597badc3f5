"""`naiad path`: where a run lies."""

from __future__ import annotations

import os

import click

from naiad.cli import completion as complete
from naiad.cli.folder import existing_folder
from naiad.cli.place import find_run
from naiad.cli.terminal import is_terminal
from naiad.cli.text import clean
from naiad.storage.opening import Named


@click.command()
@click.argument("run", shell_complete=complete.runs)
@click.pass_obj
def path(store: Named, run: str) -> None:
    """Print the folder of a run, which can be copied, moved and deleted as a whole.

    Example: cd "$(naiad path DIGITS-3)"
    """
    place = existing_folder(store)
    folder = os.path.abspath(place.directory(find_run(place, run)).path)
    # A pipe gets the bytes of the name, which `cd` needs; a terminal what is safe to show.
    click.echo(clean(folder) if is_terminal() else os.fsencode(folder))
