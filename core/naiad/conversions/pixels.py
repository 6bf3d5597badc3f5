"""Arrays as images: which shapes there are, how values become pixels, and PNG."""

from __future__ import annotations

import io
from typing import Any, TypeAlias

import numpy as np

from naiad.errors import NaiadTypeError, NaiadValueError, NaiadWarning, warn_once

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

NUMBERS = "biuf"  # numpy's letters for dtypes that can be pixels
CHANNELS = (1, 3, 4)  # grey, RGB, RGBA
BEYOND_DOUBT = 2.0**62  # fits an int64 in every floating-point type


def png(array: Array, autoscale: bool) -> bytes:
    """Return an array of shape (height, width) or (height, width, channels) as the bytes of a PNG.

    Raises:
        NaiadValueError: it is empty, or has another shape.
        NaiadTypeError: it does not hold real numbers.
    """
    from PIL import Image

    array = _plane(_numbers(np.ma.filled(array, 0)))
    pixels = _bytes(_scaled(array) if autoscale else array)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def _numbers(array: Array) -> Array:
    """Return an array whose dtype is numpy's own; bfloat16 and its like are foreign to it."""
    # NumPy shows types that it does not know, such as bfloat16, as raw bytes, and a cast is registered for them. A
    # record has names.
    if array.dtype.kind == "V" and array.dtype.names is None:
        array = array.astype(np.float32)
    if array.dtype.kind not in NUMBERS:
        raise NaiadTypeError(
            f"An array of {array.dtype} cannot be converted to an image.\nUse real numbers.", value=array
        )
    return array


def _plane(array: Array) -> Array:
    """Return an array of an image without the dimension of a single channel."""
    shape = array.shape
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in CHANNELS):
        remedy = "Give (height, width), with 1, 3 or 4 channels last; bring them there with transpose or permute."
        raise NaiadValueError(f"An array of shape {shape} cannot be converted to an image.\n{remedy}", value=array)
    if not array.size:
        raise NaiadValueError(f"An array of shape {shape} has no pixels.", value=array)
    return array[:, :, 0] if len(shape) == 3 and shape[2] == 1 else array


def _scaled(array: Array) -> Array:
    """Return values from 0 to 1 times 255, and others as they are; warn if those are no colours.

    >>> _scaled(np.array([[0.0, 0.5, 1.0]]))
    array([[  0. , 127.5, 255. ]])
    """
    low, high = _extremes(array)
    # The rule of Neptune's client: values up to 1 are shares of full brightness, beyond that they are taken as bytes.
    if low >= 0 and 1 < high <= 255:
        return array
    if low >= 0 and high <= 1:
        return (array.astype(np.int64) if array.dtype.kind in "biu" else array) * 255
    warn_once(
        "autoscale",
        f"An image has values from {low:g} to {high:g}; values outside 0 to 255 wrap around to other colours.\n"
        "Scale it to 0 to 1 or 0 to 255, or pass autoscale=False.",
        NaiadWarning,
    )
    return array


def _extremes(array: Array) -> tuple[Any, Any]:
    """Return the smallest and the largest value that is a number; zeros if none is."""
    finite = array[np.isfinite(array)]
    return (finite.min(), finite.max()) if finite.size else (0, 0)


def _bytes(array: Array) -> Array:
    """Return values as bytes: fractions cut off, whole numbers modulo 256, NaN as 0."""
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            message = "An image has NaN or infinite values, which are drawn as 0."
            warn_once("no number in an image", message, NaiadWarning)
        # Casting a float that no int64 holds is undefined in C: each machine would draw another picture.
        largest = min(float(np.finfo(array.dtype).max), BEYOND_DOUBT)
        array = np.where(np.abs(array) <= largest, array, 0).astype(np.int64)
    return array.astype(np.uint8)
