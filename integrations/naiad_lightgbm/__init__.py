"""naiad for LightGBM: a callback and a summary. Importing this imports no framework; using a name from here does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from naiad.lazy import fetched

__all__ = ["NaiadCallback", "NeptuneCallback", "create_booster_summary"]

if TYPE_CHECKING:
    from naiad_lightgbm.callback import NaiadCallback, NeptuneCallback
    from naiad_lightgbm.summary import create_booster_summary
else:
    homes = dict.fromkeys(["NaiadCallback", "NeptuneCallback"], "naiad_lightgbm.callback")
    homes["create_booster_summary"] = "naiad_lightgbm.summary"
    __getattr__, __dir__ = fetched(__name__, homes)
