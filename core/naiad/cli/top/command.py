"""`naiad top`: the runs of a store, live."""

from __future__ import annotations

import contextlib
import warnings

import click

from naiad.alerts.delivery import Sweeper
from naiad.alerts.wanted import alerts_wanted
from naiad.cli import completion as complete
from naiad.cli.place import existing_store
from naiad.cli.top.application import LOOK_SECONDS, Application
from naiad.cli.top.board import Selection
from naiad.cli.top.screen import opened_screen
from naiad.storage.opening import Named


@click.command()
@click.argument("words", nargs=-1, metavar="[FILTER]")
@click.option("--project", help="Only runs of this project.", shell_complete=complete.projects)
@click.option("--columns", help="Paths, separated by commas.", shell_complete=complete.columns)
@click.option("--sort", "sort_by", help="The column to sort by, in descending order.", shell_complete=complete.columns)
@click.option("--ascending", is_flag=True, help="The smallest first.")
@click.option(
    "--every", "seconds", type=click.FloatRange(min=0.1), default=LOOK_SECONDS, show_default=True,
    metavar="SECONDS", help="How often to look for changes.",
)  # fmt: skip
@click.pass_obj
def top(
    store: Named,
    words: tuple[str, ...],
    project: str | None,
    columns: str | None,
    sort_by: str | None,
    ascending: bool,
    seconds: float,
) -> None:
    """Show runs live: their last values and sparklines, the curves of one run or of several, and output.

    It reads the store itself, needs no server, and changes nothing. FILTER is words that a run has in its id, name,
    tags or state, or a query as naiad query takes it. Press ? for the keys and q to leave.

    Alerts of runs that were killed meanwhile are sent, if you have alerts.

    Example: naiad top running --columns train/loss,val/acc
    """
    place = existing_store(store)
    selection = Selection(
        project, " ".join(words), (sort_by, ascending) if sort_by else None, columns.split(",") if columns else []
    )
    selection.condition()  # a filter that cannot be understood is an error before the screen is taken
    wanted = alerts_wanted()
    sweeper = Sweeper(place, wanted) if wanted is not None else None
    with opened_screen() as screen, warnings.catch_warnings():
        application = Application(place, screen, selection, seconds)
        # A warning on stderr would be drawn over the screen.
        warnings.showwarning = lambda message, *_where, **_more: application.say(str(message).partition("\n")[0])
        if sweeper:
            sweeper.start()
        with contextlib.suppress(KeyboardInterrupt):
            application.run()
        if sweeper:
            sweeper.stop()
