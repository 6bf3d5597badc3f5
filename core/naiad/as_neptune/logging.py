"""`neptune.logging`."""

from __future__ import annotations

from typing import Any

__all__ = ["Logger"]


class Logger:
    """Appends texts to a series.

    Args:
        container: the run, or another container.
        attribute_name: the path of the series.
    """

    def __init__(self, container: Any, attribute_name: str) -> None:
        self._series = container[attribute_name]

    def log(self, msg: str) -> None:
        """Append one text."""
        self._series.append(msg)
