"""`naiad purge`: delete the runs in the trash for good."""

from __future__ import annotations

from datetime import datetime

import click

from naiad import trash
from naiad.cli import completion as complete
from naiad.cli.place import existing_store, known_names
from naiad.cli.terminal import print_note
from naiad.cli.trash import counted
from naiad.refs import size_text
from naiad.storage.opening import Named


@click.command()
@click.argument("runs", metavar="[RUN...]", nargs=-1, shell_complete=complete.runs)
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@click.pass_obj
def purge(store: Named, runs: tuple[str, ...], yes: bool) -> None:
    """Delete runs in the trash for good; without RUN, everything in the trash.

    Deleting a model deletes all its versions. Runs that are being written, and protected ones, are not deleted. The id
    of a deleted run is never used again. naiad gc frees the space of its files.

    Example: naiad purge DIGITS-3 --yes
    """
    place = existing_store(store)
    items = trash.find(place, known_names(place, runs)) if runs else trash.in_trash(place)
    # Both checks before anything is deleted: all of the runs go, or none.
    trash.require_in_trash(place, items)
    trash.require_unprotected(place, items)
    if not items:
        print_note("The trash is empty.")
        return
    if not yes:
        names = ", ".join(item.id for item in items[:10]) + (", ..." if len(items) > 10 else "")
        click.confirm(f"Delete {names} for good?", abort=True, err=True)
    print_note(f"{counted(trash.delete(place, items))} deleted.")
    left = place.unfreed()
    if left is not None:
        size, moment = left
        when = datetime.fromtimestamp(moment).astimezone()
        print_note(
            f"{size_text(size)} ({size:,} bytes) of files were used in the last minutes and are still there: "
            f"naiad gc frees them after {when:%H:%M:%S}."
        )
