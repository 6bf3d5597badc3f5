"""The framework's classes that ours derive from.

Lightning comes under two names, `lightning.pytorch` and `pytorch_lightning`, with a class of its own for everything in
each; one distribution brings both. Ours derive from both, so that it does not matter which one the user imports, or
when. It costs 0.3 s of an import that takes 6.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from naiad_lightning.plugin import INTEGRATION

NAMES = ("lightning.pytorch", "pytorch_lightning")


def classes(module: str, name: str) -> tuple[type, ...]:
    """Return the framework's classes of this name, one from each namespace there is.

    Raises:
        MissingPackage: the framework is not installed.
    """
    return tuple(getattr(import_module(f"{each.__name__}.{module}"), name) for each in namespaces())


def version() -> str:
    """Return the framework's own version."""
    return str(namespaces()[0].__version__)  # of one distribution, or of two that are released together


@cache
def namespaces() -> tuple[ModuleType, ...]:
    """Return each namespace of the framework, those first that the program has imported already."""
    known = [name for name in NAMES if sys.modules.get(name)]
    others = [name for name in NAMES if name not in known and find_spec(name.partition(".")[0])]
    first, *rest = known + others or NAMES[:1]
    with INTEGRATION.needed_by("naiad_lightning"):
        found = [import_module(first)]
        from lightning_utilities.core import rank_zero

        log = rank_zero.log  # where both say what only rank 0 should say; each takes it over when it is imported
        found += map(import_module, rest)
        rank_zero.log = log
    return tuple(found)
