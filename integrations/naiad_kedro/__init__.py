"""naiad for Kedro: hooks and datasets. Importing this imports no framework; using a name from here does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from naiad.lazy import fetched
from naiad_kedro.plugin import INTEGRATION

__all__ = [
    "NaiadArtifactDataset",
    "NaiadFileDataset",
    "NaiadHooks",
    "NaiadMetricDataset",
    "NeptuneFileDataset",
    "log_to",
]

if TYPE_CHECKING:
    from naiad_kedro.datasets import NaiadArtifactDataset, NaiadFileDataset, NaiadMetricDataset, NeptuneFileDataset
    from naiad_kedro.hooks import NaiadHooks
    from naiad_kedro.run_dataset import log_to
else:
    _HOMES = {
        **dict.fromkeys(
            ("NaiadArtifactDataset", "NaiadFileDataset", "NaiadMetricDataset", "NeptuneFileDataset"),
            "naiad_kedro.datasets",
        ),
        "NaiadHooks": "naiad_kedro.hooks",
        "log_to": "naiad_kedro.run_dataset",
    }
    _fetch, __dir__ = fetched(__name__, _HOMES)

    def __getattr__(name):
        """Import a public name from its module, with an install hint if Kedro is missing."""
        with INTEGRATION.needed_by(name):
            return _fetch(name)
