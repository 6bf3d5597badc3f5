"""`naiad repair`: saving what can be saved of a damaged run."""

from __future__ import annotations

from pathlib import Path

import click

from naiad.cli.document import json_option, print_document
from naiad.cli.run import existing_store
from naiad.cli.terminal import print_lines
from naiad.cli.text import clean
from naiad.cli.verify import damage_item

__all__ = ["repair"]


@click.command()
@click.argument("run")
@json_option
@click.pass_obj
def repair(store: Path | None, run: str, is_json: bool) -> None:
    """Rebuild a damaged run from what is whole in it. The original is kept beside it."""
    from naiad.store.repair import repair

    done = repair(existing_store(store).find_run(run))
    if is_json:
        damages = [damage_item(damage) for damage in done.damages]
        print_document({"run": run, "original": done.kept and str(done.kept), "lost": damages})
    elif done.kept is None:
        print_lines([f"{clean(run)} is whole; nothing was changed."])
    else:
        print_lines([f"{clean(run)} was rebuilt from what is whole in it."])
        print_lines(f"lost: {clean(str(damage))}" for damage in done.damages)
        print_lines([f"The original is kept in {clean(str(done.kept))}"])
