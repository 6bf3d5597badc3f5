"""The clock of a dump: how far the times of its series are off."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from naiad.errors import DamagedData, InvalidArgument
from naiad.export.arrow import arrow
from naiad.importers.dump_parts import opened

QUARTER: Final = 900
EARLY, LATE = -120.0, 420.0
"""Seconds by which the first point of a run may come before and after its creation."""
UNITS: Final = {"milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}
"""How many units of a column of moments are a second, by their name in parquet."""


class Clock:
    """The clock of the times of series: in a dump of 2.x, local time as if it were UTC."""

    def __init__(self, parts: Sequence[str], zone: str, application: str, created: float | None) -> None:
        """Take the zone that the user named; else infer it, for a dump of 2.x, from the creation time of the run."""
        self.note = ""
        self._zone: ZoneInfo | None = None
        self._offset = 0.0
        if zone:
            self._zone = zone_of(zone)
            self.note = f"Times of series are taken as {zone}, as --source-timezone names."
        elif application == "2.x" and created is not None:
            self._infer(parts, created)

    def _infer(self, parts: Sequence[str], created: float) -> None:
        """Compare the first time of a series with the creation time, which the server kept in UTC."""
        first = _first_time(parts)
        if first is None:
            return
        ahead = first - created
        rounded = round(ahead / QUARTER) * QUARTER
        # Zones lie between -12 and +14 hours, in quarters; a run that logged its first point seconds before or
        # minutes after the rounded time fits one, and a run that was resumed a day later fits none.
        if rounded and -12 * 3600 <= rounded <= 14 * 3600 and EARLY <= ahead - rounded <= LATE:
            self._offset = float(rounded)
            hours, minutes = divmod(abs(rounded) // 60, 60)
            sign = "+" if rounded > 0 else "-"
            self.note = (
                f"Times of series were {sign}{hours:02d}:{minutes:02d} off, because the exporter wrote local times, "
                "and are put right. This was inferred from the creation time; --source-timezone overrides it."
            )

    def shift(self, times: Any) -> Any:
        """Return the seconds to be added to each time; None for none."""
        if self._zone is None:
            return -self._offset if self._offset else None
        # Offsets change on quarters of an hour only, so that a series asks zoneinfo once for each quarter and not for
        # each point.
        quarters, places = np.unique(np.floor(np.asarray(times, np.float64) / QUARTER), return_inverse=True)
        offsets = [self._offset_at(quarter * QUARTER) for quarter in quarters.tolist()]
        return -np.array(offsets, np.float64)[places]

    def _offset_at(self, wall: float) -> float:
        """Return the offset of the zone at a wall time, given as if that were UTC."""
        if not abs(wall) < 1e11:
            return 0.0
        naive = datetime.fromtimestamp(wall, timezone.utc).replace(tzinfo=self._zone)
        offset = naive.utcoffset()
        return offset.total_seconds() if offset is not None else 0.0


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone.

    Raises:
        InvalidArgument: there is none of this name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidArgument(
            f"There is no time zone {name!r}.\nGive one such as Europe/Berlin, or UTC.", argument="source-timezone"
        ) from None


def _unit(statistics: Any) -> float | None:
    """Return how many units of a column of moments are a second; None of another column."""
    # Not by `statistics.min`: that imports pandas, and has no moment after the year 9999.
    return UNITS.get(json.loads(statistics.logical_type.to_json()).get("timeUnit"))


def _first_time(parts: Sequence[str]) -> float | None:
    """Return the earliest time of a series, from the statistics of the parts where they have some."""
    pa = arrow()
    found: list[float] = []
    for path in parts:
        try:
            with opened(path) as file:
                if "timestamp" not in file.schema_arrow.names:
                    continue
                place = file.metadata.schema.names.index("timestamp")
                # Statistics of a row group give its earliest time without decoding a row.
                for number in range(file.num_row_groups):
                    statistics = file.metadata.row_group(number).column(place).statistics
                    unit = None if statistics is None else _unit(statistics)
                    if statistics is not None and statistics.has_min_max and unit is not None:
                        found.append(statistics.min_raw / unit)
                    elif statistics is None or statistics.null_count != file.metadata.row_group(number).num_rows:
                        column = file.read_row_group(number, columns=["timestamp"]).column(0)
                        least = pa.compute.min(column.cast(pa.timestamp("ms", "UTC")).cast(pa.int64())).as_py()
                        found += [] if least is None else [least / 1000]
        except (DamagedData, OSError, pa.ArrowException, ValueError, AttributeError):
            continue  # reading the part reports it
    return min(found, default=None)
