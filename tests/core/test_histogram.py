"""The value class of histograms: what it takes, what it refuses, and how it is written down."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from naiad.errors import DamagedData, InvalidArgument, NaiadTypeError, NaiadValueError
from naiad.histogram import MOST_BINS, Histogram, skyline

EDGES = (0.0, 0.5, 2.0)
LARGEST = sys.float_info.max


def bits(numbers: Any) -> list[str]:
    """What tells numbers apart: -0.0 from 0.0, and 1 from 1.0."""
    return [each.hex() if isinstance(each, float) else repr(each) for each in numbers]


@pytest.mark.parametrize("make", [list, tuple, iter, np.array, pd.Series, lambda numbers: np.array(numbers, "f4")])
def test_any_collection_of_numbers_makes_one(make: Any) -> None:
    found = Histogram(make([0, 0.5, 2]), counts=make([3, 4]))

    assert EDGES == found.bin_edges
    assert (3, 4) == found.counts


def test_tensors_make_one_wherever_they_come_from() -> None:
    torch = pytest.importorskip("torch", reason="tensors come from PyTorch")
    edges = torch.tensor([0, 0.5, 2], requires_grad=True)

    assert Histogram(EDGES, [3, 4]) == Histogram(edges, torch.tensor([3, 4]))
    assert (2, 1) == Histogram.of(torch.tensor([1, 1, 2], dtype=torch.bfloat16, requires_grad=True), bins=2).counts


def test_whole_counts_stay_whole_and_weights_stay_floats() -> None:
    assert ["3", "4"] == bits(Histogram(EDGES, np.array([3, 4], "u1")).counts)
    assert bits([3.0, 0.5]) == bits(Histogram(EDGES, [3, 0.5]).counts)
    assert bits([1.0, 2.0]) == bits(Histogram(EDGES, densities=[1, 2]).densities)


@pytest.mark.parametrize(
    ("edges", "counts", "error", "message"),
    [
        ([0, 1, 1], [1, 1], NaiadValueError, r"bin_edges\[2\] is 1.0, and must be above the edge before it, 1.0"),
        ([0, 2, 1], [1, 1], NaiadValueError, r"bin_edges\[2\] is 1.0, and must be above"),
        ([0, 1, math.inf], [1, 1], NaiadValueError, r"bin_edges\[2\] is inf, and must be finite"),
        ([0, math.nan, 1], [1, 1], NaiadValueError, r"bin_edges\[1\] is nan, and must be finite"),
        ([0, 1, 2], [1, -1], NaiadValueError, r"counts\[1\] is -1, and must not be below 0"),
        ([0, 1, 2], [math.nan, 1], NaiadValueError, r"counts\[0\] is nan, and must be finite"),
        ([0, 1, 2], [1, 2**64], NaiadValueError, r"counts\[1\] is 18446744073709551616, which has more than 64 bits"),
        ([0, 1, 2], [1, "2"], NaiadTypeError, r"counts\[1\] is '2', which is not a number"),
        ([0, 1, 2], [True, 1], NaiadTypeError, r"counts\[0\] is True, which is not a number"),
        ([0, 1, 2], [[1], [2]], NaiadTypeError, r"counts\[0\] is \[1\], which is not a number"),
        ([0, 1, 2], "12", NaiadTypeError, "`counts` must be a list, an array or a tensor of numbers, not '12'"),
        (5, [1], NaiadTypeError, "`bin_edges` must be a list, an array or a tensor of numbers, not 5"),
        ([0, 1, 2], [1], InvalidArgument, "3 bin_edges came with 1 counts.\nGive one of the counts for each bin."),
        ([0], [], InvalidArgument, "`bin_edges` has 1 items, but a bin needs two edges"),
        ([0, 1], None, InvalidArgument, "takes either counts= or densities="),
        (range(MOST_BINS + 2), [], InvalidArgument, "at most 100,000 bins, not 100,001"),
    ],
)
def test_what_is_no_histogram_is_refused(edges: Any, counts: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Histogram(edges, counts)


def test_counts_and_densities_exclude_each_other() -> None:
    with pytest.raises(InvalidArgument, match="takes either counts= or densities="):
        Histogram(EDGES, [1, 2], [1, 2])


numbers = st.floats(allow_nan=False, allow_infinity=False)
heights = st.one_of(st.integers(0, 2**63 - 1), st.floats(0, allow_nan=False, allow_infinity=False))


@given(st.lists(st.one_of(numbers, st.floats(width=32, allow_nan=False, allow_infinity=False)), min_size=2), st.data())
@example([-0.0, 5e-324], None)
def test_text_of_a_histogram_is_exact(edges: list[float], data: Any) -> None:
    edges = sorted(set(edges) | {LARGEST, -LARGEST})  # two at least, however many are equal
    each = st.integers(0, 2**63 - 1) if data is None or data.draw(st.booleans()) else heights
    counts = [1] * (len(edges) - 1) if data is None else [data.draw(each) for _ in edges[1:]]
    made = Histogram(edges, counts)

    read = Histogram.from_text(made.to_text())

    assert bits(edges) == bits(read.bin_edges)
    assert bits(made.counts) == bits(read.counts)
    assert made.summary() == json.loads(made.to_text())["summary"]


@pytest.mark.parametrize(
    ("edges", "counts", "formats"),
    [
        ([0, 0.5, 2], [255, 0], ("f", "B")),
        ([0, 0.1, 2], [256, 0], ("d", "H")),
        ([0, 0.5, 1e300], [2**16, 0], ("d", "I")),
        ([0, 0.5, 2], [2**32, 0], ("f", "Q")),
        ([0, 0.5, 2], [0.5, 0.1], ("f", "d")),
    ],
)
def test_shortest_format_that_is_exact_is_taken(edges: Any, counts: Any, formats: tuple[str, str]) -> None:
    text = json.loads(Histogram(edges, counts).to_text())

    assert formats == (text["bin_edges"][0], text["counts"][0])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"bin_edges": "d:"}',
        '{"bin_edges": "x:AAAA", "counts": "B:AA=="}',
        '{"bin_edges": "B:AAE=", "counts": "B:AAE="}',
        '{"bin_edges": "B:AAE=", "counts": "B:!!"}',
        '{"bin_edges": "f:AAE=", "counts": "B:AA=="}',
        '{"bin_edges": "B:AQA=", "counts": "B:AA=="}',
        '{"bin_edges": "B:AAE=", "counts": 5}',
    ],
)
def test_damaged_text_is_reported(text: str) -> None:
    with pytest.raises(DamagedData, match="An entry of a run is damaged"):
        Histogram.from_text(text)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [math.nan, math.inf],
        [1.0] * 5,
        [0.0],
        [1.0, 1.0 + 2**-52],
        [0.0, 5e-324],
        [LARGEST, -LARGEST],
        [LARGEST] * 2,
        [1e308, 0, -1e308, math.nan],
        [2**62, 2**62 + 1],
        np.zeros((2, 3), "i1"),
        [[True, False]],
    ],
)
@pytest.mark.parametrize("bins", [1, 64])
def test_of_counts_each_finite_value_once(values: Any, bins: int) -> None:
    found = Histogram.of(values, bins)

    assert bins == len(found.counts)
    assert np.isfinite(np.asarray(values, float)).sum() == sum(found.counts)


def test_of_refuses_what_it_cannot_count() -> None:
    for values in (["a"], [1j], np.array([1], dtype=[("a", "i4")]), np.array(["2024"], "datetime64[s]")):
        with pytest.raises(NaiadTypeError, match="A histogram counts numbers"):
            Histogram.of(values)
    for bins in (0, -1, MOST_BINS + 1):
        with pytest.raises(InvalidArgument, match="bins= must be a number from 1 to 100,000"):
            Histogram.of([1], bins)


def test_summary_is_short() -> None:
    assert "1 bin from 0 to 0.1, 1 value" == Histogram([0, 0.1], [1]).summary()
    assert "2 bins from 0 to 2, 1,234.5 values" == Histogram(EDGES, [1234, 0.5]).summary()
    assert "Histogram(2 bins from 0 to 2)" == repr(Histogram(EDGES, densities=[1, 2]))


@pytest.mark.parametrize("columns", [1, 2, 7, 240])
@pytest.mark.parametrize("count", [1, 3, 64, 1000])
def test_skyline_loses_no_peak(columns: int, count: int) -> None:
    heights = [1.0] * count
    heights[count // 2] = 9.0
    edges = [-LARGEST, 0.0, LARGEST / 4, LARGEST / 2] if count == 3 else [*range(count + 1)]

    found = skyline(edges, heights, columns)

    assert columns == len(found)
    assert 9.0 == max(found)
    assert min(found) >= 1.0
