"""naiad for Optuna: a callback for studies. Importing this imports no framework; using a name from here does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from naiad.lazy import fetched

__all__ = ["NaiadCallback", "NeptuneCallback", "load_study_from_run", "log_study_metadata"]

if TYPE_CHECKING:
    from naiad_optuna.callback import NaiadCallback, NeptuneCallback, load_study_from_run, log_study_metadata
else:
    __getattr__, __dir__ = fetched(__name__, dict.fromkeys(__all__, "naiad_optuna.callback"))
