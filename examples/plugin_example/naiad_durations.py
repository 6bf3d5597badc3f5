"""Keeps durations: `run["train/duration"] = timedelta(minutes=5)` makes a Float of 300 seconds; and each run's own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from time import monotonic

from naiad import Run
from naiad.background import Capture
from naiad.hookspecs import hookimpl


@hookimpl
def naiad_convert(value: object) -> float | None:
    """Turn a duration into seconds."""
    return value.total_seconds() if isinstance(value, timedelta) else None


class Elapsed(Capture):
    """How long a run was open, at `durations/elapsed`."""

    name = "elapsed"

    def start(self, run: Run) -> None:
        self._run, self._began = run, monotonic()

    def stop(self) -> None:
        self._run["durations/elapsed"] = timedelta(seconds=monotonic() - self._began)


@hookimpl
def naiad_captures(options: Mapping[str, object]) -> list[Capture]:
    """Watch every run."""
    return [Elapsed()]
