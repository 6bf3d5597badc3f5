"""Names that a package fetches from its modules when they are first used, so that importing it loads none of them.

And the other way round: an action for the moment at which the program imports a framework's module.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec


def fetched(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and `__dir__` of a package whose public names live in these modules.

    Type checkers do not see them, so a package imports the same names for them:

        if TYPE_CHECKING:
            from naiad_keras.callback import NaiadCallback
        else:
            __getattr__, __dir__ = fetched(__name__, {"NaiadCallback": "naiad_keras.callback"})
    """

    def fetch(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    return fetch, lambda: sorted(homes)


def when_imported(module: str, act: Callable[[ModuleType], None]) -> None:
    """Call `act` with a module as soon as the program has imported it; at once if it has."""
    if module in sys.modules:
        act(sys.modules[module])
    else:
        sys.meta_path.insert(0, _Notice(module, act))


class _Notice:
    """Lets the other finders find one module, and acts after it was executed.

    It is a finder without the base class of finders, whose module would load twenty others.
    """

    def __init__(self, module: str, act: Callable[[ModuleType], None]) -> None:
        self._module = module
        self._act = act

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self._module:
            return None
        # Before the others are asked, or one of them that goes through the whole list would find this one again.
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                executed = partial(self._execute, spec.loader.exec_module)
                spec.loader.exec_module = executed  # type: ignore[method-assign]  # of this loader alone
                return spec
        return None

    def _execute(self, execute: Callable[[ModuleType], None], module: ModuleType) -> None:
        execute(module)
        self._act(module)
