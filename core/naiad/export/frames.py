"""Series of many runs as one long frame, for pandas, Arrow and polars."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from naiad.container_kinds import RunId
from naiad.errors import InvalidArgument, MissingPackage
from naiad.export.arrow import arrow
from naiad.kinds import KINDS, LINES, POINTS
from naiad.storage.base import Store

LIBRARIES = ("pandas", "arrow", "polars")


def fetch_series(
    store: Store, runs: Iterable[tuple[str, RunId]], paths: str | Sequence[str], library: str, include_timestamp: bool
) -> Any:
    """Return the points of series of runs, given with their ids, as one frame.

    Raises:
        InvalidArgument: there is no such library, no path, or numbers and texts are mixed.
        MissingPackage: the library is not installed.
    """
    if library not in LIBRARIES:
        raise InvalidArgument(f"There is no library {library!r}.\nGive one of {', '.join(LIBRARIES)}.", argument="to")
    wanted = [paths] if isinstance(paths, str) else list(paths)
    if not wanted:
        raise InvalidArgument("fetch_series() needs at least one path.", argument="paths")
    gathered = _Gathered()
    for name, run in runs:
        reader = store.reader(run)
        kinds = reader.kinds()
        for path in _matching(kinds, wanted):
            if kinds[path] == POINTS:
                points = reader.points(path)
                gathered.add(name, path, POINTS, points.steps, points.values, points.times)
            else:
                texts = reader.texts(path, LINES)
                gathered.add(name, path, LINES, np.array(texts.steps), texts.texts, np.array(texts.times, np.int64))
    return gathered.frame(library, include_timestamp)


def _matching(kinds: dict[str, str], wanted: Sequence[str]) -> list[str]:
    """Return the paths of the chosen series of numbers and texts, in that order; `*` is any characters."""
    series = [path for path, kind in kinds.items() if KINDS[kind].is_series and kind in (POINTS, LINES)]
    found: dict[str, None] = {}
    for pattern in wanted:
        if "*" in pattern:
            # Only * has a meaning in paths; fnmatch would read brackets in one as a set of characters.
            escaped = pattern.replace("[", "[[]").replace("?", "[?]")
            found |= dict.fromkeys(sorted(path for path in series if fnmatch.fnmatchcase(path, escaped)))
        elif pattern in series:
            found[pattern] = None
    return list(found)


class _Gathered:
    """The columns of a long frame while it grows."""

    def __init__(self) -> None:
        self._kind: str | None = None
        self._names: list[tuple[str, str, int]] = []
        self._steps: list[Any] = []
        self._values: list[Any] = []
        self._times: list[Any] = []

    def add(self, name: str, path: str, kind: str, steps: Any, values: Any, times: Any) -> None:
        """Add the points of one series of one run."""
        if self._kind not in (None, kind):
            noun = "texts" if kind == LINES else "numbers"
            raise InvalidArgument(
                f'"{path}" of {name} is a series of {noun}, but the others are not.\n'
                "Fetch numbers and texts in separate calls.",
                argument="paths",
            )
        self._kind = kind
        self._names.append((name, path, len(times)))
        self._steps.append(steps)
        self._values.append(values)
        self._times.append(times)

    def frame(self, library: str, include_timestamp: bool) -> Any:
        """Return the frame: run, path, step, value and the time in UTC."""
        counts = [count for _name, _path, count in self._names]
        steps = np.concatenate(self._steps) if self._steps else np.empty(0)
        times = np.concatenate(self._times) if self._times else np.empty(0, np.int64)
        if self._kind == LINES:
            values: Any = [text for texts in self._values for text in texts]
        else:
            values = np.concatenate(self._values) if self._values else np.empty(0)
        if library == "pandas":
            return self._pandas(counts, steps, values, times, include_timestamp)
        table = self._arrow(counts, steps, values, times, include_timestamp)
        if library == "arrow":
            return table
        try:
            import polars
        except ImportError as error:
            raise MissingPackage(
                f"to='polars' needs polars, and importing it failed: {error}.\nInstall it with: pip install polars",
                package="polars",
            ) from error
        return polars.from_arrow(table)

    def _pandas(self, counts: list[int], steps: Any, values: Any, times: Any, include_timestamp: bool) -> Any:
        import pandas as pd

        # Names are codes of 1 to 4 bytes: as Python objects each takes 8 bytes a point, and each comparison is one of
        # texts.
        columns = {
            title: pd.Categorical.from_codes(
                np.repeat(codes, counts) if counts else np.empty(0, np.int64), pd.Index(categories)
            )
            for title, codes, categories in self._coded()
        }
        frame = pd.DataFrame({**columns, "step": steps, "value": values})
        if include_timestamp:
            frame["timestamp"] = pd.to_datetime(times, unit="ms", utc=True)
        return frame

    def _arrow(self, counts: list[int], steps: Any, values: Any, times: Any, include_timestamp: bool) -> Any:
        pa = arrow()
        columns = {
            title: pa.DictionaryArray.from_arrays(
                pa.array(np.repeat(np.asarray(codes, np.int32), counts) if counts else np.empty(0, np.int32)),
                pa.array(categories, pa.string()),
            )
            for title, codes, categories in self._coded()
        }
        kind = pa.string() if self._kind == LINES else pa.float64()
        # from_pandas would make nulls of NaN, which is a value that was logged.
        columns |= {"step": pa.array(steps), "value": pa.array(values, kind, from_pandas=False)}
        if include_timestamp:
            columns["timestamp"] = pa.array(times, pa.int64()).cast(pa.timestamp("ms", "UTC"))
        return pa.table(columns)

    def _coded(self) -> list[tuple[str, list[int], list[str]]]:
        """Return the columns of names as codes and categories."""
        found = []
        for title, place in (("run", 0), ("path", 1)):
            categories = list(dict.fromkeys(str(each[place]) for each in self._names))
            codes = {name: code for code, name in enumerate(categories)}
            found.append((title, [codes[str(each[place])] for each in self._names], categories))
        return found
