"""`naiad download`: files of a run, out of the store."""

from __future__ import annotations

from pathlib import Path

import click

from naiad.cli import completion as complete
from naiad.cli.run import open_run, stored_field
from naiad.kinds import FILES


@click.command()
@click.argument("run", shell_complete=complete.runs)
@click.argument("path", shell_complete=complete.paths)
@click.argument("destination", required=False, type=click.Path(path_type=Path))
@click.pass_obj
def download(store: Path | None, run: str, path: str, destination: Path | None) -> None:
    """Save a file of a run, all files of a series in a folder, a set as a ZIP, or the originals of an artifact.

    DESTINATION is a folder, or of a single file or a set the name to save it under; by default the working directory,
    and for a series `neptune/<name>`. Nothing is written outside it.

    Example: naiad download DIGITS-3 model weights.pt
    """
    found = open_run(store, run)
    parsed, kind = found.field(path, FILES, "downloaded")
    stored_field(found, parsed, kind).download(destination)
