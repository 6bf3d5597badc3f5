"""Settings from the environment, where `NAIAD_X` falls back to Neptune's `NEPTUNE_X`; and the numbers of the store."""

from __future__ import annotations

import math
import os

from msgspec import Struct

from naiad.errors import InvalidArgument

MiB = 1024 * 1024
MOST_WAITING = 786_432


def setting(name: str, default: str | None = None) -> str | None:
    """The value of `NAIAD_<name>`, else of `NEPTUNE_<name>`, else `default`; an empty variable counts as absent."""
    return os.environ.get(f"NAIAD_{name}") or os.environ.get(f"NEPTUNE_{name}") or default


def is_quiet() -> bool:
    """Whether runs begin and stop without a line on the terminal."""
    return (setting("QUIET") or "0").lower() not in ("0", "false", "no", "off")


def number(name: str, default: float, least: float = 0) -> float:
    """The value of `NAIAD_<name>` as a number, else `default`.

    Raises:
        InvalidArgument: it is no number, or below `least`.
    """
    text = os.environ.get(f"NAIAD_{name}")
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not least <= number < math.inf:
        raise InvalidArgument(f"NAIAD_{name} must be a number of at least {least:g}, not {text!r}.")
    return number


class Tuning(Struct, frozen=True):
    """How a writer spends memory, disk and time. Read once when a writer opens."""

    journal: str = "auto"
    """`mmap`, `write` (for file systems whose mappings are not coherent) or `auto` (asks the mount table)."""
    segment_bytes: int = 0
    """Fixed size of a points segment; 0 lets it grow from 64 KiB to 16 MiB with the rate of points."""
    fold_records: int = 262_144
    """Points that wait in the journal before they are folded into the index; reading never waits for it."""
    small_run_records: int = 131_072
    """A stopped run that has no database and fewer points than this keeps its journal: none is made for it.

    Making one costs a quarter of a second, nearly all of it fixed: numpy and SQLAlchemy are imported. The journal takes
    32 bytes a point, at most 4 MiB, and is read as fast.
    """
    sync_seconds: float = 1.0
    """Longest time between a write and its `fdatasync`: what a power cut can take."""
    memory_bytes: int = 64 * MiB
    """What is kept in memory while the disk refuses writes; beyond it the oldest points are dropped and counted."""

    @property
    def most_waiting(self) -> int:
        """Points that may wait for a fold; beyond them appending is slowed down to the pace of folding.

        24 MiB of journal: with the segment that is being folded, the spare one and what gathers while the brake takes
        hold it stays below 64 MiB, and the 0.2 s in which the fold process starts slow no loop down.
        """
        return max(MOST_WAITING, 3 * self.fold_records)

    @classmethod
    def from_environment(cls) -> Tuning:
        """The defaults, changed by `NAIAD_JOURNAL`, `NAIAD_SEGMENT_BYTES`, `NAIAD_FOLD_RECORDS`, ..."""
        default = cls()
        journal = os.environ.get("NAIAD_JOURNAL") or default.journal
        if journal not in ("auto", "mmap", "write"):
            raise InvalidArgument(f"NAIAD_JOURNAL must be 'auto', 'mmap' or 'write', not {journal!r}.")
        return cls(
            journal=journal,
            segment_bytes=int(number("SEGMENT_BYTES", default.segment_bytes)),
            fold_records=int(number("FOLD_RECORDS", default.fold_records, least=1)),
            small_run_records=int(number("SMALL_RUN_RECORDS", default.small_run_records)),
            sync_seconds=number("SYNC_SECONDS", default.sync_seconds, least=0.001),
            memory_bytes=int(number("MEMORY_BYTES", default.memory_bytes)),
        )
