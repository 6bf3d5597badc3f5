"""Integrations: descriptions and mappings as data, read by the docs, the command and the tests.

Nothing here imports a framework, and nothing that a plugin names is imported before it is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

from naiad.errors import MissingPackage
from naiad.kinds import ATOM_OF, ATOMS, LINES

__all__ = ["TROUBLE", "Commands", "Integration", "Row", "fits", "row_of"]


class Commands(Protocol):
    """The program `naiad`, as far as a plugin adds commands to it."""

    def add_command(self, command: Any) -> None:
        """Add a command of the library click."""


@dataclass(frozen=True)
class Row:
    """One thing an integration writes: on this event of the framework, to paths like this, a field of this kind.

    A path is a template. `{base}` is the namespace the adapter was given, any other `{word}` one part of a path or
    a piece of one, and `{word:path}` one part or more:

        Row("on_epoch_end", "{base}/train/epoch/{metric:path}", "float_series", "append", "the metrics of an epoch")
    """

    event: str
    """The framework's own name for when it happens, such as a hook."""
    path: str
    kind: str
    """Of the field: `float_series`, `file`, ...; or `atom`, any single value: settings are of all kinds."""
    verb: str
    """What the adapter calls: `assign`, `append`, `upload`, ..."""
    meaning: str
    """What is found there, in a few words for the docs."""
    when: str = ""
    """What it takes besides the event: an option (`log_on_batch`) or an occasion (`exception`); several are joined
    by " and ". Empty: it is always written."""

    def fits(self, path: str, base: str = "") -> bool:
        """Whether this row writes to such a path.

        >>> Row("on_epoch_end", "{base}/epoch/{metric}", "float_series", "append", "").fits(
        ...     "training/epoch/loss", "training"
        ... )
        True
        """
        return fits(self.path, path, base)

    def holds(self, kind: str) -> bool:
        """Whether a field of this kind matches the row."""
        return kind == self.kind or (self.kind == "atom" and kind in ATOMS)

    def is_on(self, when: Iterable[str]) -> bool:
        """Whether the row is written, given the options and occasions there are."""
        return not self.when or set(self.when.split(" and ")) <= set(when)


TROUBLE = (
    Row(
        "any",
        "{base}/integration/errors",
        LINES,
        "append",
        "errors of logging, with their reasons",
        when="error",
    ),
    Row(
        "any",
        "{base}/integration/renamed/{path:path}",
        ATOM_OF[str],
        "assign",
        "the original name of a value whose own path is taken",
        when="taken names",
    ),
)
"""The rows of `naiad.guard.Attempt` and `naiad.names.Names`, for the end of the rows of an adapter that uses both."""


@dataclass(frozen=True)
class Integration:
    """The description of an integration: its framework, its adapter and its mapping."""

    name: str
    """Of the plugin, as in `NAIAD_PLUGINS=-keras`."""
    framework: str
    """As people call it, with the version that matters: "Keras 3"."""
    packages: Mapping[str, str] = field(hash=False)
    """What provides the framework: the name to import and the distribution it comes in. One of them is enough."""
    versions: str
    """Of these distributions, that work with it: ">=3,<4"."""
    adapter: str
    """What the user gives to the framework, as "module:name"."""
    rows: tuple[Row, ...]
    base: str = ""
    """The namespace the adapter writes to unless the user says otherwise."""
    extra: str = ""
    """The extra of naiad that installs the framework. Only naiad's own integrations have one."""

    @property
    def requirement(self) -> str:
        """The requirement that pip takes to install the framework.

        >>> Integration("durations", "Durations", {"durations": "durations-py"}, ">=1", "durations:Log", ()).requirement
        'durations-py>=1'
        """
        return f"naiad[{self.extra}]" if self.extra else f"{next(iter(self.packages.values()))}{self.versions}"

    def installed(self) -> dict[str, str]:
        """Return the versions of the distributions that are installed."""
        # Here, since a plugin is described at each start, and asked for versions almost never.
        from importlib.metadata import PackageNotFoundError, version

        found = {}
        for distribution in self.packages.values():
            with suppress(PackageNotFoundError):
                found[distribution] = version(distribution)
        return found

    def supports(self, version: str) -> bool:
        """Whether it works with this version of its framework; release candidates count too."""
        from packaging.specifiers import SpecifierSet

        return SpecifierSet(self.versions).contains(version, prereleases=True)

    @contextmanager
    def needed_by(self, name: str) -> Iterator[None]:
        """Context for importing the framework; a missing one raises MissingPackage with the install command.

        Raises:
            MissingPackage: the framework is not installed. Any other error of an import passes through.
        """
        try:
            yield
        except ModuleNotFoundError as problem:
            missing = (problem.name or "").partition(".")[0]
            # Some other package is missing, such as one that the framework itself needs: its own error says it best.
            if missing not in self.packages:
                raise
            raise MissingPackage(
                f"{name} needs {self.framework}, and importing {missing} failed: {problem}\n"
                f'Install it with: pip install "{self.requirement}"',
                package=missing,
            ) from problem


def fits(template: str, path: str, base: str = "") -> bool:
    """Whether a path is one of those that a template stands for.

    >>> fits("{base}/plots/{name}.{kind}", "training/plots/loss.png", "training")
    True
    """
    return _pattern(template, base).fullmatch(path) is not None


def row_of(rows: Iterable[Row], path: str, kind: str, base: str = "") -> Row | None:
    """Return the row that a field comes from, or None: the most specific of those that fit.

    A row for `{base}/epoch` goes before one for `{base}/{metric}`, and that before `{base}/{metric:path}`. Rows of
    the field's own kind go before all others.
    """
    fitting = (row for row in rows if row.fits(path, base))
    return min(fitting, key=lambda row: (not row.holds(kind), _vagueness(row.path)), default=None)


_PLACE = re.compile(r"\{(\w+)(:path)?\}")


@cache
def _pattern(template: str, base: str) -> re.Pattern[str]:
    """Compile a template to the pattern of its paths."""
    pieces = _PLACE.split(template if base else template.removeprefix("{base}/"))  # literal, word, ":path", literal...
    found = [re.escape(pieces[0])]
    for word, spans, literal in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
        # The base may have slashes; it stands as a whole.
        place = re.escape(base) if word == "base" else ".+" if spans else "[^/]+"
        found += [place, re.escape(literal)]
    return re.compile("".join(found))


def _vagueness(template: str) -> tuple[int, int, int]:
    """How much a template leaves open: long places, then all places, then how little of it is literal."""
    # The base is the same for all rows, and tells none apart.
    places = [spans for _, spans in _PLACE.findall(template.replace("{base}", ""))]
    return sum(map(bool, places)), len(places), -len(_PLACE.sub("", template))
