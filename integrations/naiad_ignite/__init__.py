"""naiad for PyTorch Ignite: a logger and its handlers. Importing this imports no framework; using a name does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from naiad.lazy import fetched

__all__ = [
    "GradsHistHandler",
    "GradsScalarHandler",
    "NaiadLogger",
    "NaiadSaver",
    "NeptuneLogger",
    "NeptuneSaver",
    "OptimizerParamsHandler",
    "OutputHandler",
    "WeightsHistHandler",
    "WeightsScalarHandler",
]

if TYPE_CHECKING:
    from naiad_ignite.logger import (
        GradsHistHandler,
        GradsScalarHandler,
        NaiadLogger,
        NaiadSaver,
        NeptuneLogger,
        NeptuneSaver,
        OptimizerParamsHandler,
        OutputHandler,
        WeightsHistHandler,
        WeightsScalarHandler,
    )
else:
    __getattr__, __dir__ = fetched(__name__, dict.fromkeys(__all__, "naiad_ignite.logger"))
