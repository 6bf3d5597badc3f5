"""The program around the commands: its options, and how errors and warnings reach a person."""

from __future__ import annotations

import errno
import gc
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from keyword import iskeyword
from pathlib import Path
from typing import Any, TextIO

import click

from naiad import __version__
from naiad.cli.terminal import print_note
from naiad.errors import NaiadError, NaiadWarning
from naiad.places import is_server

COMMANDS = {
    "ls": "ls",
    "query": "query",
    "compare": "compare",
    "projects": "projects",
    "show": "show",
    "plot": "plot",
    "top": "top.command",
    "tail": "tail",
    "logs": "logs",
    "files": "files",
    "download": "download",
    "artifact": "artifact",
    "copy": "copy",
    "sync": "sync",
    "du": "du",
    "verify": "verify",
    "repair": "repair",
    "protect": "protect",
    "move": "move",
    "trash": "trash",
    "restore": "restore",
    "purge": "purge",
    "gc": "gc",
    "path": "path",
    "plugins": "plugins",
    "completion": "shells",
    "neptune": "neptune",
    "import": "import_",
    "export": "export",
    "doctor": "doctor",
    "docs": "docs",
}
"""The module of each command, in the order of the help. Only that of the command which is called is loaded."""
LISTINGS = ("ls", "query", "compare", "show")


def _take_store(ctx: click.Context, _param: click.Parameter, value: Path | str | None) -> None:
    """Let the commands look into this store; the last one counts."""
    if value is not None:
        ctx.obj = value


class _StorePath(click.Path):
    """The folder of a store, or the address of a server, which is no path and stays as it is."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if is_server(value) else super().convert(value, param, ctx)


def store_option() -> click.Option:
    """Return the option that names the store; every command has it."""
    return click.Option(
        ["--store"],
        metavar="PATH|URL",
        type=_StorePath(path_type=Path),
        expose_value=False,
        callback=_take_store,
        help="A folder, or the address of a server; default: NAIAD_STORE, else the nearest .naiad here or above.",
    )


def _with_store(command: click.Command) -> click.Command:
    commands = command.commands.values() if isinstance(command, click.Group) else [command]
    for each in commands:
        if all(param.name != "store" for param in each.params):
            each.params.append(store_option())
    return command


class Program(click.Group):
    """The group of commands. An error is printed in a few plain lines and exits with 1.

    Plugins add theirs by the hook `naiad_commands`; they are loaded for a name that is not known without them.
    """

    _has_plugins = False

    def main(self, args: Sequence[str] | None = None, *more: Any, **options: Any) -> Any:
        """Run a command; without arguments those of the process, which has no other purpose then."""
        if args is None:
            # Modules stay to the end, so that no search for cycles need look at them, the last of a process neither.
            gc.freeze()
        return super().main(args, *more, **options)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, those that are used most first."""
        self._add_plugins()
        return [*COMMANDS, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command."""
        # Own names first: a plugin cannot replace a command, and calling one loads no plugin.
        if cmd_name in COMMANDS:
            if cmd_name in LISTINGS:
                # A listing makes tens of thousands of objects that stay until it is printed; looking through them for
                # cycles every 700 takes a tenth of its time.
                gc.set_threshold(100_000)
            name = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
            found: click.Command = getattr(import_module(f"naiad.cli.{COMMANDS[cmd_name]}"), name)
            return _with_store(found)
        self._add_plugins()
        added = super().get_command(ctx, cmd_name)
        return _with_store(added) if added else None

    def _add_plugins(self) -> None:
        """Add the commands of plugins, the first time."""
        from naiad.plugins import results  # own commands need none

        if not self._has_plugins:
            self._has_plugins = True
            for _ in results("naiad_commands", cli=self):
                pass

    def invoke(self, ctx: click.Context) -> Any:
        """Run the selected command."""
        with warnings.catch_warnings():
            # Python shows a warning once for each line of source, and several runs may have the same problem.
            warnings.simplefilter("always", NaiadWarning)
            warnings.showwarning = _show_warning
            try:
                return super().invoke(ctx)
            except NaiadError as error:
                message = str(error)
            except (OSError, TimeoutError) as error:
                # A full disk or a missing permission is the user's matter, and a traceback would hide the one line
                # that says it.
                if error.errno == errno.EPIPE:  # the reader of our output has seen enough; click ends quietly
                    raise
                message = _about(error)
        print_note(message)
        return ctx.exit(1)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="naiad %(version)s")
def program() -> None:
    """Inspect, compare, export and repair the runs of a store.

    RUN is the id of a run, such as DIGITS-3, of a model (DIGITS-CNN) or of a model version (DIGITS-CNN-2); the name of
    its folder is accepted too. On a terminal, output is formatted for reading. In a pipe, each item is one line, with
    tabs between the columns and no header. --json prints exact values.

    Start with: naiad ls
    """
    for stream in (sys.stdout, sys.stderr):
        _write_anything(stream)


def _write_anything(stream: TextIO) -> None:
    """Escape characters that the encoding of a stream lacks, instead of failing."""
    # Streams that replace standard output, as in tests and notebooks, may lack it.
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure:
        reconfigure(errors="backslashreplace")


program.params.append(store_option())


def _show_warning(message: Warning | str, *_where: object, **_more: object) -> None:
    """Print a warning without the line of naiad's own source that gave it."""
    print_note(f"Warning: {message}")


def _about(error: OSError) -> str:
    if error.strerror is None:
        return f"{error}."
    return f"{error.strerror}: {error.filename!r}." if error.filename else f"{error.strerror}."
