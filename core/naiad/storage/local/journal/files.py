"""Journal files: the unfolded data of all writers of a run, alive or dead."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Generic, NamedTuple, Protocol, TypeVar

from msgspec import Struct

LISTED_AT_ONCE = 16
"""Names that one call of the kernel lists, whatever the C library. More are listed by several, at several moments."""


class JournalSource(Protocol):
    """A file of some journal: in a folder, or among the bytes that a server has received so far."""

    @property
    def writer(self) -> str:
        """The writer that wrote it."""

    @property
    def number(self) -> int:
        """Its place among the files of its writer that have its suffix."""

    @property
    def suffix(self) -> str:
        """Its kind: "ops" or "seg"."""

    @property
    def name(self) -> str:
        """Its file name, which is also its key among the positions."""

    @property
    def place(self) -> str:
        """The name that damages use for it."""

    @property
    def open(self) -> Callable[[], BinaryIO]:
        """Called to open its bytes for reading; FileNotFoundError: it was folded and removed."""


File = TypeVar("File", bound=JournalSource)


class Source(Struct, Generic[File], frozen=True):
    """A journal file to fold, wherever its bytes lie; `is_final` when no process will ever write to it again."""

    file: File
    is_final: bool
    is_awaited: bool = False
    """Whether ops of its writer may still come from another machine: points that they have to define wait for them."""


class JournalFile(NamedTuple):
    """One file of the journal; sorted, the files of a writer are in the order in which it wrote them."""

    writer: str
    number: int
    suffix: str  # "ops" or "seg"
    path: Path
    name: str
    """Its file name, which is also its key among the positions."""
    place: str
    """Its path in the run's folder, by which the seal and damages name it."""
    open: Callable[[], BinaryIO]
    """Opens its bytes for reading."""

    def __eq__(self, other: object) -> bool:
        """Whether it is the same file: two ways to open it are never equal."""
        return isinstance(other, JournalFile) and self[:4] == other[:4]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self[:4])

    def __str__(self) -> str:
        """Its path, for messages."""
        return str(self.path)


def journal_file(writer: str, number: int, suffix: str, path: Path) -> JournalFile:
    """Return the file at a path."""
    place = f"{path.parent.name}/{path.name}"
    return JournalFile(writer, number, suffix, path, path.name, place, partial(FileIO, path))


def list_journal(folder: Path) -> list[JournalFile]:
    """The files of a journal folder, none when there is no folder; never a file without the earlier ones of its writer.

    Those that were removed meanwhile are not among them.
    """
    try:
        first = os.listdir(folder)
        second = os.listdir(folder) if len(first) > LISTED_AT_ONCE else []
    except (FileNotFoundError, NotADirectoryError):
        return []
    files = []
    for name in {*first, *second}:
        writer, _, rest = name.partition(".")
        number, _, suffix = rest.partition(".")
        # Anything else in the folder is no file of a writer: leases, sums, hidden files that are being made.
        if writer and suffix in ("ops", "seg") and number.isascii() and number.isdigit():
            files.append(journal_file(writer, int(number), suffix, folder / name))
    files.sort()
    if second:
        # Of files made during a listing it may have later ones without earlier ones. A second one, begun after that,
        # has the earlier ones for sure.
        seen = set(first)
        newest = {(file.writer, file.suffix): file.number for file in files if file.name in seen}
        files = [file for file in files if file.number <= newest.get((file.writer, file.suffix), -1)]
    return files
