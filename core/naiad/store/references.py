"""What the runs of a store refer to below `blobs/`, and freeing what none of them does."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator

from naiad.errors import DamagedData, DamageWarning, MissingField
from naiad.kept import KeptFile
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
    for path, kind in reader.kinds().items():
        if kind in FILE_KINDS:
            with contextlib.suppress(MissingField):  # it was deleted just now
                for text in _texts(reader, path, kind):
                    yield path, KeptFile.from_text(text)


def _texts(reader: Reader, path: str, kind: str) -> list[str]:
    if kind == FILE_SERIES:
        return reader.texts(path).texts
    if kind == FILE_SET:
        return list(reader.members(path).values())
    value = str(reader.value(path))
    return [json.loads(value)["manifest"]] if kind == ARTIFACT else [value]


def damaged_files(folder: RunFolder) -> Iterator[Damage]:
    """The stored files of a run that are missing or not what was stored; what else is damaged is found elsewhere."""
    blobs = Blobs(folder.blobs)
    reader = Reader(folder)
    seen: dict[str, str] = {}
    with warnings.catch_warnings(), contextlib.suppress(DamagedData):
        warnings.simplefilter("ignore", DamageWarning)
        for path, file in stored_files(reader):
            if file.content is None:
                name = reader.resolve(file.blob)
                if name not in seen:
                    seen[name] = _damage(blobs, name)
                if seen[name]:
                    yield Damage(f"blobs/{name}", seen[name], path)


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
