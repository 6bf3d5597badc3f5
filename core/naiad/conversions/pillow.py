"""Pillow: images, pixel for pixel where PNG has their mode."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from naiad.conversions.origin import is_from
from naiad.file import File
from naiad.hookspecs import hookimpl

if TYPE_CHECKING:
    from PIL.Image import Image

KEPT = {"1", "L", "LA", "I;16", "I;16B", "P", "RGB", "RGBA"}
"""The modes that PNG has."""
NEAREST = {"PA": "RGBA", "La": "LA", "RGBa": "RGBA"}
"""What others become; RGB, if they are not here."""
DEEPEST = 65535  # of a pixel in a PNG


@hookimpl
def naiad_convert(value: Any) -> File | None:
    """Take an image as a file."""
    return File(content=_png(value, autoscale=True), extension="png") if _is_image(value) else None


@hookimpl
def naiad_image(subject: Any, autoscale: bool) -> bytes | None:
    """Write an image as PNG."""
    return _png(subject, autoscale) if _is_image(subject) else None


def _is_image(value: object) -> bool:
    return is_from(value, "PIL", "Image")


def _png(image: Image, autoscale: bool) -> bytes:
    # Pillow opens 16-bit PNGs in mode "I" of 32 bits; as "I;16" the same pixels are written again.
    if image.mode == "I" and _is_16_bit(image):
        image = image.convert("I;16")
    if image.mode in ("I", "F"):  # numbers, and no colours yet
        import numpy as np

        from naiad.conversions.pixels import png

        return png(np.asarray(image), autoscale)
    if image.mode not in KEPT:
        image = image.convert(NEAREST.get(image.mode, "RGB"))
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


def _is_16_bit(image: Image) -> bool:
    low, high = image.getextrema()
    return low >= 0 and high <= DEEPEST  # type: ignore[operator]  # of one band, so two numbers
