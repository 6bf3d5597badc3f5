"""naiad for skorch: a callback. Importing this imports no framework; using a name from here does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from naiad.lazy import fetched

__all__ = ["NaiadCallback", "NeptuneLogger"]

if TYPE_CHECKING:
    from naiad_skorch.callback import NaiadCallback, NeptuneLogger
else:
    __getattr__, __dir__ = fetched(__name__, dict.fromkeys(__all__, "naiad_skorch.callback"))
