"""Reading stored files: the bytes of a `KeptFile`, wherever they are by now."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

from naiad.errors import DamagedData
from naiad.kept import KeptFile
from naiad.store.blobs import Blobs
from naiad.store.content import Report, nothing, replacing, write_all
from naiad.store.packs import Slice, read_slice
from naiad.store.reader import Reader

__all__ = ["copy_to", "open_stored", "read_stored"]

T = TypeVar("T")


def read_stored(reader: Reader, file: KeptFile) -> bytes:
    """The bytes of a file, checked.

    Raises:
        DamagedData: they are missing or not what was stored.
    """
    if file.content is not None:
        return file.content
    return _found(reader, file, lambda blobs, name: _read(blobs, file.moved(name)))


def open_stored(reader: Reader, file: KeptFile) -> BinaryIO:
    """The bytes of a file to read, those of a large one unchecked.

    Raises:
        DamagedData: they are missing.
    """
    if file.content is not None or file.start is not None:
        return io.BytesIO(read_stored(reader, file))
    return _found(reader, file, lambda blobs, name: blobs.open(name))


def copy_to(reader: Reader, file: KeptFile, destination: Path, report: Report = nothing) -> None:
    """Make a file with these bytes, checked. It appears whole or not at all and replaces what is there.

    Raises:
        DamagedData: they are missing or not what was stored.
        OSError: the destination cannot be written.
    """
    if file.content is None and file.start is None:
        return _found(reader, file, lambda blobs, name: blobs.copy_to(name, destination, report))
    content = read_stored(reader, file)
    with replacing(destination) as fd:
        write_all(fd, content, 0)
    report(len(content))
    return None


def _read(blobs: Blobs, file: KeptFile) -> bytes:
    if file.start is None:
        return blobs.read(file.blob)
    return read_slice(blobs, Slice(file.blob, file.start, file.size, file.sha256))


def _found(reader: Reader, file: KeptFile, read: Callable[[Blobs, str], T]) -> T:
    """Read content under the name it has now; once more if it got another one just then."""
    blobs = Blobs(reader.folder.blobs)
    name = reader.resolve(file.blob)
    try:
        return read(blobs, name)
    except DamagedData:
        reader.refresh()
        moved = reader.resolve(file.blob)
        if moved == name:
            raise
        return read(blobs, moved)
