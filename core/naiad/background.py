"""Captures: sources that write to a run by themselves while it is open, such as hardware and console."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from naiad.runs import Run

__all__ = ["Capture"]


class Capture(ABC):
    """One background source, for one run. naiad starts it when the run is open, and stops it before the run ends.

    Whatever it raises costs a warning. It logs as anyone does, `run["monitoring/disk"].append(...)`; where it needs a
    thread, the thread is its own.
    """

    name: str = ""
    """What warnings call it; else its class."""

    @abstractmethod
    def start(self, run: Run) -> None:
        """Begin. The run can be written to from now until `stop` has returned."""

    @abstractmethod
    def stop(self) -> None:
        """Write the last of it, and end within a second or so: the program waits."""
