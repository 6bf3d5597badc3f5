"""Pages of a series of texts: some of its entries by number, without decoding the others."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from naiad.errors import DamagedData
from naiad.storage.local.index.chunk_rows import is_whole_chunk
from naiad.storage.local.index.codec import TEXT_MODES
from naiad.storage.local.index.columns import (
    ChunkDamaged,
    Column,
    Numbers,
    decode_bytes,
    read_bounds,
    read_integers,
    read_numbers,
    require_equal_items,
    split_block,
)
from naiad.storage.local.index.points import as_bytes
from naiad.storage.local.index.series import INDEX, Refusal, read_texts
from naiad.storage.local.index.states import FieldState
from naiad.storage.results import TextPage


class _Piece(NamedTuple):
    """A chunk of which only the steps are decoded."""

    steps: Numbers
    times: Column
    starts: Column
    blob: Column

    def rows(self, start: int, stop: int) -> tuple[list[int | float], list[str], list[int]]:
        """Decode the entries from `start` to before `stop`."""
        bounds = read_bounds(self.starts, len(self.steps), self.blob.items)[start : stop + 1].tolist()
        raw = decode_bytes(self.blob)
        if raw.isascii():  # cutting a text takes a quarter of decoding each line
            whole = raw.decode("ascii")
            texts = [whole[at:end] for at, end in pairwise(bounds)]
        else:
            texts = [raw[at:end].decode("utf-8", "surrogatepass") for at, end in pairwise(bounds)]
        return self.steps[start:stop].tolist(), texts, read_integers(self.times)[start:stop].tolist()


class TextPages:
    """The entries of one series as it is now, to be read by their numbers.

    Of one writer whose steps did not go back, which a log is, a page decodes the chunks that it lies in. Of other
    series everything is decoded, to be put in order.
    """

    def __init__(self, state: FieldState, chunks: list[Any], refuse: Refusal) -> None:
        self._whole: tuple[list[int | float], list[str], list[int]] | None = None
        self._refuse = refuse
        self._path = state.path
        writers = {*(state.writers_of_pieces() if state.pieces else ()), *state.tail()}
        self._pieces: list[_Piece] = []
        self._late: list[tuple[int | float, str, int]] = []
        if len(writers) < 2:
            self._pieces = [_piece(state, row, refuse) for row in chunks]
            count = sum(len(piece.steps) for piece in self._pieces)
            if count != state.series.count or len(chunks) != state.pieces:
                raise refuse(state.path, INDEX, f"{count} of its {state.series.count} texts are there")
            for waiting in state.tail().values():
                self._late = [(step, as_text(text), round(time * 1000)) for step, time, text in waiting]
        # Entries have a number only in their order by step. Where chunks are in that order already, a number leads to
        # its chunk without decoding the texts of others.
        if len(writers) > 1 or not self._is_in_order():
            self._whole = read_texts(state, chunks, refuse)
        self._counts = np.array([0, *(len(piece.steps) for piece in self._pieces), len(self._late)]).cumsum()

    @property
    def total(self) -> int:
        """How many entries there are."""
        return len(self._whole[0]) if self._whole is not None else int(self._counts[-1])

    def page(self, start: int, limit: int) -> TextPage:
        """Return entries from a number on; a negative one counts from the end."""
        total = self.total
        start = max(0, total + start) if start < 0 else min(start, total)
        stop = min(total, start + limit)
        if self._whole is not None:
            steps, texts, times = self._whole
            return TextPage(total, start, steps[start:stop], texts[start:stop], times[start:stop])
        found = TextPage(total, start, [], [], [])
        for number, piece in enumerate([*self._pieces, None]):
            first, end = int(self._counts[number]), int(self._counts[number + 1])
            low, high = max(start, first) - first, min(stop, end) - first
            if low < high:
                try:
                    steps, texts, times = piece.rows(low, high) if piece is not None else _columns(self._late[low:high])
                except UnicodeDecodeError as error:  # its crc is right: it was written so
                    raise self._refuse(self._path, INDEX, f"one of its texts is none: {error}") from error
                found.steps.extend(steps)
                found.texts.extend(texts)
                found.times.extend(times)
        return found

    def place(self, *, step: float | None = None, time: int | float | None = None) -> int:
        """Return the number of the first entry at or after a step, or a time in milliseconds."""
        if self._whole is not None:
            columns: tuple[Any, Any] = (self._whole[0], self._whole[2])
        else:
            late_steps = np.array([step for step, _text, _time in self._late], np.float64)
            own = [np.asarray(piece.steps, np.float64) for piece in self._pieces]
            columns = (np.concatenate([*own, late_steps]), None)
        if step is not None:
            return int(np.searchsorted(np.asarray(columns[0], np.float64), step, "left"))
        times = columns[1]
        if times is None:
            times = np.concatenate(
                [
                    *(read_integers(piece.times) for piece in self._pieces),
                    np.array([x[2] for x in self._late], np.int64),
                ]
            )
        is_late = np.asarray(times) >= (time or 0)
        return int(is_late.argmax()) if is_late.any() else self.total

    def _is_in_order(self) -> bool:
        last: int | float | None = None
        for piece in self._pieces:
            if len(piece.steps):
                first = piece.steps[0].item()
                if (last is not None and first < last) or bool((piece.steps[1:] < piece.steps[:-1]).any()):
                    return False
                last = piece.steps[-1].item()
        for step, _text, _time in self._late:
            if last is not None and step < last:
                return False
            last = step
        return True


def as_text(text: Any) -> str:
    """The text of an entry in the tail."""
    return as_bytes(text).decode("utf-8", "surrogatepass")


def _columns(rows: list[tuple[int | float, str, int]]) -> tuple[list[int | float], list[str], list[int]]:
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


def _piece(state: FieldState, row: Any, refuse: Callable[[str, str, str], DamagedData]) -> _Piece:
    if not is_whole_chunk(row):
        raise refuse(state.path, INDEX, f"chunk {row.key & 0xFFFFFF} fails its crc")
    try:
        steps, times, starts, blob = split_block(row.data, b"T", TEXT_MODES)
        require_equal_items(steps, times)
        return _Piece(read_numbers(steps), times, starts, blob)
    except ChunkDamaged as error:
        raise refuse(state.path, INDEX, str(error)) from error
