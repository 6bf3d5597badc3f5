"""The program of the processes that read entries for a catalog; see `entry_processes`."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from naiad import clock
from naiad.cycles import search_paused
from naiad.storage.local.catalog import stamped_entry
from naiad.storage.local.ids import Register
from naiad.storage.local.processes import serve
from naiad.storage.sql.values import Entry, Stamp

Request = list[tuple[str, list[str] | None]]
"""Of each container its folder, and the two texts of its stamp if it has one."""


THREADS = 8
"""Of a process that waits for a disk: of another machine, or one that was not read for long."""
PART = 64
"""Containers after which a process looks whether it waits."""
WAITING = 5.0
"""Ratio of elapsed to CPU time above which a process waits for the disk. Threads that have little to wait for take
three times the CPU time, as each read hands Python's lock to another one."""


def main(root: str, program: int) -> None:
    """Read entries on request, until the program closes the pipe or is gone."""
    warnings.simplefilter("ignore")  # for all threads: each of them sets and resets the filters
    reading = Reading(Register(Path(root)))

    def answer(request: Request) -> object:
        with search_paused():
            return _packed([*reading.entries(request)])

    serve(program, answer)


class Reading:
    """Reads containers one after the other, or once it has waited for the disk, several at a time."""

    def __init__(self, register: Register) -> None:
        self._register = register
        self._is_waiting = False

    def entries(self, request: Request) -> Iterator[Entry]:
        """Yield the entry of each container."""
        for start in range(0, len(request), PART):
            if self._is_waiting:
                yield from self._together(request[start:])
                return
            began, used = clock.monotonic() - _queued(), time.process_time()
            yield from map(self._entry, request[start : start + PART])
            passed = clock.monotonic() - _queued() - began
            self._is_waiting = passed > WAITING * (time.process_time() - used)

    def _together(self, request: Request) -> Iterator[Entry]:
        from concurrent.futures import ThreadPoolExecutor  # for those that wait

        with ThreadPoolExecutor(THREADS) as threads:
            yield from threads.map(self._entry, request)

    def _entry(self, asked: tuple[str, list[str] | None]) -> Entry:
        folder, stamp = asked
        return stamped_entry(self._register, folder, None if stamp is None else Stamp(*stamp))


def _queued() -> float:
    """Seconds that this process has waited for a core so far; 0 where Linux does not count them."""
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _packed(entries: list[Entry]) -> tuple[list[object], list[object]]:
    """Return the keys of cells, each list of them once, and the entries with the number of theirs and their values.

    Most containers of a store have the same fields, so nearly half of the bytes and objects would be keys.
    """
    keys: dict[tuple[tuple[str, str], ...], int] = {}
    packed: list[object] = []
    for entry in entries:
        number = keys.setdefault(tuple(entry.cells), len(keys))
        packed.append((*entry._replace(cells={}), number, [*entry.cells.values()]))
    return [*keys], packed
