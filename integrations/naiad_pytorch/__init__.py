"""naiad for plain PyTorch: a logger of a model. Importing this imports no framework; using a name from here does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from naiad.lazy import fetched

__all__ = ["NaiadLogger", "NeptuneLogger"]

if TYPE_CHECKING:
    from naiad_pytorch.logger import NaiadLogger, NeptuneLogger
else:
    __getattr__, __dir__ = fetched(__name__, dict.fromkeys(__all__, "naiad_pytorch.logger"))
