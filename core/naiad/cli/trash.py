"""`naiad trash`: hide runs from listings until they are restored or purged."""

from __future__ import annotations

from pathlib import Path

import click

from naiad import trash as bin_
from naiad.cli import completion as complete
from naiad.cli.place import existing_store
from naiad.cli.terminal import print_note


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, shell_complete=complete.runs)
@click.pass_obj
def trash(store: Path | None, runs: tuple[str, ...]) -> None:
    """Put runs into the trash: listings leave them out, and nothing of them is deleted.

    Models and model versions can be thrown away too.

    Example: naiad trash DIGITS-3 DIGITS-4
    """
    place = existing_store(store)
    items = bin_.find(place, runs)
    bin_.move(place, items)
    print_note(f"{counted(items)} in the trash now. Take out: naiad restore. Delete for good: naiad purge.")


def counted(items: list[bin_.Item]) -> str:
    """Return `1 run and 2 models are`, for a sentence."""
    kinds = [item.run.kind for item in items]
    counts = [(kinds.count(kind), kind.noun) for kind in dict.fromkeys(kinds)]
    words = " and ".join(f"{count:,} {noun}{'' if count == 1 else 's'}" for count, noun in counts)
    return f"{words} {'is' if len(items) == 1 else 'are'}"
