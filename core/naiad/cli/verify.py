"""`naiad verify`: whether everything is as it was written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import click

from naiad.cli.document import json_option, print_document
from naiad.cli.rows import Cell, print_rows
from naiad.cli.run import existing_store
from naiad.cli.terminal import print_note

if TYPE_CHECKING:
    from naiad.store.folder import RunFolder
    from naiad.store.store import Store
    from naiad.store.tails import Damage

__all__ = ["damage_item", "verify"]

HEADER = ("RUN", "FILE", "BYTE", "FIELD", "DAMAGE")


class Damaged(NamedTuple):
    """A damage and the run it is in."""

    run: str
    damage: Damage


@click.command()
@click.argument("run", required=False)
@json_option
@click.pass_context
def verify(ctx: click.Context, run: str | None, is_json: bool) -> None:
    """Check every byte of a run, or of all runs, and name file and field of each damage.

    The exit code is 1 if anything is damaged. In a pipe the columns are run, file, byte, field and damage.
    """
    store = existing_store(ctx.obj)
    runs = list(_named(store, run))
    found = [Damaged(name, damage) for name, folder in runs for damage in _damages(folder)]
    if is_json:
        print_document([{"run": each.run, **damage_item(each.damage)} for each in found])
    elif found:
        print_rows(HEADER, map(_cells, found))
    print_note(_verdict(len(runs), {each.run for each in found}))
    ctx.exit(1 if found else 0)


def damage_item(damage: Damage) -> dict[str, object]:
    """Return a damage for a JSON document."""
    return {"file": damage.file, "offset": damage.offset, "field": damage.path, "what": damage.what}


def _named(store: Store, run: str | None) -> Iterator[tuple[str, RunFolder]]:
    if run is not None:
        yield run, store.find_run(run)
        return
    ids = {row.uid: row.id for row in store.catalog().rows()}
    for folder in store.folders():
        yield ids.get(folder.uid, folder.uid), folder


def _damages(folder: RunFolder) -> list[Damage]:
    from naiad.store.verify import verify

    return verify(folder)


def _cells(each: Damaged) -> list[Cell]:
    run, damage = each
    offset = "" if damage.offset is None else str(damage.offset)
    field = damage.path or ""
    return [Cell(run, "bold"), Cell(damage.file), Cell(offset), Cell(field, "cyan"), Cell(damage.what, "red")]


def _verdict(count: int, damaged: set[str]) -> str:
    runs = "1 run" if count == 1 else f"{count:,} runs"
    if damaged:
        return f"{len(damaged):,} of {runs} damaged."
    return f"{runs} checked, everything is as it was written."
