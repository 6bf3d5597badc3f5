"""`naiad neptune`: run a program with an `import neptune`."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import click

__all__ = ["neptune"]

ALIAS = "naiad.as_neptune"
ANNOUNCED = "NAIAD_AS_NEPTUNE"


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("-m", "module", metavar="MODULE", help="Run a module, as python -m does.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[SCRIPT] [ARGS]...")
@click.pass_obj
def neptune(store: os.PathLike[str] | None, module: str | None, arguments: tuple[str, ...]) -> None:
    """Run a program that was written for Neptune, and log to the store.

    `import neptune` and all modules below it resolve to naiad, in the program and in the processes that it starts.

    Examples: naiad neptune train.py --lr 0.1; naiad neptune -m package.train --lr 0.1
    """
    if module is None and not arguments:
        raise click.UsageError("Name the script to run, or a module with -m.")
    if store is not None:
        os.environ["NAIAD_STORE"] = os.path.abspath(store)
    os.environ[ANNOUNCED] = ""  # the program says where its data goes, because its own folder counts
    # Imported for its effect on the environment alone, which the program inherits.
    import_module(ALIAS)  # by name: commands do not depend on it
    del os.environ[ANNOUNCED]
    program = [] if module is None else ["-m", module]
    # In place of this process: signals, the exit status and the terminal are the program's own.
    os.execv(sys.executable, [sys.executable, *program, *arguments])
