"""`naiad du`: how much of the disk each run takes."""

from __future__ import annotations

import click

from naiad.cli import completion as complete
from naiad.cli.document import json_option, print_document
from naiad.cli.folder import existing_folder
from naiad.cli.place import find_run
from naiad.cli.rows import Cell, Column, print_rows
from naiad.cli.terminal import is_terminal, print_note
from naiad.refs import size_text
from naiad.storage.local.transfer import Usage, disk
from naiad.storage.opening import Named

HEADER = (Column("RUN"), Column("TOTAL"), Column("FREED", 1), Column("FILES", 2), Column("FOLDER", 3))


@click.command()
@click.argument("runs", metavar="[RUN...]", nargs=-1, shell_complete=complete.runs)
@click.option("-n", "--limit", type=click.IntRange(min=1), help="At most this many, the largest.")
@json_option
@click.pass_obj
def du(store: Named, runs: tuple[str, ...], limit: int | None, is_json: bool) -> None:
    """Show the disk usage of each run, largest first.

    Models, versions and the trash are included. TOTAL is the sum of FOLDER (journal and index) and FILES. FREED is the
    space that deleting the run would free: files that other runs use too are not deleted. The last lines show the usage
    of the store, and how much naiad gc can free. In a pipe, the columns are the id and these four in bytes.

    Example: naiad du -n 10
    """
    place = existing_folder(store)
    wanted = {find_run(place, run) for run in runs}
    found = disk(place)
    chosen = [each for each in found.runs if not wanted or each.run in wanted][:limit]
    if is_json:
        items = [
            {"id": e.id, "total": e.total, "freed": e.folder + e.alone, "files": e.files, "folder": e.folder}
            for e in chosen
        ]
        whole: dict[str, object] = {"content": found.content, "unreferenced": found.unreferenced, "rest": found.rest}
        whole["folders"] = sum(each.folder for each in found.runs)
        print_document({"runs": items, "store": whole})
        return
    print_rows(HEADER, map(_cells, chosen))
    # Each file once, as the disk has it; the sum of the column FILES would count shared ones again.
    everything = sum(each.folder for each in found.runs) + found.content + found.rest
    print_note(
        f"The store {place} takes {size_text(everything)}: {size_text(found.content)} of files, "
        f"{size_text(everything - found.content)} of runs and tables."
    )
    if found.unreferenced:
        print_note(f"No run refers to {size_text(found.unreferenced)} of files; naiad gc frees them.")


def _cells(usage: Usage) -> list[Cell]:
    sizes = (usage.total, usage.folder + usage.alone, usage.files, usage.folder)
    texts = [size_text(size) if is_terminal() else str(size) for size in sizes]
    return [Cell(usage.id, "bold"), *(Cell(text, "", True) for text in texts)]
