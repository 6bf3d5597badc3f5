"""Names that a framework gives to values, and the paths where an adapter keeps them: each name has a path of its own.

Frameworks give any names. A path is a field or a namespace, never both, so of "acc" and "acc/top" only one can be kept
at its own name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from naiad import paths
from naiad.errors import FieldConflict, MissingField, NaiadError, NaiadTypeError, NaiadValueError
from naiad.tree import Tree
from naiad.utils import flatten

if TYPE_CHECKING:
    from naiad.guard import Attempt, Place
    from naiad.handler import Handler, Root

RENAMED = "integration/renamed"
"""Where an adapter notes the names that have another path, below the place it writes to."""


class Names:
    """The paths of a framework's names below one namespace, which stay the same when the run is gone on with.

    A name is its own path, unless that is a namespace, lies below a field or is the path of another name. Then it has
    a free path, "loss_top" for "loss/top" and "acc_" for "acc", which is noted in the run:
    `integration/renamed/loss_top` is "loss/top".

    >>> names = Names(run["training"])
    >>> names.append({"loss": 0.5, "loss/top": 0.7}, step=1)
    >>> run["training"].fetch()
    {'integration': {'renamed': {'loss_top': 'loss/top'}}}
    """

    def __init__(self, place: Place, reserved: Iterable[str] = ()) -> None:
        """Take the namespace, and the paths in it that are not for these names."""
        self._place = place
        self._paths: dict[str, str] = {}  # of series, by name
        self._replaced: dict[str, str] = {}  # of what `put` has stored, by name
        self._plain: set[str] = set()  # the names of series that are their own paths
        self._taken: Tree[str] = Tree()  # the names by their paths
        for path in reserved:
            self._taken.put(path, "")
        self._is_read = False  # whether the notes of an earlier process are known

    def append(self, values: Mapping[str, Any], step: float | None = None) -> None:
        """Append a value to the series of each name, all or none.

        Raises:
            NaiadError: a series does not take its value.
        """
        # In the usual case names are their paths, and the dict goes through as it is: this is called for every batch.
        if not values.keys() <= self._plain:
            values = {self.path(name): value for name, value in values.items()}
        self._place.append(values if values.__class__ is dict else dict(values), step=step)

    def append_each(self, values: Mapping[str, Any], step: float | None, attempt: Callable[[str], Attempt]) -> None:
        """Append values as one call, or if one of them does not fit, each in an attempt of its own."""
        try:
            self.append(values, step)
        except NaiadError:
            for name, value in values.items():
                with attempt(f"log {name}"):
                    self.append({name: value}, step)

    def path(self, name: object) -> str:
        """Return the path for the series of a name.

        Raises:
            NaiadPathError: no path can be made of the name.
        """
        text = str(name)
        if text not in self._paths:
            self._read_notes()
        if text not in self._paths:
            # Another rank may have defined a field that is in the way of this name, and both have to choose the same
            # path.
            self._get_root()._session.refresh_before_define()
            self._keep(self._paths, text, self._free(text, is_for_series=True))
        return self._paths[text]

    def put(self, name: object, value: Any) -> None:
        """Store a value or dict over the values of an earlier process, whose kinds may differ.

        Raises:
            NaiadError: no field takes the value, or no path can be made of the name.
        """
        for text, leaf in flatten({str(name): value}, ""):
            if text not in self._replaced:
                self._keep(self._replaced, text, self._free(text, is_for_series=False))
            path = self._replaced[text]
            self.clear(path, is_around=True)
            try:
                self._place[path].assign(leaf)
            except (NaiadTypeError, NaiadValueError):  # a value of another kind was there
                replace(self._place[path], leaf)

    def clear(self, path: str, is_around: bool = False) -> None:
        """Remove the field at a path; with `is_around`, only fields that block the path."""
        tree, base = _tree_of(self._place)
        found = _in_the_way(tree, f"{base}{path}")
        if found is None and not is_around and f"{base}{path}" in tree:
            found = f"{base}{path}"
        if found is not None and len(found) > len(base):
            with suppress(FieldConflict):  # another process has removed it
                self._get_root()[found].pop()

    def _get_root(self) -> Root:
        return self._place.get_root_object()

    def _keep(self, known: dict[str, str], name: str, path: str) -> None:
        known[name] = path
        self._taken.put(path, name)
        if path != paths.parse(name):
            self._place[RENAMED][path] = name
        elif path == name and known is self._paths:
            self._plain.add(name)

    def _free(self, name: str, is_for_series: bool) -> str:
        return _beside(paths.parse(name), lambda path: self._obstacle(path, is_for_series))

    def _obstacle(self, path: str, is_for_series: bool) -> str | None:
        """Return the path that is in the way of a new field: that one itself, or a field above it."""
        if path in self._taken:
            return path
        found = _in_the_way(self._taken, path)
        if found is not None or not is_for_series:
            return found
        tree, base = _tree_of(self._place)
        found = _in_the_way(tree, f"{base}{path}")
        return found[len(base) :] if found and len(found) > len(base) else None

    def _read_notes(self) -> None:
        if self._is_read:
            return
        self._is_read = True
        with suppress(MissingField):  # there are none
            for path, field in self._place[RENAMED].sources().items():
                name = str(field.fetch())
                self._taken.put(path, name)
                self._paths[name] = path


def apart(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a dict with paths that can all exist, for one assignment.

    >>> apart({"scoring": {"acc": "accuracy", "acc/f1": "f1_macro"}})
    {'scoring/acc': 'accuracy', 'scoring/acc_f1': 'f1_macro'}
    """
    taken: Tree[str] = Tree()
    found = {}
    for name, value in flatten(values, ""):
        path = _beside(name, lambda path: path if path in taken else _in_the_way(taken, path))
        taken.put(path, name)
        found[path] = value
    return found


def replace(place: Handler, value: Any) -> None:
    """Store a value, most often a dict, in place of all that is there: an earlier one may have had other kinds."""
    tree, base = _tree_of(place)
    if tree.has(base.rstrip("/")):
        with suppress(FieldConflict):  # another process has removed it
            place.pop()
    place.assign(value)


def _tree_of(place: Place) -> tuple[Tree[Any], str]:
    """Return the tree of the run that a place belongs to, and how the paths below the place begin."""
    session = place.get_root_object()._session
    base = getattr(place, "_path", "")
    return session.tree, f"{base}/" if base else ""


def _beside(path: str, obstacle_of: Callable[[str], str | None]) -> str:
    """Return the path, or one that looks like it and has nothing in its way."""
    # Each round gives the path another name at the obstacle, so the loop ends.
    while (obstacle := obstacle_of(path)) is not None:
        path = f"{path}_" if obstacle == path else f"{obstacle}_{path[len(obstacle) + 1 :]}"
    return path


def _in_the_way(tree: Tree[Any], path: str) -> str | None:
    """Return the path itself if it is a namespace, the field above it if there is one, or None."""
    if tree.is_namespace(path):
        return path
    parts = path.split("/")
    above = ("/".join(parts[:count]) for count in range(1, len(parts)))
    return next((each for each in above if each in tree), None)
