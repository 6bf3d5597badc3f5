"""`naiad protect`: runs that nothing may delete."""

from __future__ import annotations

from pathlib import Path

import click

from naiad import trash
from naiad.cli import completion as complete
from naiad.cli.place import existing_store, known_names
from naiad.cli.terminal import print_note
from naiad.cli.trash import counted


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, shell_complete=complete.runs)
@click.option("--off", "is_off", is_flag=True, help="Lift the protection.")
@click.pass_obj
def protect(store: Path | None, runs: tuple[str, ...], is_off: bool) -> None:
    """Protect runs against deletion by trash, purge and pages, until the protection is lifted.

    Models and model versions can be protected too. Everything else can be done with them as before.

    Example: naiad protect DIGITS-3
    """
    place = existing_store(store)
    items = trash.find(place, known_names(place, runs))
    trash.protect(place, items, is_off=is_off)
    print_note(f"{counted(items)} {'no longer protected' if is_off else 'protected'} against deletion.")
