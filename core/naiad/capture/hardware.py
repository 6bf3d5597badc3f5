"""Hardware figures of a run: processor, memory, disk, network, and cards.

`cpu` and `memory` are those of the machine, or of the container where one limits them; `process_*` those of this
process and all below it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from naiad import clock
from naiad.capture.cgroups import cgroup
from naiad.capture.gpus import GPU_UNITS, Gpus
from naiad.forks import holding_forks

GB, MB = 2**30, 2**20
UNITS = {
    "cpu": "%",
    "memory": "GB",
    "process_cpu": "%",
    "process_memory": "GB",
    "disk_read": "MB/s",
    "disk_write": "MB/s",
    "network_received": "MB/s",
    "network_sent": "MB/s",
    **GPU_UNITS,
}
MOST_PROCESSES = 1000


def unit_of(name: str) -> str:
    """Return the unit of a figure.

    >>> unit_of("gpu_memory_0")
    'GB'
    """
    return UNITS[re.sub(r"_\d+$", "", name)]


class Hardware:
    """Reads all figures. Rates are those since the last reading, so the first one only begins them."""

    def __init__(self) -> None:
        with holding_forks():  # a child forked meanwhile could never import it
            import psutil
        self._psutil = psutil
        self._cgroup = cgroup()
        self._gpus = Gpus()
        self._processors = psutil.cpu_count() or 1
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")
        self._ticks = os.sysconf("SC_CLK_TCK")
        self._at = clock.monotonic()
        self._before: dict[str, float] = {}
        # Rates need two readings; this one only begins them.
        self.read()

    def read(self) -> dict[str, float]:
        """Return all figures by their names."""
        now = clock.monotonic()
        elapsed, self._at = now - self._at, now
        found = {"memory": self._memory() / GB, **self._gpus.read()}
        totals = self._totals()
        seconds, used = self._process_tree()
        found["process_memory"] = used / GB
        # In percent of all processors, as `cpu` is, so that both can be drawn in one chart.
        totals["process_cpu"] = seconds * 100 / self._processors
        for name, total in totals.items():
            before = self._before.get(name)
            if before is not None and elapsed > 0:
                # The sum over processes falls when one of them ends before its parent has taken over its time.
                found[name] = max(0.0, (total - before) / elapsed)
        if "cpu" in found:
            # Counters are in ticks, so that a short interval may show more than there is.
            found["cpu"] = min(100.0, found["cpu"])
        self._before = totals
        return found

    def _memory(self) -> float:
        limited = self._cgroup.memory_used()
        if limited is not None:
            return limited
        machine = self._psutil.virtual_memory()
        return float(machine.total - machine.available)

    def _totals(self) -> dict[str, float]:
        """Return the counters: seconds of processor time in percent, and megabytes."""
        totals = {"cpu": self._cpu_seconds() * 100}
        disk, network = self._ask("disk_io_counters"), self._ask("net_io_counters")
        if disk is not None:
            totals |= {"disk_read": disk.read_bytes / MB, "disk_write": disk.write_bytes / MB}
        if network is not None:
            totals |= {"network_received": network.bytes_recv / MB, "network_sent": network.bytes_sent / MB}
        return totals

    def _cpu_seconds(self) -> float:
        limited = self._cgroup.cpu_seconds()
        if limited is not None:
            return limited / self._cgroup.processors
        times = self._psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        twice = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # counted as user time too
        return float(sum(times) - idle - twice) / self._processors

    def _ask(self, name: str) -> Any:
        """Return counters of the machine, or None if they are unavailable."""
        try:
            return getattr(self._psutil, name)()
        except (OSError, RuntimeError, AttributeError, NotImplementedError):
            return None

    def _process_tree(self) -> tuple[float, float]:
        """Return processor seconds and resident bytes of this process and all below it."""
        seconds = size = 0.0
        for process in _tree(os.getpid()):
            found = _stat(process)
            if found is not None:
                seconds += found[0] / self._ticks
                size += found[1] * self._page_bytes
        return (seconds, size) if size else self._process_alone()

    def _process_alone(self) -> tuple[float, float]:
        """Return the figures of this process and its finished children, on systems without `/proc`."""
        process = self._psutil.Process()
        return float(sum(process.cpu_times()[:4])), float(process.memory_info().rss)


def _stat(process: int) -> tuple[float, float] | None:
    """Return processor ticks of a process and of its children that have ended, and its resident pages."""
    try:
        text = Path(f"/proc/{process}/stat").read_text("utf-8", "replace")
    except OSError:
        return None  # it has ended meanwhile
    # The name of the program, in brackets, may have spaces and brackets of its own.
    numbers = text[text.rindex(")") + 2 :].split()
    return sum(map(float, numbers[11:15])), float(numbers[21])


def _tree(process: int) -> Iterator[int]:
    waiting = [process]
    # Bounded: a program with thousands of workers must not make each look take a second.
    for _ in range(MOST_PROCESSES):
        if not waiting:
            return
        current = waiting.pop()
        yield current
        waiting += _children(current)


def _children(process: int) -> list[int]:
    """Return the children of a process, as the kernel lists them: psutil would look at every process there is."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{process}/task"):
            found += map(int, Path(f"/proc/{process}/task/{task}/children").read_text().split())
    except OSError:
        return found  # it has ended meanwhile
    return found
