"""`naiad import`: bring in the runs of other tools."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from naiad.cli.document import json_option, print_document
from naiad.cli.program import store_option
from naiad.cli.terminal import print_lines, print_note
from naiad.cli.text import clean
from naiad.importer import Importer
from naiad.storage.opening import Named

if TYPE_CHECKING:
    from naiad.importers.report import Reason, Report, RunReport

MOST_SHOWN = 20


class Formats(click.Group):
    """The group of formats: one command for each importer of a plugin."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click passes it)
        """Return the names of the importers."""
        return list(_importers())

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002 (click passes it)
        """Return the command of an importer."""
        importer = _importers().get(name)
        return None if importer is None else _command(importer)


def _importers() -> dict[str, Importer]:
    from naiad.importers.imports import importers  # it imports NumPy, which no other command needs at its start

    return importers()


@click.group(name="import", cls=Formats)
def import_() -> None:
    """Import runs of other tools.

    Importing again adds only data that is new in the source. Anything that was edited or removed in naiad, or is in the
    trash, is left as it is. The source is never changed. Runs keep their ids unless the ids are taken.

    The report counts found, imported, present and skipped items, with reasons, and compares checksums of the store with
    those of the source. The exit code is not 0 if anything was lost.

    Examples: naiad import neptune-offline .neptune; naiad import neptune-export ./exports --dry-run
    """


def _command(importer: Importer) -> click.Command:
    options = [
        click.Option([f"--{name}"], help=text, metavar="TEXT", multiple=name in importer.repeated)
        for name, text in importer.options.items()
    ]
    common: list[click.Parameter] = [
        click.Argument(["path"], type=click.Path(path_type=Path)),
        store_option(),
        *options,
        click.Option(["--project"], help="Project for runs whose source does not name one."),
        click.Option(
            ["--into"],
            metavar="RUN",
            help="Add everything to this run; points that it has already are not added again.",
        ),
        click.Option(["--dry-run", "is_dry"], is_flag=True, help="Write nothing; print the report."),
        click.Option(["--workers"], type=click.IntRange(min=1), help="Number of processes that read."),
    ]
    command = click.Command(
        importer.name,
        params=common,
        callback=_callback(importer),
        help=f"Import {importer.title}.\n\nExample: naiad import {importer.name} PATH --dry-run",
        short_help=importer.title,
    )
    return json_option(command)


def _callback(importer: Importer) -> Any:
    @click.pass_obj
    def run(
        store: Named,
        /,
        path: Path,
        project: str | None,
        into: str | None,
        is_dry: bool,
        workers: int | None,
        is_json: bool,
        **options: Any,
    ) -> None:
        from naiad.importers.imports import import_runs  # late, as above

        # Options not given are left out, so that the importer's own defaults hold.
        given = {name: value for name, value in options.items() if value not in (None, ())}
        report = import_runs(
            importer.name, path, store=store, project=project, into=into, is_dry=is_dry, workers=workers,
            progress_bar=False if is_json else None, **given,
        )  # fmt: skip
        if is_json:
            print_document(report.as_document())
        else:
            print_lines(map(clean, _lines(report)))
            print_note(_verdict(report))
        if not report.is_whole:
            sys.exit(1)

    return run


def _lines(report: Report) -> Iterator[str]:
    """Yield the lines of a report: each run, its kinds, its skipped items."""
    for run in report.runs:
        yield from _run_lines(run, report.is_dry)
    for each in report.problems:
        yield f"{each.where or report.path}: {each.reason}"
    yield from report.notes


def _run_lines(run: RunReport, is_dry: bool) -> Iterator[str]:
    name = run.id or run.identity
    status = (
        {"new": "would be new", "updated": "would be updated"}.get(run.status, run.status) if is_dry else run.status
    )
    source = f", from {run.source_id}" if run.source_id and run.source_id != run.id else ""
    yield f"{name}: {status}{source} ({run.project})"
    for kind, counts in sorted(run.kinds.items()):
        parts = [f"{counts.found:,} found", f"{counts.imported:,} imported"]
        parts += [f"{counts.present:,} there already"] if counts.present else []
        parts += [f"{counts.skipped:,} skipped"] if counts.skipped else []
        yield f"  {kind}: {', '.join(parts)}"
    for each in run.skipped[:MOST_SHOWN]:
        yield f"  {_reason(each)}"
    more = len(run.skipped) + run.more_skipped - MOST_SHOWN
    if more > 0:
        yield f"  ... and {more:,} more; --json lists them."
    for note in run.notes[:MOST_SHOWN]:
        yield f"  {note}"
    if run.error:
        yield f"  failed: {' '.join(run.error.splitlines())}"
    if run.checks.changed:
        yield f"  changed in naiad since: {', '.join(run.checks.changed[:MOST_SHOWN])}"
    if run.checks.differing:
        yield f"  NOT WHAT THE SOURCE HAS: {', '.join(run.checks.differing[:MOST_SHOWN])}"
    elif run.checks.fields:
        yield f"  {run.checks.fields:,} fields checked against the source, checksum {run.checks.store}"


def _reason(each: Reason) -> str:
    word = "lost" if each.is_loss else "skipped"
    place = f'"{each.path}"' if each.path else each.where
    where = f" [{each.where}]" if each.where and each.path else ""
    return f"{word}: {place}: {each.reason}{where}"


def _verdict(report: Report) -> str:
    runs = "1 run" if len(report.runs) == 1 else f"{len(report.runs):,} runs"
    counts = {status: sum(run.status == status for run in report.runs) for status in ("new", "updated", "unchanged")}
    said = ", ".join(f"{count:,} {status}" for status, count in counts.items() if count)
    head = f"{runs} found{f': {said}' if said else ''}."
    head = f"{head} Nothing was written (--dry-run)." if report.is_dry else head
    if report.is_whole:
        return head
    lost = sum(run.lost for run in report.runs) + sum(each.count for each in report.problems if each.is_loss)
    return f"{head}\n{lost:,} items of the source could not be imported; the lines above give the reasons."
