"""`naiad gc`: free the content of files that no run refers to any more."""

from __future__ import annotations

from pathlib import Path

import click

from naiad.cli.document import json_option, print_document
from naiad.cli.folder import existing_folder
from naiad.cli.terminal import print_lines, print_note
from naiad.refs import size_text
from naiad.storage.local.gc import collect


@click.command()
@click.option("--dry-run", "is_dry", is_flag=True, help="Delete nothing; only print how much would be freed.")
@json_option
@click.pass_obj
def gc(store: Path | None, is_dry: bool, is_json: bool) -> None:
    """Delete stored files that no run refers to, and print how much space is freed.

    Content used in the last ten minutes stays. In a pipe the columns are name and bytes.
    """
    removed = collect(existing_folder(store).layout, is_dry=is_dry)
    if is_json:
        print_document([{"name": file.name, "bytes": file.size} for file in removed])
    else:
        print_lines(f"{file.name}\t{file.size}" for file in removed)
    size = sum(file.size for file in removed)
    files = "1 file" if len(removed) == 1 else f"{len(removed):,} files"
    print_note(f"{files}, {size_text(size)} ({size:,} bytes) {'would be' if is_dry else 'were'} freed.")
