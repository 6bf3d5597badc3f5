"""`naiad move`: runs into another project of the same store."""

from __future__ import annotations

import click

from naiad.cli import completion as complete
from naiad.cli.document import json_option, print_document
from naiad.cli.place import existing_store, known_names
from naiad.cli.rows import Cell, print_rows
from naiad.cli.terminal import print_note
from naiad.moves import move as move_runs
from naiad.storage.opening import Named


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, shell_complete=complete.runs)
@click.option(
    "--to", "project", required=True, metavar="PROJECT", help="Name of the project.", shell_complete=complete.projects
)
@click.option("--children", "with_children", is_flag=True, help="Also move the children of the runs.")
@json_option
@click.pass_obj
def move(store: Named, runs: tuple[str, ...], project: str, with_children: bool, is_json: bool) -> None:
    """Move runs to another project of the store, which is created if it does not exist.

    A moved run gets the next id of that project. Its old id still finds it, and its custom id finds it in both
    projects. A run that is being written is not moved. If the command is interrupted, run it again. In a pipe, the
    columns are the old and the new id.

    Example: naiad move DIGITS-3 --to archive
    """
    place = existing_store(store)
    moved = move_runs(place, known_names(place, runs), project, children=with_children)
    if is_json:
        print_document([{"id": old, "new_id": new, "moved": old != new} for old, new in moved])
    else:
        print_rows(("RUN", "NOW"), ([Cell(old, "bold"), Cell(new)] for old, new in moved))
    count = sum(old != new for old, new in moved)
    print_note(f"{count:,} moved to project {project!r}.")
