"""`naiad protect`: runs that nothing may delete."""

from __future__ import annotations

import click

from naiad import trash
from naiad.cli import completion as complete
from naiad.cli.place import existing_store, known_names
from naiad.cli.terminal import print_note
from naiad.cli.trash import counted
from naiad.storage.opening import Named


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, shell_complete=complete.runs)
@click.option("--off", "is_off", is_flag=True, help="Lift the protection.")
@click.pass_obj
def protect(store: Named, runs: tuple[str, ...], is_off: bool) -> None:
    """Protect runs against deletion until the protection is lifted.

    Trash, purge and the pages reject a protected run, model or model version. It can still be written and edited.

    Example: naiad protect DIGITS-3
    """
    place = existing_store(store)
    items = trash.find(place, known_names(place, runs))
    trash.protect(place, items, is_off=is_off)
    print_note(f"{counted(items)} {'no longer protected' if is_off else 'protected'} against deletion.")
