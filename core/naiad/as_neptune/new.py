"""`neptune.new`: the name under which Neptune's API of today began, and functions of the API before it."""

from __future__ import annotations

from typing import Any, NoReturn

from naiad.as_neptune import containers, handler
from naiad.as_neptune.containers import LEGACY_FUNCTIONS
from naiad.as_neptune.exceptions import NeptunePossibleLegacyUsageException, legacy_usage
from naiad.as_neptune.warnings import warn_once


def _refuse(*_arguments: Any, **_options: Any) -> NoReturn:
    raise legacy_usage("This function")


NAMES: dict[str, Any] = {
    "Handler": handler.Handler,
    "NeptunePossibleLegacyUsageException": NeptunePossibleLegacyUsageException,
    # Under the old package name the functions of the API before 1.0 exist, and only calling them raises.
    **dict.fromkeys(LEGACY_FUNCTIONS, _refuse),
    **{name: getattr(containers, name) for name in containers.__all__ if name not in ("LEGACY_FUNCTIONS",)},
}
globals().update(NAMES)
__all__ = [*NAMES]  # noqa: PLE0604 (the keys are names)


def warn_of_name() -> None:
    """Warn that Neptune had given the name up."""
    warn_once("`neptune.new` is the old name of `neptune`. Import from `neptune` instead.")
