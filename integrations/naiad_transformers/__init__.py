"""naiad for Hugging Face Transformers: a callback. Importing this imports no framework; using a name from here does.

It also makes `TrainingArguments(report_to="naiad")` valid, before or after Transformers is imported.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from naiad.lazy import fetched, when_imported

__all__ = ["NaiadCallback", "NeptuneCallback"]

if TYPE_CHECKING:
    from naiad_transformers.callback import NaiadCallback, NeptuneCallback
else:
    __getattr__, __dir__ = fetched(__name__, dict.fromkeys(__all__, "naiad_transformers.callback"))


def _register(module: ModuleType) -> None:
    """Add the callback to the table of `report_to=`; a version without the table takes it in `callbacks=` only."""
    table = getattr(module, "INTEGRATION_TO_CALLBACK", None)
    if isinstance(table, dict):
        from naiad_transformers.callback import NaiadCallback

        table.setdefault("naiad", NaiadCallback)


when_imported("transformers.integrations.integration_utils", _register)
