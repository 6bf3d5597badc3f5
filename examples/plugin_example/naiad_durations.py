"""Keeps durations: `run["train/duration"] = timedelta(minutes=5)` makes a Float of 300 seconds."""

from __future__ import annotations

from datetime import timedelta

from naiad.hookspecs import hookimpl


@hookimpl
def naiad_convert(value: object) -> float | None:
    """Turn a duration into seconds."""
    return value.total_seconds() if isinstance(value, timedelta) else None
