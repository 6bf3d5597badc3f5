"""`naiad gc`: free the content of files that no run refers to any more."""

from __future__ import annotations

from datetime import datetime

import click

from naiad.cli.document import json_option, print_document
from naiad.cli.folder import existing_folder
from naiad.cli.terminal import print_lines, print_note
from naiad.refs import size_text
from naiad.storage.local.gc import GRACE_SECONDS, collect
from naiad.storage.opening import Named


@click.command()
@click.option("--dry-run", "is_dry", is_flag=True, help="Delete nothing; print how much would be freed.")
@click.option(
    "--now", "is_now", is_flag=True, help="Also free content used in the last ten minutes; no run may be written now."
)
@json_option
@click.pass_obj
def gc(store: Named, is_dry: bool, is_now: bool, is_json: bool) -> None:
    """Delete stored files that no run refers to, and print how much space is freed.

    Content that was used in the last ten minutes is kept, because a run may be about to refer to it. The output says
    how much that is and when it can be freed. In a pipe, the columns are name and bytes.

    Example: naiad gc --dry-run
    """
    place = existing_folder(store)
    removed = collect(place.layout, grace=0.0 if is_now else GRACE_SECONDS, is_dry=is_dry, is_alone=is_now)
    if is_json:
        print_document([{"name": file.name, "bytes": file.size} for file in removed])
    else:
        print_lines(f"{file.name}\t{file.size}" for file in removed)
    size = sum(file.size for file in removed)
    files = "1 file" if len(removed) == 1 else f"{len(removed):,} files"
    freed = f"{files}, {size_text(size)} ({size:,} bytes) {'would be' if is_dry else 'were'} freed."
    print_note(freed if removed else "Nothing to free.")
    # Asked after the collection, and counting what it freed if that was only a rehearsal.
    waiting = None if is_now else place.unfreed()
    if waiting is not None and waiting[0] > (size if is_dry else 0):
        left = waiting[0] - (size if is_dry else 0)
        until = datetime.fromtimestamp(waiting[1]).astimezone()
        print_note(
            f"{size_text(left)} ({left:,} bytes) were used in the last ten minutes and wait until {until:%H:%M:%S}; "
            "naiad gc --now frees them at once, while no run is being written."
        )
