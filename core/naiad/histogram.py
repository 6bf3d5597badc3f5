"""Histograms: how many values fall between the edges of bins. Points of a series, stored as JSON."""

from __future__ import annotations

import base64
import math
import struct
import sys
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, ClassVar

from msgspec import Struct
from msgspec.structs import force_setattr

from naiad.errors import DamagedData, InvalidArgument, NaiadTypeError, NaiadValueError, shown
from naiad.integers import LARGEST, SMALLEST
from naiad.refs import read_facts
from naiad.scalars import plain
from naiad.value import PointValue

MOST_BINS = 100_000
WHOLE, REAL = "BHIQ", "fd"  # formats of `struct`, the shortest first
LARGEST_HALF = sys.float_info.max / 2
NARROWEST = 1e-3  # width of the range around values that are all equal, as a share of them


class Histogram(PointValue, Struct, frozen=True):
    """How many values fall into each bin, or how densely they lie there.

    It is kept exactly: whole counts as whole numbers, edges and densities bit for bit.

    Args:
        bin_edges: the edges of the bins, each above the one before; one more than there are bins.
        counts: the number of values in each bin, or their weight.
        densities: given instead of counts, the share of the values in each bin divided by its width.

    Raises:
        NaiadTypeError: something is no list, array or tensor of numbers.
        NaiadValueError: the edges do not increase, or a number is not finite or below 0.
        InvalidArgument: there are not as many counts as bins, or there are both counts and densities.

    >>> Histogram([0, 1, 2], counts=[5, 3])
    Histogram(2 bins from 0 to 2, 8 values)
    """

    kind: ClassVar[str] = "histogram_series"
    bin_edges: Any  # a tuple of floats, whatever was given
    counts: Any = None  # likewise, or of ints if all are whole
    densities: Any = None

    def __post_init__(self) -> None:
        """Check all numbers, and keep them as plain Python has them."""
        edges = tuple(map(float, _numbers("bin_edges", self.bin_edges)))
        _require_increasing(edges)
        force_setattr(self, "bin_edges", edges)
        if (self.counts is None) is (self.densities is None):
            raise InvalidArgument("A Histogram takes either counts= or densities=.")
        name = "counts" if self.densities is None else "densities"
        heights = _numbers(name, getattr(self, name))
        if len(heights) != len(edges) - 1:
            raise InvalidArgument(
                f"{len(edges)} bin_edges came with {len(heights)} {name}.\nGive one of the {name} for each bin.",
                argument=name,
            )
        for number, height in enumerate(heights):
            if height < 0:
                raise NaiadValueError(f"{name}[{number}] is {height!r}, and must not be below 0.", value=height)
        # Whole counts stay ints, because a float loses the last digits beyond 2**53.
        kept = heights if name == "counts" and all(type(each) is int for each in heights) else map(float, heights)
        force_setattr(self, name, tuple(kept))

    def __repr__(self) -> str:
        return f"Histogram({self.summary()})"

    @classmethod
    def of(cls, values: Any, bins: int = 64) -> Histogram:
        """Count the values of an array, a tensor or a list in bins of equal width.

        NaN and infinite values are in no bin, and are left out.

        >>> Histogram.of([1, 2, 2, 3], bins=2).counts
        (1, 3)
        """
        import numpy as np

        if not 0 < bins <= MOST_BINS:
            raise InvalidArgument(
                f"bins= must be a number from 1 to {MOST_BINS:,}, not {shown(bins)}.", argument="bins"
            )
        array = np.asarray(_on_cpu(values))
        if array.dtype.names is not None or array.dtype.kind not in "fiubV":  # V: bfloat16 of JAX
            raise NaiadTypeError(f"A histogram counts numbers; {shown(values)} contains other values.", value=values)
        numbers = array.astype(np.float64).ravel()
        numbers = numbers[np.isfinite(numbers)] / 2  # halves, because the range of two floats may be no float
        counts, edges = np.histogram(numbers, bins, _range(numbers, bins))
        return cls(edges * 2, counts)

    @property
    def heights(self) -> Sequence[int | float]:
        """The counts, or the densities."""
        found: Sequence[int | float] = self.densities if self.counts is None else self.counts
        return found

    def summary(self) -> str:
        """Return the number of bins, their range and the number of values, for a person."""
        first, last = self.bin_edges[0], self.bin_edges[-1]
        bins = "1 bin" if len(self.bin_edges) == 2 else f"{len(self.bin_edges) - 1:,} bins"
        total = "" if self.counts is None else f", {_total(self.counts)}"
        return f"{bins} from {first:.6g} to {last:.6g}{total}"

    def to_text(self) -> str:
        """Return the JSON of it: its summary, and each column as base64 of little-endian numbers after their format."""
        name = "densities" if self.counts is None else "counts"
        edges, heights = _packed(self.bin_edges), _packed(self.heights)
        return f'{{"summary": "{self.summary()}", "bin_edges": "{edges}", "{name}": "{heights}"}}'

    @classmethod
    def from_text(cls, text: str) -> Histogram:
        """Return the histogram of a JSON text.

        Raises:
            DamagedData: it is no such text.
        """
        facts = read_facts(text, _Facts)
        try:
            return cls(_unpacked(facts.bin_edges), _unpacked(facts.counts), _unpacked(facts.densities))
        except (ValueError, struct.error) as error:
            what = f"it tells of no Histogram ({error})"
            raise DamagedData(f"An entry of a run is damaged: {what}.", file="", offset=0, what=what) from error


class _Facts(Struct, frozen=True):
    """The members of the JSON of a histogram."""

    bin_edges: str
    counts: str | None = None
    densities: str | None = None
    summary: str = ""


def skyline(edges: Sequence[float], heights: Sequence[float], columns: int) -> list[float]:
    """Return the greatest height in each of so many columns of equal width, to draw a histogram.

    >>> skyline([0, 1, 4], [5, 2], 4)
    [5.0, 2.0, 2.0, 2.0]
    """
    found = [0.0] * columns
    half, span = edges[0] / 2, edges[-1] / 2 - edges[0] / 2  # halves, because the whole may be beyond float64
    places = [(edge / 2 - half) / span * columns for edge in edges]
    for (start, end), height in zip(pairwise(places), heights, strict=True):
        # An edge on the border of two columns is off by a rounding error, which would draw a bar one column too wide.
        first = min(math.floor(start + 1e-9), columns - 1)
        for column in range(first, max(first + 1, min(math.ceil(end - 1e-9), columns))):
            found[column] = max(found[column], float(height))
    return found


def _numbers(name: str, values: Any) -> list[int | float]:
    """Return the numbers in a list, an array or a tensor, all of them finite."""
    given = values.numpy() if hasattr(values, "numpy") and not hasattr(values, "tolist") else values  # tensorflow
    items = given.tolist() if hasattr(given, "tolist") else given
    if isinstance(items, str | bytes) or not isinstance(items, Iterable):
        raise NaiadTypeError(
            f"`{name}` must be a list, an array or a tensor of numbers, not {shown(values)}.", value=values
        )
    numbers = list(items)
    if len(numbers) > MOST_BINS + 1:
        raise InvalidArgument(f"A Histogram has at most {MOST_BINS:,} bins, not {len(numbers) - 1:,}.", argument=name)
    for number, item in enumerate(numbers):
        if type(item) is not float and not (type(item) is int and SMALLEST <= item <= LARGEST):
            numbers[number] = item = _number(name, number, item)
        if not math.isfinite(item):
            raise NaiadValueError(f"{name}[{number}] is {item!r}, and must be finite.", value=item)
    return numbers


def _number(name: str, number: int, item: object) -> int | float:
    found = plain(item)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise NaiadTypeError(f"{name}[{number}] is {shown(item)}, which is not a number.", value=item)
    if abs(found) > LARGEST and isinstance(found, int):
        raise NaiadValueError(f"{name}[{number}] is {shown(item)}, which has more than 64 bits.", value=item)
    return found


def _require_increasing(edges: Sequence[float]) -> None:
    if len(edges) < 2:
        raise InvalidArgument(f"`bin_edges` has {len(edges)} items, but a bin needs two edges.", argument="bin_edges")
    for number, (low, high) in enumerate(pairwise(edges)):
        if low >= high:
            raise NaiadValueError(
                f"bin_edges[{number + 1}] is {high!r}, and must be above the edge before it, {low!r}.", value=high
            )


def _on_cpu(values: Any) -> Any:
    """Return a tensor in the memory of the CPU, as floats that NumPy has."""
    if not hasattr(values, "detach"):
        return values
    tensor = values.detach().cpu()
    return tensor.double() if tensor.is_floating_point() else tensor


def _range(numbers: Any, bins: int) -> tuple[float, float]:
    """Return the range of some values; it is wide enough for as many bins even where they are all equal."""
    low, high = (float(numbers.min()), float(numbers.max())) if len(numbers) else (0.0, 0.5)
    middle = low / 2 + high / 2
    # Edges have to increase: bins narrower than the distance of two floats at that place would have equal edges.
    narrowest = max(abs(middle) * NARROWEST, 0.5) if low == high else bins * max(abs(middle) * 1e-15, 1e-300)
    if high - low < narrowest:
        low, high = middle - narrowest / 2, middle + narrowest / 2
    return max(low, -LARGEST_HALF), min(high, LARGEST_HALF)


def _total(counts: Sequence[int | float]) -> str:
    total = sum(counts)
    number = f"{total:,}" if isinstance(total, int) else f"{total:,.6g}"
    return "1 value" if total == 1 else f"{number} values"


def _packed(numbers: Sequence[int | float]) -> str:
    """Return numbers in the shortest format that holds all of them exactly."""
    is_whole = all(type(each) is int for each in numbers)
    if is_whole:
        size = max(numbers, default=0)
        form = next(each for each in WHOLE if size < 1 << 8 * struct.calcsize(f"<{each}"))
    else:
        form = "f" if _is_exact(numbers) else "d"
    return f"{form}:{base64.b64encode(struct.pack(f'<{len(numbers)}{form}', *numbers)).decode()}"


def _is_exact(numbers: Sequence[float]) -> bool:
    """Whether 32 bits are enough for all of them."""
    try:
        packed = struct.pack(f"<{len(numbers)}f", *numbers)
    except OverflowError:
        return False
    return struct.unpack(f"<{len(numbers)}f", packed) == tuple(numbers)


def _unpacked(text: str | None) -> tuple[int | float, ...] | None:
    if text is None:
        return None
    form, _, rest = text.partition(":")
    if len(form) != 1 or form not in WHOLE + REAL:
        raise ValueError(f"there is no format {form!r}")
    data = base64.b64decode(rest, validate=True)
    return struct.unpack(f"<{len(data) // struct.calcsize(f'<{form}')}{form}", data)
