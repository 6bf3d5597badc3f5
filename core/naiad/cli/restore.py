"""`naiad restore`: take runs out of the trash."""

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
@click.option("--children", "with_children", is_flag=True, help="Also restore the children of the runs.")
@click.pass_obj
def restore(store: Named, runs: tuple[str, ...], with_children: bool) -> None:
    """Restore runs from the trash.

    Example: naiad restore DIGITS-3
    """
    place = existing_store(store)
    items = trash.find(place, known_names(place, runs))
    items = trash.with_children(place, items, is_trashed=True) if with_children else items
    trash.move(place, items, is_out=True)
    print_note(f"{counted(items)} listed again.")
