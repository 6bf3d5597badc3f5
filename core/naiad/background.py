"""Captures: sources that write to a run by themselves while it is open, such as hardware and console."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol


class Loggable(Protocol):
    """A run as plugins and captures see it: paths in brackets, each with all verbs, and an end."""

    def __getitem__(self, path: Any, /) -> Any:
        """Return the handler of a path."""

    def __setitem__(self, path: Any, value: Any, /) -> None:
        """Assign a value to a path."""

    def get_attribute(self, path: str) -> Any:
        """Return the field at a path, or None."""

    def get_root_object(self) -> Any:
        """Return the run itself."""

    def get_url(self) -> str:
        """Return where the run is."""

    def stop(self) -> None:
        """Store everything and end."""


class Capture(ABC):
    """One background source, for one run. naiad starts it when the run is open, and stops it before the run ends.

    An exception in it becomes one warning. It logs like user code, `run["monitoring/disk"].append(...)`; where it needs
    a thread, the thread is its own.
    """

    name: str = ""
    """What warnings call it; else its class."""

    @abstractmethod
    def start(self, run: Loggable) -> None:
        """Begin. The run can be written to from now until `stop` has returned."""

    @abstractmethod
    def stop(self) -> None:
        """Write the last of it, and end within a second or so: the program waits."""
