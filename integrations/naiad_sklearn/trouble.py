"""Trouble of logging: said once, noted in the run, and never the trouble of the fit that was to be logged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeAlias

from naiad.errors import NaiadError, NaiadWarning, PluginWarning, warn_once

if TYPE_CHECKING:
    from naiad.containers import Container
    from naiad.handler import Handler

__all__ = ["Place", "no_trouble"]

Place: TypeAlias = "Container | Handler"


@contextmanager
def no_trouble(place: Place, doing: str) -> Iterator[None]:
    """Turn whatever goes wrong within this into one warning, and a line at `integration/errors` of the place."""
    try:
        yield
    except NaiadWarning:  # where the user made warnings errors
        raise
    except Exception as problem:  # noqa: BLE001 (a fit of hours must not end because it could not be logged)
        what = f"{type(problem).__name__}: {problem}"
        with suppress(NaiadError, OSError):  # the run itself may be the trouble
            place["integration/errors"].append(f"{doing}: {what}")
        message = f"naiad_sklearn failed {doing}. {what}\nThe fit goes on; what could not be logged is missing."
        warn_once(("naiad_sklearn", what), message, PluginWarning)
