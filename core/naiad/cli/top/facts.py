"""The fields of a run as a list: paths, values, and sparklines of series."""

from __future__ import annotations

from naiad.cli.text import width
from naiad.cli.top.spans import Line, Span, padded, span
from naiad.cli.top.sparks import COLUMNS, Sparks
from naiad.cli.top.values import OWN, number
from naiad.cli.values import opened, tags_text, value_text
from naiad.errors import NaiadError
from naiad.kinds import KINDS, POINTS, SERIES, TAGS
from naiad.storage.base import RunReader


class Facts:
    """All fields of one run."""

    def __init__(self, reader: RunReader, sparks: Sparks, *, is_ascii: bool) -> None:
        self._reader = reader
        self._sparks = sparks
        self._mark = "..." if is_ascii else "…"
        self._kinds: dict[str, str] = {}
        self._atoms: dict[str, tuple[str, object]] = {}
        self._counts: dict[str, int] = {}
        self._paths: list[str] = []
        self._start = 0
        self._height = 1
        self.filter = ""

    def refresh(self) -> None:
        """Read all but the values of series and sets, which are read where they are shown."""
        with self._reader.moment():
            self._kinds, self._counts = self._reader.kinds(), self._reader.counts()
            self._atoms = {path: (kind, value) for path, (kind, value) in self._reader.atoms().items()}
        paths = [path for path in self._kinds if self.filter.lower() in path.lower()]
        self._paths = sorted(paths, key=lambda path: (OWN.get(path.partition("/")[0], 0), path))

    def press(self, key: str) -> bool:
        """Take a key that scrolls; False for any other."""
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -self._height, "page down": self._height}
        steps |= {"home": -len(self._paths), "end": len(self._paths)}
        if key not in steps:
            return False
        self._start = max(0, min(len(self._paths) - self._height, self._start + steps[key]))
        return True

    def lines(self, columns: int, rows: int) -> list[Line]:
        """Return the fields that are shown."""
        self._height = max(1, rows)
        self._start = max(0, min(self._start, len(self._paths) - self._height))
        shown = self._paths[self._start : self._start + rows]
        names = [span(path).text for path in shown]
        room = min(max(map(width, names), default=0), max(12, columns // 2))
        return [
            [Span(f" {padded(name, room, self._mark)}  ", "dim"), *self._value(path)]
            for path, name in zip(shown, names, strict=True)
        ]

    def place(self) -> str:
        """Return which of the fields are shown, for the foot of a page."""
        last = min(self._start + self._height, len(self._paths))
        return f"{self._start + 1}-{last} of {len(self._paths)}" if len(self._paths) > self._height else ""

    def _value(self, path: str) -> Line:
        kind = self._kinds[path]
        try:
            if kind in SERIES:
                return self._series(path, kind)
            if kind == TAGS:
                return [span(tags_text(self._reader.tags(path)), "cyan")]
        except (NaiadError, OSError) as error:
            return [span(error, "red")]
        if path in self._atoms and KINDS[kind].has_value:
            value = opened(*self._atoms[path])
            return [span(value_text(value, is_local=True))]
        return [Span(KINDS[kind].neptune, "dim")]

    def _series(self, path: str, kind: str) -> Line:
        count = self._counts.get(path, 0)
        note = Span(f"  {count:,} point{'' if count == 1 else 's'}", "dim")
        if kind != POINTS:
            return [Span(KINDS[kind].neptune, "dim"), note]
        last = self._reader.last(path)
        if last is None:
            return [note]
        # The list is as long as the screen, so that a look at each series is cheap.
        key = (self._reader.run.uid, path)
        self._sparks.fill([key], 1.0)
        text = number(float(last.value), 9, is_even=True)
        return [Span(f"{text:>9} "), Span(padded(self._sparks.get(key), COLUMNS, ""), "cyan"), note]
