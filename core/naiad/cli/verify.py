"""`naiad verify`: whether no damage found."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import click

from naiad.cli import completion as complete
from naiad.cli.document import json_option, print_document
from naiad.cli.folder import existing_folder
from naiad.cli.place import find_run
from naiad.cli.rows import Cell, print_rows
from naiad.cli.terminal import print_note
from naiad.cli.text import clean

if TYPE_CHECKING:
    from naiad.storage.local.integrity.verify import Findings
    from naiad.storage.local.layout import RunDirectory
    from naiad.storage.opening import FolderStore
    from naiad.storage.results import Damage

HEADER = ("RUN", "FILE", "BYTE", "FIELD", "DAMAGE")
STORE = "(store)"  # in the place of a run: what is damaged belongs to none
SHOWN = 5  # runs that the verdict names


class Damaged(NamedTuple):
    """A damage and the run it is in."""

    run: str
    damage: Damage


@click.command()
@click.argument("run", required=False, shell_complete=complete.runs)
@json_option
@click.pass_context
def verify(ctx: click.Context, run: str | None, is_json: bool) -> None:
    """Check every byte of a run, or of all runs, and name file and field of each damage.

    The exit code is 1 if anything is damaged. In a pipe, the columns are run, file, byte, field and damage.

    Example: naiad verify
    """
    store = existing_folder(ctx.obj)
    findings = _findings(store, run)
    # Torn ends are notes below and no damage: a kill leaves one, and the exit code must not be 1 for it.
    damages = [(name, found.damages) for name, found in findings]
    found = [Damaged(name, damage) for name, its_own in damages for damage in its_own]
    if is_json:
        print_document([{"run": each.run, **damage_item(each.damage)} for each in found])
    elif found:
        print_rows(HEADER, map(_cells, found))
    for name, its_own in findings:
        for torn in its_own.torn:
            print_note(f"In {name} {clean(str(torn))}; a kill or a power cut explains that.")
        for awaited in its_own.awaited:
            print_note(f"In {name} {clean(str(awaited))}; they appear once its machine has sent that op.")
        if its_own.dropped:
            print_note(f"{name} is incomplete: {its_own.dropped:,} points and ops could not be stored.")
        for shadowed in its_own.shadowed:
            print_note(f"In {name} {shadowed}; the later one is stored but not shown.")
    print_note(_verdict(damages))
    ctx.exit(1 if found else 0)


def damage_item(damage: Damage) -> dict[str, object]:
    """Return a damage for a JSON document."""
    return {"file": damage.file, "offset": damage.offset, "field": damage.path, "what": damage.what}


def _findings(store: FolderStore, run: str | None) -> list[tuple[str, Findings]]:
    """Return the findings of one run, or of the whole store, by id or uid.

    Copied runs may have the same id as others.
    """
    from naiad.storage.local.integrity.verify import examine, examine_store

    if run is not None:
        return [(run, examine(store.directory(find_run(store, run))))]
    findings = examine_store(store.layout)  # before a listing makes a damaged catalog anew
    ids = {row.uid: row.id for row in store.catalog().summaries(kind=None, is_trashed=None)}
    return [(_name(folder, store, ids), found) for folder, found in findings.items()]


def _name(folder: RunDirectory, store: FolderStore, ids: dict[str, str]) -> str:
    return STORE if folder.path == store.root else ids.get(folder.uid) or folder.uid


def _cells(each: Damaged) -> list[Cell]:
    run, damage = each
    offset = "" if damage.offset is None else str(damage.offset)
    field = damage.path or ""
    return [Cell(run, "bold"), Cell(damage.file), Cell(offset), Cell(field, "cyan"), Cell(damage.what, "red")]


def _verdict(damages: list[tuple[str, list[Damage]]]) -> str:
    count = sum(name != STORE for name, _ in damages)
    runs = "1 run" if count == 1 else f"{count:,} runs"
    broken = [name for name, its_own in damages if its_own]
    if not broken:
        return f"{runs} checked, no damage found."
    others = " and others" if len(broken) > SHOWN else ""
    return f"{runs} checked, damage in {', '.join(broken[:SHOWN])}{others}."
