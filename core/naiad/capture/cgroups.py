"""The control group of this process: limits and usage of a container or cluster job."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

ROOT = Path("/sys/fs/cgroup")
UNLIMITED = 2**60
"""What the first version of cgroups says where there is no limit is above this."""


class Cgroup(Struct, frozen=True):
    """One control group with its files; None if this process has no limits."""

    memory: Path | None
    cpu: Path | None
    processors: float
    """How many of them the group may use, as a fraction."""

    def memory_used(self) -> float | None:
        """Return the bytes in use, without reclaimable memory, if they are limited."""
        if self.memory is None:
            return None
        version_2, version_1 = self.memory / "memory.current", self.memory / "memory.usage_in_bytes"
        # The files of both versions of cgroups are tried; a machine has those of one.
        used = _number(version_2) or _number(version_1)
        return None if used is None else used - (_entry(self.memory / "memory.stat", "inactive_file") or 0)

    def cpu_seconds(self) -> float | None:
        """Return the processor time used so far, where it is limited."""
        if self.cpu is None:
            return None
        micro = _entry(self.cpu / "cpu.stat", "usage_usec")
        if micro is not None:
            return micro / 1e6
        nano = _number(self.cpu / "cpuacct.usage")
        return None if nano is None else nano / 1e9


def cgroup(root: Path = ROOT, own: Path = Path("/proc/self/cgroup")) -> Cgroup:
    """Return the limits of the nearest groups at or above this process's own that have any."""
    memory, cpu, processors = None, None, 0.0
    for group in _groups(root, own, "memory"):
        limit = _number(group / "memory.max") or _number(group / "memory.limit_in_bytes")
        if limit is not None and limit < UNLIMITED and memory is None:
            memory = group
    for group in _groups(root, own, "cpu"):
        if cpu is None and (share := _share(group)) is not None:
            cpu, processors = group, share
    return Cgroup(memory, cpu, processors)


def _groups(root: Path, own: Path, controller: str) -> list[Path]:
    """Return the folders of this process's group and those above it, the nearest first."""
    found: list[Path] = []
    for line in _lines(own):
        _number_of_tree, controllers, name = [*line.split(":", 2), "", ""][:3]
        if controllers and controller not in controllers.split(","):
            continue
        top = root / controller if controllers else root
        place = top / name.lstrip("/")
        found += [each for each in (place, *place.parents) if each == top or top in each.parents]
    return [each for each in found if each.is_dir()]


def _share(group: Path) -> float | None:
    """Return how many processors a group may use, or None for all."""
    quota, period = [*" ".join(_lines(group / "cpu.max")).split(), "", ""][:2]
    if not quota:
        quota, period = (" ".join(_lines(group / f"cpu.cfs_{name}_us")) for name in ("quota", "period"))
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []


def _number(file: Path) -> float | None:
    text = "".join(_lines(file))
    return float(text) if text.isdigit() else None


def _entry(file: Path, name: str) -> float | None:
    words = (line.split() for line in _lines(file))
    return next((float(word[1]) for word in words if word and word[0] == name), None)
