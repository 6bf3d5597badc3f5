"""Importing the runs of other tools: `import_runs("neptune-offline", ".neptune")`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from naiad.lazy import fetched

__all__ = ["Report", "RunReport", "import_runs", "importers"]

if TYPE_CHECKING:
    from naiad.importers.imports import import_runs, importers
    from naiad.importers.report import Report, RunReport
else:  # plugins of this package are loaded where nothing is imported, and must not load NumPy
    _HOMES = {
        "Report": "naiad.importers.report",
        "RunReport": "naiad.importers.report",
        "import_runs": "naiad.importers.imports",
        "importers": "naiad.importers.imports",
    }
    __getattr__, __dir__ = fetched(__name__, _HOMES)
