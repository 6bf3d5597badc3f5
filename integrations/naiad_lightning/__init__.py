"""naiad for Lightning: a logger. Importing this imports no framework; using a name from here does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from naiad.lazy import fetched

__all__ = ["NaiadConfigCallback", "NaiadLogger", "NeptuneLogger"]

if TYPE_CHECKING:
    from naiad_lightning.config import NaiadConfigCallback
    from naiad_lightning.logger import NaiadLogger, NeptuneLogger
else:
    __getattr__, __dir__ = fetched(
        __name__,
        {
            "NaiadConfigCallback": "naiad_lightning.config",
            "NaiadLogger": "naiad_lightning.logger",
            "NeptuneLogger": "naiad_lightning.logger",
        },
    )
