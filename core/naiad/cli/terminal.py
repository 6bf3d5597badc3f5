"""The terminal: whether there is one, how large it is, and writing lines to it or to a pipe."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from naiad.cli.text import clean_lines

if TYPE_CHECKING:
    from rich.console import Console


def is_terminal() -> bool:
    """Whether a person reads the output as it comes."""
    return sys.stdout.isatty()


def console() -> Console:
    """The console to print on; without any escape sequence where NO_COLOR is set."""
    from rich.console import Console

    colour = None if os.environ.get("NO_COLOR") else "auto"
    return Console(color_system=colour, markup=False, emoji=False, highlight=False)  # type: ignore[arg-type]  # rich names a Literal


def print_lines(lines: Iterable[str]) -> None:
    """Print lines at once, and nothing if there are none. They are clean already.

    A character that the encoding lacks is escaped. `click.echo` would write UTF-8 to an ASCII terminal.
    """
    text = "\n".join(lines)
    if text:
        print(text, flush=True)


def print_note(text: str) -> None:
    """Print a message on stderr: an error, a warning, a verdict."""
    print(clean_lines(text), file=sys.stderr, flush=True)


def size() -> tuple[int, int]:
    """Return columns and lines: COLUMNS and LINES, else those of the terminal, else 80 by 24."""
    columns, lines = shutil.get_terminal_size()
    return columns, lines
