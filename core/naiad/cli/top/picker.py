"""The picker: a list of names, of which one or several are chosen; typing narrows it."""

from __future__ import annotations

from collections.abc import Sequence

from naiad.cli.top.spans import Line, Span, span


class Picker:
    """A list to choose from. `chosen` holds the names in the order in which they were chosen."""

    def __init__(
        self, title: str, names: Sequence[str], chosen: Sequence[str], *, are_several: bool, is_ascii: bool
    ) -> None:
        self.chosen = list(chosen)
        self.is_done = False
        self._title = title
        # Those that are chosen stand first, in their order, however many names there are.
        self._names = [*chosen, *(name for name in names if name not in chosen)] if are_several else list(names)
        self._are_several = are_several
        self._is_ascii = is_ascii
        self._text = ""
        self._cursor = 0
        self._height = 10

    def press(self, key: str) -> None:
        """Take a key."""
        found = self._found()
        steps = {"up": -1, "down": 1, "page up": -self._height, "page down": self._height}
        steps |= {"home": -len(found), "end": len(found)}
        if key in steps:
            self._cursor = max(0, min(len(found) - 1, self._cursor + steps[key]))
        elif key == "backspace":
            self._text, self._cursor = self._text[:-1], 0
        elif key == "clear":
            self._text, self._cursor = "", 0
        elif key == " " and self._are_several and found:
            name = found[self._cursor]
            self.chosen.remove(name) if name in self.chosen else self.chosen.append(name)
        elif key == "enter":
            if not self._are_several and found:
                self.chosen = [found[self._cursor]]
            self.is_done = True
        elif len(key) == 1 and key.isprintable():
            self._text, self._cursor = self._text + key, 0

    def lines(self, columns: int, rows: int) -> list[Line]:  # noqa: ARG002 (the screen cuts lines)
        """Return the list."""
        self._height = max(1, rows - 2)
        found = self._found()
        self._cursor = max(0, min(self._cursor, len(found) - 1))
        start = max(0, self._cursor - self._height + 1)
        cursor = "_" if self._is_ascii else "▏"
        lines: list[Line] = [[Span(f" {self._title}: ", "bold"), span(self._text), Span(cursor, "bold cyan")], []]
        for place, name in enumerate(found[start : start + self._height], start):
            is_current = place == self._cursor
            box = ("[x] " if name in self.chosen else "[ ] ") if self._are_several else ""
            sign = (">" if self._is_ascii else "▌") if is_current else " "
            lines.append([Span(f"{sign} ", "bold cyan"), Span(box, "cyan"), span(name, "bold" if is_current else "")])
        if not found:
            lines.append([Span("  No name has that in it.", "dim")])
        return lines

    def hints(self) -> tuple[tuple[str, str], ...]:
        """Return the keys, for the foot of the page."""
        several = (("space", "choose"),) if self._are_several else ()
        return (*several, ("enter", "done"), ("esc", "leave as it was"), ("type", "narrow"))

    def _found(self) -> list[str]:
        return [name for name in self._names if self._text.lower() in name.lower()]
