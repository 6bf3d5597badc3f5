"""The program around the commands: its options, and how errors and warnings reach a person."""

from __future__ import annotations

import errno
import sys
import warnings
from pathlib import Path
from typing import Any, TextIO

import click

from naiad import __version__
from naiad.cli.terminal import print_note
from naiad.errors import NaiadError, NaiadWarning


class Program(click.Group):
    """The group of commands. An error is printed in a few plain lines and exits with 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the selected command."""
        with warnings.catch_warnings():
            warnings.simplefilter("always", NaiadWarning)
            warnings.showwarning = _show_warning
            try:
                return super().invoke(ctx)
            except NaiadError as error:
                message = str(error)
            except (OSError, TimeoutError) as error:
                if error.errno == errno.EPIPE:  # the reader of our output has seen enough; click ends quietly
                    raise
                message = _about(error)
        print_note(message)
        return ctx.exit(1)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--store",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="The store folder; else NAIAD_STORE, else the nearest .naiad here or above.",
)
@click.version_option(__version__, message="naiad %(version)s")
@click.pass_context
def program(ctx: click.Context, store: Path | None) -> None:
    """Look at the runs of a store, and mend them.

    RUN is an id such as DIGITS-3, or the name of the run's folder; models (DIGITS-CNN) and their versions
    (DIGITS-CNN-2) are named alike. On a terminal output is made for reading;
    in a pipe each line is one item, with tabs between columns and no header. --json gives everything exactly.
    """
    ctx.obj = store
    for stream in (sys.stdout, sys.stderr):
        _write_anything(stream)


def _write_anything(stream: TextIO) -> None:
    """Escape characters that the encoding of a stream lacks, instead of failing."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure:
        reconfigure(errors="backslashreplace")


def _show_warning(message: Warning | str, *_where: object, **_more: object) -> None:
    """Print a warning without the line of naiad's own source that gave it."""
    print_note(f"Warning: {message}")


def _about(error: OSError) -> str:
    if error.strerror is None:
        return f"{error}."
    return f"{error.strerror}: {error.filename!r}." if error.filename else f"{error.strerror}."
