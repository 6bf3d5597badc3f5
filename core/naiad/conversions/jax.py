"""JAX: arrays as images, on whichever device they are."""

from __future__ import annotations

from typing import Any

from naiad.conversions.origin import is_from
from naiad.hookspecs import hookimpl


@hookimpl
def naiad_image(subject: Any, autoscale: bool) -> bytes | None:
    """Draw an array."""
    if not (is_from(subject, "jaxlib", "Array", "ArrayImpl") or is_from(subject, "jax", "Array")):
        return None
    import numpy as np

    from naiad.conversions.pixels import png

    return png(np.asarray(subject), autoscale)
