"""PyTorch: tensors as images, on whichever device they are."""

from __future__ import annotations

from typing import Any

from naiad.conversions.origin import is_from
from naiad.hookspecs import hookimpl

KNOWN = ("torch.float16", "torch.float32", "torch.float64")
"""The floating-point numbers that numpy has too: no bfloat16, and none of 8 bits."""


@hookimpl
def naiad_image(subject: Any, autoscale: bool) -> bytes | None:
    """Draw a tensor."""
    if not is_from(subject, "torch", "Tensor"):
        return None
    from naiad.conversions.pixels import png

    tensor = subject.to_dense()
    if tensor.is_floating_point() and str(tensor.dtype) not in KNOWN:
        tensor = tensor.float()  # which loses nothing
    return png(tensor.numpy(force=True), autoscale)
