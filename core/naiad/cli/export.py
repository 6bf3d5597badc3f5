"""`naiad export`: write runs to files that other tools read."""

from __future__ import annotations

from pathlib import Path

import click

from naiad.cli.document import json_option, print_document
from naiad.cli.place import existing_store, find_run
from naiad.cli.terminal import print_lines, print_note
from naiad.cli.text import clean
from naiad.export.page import export_page
from naiad.storage.opening import Named

FORMATS = ("parquet", "csv", "json", "html")


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--to", "destination", required=True, type=click.Path(path_type=Path), help="A folder; for html a file.")
@click.option(
    "--format", "format", type=click.Choice(FORMATS), default="parquet", help="Output format.", show_default=True
)
@json_option
@click.pass_obj
def export(store: Named, runs: tuple[str, ...], destination: Path, format: str, is_json: bool) -> None:
    """Write runs, models or versions to a folder: their fields as rows, and their files beside them.

    parquet has the columns of Neptune's exporter, and additional columns with exact steps, times and kinds; naiad
    import neptune-export reads it back. csv and json have one row per point. html is one file with charts, values and
    images, which opens without a server or a network. In a pipe, each line is a file that was written.

    Example: naiad export DIGITS-1 DIGITS-2 --to exports --format parquet
    """
    place = existing_store(store)
    found = [find_run(place, name) for name in runs]
    if format == "html":
        written = [export_page(place, found, destination)]
    else:
        from naiad.export.dump import export_runs  # it imports NumPy, which no other command needs at its start

        written = export_runs(place, found, destination, format)
    if is_json:
        print_document([str(path) for path in written])
    else:
        print_lines(clean(str(path)) for path in written)
    print_note(f"{len(runs):,} {'run was' if len(runs) == 1 else 'runs were'} written to {destination}.")
