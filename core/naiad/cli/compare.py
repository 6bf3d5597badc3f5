"""`naiad compare`: the differences between runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from naiad.cli import completion as complete
from naiad.cli.document import json_option, print_document
from naiad.cli.place import existing_store
from naiad.cli.rows import Cell, print_rows
from naiad.cli.run import OpenRun, open_run, stored_field
from naiad.cli.terminal import is_terminal
from naiad.cli.values import opened, tags_text, value_text
from naiad.fields.file import File
from naiad.kinds import KINDS
from naiad.storage.base import Store
from naiad.storage.opening import Named

SYS = ("sys/name", "sys/description", "sys/tags", "sys/group_tags")
"""What users write there; all else of `sys` and `monitoring` differs between any two runs."""
REQUIREMENTS = "source_code/requirements"


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...", shell_complete=complete.runs)
@json_option
@click.pass_obj
def compare(store: Named, runs: tuple[str, ...], is_json: bool) -> None:
    """Compare runs: parameters, last values of metrics, tags, commits, versions of packages.

    Only fields that differ are shown. In a pipe, the columns are the path and one value per run, empty if the run has
    none.

    Example: naiad compare DIGITS-3 DIGITS-7
    """
    if len(runs) < 2:
        raise click.UsageError("Give at least two runs.")
    # The catalog has the values of every run, so that no journal is read; the runs are opened for their packages.
    place = existing_store(store)
    found = [open_run(store, run) for run in runs]
    differing = differences(place, found)
    if is_json:
        names = [run.id for run in found]
        print_document({path: dict(zip(names, values, strict=True)) for path, values in differing.items()})
    else:
        is_local = is_terminal()
        rows = (
            [Cell(path, "bold"), *(_cell(value, is_local) for value in values)] for path, values in differing.items()
        )
        print_rows(["FIELD", *(run.id for run in found)], rows, nothing="No differences.", is_whole=True)


def differences(place: Store, runs: Sequence[OpenRun]) -> dict[str, list[object]]:
    """Return the facts in which runs differ: a value for each of them by path, None where a run has none."""
    facts = [dict(_facts(place, run)) for run in runs]
    paths = sorted({path for each in facts for path in each}, key=_place)
    everything = {path: [each.get(path) for each in facts] for path in paths}
    # Compared as texts in full: lists cannot be put in a set, and NaN would differ from itself.
    return {path: values for path, values in everything.items() if len(set(map(_text, values))) > 1}


def _facts(place: Store, run: OpenRun) -> Iterator[tuple[str, object]]:
    """Every single fact of a run that another may not share, by its path."""
    for (path, kind), value in place.catalog().cells(run.run).items():
        if path.startswith("monitoring/") or (path.startswith("sys/") and path not in SYS):
            continue
        if path == REQUIREMENTS and kind == File.kind:
            yield from _packages(run)
        # Of a series the catalog has several figures; the first is the last value.
        elif KINDS[kind].aspects:
            yield path, None if value is None else value[0]
        elif not KINDS[kind].is_series:
            yield path, opened(kind, value)


def _packages(run: OpenRun) -> Iterator[tuple[str, object]]:
    """The version of each package that a run has noted."""
    content: bytes = stored_field(run, REQUIREMENTS, File.kind).fetch_content()
    for line in content.decode("utf-8", "replace").splitlines():
        # As pip freezes them. A line of another form, such as a URL, is compared whole.
        name, is_exact, version = line.partition("==")
        if line.strip() and not line.startswith("#"):
            yield f"{REQUIREMENTS}: {name.strip()}", version.strip() if is_exact else line.strip()


def _place(path: str) -> tuple[int, str]:
    """Sort key: parameters and metrics first, then fields of users in `sys`, then the source code."""
    return {"sys": 1, "source_code": 2}.get(path.partition("/")[0], 0), path


def _cell(value: object, is_local: bool) -> Cell:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return Cell(_text(value, is_local=is_local), is_number=is_number)


def _text(value: object, *, is_local: bool = False) -> str:
    if value is None:
        return ""
    return tags_text(value) if isinstance(value, list) else value_text(value, is_local=is_local)
