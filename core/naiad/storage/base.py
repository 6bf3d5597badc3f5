"""The storage interface: protocols, results and promises of a back end.

A back end implements its protocols; fields, sessions and commands import only this module. No method here takes or
returns a folder, and a change crosses as plain data that can be read without being executed.
"""

from __future__ import annotations

import itertools
import mmap
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from naiad.file import File
from naiad.ops import Op
from naiad.refs import FileRef

Report = Callable[[int], object]
"""Called with how many more bytes are done, from whatever thread did them."""


# The point record. `Handler.append` packs it into the page of a slot by itself, so its layout is part of the interface.

RECORD = 32
"""Bytes of a record: step, f64 value, f64 seconds since 1970 UTC, u32 number of the series, u32 commit word."""

FLOAT_STEP = 1 << 31
"""Set in the number when the step is a float64; else it is an int64."""

pack_int = struct.Struct("@qddII").pack_into
pack_float = struct.Struct("@dddII").pack_into

Page = mmap.mmap | bytearray

Slot = tuple[Callable[[], int], Page]
"""`(reserve, page)`: `reserve()` returns the byte offset of a record that no other caller gets.

The offset is also the record's commit word, which is packed last: a record without it does not exist.
"""

DEAD_SLOT: Slot = (itertools.count().__next__, bytearray())
"""A slot that takes nothing: every pack into it fails, and the caller turns to `RunWriter.points`."""


class PointLog(Protocol):
    """Where the points of a writer go. The slot is read anew for each point, because a full page is replaced."""

    slot: Slot


class PointColumns(NamedTuple):
    """Points of one float series: three sequences of one length, checked."""

    values: Sequence[float]
    steps: Sequence[int | float]
    times: Sequence[float]


@dataclass(frozen=True)
class Change:
    """A checked change of one field, not yet written.

    Ops carry no time; the writer stamps them. A series that has no number yet has a `Define` with the number 0 among
    its ops: the writer gives it the next number, under which the points are written.
    """

    path: str
    kind: str
    ops: tuple[Op, ...] = ()
    points: PointColumns | None = None
    number: int = 0
    content: tuple[str, ...] = ()
    """Names of ingested content that the ops refer to."""


class Shadowed(NamedTuple):
    """A field that is stored but not shown, because another process defined `by` first."""

    path: str
    kind: str
    by: str
    by_kind: str

    def __str__(self) -> str:
        return f'two processes defined "{self.by}" ({self.by_kind}) and then "{self.path}" ({self.kind})'


class RunWriter(Protocol):
    """One process writing one run.

    What a method has accepted survives the end of the process, also by `kill -9`. Trouble of the disk is warned about
    once and counted, and the data waits in memory; only `wait` raises it, or every method if `is_raising`. After
    `stop` each method that writes raises InactiveContainer.
    """

    point_log: PointLog

    @property
    def is_degraded(self) -> bool:
        """Whether something written waits in memory for the disk, so that no reader sees all of it."""

    @property
    def is_raising(self) -> bool:
        """Whether trouble of the disk raises instead of being warned about."""

    def write(self, changes: Sequence[Change]) -> list[Change]:
        """Write the ops of all changes, all or none, and return the changes with the numbers of their series.

        Readers see all of these ops or none. Their points follow by `points`. The writer stamps the ops with one time,
        which is later than that of every earlier change of this writer.
        """

    def log_printed(self, path: str, data: bytes, line: int) -> None:
        """Write bytes that the program has printed to a stream; the first is in this line. It never raises."""

    def points(
        self, number: int, values: Sequence[float], steps: Sequence[int | float], times: Sequence[float]
    ) -> None:
        """Write points of the series with a number; the way out for a caller whose slot took no record."""

    def ingest(self, file: File, report: Report = ...) -> FileRef:
        """Copy the content of a file as it is now, to be named by a change or dropped.

        Raises:
            FileError: it is no file that can be read.
            StorageError: the disk does not take it.
        """

    def ingest_all(self, paths: Sequence[str], report: Report = ...) -> list[FileRef]:
        """Copy the content of many files as `ingest` does, all or none."""

    def adopt(self, reader: Any, file: FileRef) -> FileRef:  # Any: the reader of a run in any back end
        """Take in the stored file of some run as `ingest` does.

        Raises:
            DamagedData: its content is missing.
        """

    def drop(self, content: Sequence[str]) -> None:
        """Give up ingested content; names that a written change refers to are passed over."""

    def count_lost(self) -> None:
        """Note that something could not be stored: the run is incomplete."""

    def wait(self) -> None:
        """Return when everything written before is safe against a power cut.

        Raises:
            SyncFailed: it is not.
        """

    def peers_have_written(self) -> bool:
        """Whether other writers may have defined fields since the last call; False while `is_degraded`."""

    def warn_of(self, shadowed: Shadowed) -> None:
        """Warn once that a field of this writer is not shown."""

    def stop(self, state: str = ..., seconds: float | None = ...) -> None:
        """Store everything and end, within `seconds`. A second call does nothing.

        Raises:
            StorageError: something could not be stored, and the writer `is_raising`.
        """
