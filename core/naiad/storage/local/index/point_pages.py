"""Pages of a float series: some of its points by number, without decoding the others."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from naiad.storage.local.index.chunk_rows import EVERY_CHUNK, FIELD_SHIFT
from naiad.storage.local.index.codec import PackedPoints
from naiad.storage.local.index.columns import read_numbers
from naiad.storage.local.index.points import Columns, Part, join
from naiad.storage.local.index.series import INDEX, Refusal, packed_points, read_points, step_type, unpacked
from naiad.storage.local.index.states import FieldState
from naiad.storage.results import PointPage, Points


class Extent(NamedTuple):
    """Where the steps of a chunk lie, and of what type they are."""

    first: int | float
    last: int | float
    is_sorted: bool
    is_integer: bool
    is_wide: bool


Fetch = Callable[[range], list[Any]]
"""Gets the rows of the chunks with these numbers, with their content."""
Known = dict[tuple[int, int], Extent]
"""Extents by key and checksum of their chunk, for those who ask again: a chunk never changes."""
MOST_KNOWN = 10_000


class PointPages:
    """The points of one series as it is now, to be read by their numbers.

    Of one writer whose steps did not go back, which a training run is, a page gets and decodes the chunks that it lies
    in, and of each chunk that is met for the first time the steps. Of other series everything is decoded, to be put in
    order.
    """

    def __init__(
        self,
        state: FieldState,
        heads: list[Any],
        shares: list[Columns],
        tail: list[Part],
        refuse: Refusal,
        *,
        fetch: Fetch,
        known: Known,
    ) -> None:
        self._heads, self._refuse, self._state = heads, refuse, state
        # One chunk at a time: those of a series of three million points took as much memory as the points of a page.
        self._fetch = fetch
        self._extents: list[Extent] = []
        self._late = join([part for _writer, part in tail])
        writers = {*(state.writers_of_pieces() if state.pieces else ()), *(writer for writer, _part in tail)}
        if len(writers) < 2 and not shares:
            # The field row has its own count. A chunk row that a flipped bit has made invisible shows only here.
            count = sum(head.count for head in heads)
            if count != state.series.count or len(heads) != state.pieces:
                raise refuse(state.path, INDEX, f"{count} of its {state.series.count} points are there")
            self._extents = [self._extent(head, known) for head in heads]
        self._all = partial(read_points, state, shares=shares, tail=tail, refuse=refuse)
        self.is_apart = len(writers) < 2 and not shares and self._is_in_order()
        """Whether some points are read without the others."""
        self._counts = np.array([0, *(head.count for head in heads), len(self._late.values)]).cumsum()

    @cached_property
    def _whole(self) -> Columns | None:
        return None if self.is_apart else self._all(self._fetch(EVERY_CHUNK))

    @property
    def total(self) -> int:
        """How many points there are."""
        return len(self._whole.values) if self._whole is not None else int(self._counts[-1])

    def page(self, start: int, limit: int) -> PointPage:
        """Return points from a number on; a negative one counts from the end."""
        total = self.total
        start = max(0, total + start) if start < 0 else min(start, total)
        stop = max(start, min(total, start + limit))
        if self._whole is not None:
            return PointPage.of(Points(*self._whole), start, limit)
        # As all points together have it, so that a page is a part of them to the type.
        kinds = [each.is_integer for each in self._extents]
        late = [self._late] if len(self._late.values) else []
        steps: Any = np.empty(stop - start, step_type(kinds, any(each.is_wide for each in self._extents), late))
        points = Points(steps, np.empty(stop - start), np.empty(stop - start, np.int64))
        for number in range(len(self._heads) + 1):
            first, end = int(self._counts[number]), int(self._counts[number + 1])
            low, high = max(start, first), min(stop, end)
            if low < high:
                is_late = number == len(self._heads)
                columns = self._late if is_late else unpacked(self._packed(self._heads[number]))
                for column, own in zip(points, columns, strict=True):
                    column[low - start : high - start] = own[low - first : high - first]
        return PointPage(total, start, points)

    def place(self, step: float, *, is_after: bool = False) -> int:
        """Return the number of the first point at or after a step, or only after it."""
        side = "right" if is_after else "left"
        if self._whole is not None:
            return _place(self._whole.steps, step, side)
        for number, (head, extent) in enumerate(zip(self._heads, self._extents, strict=True)):
            if extent.last > step or (extent.last == step and not is_after):
                if extent.first > step:
                    return int(self._counts[number])
                return int(self._counts[number]) + _place(read_numbers(self._packed(head).steps), step, side)
        return int(self._counts[len(self._heads)]) + _place(self._late.steps, step, side)

    def _packed(self, head: Any) -> PackedPoints:
        number = _number(head)
        rows = self._fetch(range(number, number + 1))
        if not rows:
            raise self._refuse(self._state.path, INDEX, f"chunk {number} is not there")
        return packed_points(self._state, rows[0], self._refuse)

    def _extent(self, head: Any, known: Known) -> Extent:
        key = (head.key, head.crc)
        found = known.get(key)
        if found is None:
            packed = self._packed(head)
            steps = read_numbers(packed.steps)
            if not len(steps):
                raise self._refuse(self._state.path, INDEX, f"chunk {_number(head)} is empty")
            is_sorted = not bool((steps[1:] < steps[:-1]).any())
            found = Extent(steps[0].item(), steps[-1].item(), is_sorted, packed.steps.is_integer, packed.steps.is_wide)
            if len(known) >= MOST_KNOWN:
                known.clear()
            known[key] = found
        return found

    def _is_in_order(self) -> bool:
        if not all(each.is_sorted for each in self._extents):
            return False
        steps = self._late.steps
        ends = [(each.first, each.last) for each in self._extents]
        if len(steps):
            if bool((steps[1:] < steps[:-1]).any()):
                return False
            ends.append((steps[0].item(), steps[-1].item()))
        return all(before[1] <= after[0] for before, after in pairwise(ends))


def _number(head: Any) -> int:
    """Return the number of a chunk in its field."""
    return int(head.key & ((1 << FIELD_SHIFT) - 1))


def _place(steps: Any, step: float, side: Any) -> int:
    return int(np.searchsorted(steps, step, side))
