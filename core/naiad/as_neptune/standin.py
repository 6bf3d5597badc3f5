"""A stand-in for scikit-plot, which neptune-sklearn and neptune-lightgbm import and which fails on today's SciPy.

It takes the place of the real package after that has failed to load, and never before.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, ClassVar

from naiad.errors import NaiadWarning

__all__ = ["StandInLoader"]

FUNCTIONS = {"estimators": ("plot_learning_curve",), "metrics": ("plot_confusion_matrix", "plot_precision_recall")}
"""What those two packages call, by the modules in which they look for it."""


class StandInLoader(Loader):
    """Loads the real package; where that fails, fills the module with the stand-in."""

    package: ClassVar[str] = "scikitplot"

    def __init__(self, real: Any) -> None:
        self._real = real

    @classmethod
    def spec(cls, finders: Sequence[Any]) -> ModuleSpec | None:
        """Return how the real package is found, with this loader around its own; None if it is not installed."""
        # The finders behind ours: asking from the start would come back here.
        for finder in finders:
            found: ModuleSpec | None = finder.find_spec(cls.package, None) if hasattr(finder, "find_spec") else None
            if found is not None and found.loader is not None:
                found.loader = cls(found.loader)
                return found
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Let the real loader make the module."""
        made: ModuleType | None = self._real.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        """Load the real package, or its stand-in."""
        try:
            self._real.exec_module(module)
        # Only this error: the real package fails while it imports a name that SciPy no longer has.
        except ImportError as problem:
            self._fill(module)
            message = f"scikit-plot cannot be imported ({problem}). naiad draws the charts that are asked of it."
            warnings.warn(message, NaiadWarning, stacklevel=2)

    def _fill(self, module: ModuleType) -> None:
        charts = import_module("naiad.as_neptune.scikitplot")
        for name in [each for each in sys.modules if each.startswith(f"{self.package}.")]:
            del sys.modules[name]  # parts of the real one that were loaded before it failed
        for name, functions in FUNCTIONS.items():
            part = ModuleType(f"{self.package}.{name}", "naiad's stand-in.")
            vars(part).update({function: getattr(charts, function) for function in functions})
            sys.modules[part.__name__] = part
            setattr(module, name, part)
