"""`naiad files`: the files of a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import click

from naiad.cli import completion as complete
from naiad.cli.document import json_option, print_document
from naiad.cli.rows import Cell, print_rows
from naiad.cli.run import OpenRun, open_run
from naiad.fields.artifact import Artifact, tracked_files
from naiad.fields.file import name_of
from naiad.kinds import FILES, MEMBERS, SERIES
from naiad.paths import parse
from naiad.refs import FileRef
from naiad.storage.opening import Named

HEADER = ("FIELD", "FILE", "BYTES", "SHA256")


class Listed(NamedTuple):
    """A file in a run; `size` in bytes."""

    path: str
    name: str
    size: int
    sha256: str
    location: str | None = None


@click.command()
@click.argument("run", shell_complete=complete.runs)
@click.argument("path", required=False, shell_complete=complete.paths)
@json_option
@click.pass_obj
def files(store: Named, run: str, path: str | None, is_json: bool) -> None:
    """List the files of a run, or those at or below a path.

    In a pipe, the columns are field, file, bytes and sha256. The files of an artifact are listed as they were tracked.

    Example: naiad files DIGITS-3
    """
    found = open_run(store, run)
    listed = [file for field in _paths(found, path) for file in _files(found, field)]
    if is_json:
        print_document(
            [{name: value for name, value in file._asdict().items() if value is not None} for file in listed]
        )
    else:
        print_rows(HEADER, map(_cells, listed), nothing=f"{found.id} has no files.")


def _paths(run: OpenRun, path: str | None) -> list[str]:
    kinds = run.reader.kinds()
    if path is None:
        return sorted(each for each, kind in kinds.items() if kind in FILES)
    parsed = parse(path)
    # A field cannot also be a namespace, so that what lies below is all that the path means.
    inside = sorted(each for each, kind in kinds.items() if each.startswith(f"{parsed}/") and kind in FILES)
    return inside or [run.field(parsed, FILES, "listed")[0]]


def _files(run: OpenRun, path: str) -> Iterator[Listed]:
    reader, kind = run.reader, run.reader.kinds()[path]
    if kind == Artifact.kind:
        for each in tracked_files(reader, path):
            yield Listed(path, each.path, each.size, each.content, each.location)
    elif kind == MEMBERS:
        for name, text in sorted(reader.members(path).items()):
            yield _listed(run, path, name, FileRef.from_text(text))
    elif kind in SERIES:
        for index, text in enumerate(reader.texts(path).texts):
            file = FileRef.from_text(text)
            yield _listed(run, path, file.name or name_of(str(index), file.extension), file)
    else:
        file = FileRef.from_text(str(reader.value(path)))
        yield _listed(run, path, name_of(path, file.extension), file)


def _listed(run: OpenRun, path: str, name: str, file: FileRef) -> Listed:
    return Listed(path, name, file.size, run.reader.digest(file))


def _cells(file: Listed) -> list[Cell]:
    return [Cell(file.path, "cyan"), Cell(file.name), Cell(str(file.size)), Cell(file.sha256, "dim")]
