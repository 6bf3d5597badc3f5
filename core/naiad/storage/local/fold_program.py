"""The program of the fold process: answers the requests of one writer; see `fold_process`.

It is a module of its own because only that process needs numpy and SQLAlchemy.
"""

from __future__ import annotations

import math
import os
import select
from pathlib import Path
from typing import Any

from naiad.errors import DamagedData, NaiadError, NewerFormat
from naiad.storage.local.fold_process import REPLIES, REQUESTS, receive, send
from naiad.storage.local.index.compact import finish_index
from naiad.storage.local.index.fold import Fold
from naiad.storage.local.journal.files import Source, journal_file
from naiad.storage.local.layout import RunDirectory

ORPHAN_SECONDS = 30.0
"""How often it looks whether the writer's process still lives, a forked child of which may keep the pipe open."""


def main(folder: str, writer: int) -> None:
    """Answer requests until the writer's process closes the pipe, or is gone."""
    place = RunDirectory(Path(folder))
    fold = Fold(place)
    waiting = select.poll()
    waiting.register(REQUESTS, select.POLLIN)
    while waiting.poll(ORPHAN_SECONDS * 1000) or _is_alive(writer):
        if waiting.poll(0):
            request = receive(REQUESTS, math.inf)
            if request is None:
                break
            send(REPLIES, _answer(place, fold, *request))
    # Without the interpreter's clean-up, which takes as long as a small fold, and in which nothing is left to do.
    os._exit(0)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _answer(folder: RunDirectory, fold: Fold, request: str, content: Any) -> tuple[bool, Any]:
    try:
        if request == "fold":
            return True, _folded(fold, *content)
        finish_index(folder, content)
    except (DamagedData, NewerFormat, OSError) as error:
        facts = error.facts if isinstance(error, NaiadError) else {"errno": error.errno}
        return False, (type(error).__name__, str(error), facts)
    return True, None


def _folded(fold: Fold, wanted: list[tuple[tuple[str, int, str, str], bool]], writer: str) -> tuple[Any, ...]:
    known = set(fold.finished)
    files = [
        (journal_file(writer, number, suffix, Path(path)), is_final)
        for (writer, number, suffix, path), is_final in wanted
    ]
    done = fold.fold([Source(file, is_final) for file, is_final in files])
    shadowed = [tuple(each) for each in fold.shadowed(writer)]
    return [file.name for file in done], fold.counts, fold.positions, [*fold.finished - known], shadowed
