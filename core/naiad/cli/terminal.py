"""The terminal: its size and abilities, and writing lines to it or to a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

from naiad.cli.text import clean_lines, is_utf8

STYLES = {"": "", "bold": "1", "dim": "2"} | {
    name: str(code) for code, name in enumerate(("red", "green", "yellow", "blue", "magenta", "cyan"), 31)
}
"""The codes of the styles that commands use."""
PAGER = "less"
PAGER_OPTIONS = "FRX"
"""Of `less`, unless LESS names others: end at once if all fits, show colours, leave the text on the screen."""


def is_terminal() -> bool:
    """Whether a person reads the output as it comes."""
    return sys.stdout.isatty()


def has_colour() -> bool:
    """Whether the output may have colours; NO_COLOR forbids them."""
    return (
        is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
    )


def styled(text: str, style: str) -> str:
    """Return a text in a style, for output that may have colours."""
    code = STYLES[style]
    return f"\x1b[{code}m{text}\x1b[0m" if code and text else text


def has_any_character() -> bool:
    """Whether the output can hold any character, or ASCII alone."""
    return is_utf8(sys.stdout.encoding)


def print_lines(lines: Iterable[str]) -> None:
    """Print lines at once, and nothing if there are none. They are clean already.

    A character that the encoding lacks is escaped. `click.echo` would write UTF-8 to an ASCII terminal.
    """
    text = "\n".join(lines)
    if text:
        print(text, flush=True)


def print_pages(lines: Sequence[str]) -> None:
    """Print lines, through a pager where they are more than a terminal shows.

    The pager is NAIAD_PAGER or PAGER, else `less`; `cat` or an empty text for none.
    """
    if not (is_terminal() and sys.stdin.isatty() and len(lines) >= size()[1] and _page(lines)):
        print_lines(lines)


def _page(lines: Sequence[str]) -> bool:
    """Show lines in the pager; False if there is none."""
    import shlex  # these take longer than printing a table, and are needed for long ones only
    import shutil
    import subprocess

    named = os.environ.get("NAIAD_PAGER", os.environ.get("PAGER", PAGER))
    command = shlex.split(named)
    if not command or command == ["cat"] or os.environ.get("TERM") == "dumb" or not shutil.which(command[0]):
        return False
    options = {"LESS": os.environ.get("LESS", PAGER_OPTIONS), "LESSCHARSET": os.environ.get("LESSCHARSET", "utf-8")}
    pager = subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, **options})
    assert pager.stdin is not None
    try:
        text = "\n".join(lines) + "\n"
        # In the encoding of the terminal, since the pager passes the bytes on as they are.
        pager.stdin.write(text.encode(sys.stdout.encoding or "utf-8", "backslashreplace"))
        pager.stdin.close()
    except BrokenPipeError:  # the reader has seen enough
        pass
    # The pager has the terminal in raw mode: ending before it would leave that behind, and two readers of the keys.
    while True:
        try:
            pager.wait()
        except KeyboardInterrupt:  # Ctrl-C is for the pager
            continue
        return True


def print_note(text: str) -> None:
    """Print a message on stderr: an error, a warning, a verdict."""
    print(clean_lines(text), file=sys.stderr, flush=True)


def size() -> tuple[int, int]:
    """Return columns and lines: COLUMNS and LINES, else those of the terminal, else 80 by 24."""
    import shutil  # of no use to output that is no table

    columns, lines = shutil.get_terminal_size()
    return columns, lines
