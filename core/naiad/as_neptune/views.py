"""The compatibility views: where a program of Neptune's is shown something else than naiad shows by itself.

A view changes an answer and never what is stored. The table is complete: whatever has no row here is under the alias as
it is in naiad.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from naiad.as_neptune.exceptions import FetchAttributeNotFoundException
from naiad.errors import InvalidArgument, MissingField, ProjectExists
from naiad.fields.file import forget_saved
from naiad.kinds import KINDS
from naiad.management import create_project, get_project_list

__all__ = [
    "VIEWS",
    "View",
    "archive_of",
    "in_milliseconds",
    "let_replace",
    "make_project",
    "missing",
    "refuse_mixed",
    "state",
    "with_root",
    "without",
]

STATE = ("sys", "state")
MILLISECOND = 1000
SINGLE = {kind.neptune for kind in KINDS.values() if kind.shape in ("atom", "derived")}
"""What Neptune calls the kinds that hold a single value."""


class View(NamedTuple):
    """One difference between naiad's results and those shown to a program of Neptune's."""

    subject: str
    naiad: str
    neptune: str
    shown_by: Callable[..., Any] | str
    """The function of this module, or the class under the alias whose nature it is."""


def make_project(name: str | None, mode: str | None, store: Any) -> None:
    """Create the project of `init_project`, unless it exists or the mode is read-only."""
    # In the order in which the container itself looks its mode up afterwards.
    found = mode or os.environ.get("NAIAD_MODE") or os.environ.get("NEPTUNE_MODE") or "async"
    if name and found in ("async", "sync") and name not in get_project_list(store=store):
        with suppress(ProjectExists):  # several ranks may ask for it at once
            create_project(name, store=store)


def state(value: str) -> str:
    """Return the state of a run in Neptune's two words.

    >>> state("running"), state("failed")
    ('Active', 'Inactive')
    """
    return "Active" if value in ("running", "Active") else "Inactive"


def in_milliseconds(value: Any) -> Any:
    """Return a moment cut to milliseconds, and anything else unchanged.

    >>> in_milliseconds(datetime(2024, 5, 1, 12, 0, 0, 123_456))
    datetime.datetime(2024, 5, 1, 12, 0, 0, 123000)
    """
    if not isinstance(value, datetime):
        return value
    return value.replace(microsecond=value.microsecond // MILLISECOND * MILLISECOND)


def without(value: Any, path: tuple[str, ...]) -> Any:
    """Return the result of `fetch()` with moments and the state in Neptune's form."""
    if isinstance(value, dict):
        return {name: without(item, (*path, name)) for name, item in value.items()}
    return state(value) if path == STATE else in_milliseconds(value)


def archive_of(path: str, destination: str | os.PathLike[str] | None) -> Path:
    """Return where the archive of a file set goes."""
    place = Path.cwd() if destination is None else Path(os.path.expanduser(os.fsdecode(destination)))
    # A folder gets a file named by the last part of the path; anything else is the name of the archive.
    return place / f"{path.rpartition('/')[2]}.zip" if place.is_dir() else place


def with_root(archive: Path) -> None:
    """Add the entry "/" to the archive of a file set."""
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(zipfile.ZipInfo("/"), b"")


def let_replace() -> None:
    """Let a download replace a file of another field or run: programs fetch "model" of many runs into one folder."""
    forget_saved()


def refuse_mixed(column: str, kinds: Iterable[str]) -> None:
    """Raise for a sort column with single values in some containers and series or files in others.

    Raises:
        InvalidArgument: it is.
    """
    found = set(kinds)
    if len(found) > 1 and not found <= SINGLE:
        raise InvalidArgument(
            f'Column "{column}" cannot be used for sorting: it has fields of kind {", ".join(sorted(found))}.\n'
            "Sort by a column that has single values only.",
            argument="sort_by",
        )


def missing(problem: MissingField) -> FetchAttributeNotFoundException:
    """Return the error of a verb that reads where nothing is, so that each of Neptune's three names catches it."""
    return FetchAttributeNotFoundException(str(problem), path=problem.path)


VIEWS = (
    View("init_project() of an unknown name", "raises ProjectNotFound", "creates the project", make_project),
    View('"sys/state"', "running, finished, failed, terminated, killed", "Active or Inactive", state),
    View("a fetched datetime", "to the microsecond", "to the millisecond", in_milliseconds),
    View("a malformed query", "raises in the call", "raises when the table is first read", "Table"),
    View("next() of a table", "raises TypeError", "returns the next row", "Table"),
    View("the archive of a file set", "the files and their folders", 'also an entry "/"', with_root),
    View("download() to a name that another field's file has", "raises InvalidArgument", "replaces it", let_replace),
    View("sort_by= of single values and series at one path", "sorts", "raises ValueError", refuse_mixed),
    View(
        "reading a field that does not exist",
        "MissingField",
        "an error that MetadataInconsistency catches too",
        missing,
    ),
)
"""Every view."""
