"""TensorFlow: eager tensors and variables as images."""

from __future__ import annotations

from typing import Any

from naiad.conversions.origin import is_from
from naiad.hookspecs import hookimpl


@hookimpl
def naiad_image(subject: Any, autoscale: bool) -> bytes | None:
    """Draw a tensor."""
    if not is_from(subject, "tensorflow", "EagerTensor", "Variable"):
        return None
    from naiad.conversions.pixels import png

    return png(subject.numpy(), autoscale)
