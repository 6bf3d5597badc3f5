"""`neptune.common.warnings`: naiad's warnings under Neptune's names, and Neptune's functions that give some."""

from __future__ import annotations

from naiad.errors import LimitWarning, NaiadWarning, UnsupportedValueWarning
from naiad.errors import warn_once as naiad_warn_once

__all__ = [
    "NeptuneDeprecationWarning",
    "NeptuneUnsupportedType",
    "NeptuneUnsupportedValue",
    "NeptuneWarning",
    "warn_about_unsupported_type",
    "warn_once",
    "warned_once",
]

NeptuneWarning = NaiadWarning
NeptuneUnsupportedType = UnsupportedValueWarning
NeptuneUnsupportedValue = LimitWarning


class NeptuneDeprecationWarning(DeprecationWarning):
    """A name of Neptune's that Neptune itself had given up."""


warned_once: set[str] = set()
"""The messages given by `warn_once`."""


def warn_once(message: str, *, exception: type[Warning] = NeptuneDeprecationWarning) -> None:
    """Give a warning, unless the same was given before."""
    warned_once.add(message)
    naiad_warn_once(message, message, exception)


def warn_about_unsupported_type(type_str: str) -> None:
    """Warn of values of a type that no field accepts."""
    warn_once(
        f"Values of type {type_str} were left out, because no kind of field accepts them.",
        exception=NeptuneUnsupportedType,
    )
