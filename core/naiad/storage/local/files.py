"""Stored files: which ones a run refers to, and the bytes of each, under the name they have by now."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

import msgspec

from naiad.disk import Report, nothing, replacing, write_all
from naiad.errors import DamagedData, DamageWarning
from naiad.kinds import FILES, KINDS
from naiad.refs import ArtifactRef, FileRef
from naiad.storage.local.blobs import Blobs, damaged
from naiad.storage.local.index.states import FieldState
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.packs import Slice, read_slice
from naiad.storage.results import Damage

T = TypeVar("T")


class Reader(Protocol):
    """A reader or snapshot of a run, as far as its files need it."""

    folder: RunDirectory

    def resolve(self, name: str) -> str:
        """Return the name under which stored content is found now."""

    def refresh(self) -> None:
        """Load everything that was acknowledged before, such as the names that content has moved to."""

    def states(self, kinds: Collection[str]) -> list[tuple[FieldState, list[str]]]:
        """Return every field of these kinds, and the texts of those that are series."""


def read_stored(reader: Reader, file: FileRef) -> bytes:
    """The bytes of a file, checked.

    Raises:
        DamagedData: they are missing, or differ from those stored.
    """
    if file.content is not None:
        return file.content
    if file.start is not None:
        return _found(reader, file, lambda blobs, name: read_slice(blobs, _slice(file, name)))
    return _found(reader, file, lambda blobs, name: blobs.read(name))


def open_stored(reader: Reader, file: FileRef, *, is_checked: bool = False) -> BinaryIO:
    """The bytes of a file to read.

    Args:
        reader: of the run that has it.
        file: the file.
        is_checked: it is read from begin to end, and bytes that differ from those stored raise there.

    Raises:
        DamagedData: they are missing.
    """
    if file.content is not None or file.start is not None:
        return io.BytesIO(read_stored(reader, file))
    stream = _found(reader, file, lambda blobs, name: blobs.open(name))
    return _Checked(stream, reader.resolve(file.blob)) if is_checked else stream  # type: ignore[return-value]  # as much of a stream as its users need


def copy_to(reader: Reader, file: FileRef, destination: Path, report: Report = nothing) -> None:
    """Write these bytes to a file, checked and atomically, replacing an existing one.

    Raises:
        DamagedData: they are missing, or differ from those stored.
        OSError: the destination cannot be written.
    """
    if file.content is None and file.start is None:
        return _found(reader, file, lambda blobs, name: blobs.copy_to(name, destination, report))
    content = read_stored(reader, file)
    with replacing(destination) as fd:
        write_all(fd, content, 0)
    report(len(content))
    return None


def check_stored(reader: Reader, file: FileRef) -> None:
    """Compare the bytes of a stored file with its hash and size.

    Raises:
        DamagedData: they are missing or not that.
    """
    _found(reader, file, lambda blobs, name: blobs.verify(name))


def stored_files(reader: Reader) -> Iterator[tuple[str, FileRef]]:
    """Every file that a run keeps, with the path of its field; of an artifact the list of its files.

    Raises:
        DamagedData: the references of a field cannot be read.
    """
    for path, texts in _texts(reader):
        for text in texts:
            yield path, FileRef.from_text(text)


class _Stored(msgspec.Struct):
    """How much of which blob a file is."""

    size: int
    blob: str = ""
    start: int | None = None


_read_stored = msgspec.json.Decoder(_Stored).decode


def stored_bytes(states: Iterable[tuple[FieldState, list[str]]], resolve: Callable[[str], str]) -> int:
    """The bytes that fields of files keep in blobs; content that several of them share counts once."""
    found = {}
    for state, entries in states:
        for text in file_texts(state, entries):
            with contextlib.suppress(msgspec.MsgspecError):  # damaged: reading that file says it
                file = _read_stored(text)
                if file.blob:
                    found[resolve(file.blob), file.start] = file.size
    return sum(found.values())


def _texts(reader: Reader) -> Iterator[tuple[str, list[str]]]:
    """The files of each field as they are written down; of fields that are kept and not shown, too."""
    for state, entries in reader.states(FILES):
        yield state.path, file_texts(state, entries)


def file_texts(state: FieldState, entries: list[str]) -> list[str]:
    """The files of one field as they are written down; `entries` are those of a series."""
    kind = KINDS[state.kind]
    if kind.is_series:
        return entries
    if kind.shape == "members":
        return list(state.members.values())
    text = str(state.value)
    return [ArtifactRef.from_text(text).manifest if kind.keeps == "manifest" else text]


def damaged_files(reader: Reader) -> Iterator[Damage]:
    """Yield the damage of a run's stored files; other damage is found elsewhere."""
    with warnings.catch_warnings(), contextlib.suppress(DamagedData):
        warnings.simplefilter("ignore", DamageWarning)
        checked: dict[tuple[str, int | None], str] = {}
        for path, texts in _texts(reader):
            for text in texts:
                what, name = what_is_damaged(reader, text, checked)
                if what:
                    yield Damage(f"blobs/{name}" if name else "the run", what, path)


def what_is_damaged(reader: Reader, text: str, checked: dict[tuple[str, int | None], str]) -> tuple[str, str]:
    """Return the damage of a file and the name of its content, checking each content once."""
    try:
        file = FileRef.from_text(text)
    except DamagedData as error:  # in a journal that is whole: a wrong reference was written
        return error.what, ""
    if file.content is not None:
        return "", ""
    name = reader.resolve(file.blob)
    key = name, file.size if file.start is None else None
    if key not in checked:
        checked[key] = _what_is_wrong(reader, file)
    return checked[key], name


def _what_is_wrong(reader: Reader, file: FileRef) -> str:
    try:
        check_stored(reader, file)
    except DamagedData as error:
        return error.what
    except OSError as error:
        return str(error)
    return ""


class _Checked:
    """A stream of a blob that is hashed as it is read, and compared with its name at the end."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._name = name
        import hashlib  # late: it loads OpenSSL

        self._sha256 = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read on; at the end, compare."""
        data = self._stream.read(size)
        self._sha256.update(data)
        # Content that has no hash yet has a dot in its name, and nothing to be compared with.
        if (not data or size < 0) and "." not in self._name and self._sha256.hexdigest() != self._name:
            raise damaged(self._name, "it is not the content that was stored")
        return data

    def __enter__(self) -> _Checked:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stream.close()


def _slice(file: FileRef, name: str) -> Slice:
    return Slice(name, file.start or 0, file.size, file.sha256)


def _found(reader: Reader, file: FileRef, read: Callable[[Blobs, str], T]) -> T:
    """Read content under the name it has now; once more if it got another one just then."""
    blobs = Blobs(reader.folder.blobs)
    name = reader.resolve(file.blob)
    try:
        _require_size(blobs, name, file)
        return read(blobs, name)
    except DamagedData:
        # Between resolving the name and opening it, the content may have been settled under its hash.
        reader.refresh()
        moved = reader.resolve(file.blob)
        if moved == name:
            raise
        _require_size(blobs, moved, file)
        return read(blobs, moved)


def _require_size(blobs: Blobs, name: str, file: FileRef) -> None:
    """Raise if content is shorter than its recorded size.

    A power cut may have cut it before it was hashed.
    """
    if file.start is None:
        with blobs.open(name) as stream:
            size = os.fstat(stream.fileno()).st_size
        if size != file.size:
            raise damaged(str(blobs.path(name)), f"it has {size} bytes where {file.size} were stored")
