"""Names that a package fetches from its modules when they are first used, so that importing it loads none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


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
