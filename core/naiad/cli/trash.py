"""`naiad trash`: hide runs from listings until they are restored or purged."""

from __future__ import annotations

import click

from naiad import trash as bin_
from naiad.cli import completion as complete
from naiad.cli.place import existing_store, known_names
from naiad.cli.terminal import print_note
from naiad.storage.opening import Named


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, shell_complete=complete.runs)
@click.option("--children", "with_children", is_flag=True, help="Also move the children of the runs to the trash.")
@click.pass_obj
def trash(store: Named, runs: tuple[str, ...], with_children: bool) -> None:
    """Move runs to the trash: listings leave them out, and nothing is deleted.

    Models and model versions can be moved to the trash too. The children of a run stay, each in a line of its own in
    listings, unless --children is given.

    Example: naiad trash DIGITS-3 DIGITS-4
    """
    place = existing_store(store)
    given = bin_.find(place, known_names(place, runs))
    # Found in any case, in order to say how many stay behind.
    items = bin_.with_children(place, given)
    left = len(items) - len(given)
    items = items if with_children else given
    bin_.move(place, items)
    print_note(f"{counted(items)} in the trash now. Take out: naiad restore. Delete for good: naiad purge.")
    if left and not with_children:
        which = "1 child of them stays" if left == 1 else f"{left:,} children of them stay"
        print_note(f"{which} outside it; --children takes along all that belong to a run.")


def counted(items: list[bin_.Item]) -> str:
    """Return `1 run and 2 models are`, for a sentence."""
    kinds = [item.run.kind for item in items]
    counts = [(kinds.count(kind), kind.noun) for kind in dict.fromkeys(kinds)]
    words = " and ".join(f"{count:,} {noun}{'' if count == 1 else 's'}" for count, noun in counts)
    return f"{words} {'is' if len(items) == 1 else 'are'}"
