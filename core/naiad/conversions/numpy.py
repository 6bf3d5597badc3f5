"""numpy: arrays as images."""

from __future__ import annotations

from typing import Any

from naiad.conversions.origin import is_from
from naiad.hookspecs import hookimpl


@hookimpl
def naiad_image(subject: Any, autoscale: bool) -> bytes | None:
    """Draw an array."""
    if not is_from(subject, "numpy", "ndarray"):
        return None
    from naiad.conversions.pixels import png

    return png(subject, autoscale)
