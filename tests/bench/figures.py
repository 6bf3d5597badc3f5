"""Figures, how they are taken and how they are printed: what all benchmarks here have in common.

A benchmark measures ours and its floors in turns, so that a busy moment of the machine hits all of them alike. Nothing
is asserted about time: the numbers are for reading.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

__all__ = ["CPU", "WALL", "Figure", "folder", "in_turns", "main", "print_table", "seconds"]

T = TypeVar("T")
CPU, WALL = time.process_time, time.perf_counter


@dataclass
class Figure:
    """One number that DESIGN.md sets a goal for, as often as it was taken, beside its floors taken in the same run."""

    name: str
    unit: str
    ours: list[float]
    goal: str = ""
    floors: dict[str, list[float]] = field(default_factory=dict)
    is_rate: bool = False  # more is better


def in_turns(repeats: int, calls: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """What each call returns, as often as it was made; each round makes all calls once."""
    results: dict[str, list[T]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            results[name].append(call())
    return results


def seconds(call: Callable[[], object], clock: Callable[[], float] = CPU) -> float:
    """How long a call takes, in CPU time of all threads or by another clock."""
    began = clock()
    call()
    return clock() - began


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that is removed afterwards, on the file system that TMPDIR names."""
    with tempfile.TemporaryDirectory(prefix="naiad-bench-", ignore_cleanup_errors=True) as path:
        yield Path(path)


def main(measure: Callable[[bool], list[Figure]]) -> None:
    """Measure and print: a table, or JSON for `all.py`. With --quick sizes are tiny and the numbers mean nothing."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    found = measure(options.quick)
    if options.json:
        print(json.dumps([asdict(figure) for figure in found]))
    else:
        print_table(found)


def print_table(found: list[Figure]) -> None:
    """A line for each figure, and below it one for each floor with the ratio: cost of ours over cost of the floor."""
    print(f"{'figure':<66}{'unit':>9}{'goal':>9}{'best':>10}{'median':>10}{'ratio':>8}")
    for figure in found:
        best, middle = _numbers(figure.ours, figure.is_rate)
        print(f"{figure.name:<66}{figure.unit:>9}{figure.goal:>9}{best:>10.4g}{middle:>10.4g}")
        for name, values in figure.floors.items():
            best, floor = _numbers(values, figure.is_rate)
            ratio = floor / middle if figure.is_rate else middle / floor
            print(f"    {'beside: ' + name:<80}{best:>10.4g}{floor:>10.4g}{ratio:>8.2f}")


def _numbers(values: list[float], is_rate: bool) -> tuple[float, float]:
    return (max if is_rate else min)(values), statistics.median(values)


if __name__ == "__main__":
    sys.exit("Run one of the bench_*.py beside this file, or all.py.")
