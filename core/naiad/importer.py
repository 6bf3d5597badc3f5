"""Importers: readers of foreign formats. One opens a place and yields the records of each run that it finds there.

An importer reads and never writes: `naiad.importers` compares the records with the store, and turns new ones into ops.
A plugin offers one by the hook `naiad_importer`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from naiad.ops import Plain
from naiad.records import Record, Skipped

Progress: TypeAlias = Callable[[int], object]
"""Called with how many more bytes of the source were read."""


class Foreign(Protocol):
    """One run, or other container, of a source."""

    @property
    def identity(self) -> str:
        """A name that no other container of any source has, and that stays the same when the source grows."""

    @property
    def kind(self) -> str:
        """`run`, `model`, `model_version` or `project`."""

    @property
    def id(self) -> str | None:
        """The id that it shall keep, such as SAN-1, if no other run of the store has it."""

    @property
    def project(self) -> str | None:
        """The name of its project; None for the one that the store or the user names."""

    @property
    def parent(self) -> str:
        """Of a model version: the id or identity of its model. Of a run: that of its parent there."""

    @property
    def created(self) -> float | None:
        """When it began, in seconds since 1970 UTC."""

    @property
    def size(self) -> int:
        """About how many bytes there are to read."""

    @property
    def facts(self) -> Mapping[str, Plain]:
        """Further facts, to be kept below `sys/import`: versions of the client, the host."""

    def records(self, progress: Progress) -> Iterator[Record]:
        """Read everything, and yield it. A second call yields the same as long as the source does not change.

        Raises:
            NaiadError, OSError: the source cannot be read; earlier records are kept.
        """


@dataclass(frozen=True)
class Source:
    """The containers that an importer has found at a place."""

    containers: Sequence[Foreign]
    problems: Sequence[Skipped] = ()
    """Foreign files, and others that belong to no container."""
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Importer:
    """One foreign format."""

    name: str
    """As users write it: `naiad import NAME PATH`."""
    title: str
    """The data that it reads, in a few words."""
    open: Callable[[Path, Mapping[str, Any]], Source]
    """Look at a place, with the options that the user gave, and return what is there; nothing is read in whole yet.

    Raises:
        ImportRefused: the place holds nothing of this format.
    """
    container: type | None = None
    """The dataclass of its containers, if all they have is plain data: then several processes read at once."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Names of options and a sentence for each: `{"source-timezone": "..."}`."""
    repeated: frozenset[str] = frozenset()
    """Options that may be given several times; their value is a tuple."""
