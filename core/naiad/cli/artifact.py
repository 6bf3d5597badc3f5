"""`naiad artifact diff`: how two versions of tracked files differ."""

from __future__ import annotations

from collections.abc import Iterator

import click

from naiad.cli import completion as complete
from naiad.cli.document import json_option, print_document
from naiad.cli.rows import Cell, print_rows
from naiad.cli.run import open_run
from naiad.cli.terminal import print_note
from naiad.fields.artifact import Artifact, tracked_files
from naiad.files.tracked import Changes, TrackedFile, content_hash
from naiad.files.tracked import diff as compare
from naiad.storage.opening import Named

HEADER = ("CHANGE", "FILE", "WHAT")


@click.group()
def artifact() -> None:
    """Compare artifacts, which record the files that a run used.

    Example: naiad artifact diff DIGITS-3 dataset DIGITS-7 dataset
    """


@artifact.command()
@click.argument("run_a", shell_complete=complete.runs)
@click.argument("path_a", shell_complete=complete.paths)
@click.argument("run_b", shell_complete=complete.runs)
@click.argument("path_b", shell_complete=complete.paths)
@json_option
@click.pass_obj
def diff(store: Named, run_a: str, path_a: str, run_b: str, path_b: str, is_json: bool) -> None:
    """Show which files were added, removed or changed from one artifact to another.

    In a pipe the columns are added, removed or changed, the file, and the facts of it that differ.

    Example: naiad artifact diff DIGITS-3 dataset DIGITS-7 dataset
    """
    old, new = _files(store, run_a, path_a), _files(store, run_b, path_b)
    changes = compare(old, new)
    if is_json:
        hashes = {"old": content_hash(old), "new": content_hash(new)}
        print_document(_document(changes) | {"content_hash": hashes, "same_content": changes.is_content_same})
        return
    print_rows(HEADER, _rows(changes))
    if not (changes.added or changes.removed or changes.changed):
        print_note("Both are the same version.")
    elif changes.is_content_same:
        print_note(f"Both have the same content, {content_hash(new)}; only times and places differ.")


def _files(store: Named, run: str, path: str) -> list[TrackedFile]:
    found = open_run(store, run)
    return tracked_files(found.reader, found.field(path, (Artifact.kind,), "compared")[0])


def _rows(changes: Changes) -> Iterator[list[Cell]]:
    for word, style, files in (("added", "green", changes.added), ("removed", "red", changes.removed)):
        yield from ([Cell(word, style), Cell(file.path), Cell("")] for file in files)
    for change in changes.changed:
        yield [Cell("changed", "yellow"), Cell(change.new.path), Cell(", ".join(change.facts))]


def _document(changes: Changes) -> dict[str, object]:
    return {
        "added": [file.path for file in changes.added],
        "removed": [file.path for file in changes.removed],
        "changed": [{"path": change.new.path, "facts": list(change.facts)} for change in changes.changed],
    }
