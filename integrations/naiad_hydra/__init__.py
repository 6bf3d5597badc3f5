"""naiad for Hydra: a callback for its configuration. Importing this imports no framework; using a name does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from naiad.lazy import fetched

__all__ = ["NaiadCallback", "current_run"]

if TYPE_CHECKING:
    from naiad_hydra.callback import NaiadCallback, current_run
else:
    __getattr__, __dir__ = fetched(__name__, dict.fromkeys(__all__, "naiad_hydra.callback"))
