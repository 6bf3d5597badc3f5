"""What the runs of a store refer to below `blobs/`, and freeing what none of them does."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

from naiad.errors import DamagedData, DamageWarning, MissingField
from naiad.kept import KeptFile, KeptVersion
from naiad.store.blobs import Blobs
from naiad.store.census import GRACE_SECONDS, StoredFile, census, sweep
from naiad.store.folder import RunFolder
from naiad.store.leases import read_leases
from naiad.store.reader import Reader
from naiad.store.states import FILE_SERIES, FILE_SET
from naiad.store.store import Store
from naiad.store.tails import Damage

__all__ = ["ARTIFACT", "FILE", "FILE_KINDS", "collect", "damaged_files", "stored_files"]

FILE = "file"
ARTIFACT = "artifact"
FILE_KINDS = (FILE, FILE_SERIES, FILE_SET, ARTIFACT)


def stored_files(reader: Reader) -> Iterator[tuple[str, KeptFile]]:
    """Every file that a run keeps, with the path of its field; of an artifact the list of its files.

    Raises:
        DamagedData: what a field keeps cannot be told.
    """
    for path, kind in _fields(reader):
        for file in _files(reader, path, kind):
            yield path, file


def _fields(reader: Reader) -> list[tuple[str, str]]:
    return [(path, kind) for path, kind in reader.kinds().items() if kind in FILE_KINDS]


def _files(reader: Reader, path: str, kind: str) -> Iterator[KeptFile]:
    with contextlib.suppress(MissingField):  # it was deleted just now
        yield from map(KeptFile.from_text, _texts(reader, path, kind))


def _texts(reader: Reader, path: str, kind: str) -> list[str]:
    if kind == FILE_SERIES:
        return reader.texts(path).texts
    if kind == FILE_SET:
        return list(reader.members(path).values())
    value = str(reader.value(path))
    return [KeptVersion.from_text(value).manifest] if kind == ARTIFACT else [value]


def damaged_files(folder: RunFolder) -> Iterator[Damage]:
    """The stored files of a run that are missing or not what was stored; what else is damaged is found elsewhere."""
    reader = Reader(folder)
    with warnings.catch_warnings(), contextlib.suppress(DamagedData):
        warnings.simplefilter("ignore", DamageWarning)
        checked: dict[str, str] = {}
        for path, kind in _fields(reader):
            try:
                yield from _damaged(reader, path, kind, checked)
            except DamagedData as error:
                if not error.file:  # an entry that tells of no file, in a journal that is whole
                    yield Damage("the run", error.what, path)


def _damaged(reader: Reader, path: str, kind: str, checked: dict[str, str]) -> Iterator[Damage]:
    blobs = Blobs(reader.folder.blobs)
    for file in _files(reader, path, kind):
        if file.content is None:
            name = reader.resolve(file.blob)
            if name not in checked:
                checked[name] = _damage(blobs, name)
            if checked[name]:
                yield Damage(f"blobs/{name}", checked[name], path)


def _damage(blobs: Blobs, name: str) -> str:
    try:
        blobs.verify(name)
    except DamagedData as error:
        return error.what
    except OSError as error:
        return str(error)
    return ""


def collect(store: Store, *, grace: float = GRACE_SECONDS, is_dry: bool = False) -> list[StoredFile]:
    """Remove the content that no run of a store refers to, and return it. Runs may be written meanwhile.

    Args:
        store: the store; trashed runs count as runs.
        grace: what was used in the last so many seconds stays.
        is_dry: remove nothing.

    Raises:
        DamagedData: what some run refers to cannot be told, so nothing was removed.
    """
    blobs = Blobs(store.root / "blobs")
    found = census(blobs)
    referenced: set[str] = set()
    alive: set[str] = set()
    for folder in store.folders():
        reader = Reader(folder)
        referenced.update(reader.resolve(file.blob) for _path, file in stored_files(reader))
        if reader.damages:
            raise DamagedData(
                f"The run in {folder.path} is damaged ({reader.damages[0]}), so what it refers to is not known.\n"
                f"Repair it first: naiad repair {folder.uid}",
                file=str(folder.path), offset=0, what=reader.damages[0].what,
            )  # fmt: skip
        alive |= {writer for writer, is_alive in read_leases(folder.journal).items() if is_alive}
    return sweep(blobs, found, referenced, alive, grace=grace, is_dry=is_dry)
