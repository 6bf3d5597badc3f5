"""Sets that several writers change without knowing of each other: of each name, the op that was written last counts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Generic, TypeAlias, TypeVar

Key: TypeAlias = tuple[float, str]
"""Time and writer of an op. Between writers the greater key was written later."""

NEVER: Key = (-math.inf, "")

Name = TypeVar("Name", str, "str | bytes")


class LastWriterSet(Generic[Name]):
    """Names with contents, and the key of the op that added, removed or cleared each: an LWW-element set.

    The result does not depend on the order in which the ops of several writers are applied, as long as those of each
    writer come in its order; of two with equal keys, which are of one writer, the one that is applied later counts.
    `is_tree`: names are paths, and removing one removes all below it.
    """

    __slots__ = ("_folders", "cleared", "is_tree", "present", "removed")

    def __init__(self, *, is_tree: bool) -> None:
        self.is_tree = is_tree
        self.present: dict[Name, tuple[float, str, str]] = {}  # time, writer, content
        self.removed: dict[Name, Key] = {}
        self.cleared = NEVER
        self._folders: set[Any] | None = None

    def add(self, name: Name, content: str, key: Key) -> None:
        """Add a name, unless a later op has removed it or given it other content."""
        if key < self.cleared or any(self.removed.get(place, NEVER) > key for place in self._places(name)):
            return
        known = self.present.get(name)
        if known is None or known[:2] <= key:
            self.present[name] = (*key, content)
            if self._folders is not None:
                self._folders.update(place for place in self._places(name) if place != name)
            if not self.is_tree:
                self.removed.pop(name, None)

    def remove(self, name: Name, key: Key) -> None:
        """Remove a name, and keep the mark for ops that arrive late."""
        if key < self.cleared:
            return
        for each in self._at_or_below(name):
            if self.present[each][:2] <= key:
                del self.present[each]
        if self.is_tree or name not in self.present:
            self.removed[name] = max(key, self.removed.get(name, NEVER))

    def clear(self, key: Key) -> None:
        """Remove all that was added before."""
        if key < self.cleared:
            return
        self.cleared = key
        self.present = {name: entry for name, entry in self.present.items() if entry[:2] > key}
        self.removed = {name: mark for name, mark in self.removed.items() if mark > key}

    def _places(self, name: Name) -> Iterator[Name]:
        """The names whose removal removes this one: itself, and the folders above it."""
        yield name
        if self.is_tree:
            place: Any = name
            while "/" in place:
                place = place.rpartition("/")[0]
                yield place

    def _at_or_below(self, name: Name) -> list[Name]:
        found: list[Name] = [name] if name in self.present else []
        if self.is_tree and name in self._known_folders():
            below: Any = f"{name!s}/"
            found += [each for each in self.present if each.startswith(below)]
        return found

    def _known_folders(self) -> set[Any]:
        """Return the folders that names are or were in; most names that are removed are none."""
        if self._folders is None:
            self._folders = {place for name in self.present for place in self._places(name) if place != name}
        return self._folders
