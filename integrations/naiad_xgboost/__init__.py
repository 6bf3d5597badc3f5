"""naiad for XGBoost: a callback. Importing this imports no framework; using a name from here does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from naiad.lazy import fetched

__all__ = ["NaiadCallback", "NeptuneCallback"]

if TYPE_CHECKING:
    from naiad_xgboost.callback import NaiadCallback, NeptuneCallback
else:
    homes = dict.fromkeys(__all__, "naiad_xgboost.callback")
    __getattr__, __dir__ = fetched(__name__, homes)
