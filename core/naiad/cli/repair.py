"""`naiad repair`: rebuild a damaged run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from naiad.cli import completion as complete
from naiad.cli.document import json_option, print_document
from naiad.cli.folder import existing_folder
from naiad.cli.place import find_run
from naiad.cli.terminal import print_lines
from naiad.cli.text import clean
from naiad.cli.verify import damage_item
from naiad.storage.opening import FolderStore, Named

if TYPE_CHECKING:
    from naiad.storage.local.integrity.repair import Repair


@click.command()
@click.argument("run", required=False, shell_complete=complete.runs)
@click.option(
    "--catalog", "is_catalog", is_flag=True, help="Rebuild the catalog, the table of all runs, from the run folders."
)
@click.option("--take-over", "is_taken_over", is_flag=True, help="Mark a run whose state is unknown as killed.")
@json_option
@click.pass_obj
def repair(store: Named, run: str | None, is_catalog: bool, is_taken_over: bool, is_json: bool) -> None:
    """Rebuild a damaged run from its intact parts, and keep the originals beside it.

    The report lists the damage, how many fields and points the run has now, and which fields, files and points are
    lost. If the run is intact but its process was killed, what it left in the journal is folded into the index.

    A run is unknown if its process may still be alive on another machine or in a container. --take-over marks such a
    run as killed. If the process comes back after all, it continues in new files, and nothing is lost.

    Example: naiad repair DIGITS-3
    """
    if is_catalog == (run is not None) or (is_catalog and is_taken_over):
        raise click.UsageError("Give a run, or --catalog.")
    if run is None:
        _rebuild(existing_folder(store), is_json)
        return
    from naiad.storage.local.integrity.repair import repair

    place = existing_folder(store)
    done = repair(place.directory(find_run(place, run)), is_taken_over=is_taken_over)
    if done.taken and not is_json:
        print_lines([f"Silent writers of {clean(run)} that were declared dead: {done.taken}."])
    if is_json:
        counts: dict[str, object] = {"fields": done.fields, "points": done.points, "lost": done.lost}
        counts |= {"lost_fields": done.lost_fields, "lost_nameless": done.lost_nameless, "lost_files": done.lost_files}
        counts |= {"taken": done.taken, "folded": done.is_folded}
        damages = [damage_item(damage) for damage in done.damages]
        print_document({"run": run, "original": done.kept and str(done.kept), **counts, "damages": damages})
    elif done.kept is None:
        changed = "its journal was folded into run.db" if done.is_folded else "nothing was changed"
        print_lines([f"{clean(run)} is intact; {'nothing else was changed' if done.taken else changed}."])
    else:
        print_lines(f"found: {clean(str(damage))}" for damage in done.damages)
        print_lines(f"lost field: {clean(path)}" for path in done.lost_fields)
        print_lines(f"lost file: {clean(name)}" for name in done.lost_files)
        print_lines([f"{clean(run)} has {done.fields:,} fields and {done.points:,} points now; lost: {_lost(done)}."])
        print_lines([f"The originals are kept in {clean(str(done.kept))}"])


def _lost(done: Repair) -> str:
    """The losses in one phrase."""
    named = f"{len(done.lost_fields):,} fields" if done.lost_fields else ""
    nameless = f"{done.lost_nameless:,} fields whose paths are not known" if done.lost_nameless else ""
    files = f"{len(done.lost_files):,} files" if done.lost_files else ""
    return ", ".join(part for part in (f"{done.lost:,} points", named, nameless, files) if part)


def _rebuild(store: FolderStore, is_json: bool) -> None:
    """Throw the catalog away, which loses nothing, and read all folders again."""
    # Everything in the catalog comes from the folders of the runs.
    catalog = store.catalog()
    catalog.rebuild(progress_bar=None)
    count = len(catalog.summaries(kind=None, is_trashed=None))
    if is_json:
        print_document({"containers": count})
    else:
        print_lines([f"The catalog was rebuilt from {count:,} folders."])
