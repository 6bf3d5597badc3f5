"""The program of the fold process: answers the requests of one writer; see `fold_process`.

It is a module of its own because only that process needs numpy and SQLAlchemy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from naiad.errors import DamagedData, NaiadError, NewerFormat
from naiad.storage.local.index.compact import finish_index
from naiad.storage.local.index.fold import Fold
from naiad.storage.local.journal.files import Source, journal_file
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.processes import serve


def main(folder: str, writer: int) -> None:
    """Answer requests until the writer's process closes the pipe, or is gone."""
    place = RunDirectory(Path(folder))
    fold = Fold(place)
    serve(writer, lambda request: _answer(place, fold, *request))


def _answer(folder: RunDirectory, fold: Fold, request: str, content: Any) -> tuple[bool, Any]:
    try:
        if request == "fold":
            return True, _folded(fold, *content)
        finish_index(folder, content)
    except (DamagedData, NewerFormat, OSError) as error:
        facts = error.facts if isinstance(error, NaiadError) else {"errno": error.errno}
        return False, (type(error).__name__, str(error), facts)
    return True, None


def _folded(fold: Fold, wanted: list[tuple[tuple[str, int, str, str], bool, bool]], writer: str) -> tuple[Any, ...]:
    known = set(fold.finished)
    sources = [
        Source(journal_file(writer, number, suffix, Path(path)), is_final, is_awaited)
        for (writer, number, suffix, path), is_final, is_awaited in wanted
    ]
    done = fold.fold(sources)
    shadowed = [tuple(each) for each in fold.shadowed(writer)]
    return [file.name for file in done], fold.counts, fold.positions, [*fold.finished - known], shadowed
