"""The capture options of `init_run`, checked and with their defaults."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from naiad.errors import InvalidArgument, NaiadTypeError, shown
from naiad.gitref import GitRef, script_folder
from naiad.settings import number, setting

FD = "fd"
"""Of a stream: capture whatever comes through its descriptor, with a relay in between where it is no regular file."""
FLAGS = ("capture_stdout", "capture_stderr", "capture_hardware_metrics")


class Wanted(NamedTuple):
    """The captures of one run."""

    stdout: bool | str
    """True, False, or FD."""
    stderr: bool | str
    hardware: bool
    source_files: tuple[str, ...] | None
    """Patterns; None for the script alone, () for nothing."""
    repository: str | None
    """Where to look for git; None for not at all."""
    dependencies: str | None
    interval: float
    """Seconds between two looks at the hardware."""
    is_monitored: bool
    """Whether the process is named: its host, number and thread."""
    is_repository_given: bool
    has_script: bool = True

    @property
    def is_nothing(self) -> bool:
        """Whether nothing at all is captured."""
        is_code = self.has_script or bool(self.source_files) or self.repository is not None
        return not (self.stdout or self.stderr or self.hardware or self.is_monitored or is_code or self.dependencies)

    @property
    def is_slow(self) -> bool:
        """Whether source code is captured that takes time: files, git, or the installed packages."""
        is_code = (self.has_script and self.source_files != ()) or self.repository is not None
        return is_code or self.dependencies is not None

    def when_resumed(self) -> Wanted:
        """Return the options for an existing run: its source only where the user names it again."""
        return self._replace(
            has_script=self.has_script and self.source_files is not None,
            repository=self.repository if self.is_repository_given else None,
        )


def wanted(given: Mapping[str, Any]) -> Wanted:
    """Check the arguments about capturing and return the options.

    Raises:
        NaiadTypeError: one of them has a wrong type.
    """
    default = _default()
    stdout, stderr, hardware = (bool(default) if given[name] is None else given[name] for name in FLAGS)
    is_off = default is False
    return Wanted(
        stdout=stdout,
        stderr=stderr,
        hardware=hardware,
        source_files=() if is_off and given["source_files"] is None else _files(given["source_files"]),
        repository=None if is_off and given["git_ref"] is None else _repository(given["git_ref"]),
        dependencies=None if given["dependencies"] is None else os.fspath(given["dependencies"]),
        interval=number("HARDWARE_SECONDS", 10.0, least=0.1),
        is_monitored=bool(stdout or stderr or hardware) or (given["capture_traceback"] and not is_off),
        is_repository_given=given["git_ref"] is not None,
        has_script=not is_off or given["source_files"] is not None,
    )


def _default() -> bool | None:
    """Return the default of the flags; None in a notebook, where they are off."""
    choice = (setting("CAPTURES") or "on").lower()
    if choice not in ("on", "off"):
        raise InvalidArgument(f"NAIAD_CAPTURES must be 'on' or 'off', not {choice!r}.")
    if choice == "off":
        return False
    return None if is_interactive() else True


def is_interactive() -> bool:
    """Whether the program is a notebook or an IPython shell."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


def _files(given: object) -> tuple[str, ...] | None:
    if given is None:
        return None
    many = [given] if isinstance(given, str | os.PathLike) or not isinstance(given, Iterable) else [*given]
    names = tuple(os.fspath(each) for each in many if isinstance(each, str | os.PathLike))
    if len(names) < len(many):
        raise NaiadTypeError(f"source_files= takes a str or a list of str, not {shown(given)}.")
    return names


def _repository(given: object) -> str | None:
    if given is None or given is True:
        return script_folder()
    if given is False or given == GitRef.DISABLED:
        return None
    if isinstance(given, GitRef):
        return os.fspath(given.repository_path)
    raise NaiadTypeError(f"git_ref= takes a GitRef, True or False, not {shown(given)}.")
