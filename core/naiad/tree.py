"""The tree of a run's fields: paths, the field at each, and the namespaces between. It does not store anything.

A path is a field or a namespace, never both.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from naiad import paths
from naiad.convert import with_article
from naiad.errors import FieldConflict

T = TypeVar("T")
BLUE, PLAIN = "\033[34m", "\033[0m"


class Tree(Generic[T]):
    """A tree of leaves by path, with the names below each namespace.

    A namespace exists as long as something is stored below it. Of very many leaves that are stored already, each can
    be made when it is first needed.
    """

    def __init__(self) -> None:
        self._leaves: dict[str, T | None] = {}  # None: it is not made yet
        self.get: Callable[[str], T | None] = self._leaves.get
        """Return what is stored at the path, or None. The dict's own method: every write asks it for each path."""
        self.holds: Callable[[str], bool] = self._leaves.__contains__
        """Whether a leaf is at the path; likewise."""
        self._below: dict[str, dict[str, None]] = {}  # namespace -> its names, in the order they came
        self.unmade: dict[str, str] = {}
        """The kind of each leaf that is not made yet, by path."""

    def __contains__(self, path: str) -> bool:
        return path in self._leaves

    def __len__(self) -> int:
        return len(self._leaves)

    def is_namespace(self, path: str) -> bool:
        """Whether something is stored below the path; the root always is one."""
        return not path or path in self._below

    def has(self, path: str) -> bool:
        """Whether a leaf or a namespace is at the path."""
        return path in self._leaves or self.is_namespace(path)

    def paths(self, prefix: str = "") -> list[str]:
        """Return the paths of all leaves at or below a path, in the order they came."""
        if not prefix:
            return list(self._leaves)
        if prefix in self._leaves:
            return [prefix]
        return list(self._walk(prefix))

    def check(self, path: str) -> None:
        """Raise FieldConflict if a new leaf at the path would lie above or below another leaf."""
        # Only a new leaf is checked, so what is below the path or above it was there first and stays.
        if path in self._below:
            example = next(self._walk(path))
            raise FieldConflict(
                f'"{path}" is a namespace, so no value can be stored there: "{example}" exists.\n'
                f'Store the value below it, or remove the namespace first with run.pop("{path}").',
                path=path,
            )
        for above in _above(path):
            if above in self._below:
                return  # what lies above a namespace is one too
            if above in self._leaves:
                raise FieldConflict(
                    f'"{path}" cannot exist, because "{above}" is {with_article(self.get(above))} and not a '
                    f'namespace.\nUse another path, or remove the field first with run.pop("{above}").',
                    path=path,
                )

    def takes(self, paths: Sequence[str]) -> bool:
        """Whether new leaves may be at all of these different paths: no other is there, above or below."""
        namespaces: set[str] = set()
        for namespace in {path.rpartition("/")[0] for path in paths}:
            while namespace and namespace not in namespaces:
                namespaces.add(namespace)
                namespace = namespace.rpartition("/")[0]
        leaves, below = self._leaves.keys(), self._below.keys()
        return (
            leaves.isdisjoint(paths)
            and leaves.isdisjoint(namespaces)
            and below.isdisjoint(paths)
            and namespaces.isdisjoint(paths)
        )

    def above(self, path: str) -> T | None:
        """Return the leaf above a path, of which there is at most one, or None."""
        for each in _above(path):
            if each in self._below:
                return None
            if each in self._leaves:
                return self.get(each)
        return None

    def expect(self, kinds: Mapping[str, str], make: Callable[[str], T | None]) -> None:
        """Give stored leaves their places, by their kinds; `make` puts and returns one that is needed.

        For paths that are not here and do not conflict.
        """

        def get(path: str) -> T | None:
            found = self._leaves.get(path)
            return make(path) if found is None and path in self._leaves else found

        # First: an interrupt below leaves paths that wait without a place, which the next look gives them. One with a
        # place that does not wait would never be made.
        self.unmade.update(kinds)
        self.get = get
        # As `put` does, which takes twice as long for 100,000.
        leaves, below = self._leaves, self._below
        for path in kinds:
            if path in leaves:  # a signal handler has used it meanwhile
                continue
            above, _, name = path.rpartition("/")
            beside = below.get(above)
            if beside is None:
                self.put(path, None)
            else:
                beside[name] = leaves[path] = None

    def drop_unmade(self, kinds: Mapping[str, str]) -> None:
        """Remove the leaves that are not made and have another kind by now, or none."""
        if [*map(kinds.get, self.unmade)] != [*self.unmade.values()]:
            for path in [path for path, kind in self.unmade.items() if kinds.get(path) != kind]:
                self.remove(path)

    def made(self, prefix: str = "") -> list[T]:
        """Return the leaves at or below a path that are made."""
        found = []
        for leaf in map(self._leaves.get, self.paths(prefix)) if prefix else [*self._leaves.values()]:
            if leaf is not None:
                found.append(leaf)
        return found

    def put(self, path: str, leaf: T | None) -> None:
        """Store a leaf and make the namespaces above it. Call `check` first."""
        if path not in self._leaves:
            beside = self._below.get(path.rpartition("/")[0])
            if beside is not None:  # as of nearly all paths; the loop takes three times as long to find that
                beside[path.rpartition("/")[2]] = None
                self._leaves[path] = leaf
                if self.unmade and leaf is not None:
                    self.unmade.pop(path, None)
                return
            name = path
            for above in _above(path):
                is_known = above in self._below
                self._below.setdefault(above, {})[name[len(above) + 1 :] if above else name] = None
                if is_known:
                    break
                name = above
        self._leaves[path] = leaf
        if self.unmade and leaf is not None:
            self.unmade.pop(path, None)

    def remove(self, path: str) -> None:
        """Remove one leaf, and the namespaces that become empty by it."""
        self._leaves.pop(path, None)
        self.unmade.pop(path, None)
        name = path
        for above in _above(path):
            names = self._below[above]
            names.pop(name[len(above) + 1 :] if above else name, None)
            if names:
                return
            del self._below[above]
            name = above

    def near(self, path: str, most: int = 3) -> list[str]:
        """Return existing paths that a mistyped path may have meant, best first."""
        below = itertools.islice(self._walk(path), most)
        closest = paths.alike(path, (known for known in list(self._leaves) if abs(len(known) - len(path)) <= 6), most)
        return list(dict.fromkeys([*closest, *below]))[:most]

    def hint(self, path: str) -> str:
        """Return the end of a message about a mistyped path: a sentence with similar paths, or ""."""
        near = ", ".join(f'"{known}"' for known in self.near(path))
        return f" Nearby: {near}." if near else ""

    def completions(self, prefix: str = "", most: int = 1000) -> list[str]:
        """Return the completions of a namespace: relative paths of its fields and namespaces."""
        start = len(prefix) + 1 if prefix else 0
        return [path[start:] for path in itertools.islice(self._walk(prefix, with_namespaces=True), most)]

    def _walk(self, namespace: str, with_namespaces: bool = False) -> Iterator[str]:
        """Yield paths below a namespace, depth first; without recursion, since a path may have 512 parts."""
        waiting = [iter(list(self._below.get(namespace, ())))]
        bases = [namespace]
        while waiting:
            name = next(waiting[-1], None)
            if name is None:
                waiting.pop()
                bases.pop()
                continue
            path = f"{bases[-1]}/{name}" if bases[-1] else name
            is_namespace = path in self._below
            if with_namespaces or not is_namespace:
                yield path
            if is_namespace:
                waiting.append(iter(list(self._below[path])))
                bases.append(path)


def nested(leaves: Mapping[str, T] | Iterable[tuple[str, T]], prefix: str = "") -> dict[str, object]:
    """Return leaves below a namespace as nested dicts.

    >>> nested({"a/b": 1, "a/c/d": 2}, "a")
    {'b': 1, 'c': {'d': 2}}
    """
    top: dict[str, object] = {}
    start = len(prefix) + 1 if prefix else 0
    for path, leaf in leaves.items() if isinstance(leaves, Mapping) else leaves:
        *namespaces, name = paths.parts(path[start:])
        place = top
        for part in namespaces:
            place = place.setdefault(part, {})  # type: ignore[assignment]  # inner places are dicts: no leaf lies above
        place[name] = leaf
    return top


def lines_of(leaves: Mapping[str, object], is_coloured: bool) -> Iterator[str]:
    """Yield the lines of `print_structure`: sorted names, four spaces a level, the class of each field."""
    start, end = (BLUE, PLAIN) if is_coloured else ("", "")
    shown: list[str] = []
    for names, leaf in sorted((paths.parts(path), leaf) for path, leaf in leaves.items()):
        pairs = zip(shown, names[:-1], strict=False)
        common = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        for depth in range(common, len(names) - 1):
            yield f"{'    ' * depth}{start}'{names[depth]}'{end}:"
        yield f"{'    ' * (len(names) - 1)}{start}'{names[-1]}'{end}: {type(leaf).__name__}"
        shown = names[:-1]


def _above(path: str) -> Iterator[str]:
    """Yield the namespaces that hold a path, nearest first, the root last."""
    while path:
        path = path.rpartition("/")[0]
        yield path
