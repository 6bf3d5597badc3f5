"""naiad for Accelerate: a tracker. Importing this imports no framework; using a name from here does.

It also makes `Accelerator(log_with="naiad")` valid, before or after Accelerate is imported.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from naiad.lazy import fetched, when_imported

__all__ = ["NaiadTracker"]

if TYPE_CHECKING:
    from naiad_accelerate.tracker import NaiadTracker
else:
    __getattr__, __dir__ = fetched(__name__, dict.fromkeys(__all__, "naiad_accelerate.tracker"))


def _register(module: ModuleType) -> None:
    """Add the tracker to the names of `log_with=`; older versions take the object only."""
    register = getattr(module, "register_tracker_class", None)
    if register is not None:
        from naiad_accelerate.tracker import NaiadTracker

        register(NaiadTracker)


when_imported("accelerate.tracking", _register)
