"""naiad for Keras: a callback. Importing this imports no framework; using a name from here does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from naiad.lazy import fetched

__all__: list[str] = []

if not TYPE_CHECKING:
    __getattr__, __dir__ = fetched(__name__, {})
