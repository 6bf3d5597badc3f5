"""Garbage collection: the references of all runs to `blobs/`, and freeing unreferenced content."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

from naiad.errors import DamagedData, DamageWarning
from naiad.kinds import FILES, KINDS
from naiad.refs import ArtifactRef, FileRef
from naiad.storage.base import Damage
from naiad.storage.local.blobs import Blobs
from naiad.storage.local.census import GRACE_SECONDS, StoredFile, census, sweep
from naiad.storage.local.files import check_stored
from naiad.storage.local.index.states import FieldState
from naiad.storage.local.layout import Layout, RunDirectory
from naiad.storage.local.maintenance import candidates
from naiad.storage.local.reader import Reader


def stored_files(reader: Reader) -> Iterator[tuple[str, FileRef]]:
    """Every file that a run keeps, with the path of its field; of an artifact the list of its files.

    Raises:
        DamagedData: what a field keeps cannot be told.
    """
    for path, texts in _texts(reader):
        for text in texts:
            yield path, FileRef.from_text(text)


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


def damaged_files(folder: RunDirectory) -> Iterator[Damage]:
    """Yield the damage of a run's stored files; other damage is found elsewhere."""
    reader = Reader(folder)
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
    except DamagedData as error:  # in a journal that is whole: somebody wrote nonsense
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


def collect(layout: Layout, *, grace: float = GRACE_SECONDS, is_dry: bool = False) -> list[StoredFile]:
    """Remove the content that no run of a store refers to, and return it. Runs may be written meanwhile.

    Args:
        layout: of the store; trashed runs count as runs.
        grace: what was used in the last so many seconds stays.
        is_dry: remove nothing.

    Raises:
        DamagedData: what some run refers to cannot be told, so nothing was removed.
    """
    blobs = Blobs(layout.root / "blobs")
    found = census(blobs)
    referenced: set[str] = set()
    alive: set[str] = set()
    for folder in layout.folders():
        reader = Reader(folder)
        # writers first: one that is dead then has written all that it ever will refer to
        alive |= {writer for writer, each in candidates(reader).items() if not each.is_dead}
        referenced |= _referenced(reader)
    return sweep(blobs, found, referenced, alive, grace=grace, is_dry=is_dry)


def _referenced(reader: Reader) -> set[str]:
    folder = reader.folder
    try:
        names = {reader.resolve(file.blob) for _path, file in stored_files(reader)}
        what = str(reader.damages[0]) if reader.damages else ""
    except DamagedData as error:
        what = error.what
    if what:
        raise DamagedData(
            f"The run in {folder.path} is damaged ({what}), so nothing was removed.\n"
            f"Repair it first: naiad repair {folder.uid}",
            file=str(folder.path), offset=0, what=what,
        )  # fmt: skip
    return names
