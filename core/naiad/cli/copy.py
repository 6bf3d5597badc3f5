"""`naiad copy`: runs, with their files, into another store."""

from __future__ import annotations

import click

from naiad.children import rename_parent
from naiad.cli import completion as complete
from naiad.cli.document import json_option, print_document
from naiad.cli.folder import existing_folder
from naiad.cli.place import find_run
from naiad.cli.rows import Cell, print_rows
from naiad.cli.terminal import print_note
from naiad.container_kinds import PROJECT
from naiad.places import is_server
from naiad.refs import size_text
from naiad.storage.local.transfer import copy_all
from naiad.storage.opening import FolderStore, Named

HEADER = ("RUN", "THERE", "FILES", "BYTES", "STATE")


@click.command()
@click.argument("runs", metavar="[RUN...]", nargs=-1, shell_complete=complete.runs)
@click.option("--to", "target", required=True, type=click.Path(), metavar="STORE", help="The target store.")
@click.option("--all", "are_all", is_flag=True, help="Copy all runs, models and versions, to merge two stores.")
@click.option("--renumber", is_flag=True, help="Give the copies the next free ids of the target.")
@json_option
@click.pass_obj
def copy(store: Named, runs: tuple[str, ...], target: str, are_all: bool, renumber: bool, is_json: bool) -> None:
    """Copy runs with their files into another store.

    The target is created if it does not exist. The runs keep their ids; if an id is taken there by another run, nothing
    is copied unless --renumber gives new ids. A run that is in the target already is left as it is. In a pipe, the
    columns are the id here, the id there, files, bytes and whether the run was copied.

    Example: naiad copy DIGITS-3 DIGITS-7 --to /mnt/share/.naiad
    """
    if are_all == bool(runs):
        raise click.UsageError("Name the runs, or give --all.")
    if is_server(target):
        raise click.UsageError(f"--to is the folder of a store. To send runs to a server: naiad sync --to {target}")
    source, other = existing_folder(store), FolderStore.locate(target)
    # By inode, so that a link or another spelling of the path is seen through.
    if other.root.exists() and other.root.samefile(source.root):
        raise click.UsageError("--to is the store that the runs are already in.")
    if are_all:
        rows = source.catalog().summaries(kind=None, is_trashed=None)
        # The oldest first, so that runs which get new ids keep their order.
        found = [row.run for row in reversed(rows) if row.kind is not PROJECT]
    else:
        found = list(dict.fromkeys(find_run(source, run) for run in runs))
    copied = list(copy_all(source, other, found, is_renumbered=renumber))
    for each in copied:
        # Its children, also those that were copied before, name their parent by the new id.
        if each.target != each.source:
            rename_parent(other, other.find(each.target).uid, each.target)
    if is_json:
        print_document(
            [
                {"id": e.source, "new_id": e.target, "copied": e.is_new, "files": e.files, "bytes": e.size}
                for e in copied
            ]
        )
    else:
        print_rows(
            HEADER,
            (
                [
                    Cell(each.source, "bold"),
                    Cell(each.target),
                    Cell(str(each.files), "", True),
                    Cell(str(each.size), "", True),
                    Cell("copied" if each.is_new else "was there"),
                ]
                for each in copied
            ),
        )
    new = sum(each.is_new for each in copied)
    print_note(f"{new:,} copied to {other}, with {size_text(sum(each.size for each in copied))} of files.")
