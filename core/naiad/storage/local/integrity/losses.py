"""Losses of a repair, and the removal of damaged stored files from a run."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from naiad import paths
from naiad.errors import DamageWarning, NaiadPathError
from naiad.kinds import DERIVED, FILES, MEMBERS, TEXTS
from naiad.ops import Delete, Members, Op, Strings
from naiad.storage.local.files import Reader, file_texts, what_is_damaged
from naiad.storage.local.index.projection import Projection
from naiad.storage.local.index.states import FieldState
from naiad.storage.results import Texts


class RunReader(Reader, Protocol):
    """The reader of a run, as far as the removal of damaged files needs it."""

    def projection(self) -> Projection:
        """Return the fields and writers of the run as they are now."""

    def texts(self, path: str, *kinds: str) -> Texts:
        """Return all points of a string or file series."""


@dataclass
class Losses:
    """The data that a repair could not save.

    Attributes:
        points: how many points are known to be gone.
        fields: paths that seem to have had a field, as far as damaged bytes still show.
        expected: how many fields there were, as far as that is known.
        nameless: how many of them are gone beside `fields`; see `settle`.
        files: the stored files whose content is damaged, as `path` or `path/name`.
        blobs: the names of this content in `blobs/`.
    """

    points: int = 0
    fields: set[str] = field(default_factory=set)
    expected: int = 0
    nameless: int = 0
    files: list[str] = field(default_factory=list)
    blobs: set[str] = field(default_factory=set)

    def suspect(self, path: object) -> None:
        """Note a path out of damaged bytes, if it can be one."""
        try:
            if isinstance(path, str) and path.isprintable() and paths.parse(path) == path:
                self.fields.add(path)
        except NaiadPathError:
            return

    def settle(self, there: Collection[str], empty: Collection[str]) -> None:
        """Keep the paths that are not there any more; of the fields that were expected others have lost their names.

        `empty` are series that are there without a point: one that damage is known of has lost all it had.
        """
        self.fields -= {*there, *DERIVED} - {*empty}
        missing = self.expected - len(there)
        self.nameless = max(0, missing - len(self.fields.difference(there)))


def without_damaged_files(reader: RunReader, losses: Losses) -> Iterator[Op]:
    """Return ops that remove the files with damaged content from a run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DamageWarning)
        checked: dict[tuple[str, int | None], str] = {}
        at = max((writer.at for writer in reader.projection().writers.values()), default=0.0)
        for state, texts in reader.states(FILES):
            at = math.nextafter(max(at, state.at), math.inf)
            yield from _op(reader, state, texts, at, checked, losses)


def _op(
    reader: RunReader,
    state: FieldState,
    texts: list[str],
    at: float,
    checked: dict[tuple[str, int | None], str],
    losses: Losses,
) -> Iterator[Op]:
    def is_damaged(text: str) -> bool:
        what, name = what_is_damaged(reader, text, checked)
        losses.blobs |= {name} if what and name else set()
        return bool(what)

    if state.kind == MEMBERS:
        gone = [name for name, text in state.members.items() if is_damaged(text)]
        losses.files += [f"{state.path}/{name}" for name in gone]
        if gone:
            yield Members(state.path, {}, gone, False, at)
    elif state.kind in TEXTS:
        bad = {i for i, text in enumerate(texts) if is_damaged(text)}
        if bad:
            found = reader.texts(state.path, state.kind)
            losses.files += [f"{state.path} at step {found.steps[i]:g}" for i in sorted(bad)]
            rows = [row for i, row in enumerate(zip(*found, strict=True)) if i not in bad]
            steps, kept, times = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
            yield Strings(state.path, kept, steps, [time / 1000 for time in times], True, at, state.kind)
    elif any(map(is_damaged, file_texts(state, texts))):
        losses.files.append(state.path)
        yield Delete(state.path, at)
