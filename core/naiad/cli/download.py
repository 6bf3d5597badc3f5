"""`naiad download`: files of a run, out of the store."""

from __future__ import annotations

from pathlib import Path

import click

from naiad.cli import completion as complete
from naiad.cli.run import open_run, stored_field
from naiad.kinds import FILES
from naiad.storage.opening import Named


@click.command()
@click.argument("run", shell_complete=complete.runs)
@click.argument("path", shell_complete=complete.paths)
@click.argument("destination", required=False, type=click.Path(path_type=Path))
@click.pass_obj
def download(store: Named, run: str, path: str, destination: Path | None) -> None:
    """Save files of a run: one file, a series as a folder, a file set as a ZIP, or the files of an artifact.

    DESTINATION is a folder or, for a single file or a file set, the name to save it under. The default is the working
    directory, and `neptune/<name>` for a series. Nothing is written outside DESTINATION.

    Example: naiad download DIGITS-3 model weights.pt
    """
    found = open_run(store, run)
    parsed, kind = found.field(path, FILES, "downloaded")
    stored_field(found, parsed, kind).download(destination)
