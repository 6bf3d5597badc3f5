"""Losses of a repair: the data that it could not save."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from naiad import paths
from naiad.errors import NaiadPathError
from naiad.kinds import DERIVED


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
