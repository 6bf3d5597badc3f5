"""The page of one run: its curves, its fields and its output."""

from __future__ import annotations

from collections.abc import Collection

from naiad import clock
from naiad.cli.curve import Curve
from naiad.cli.top.facts import Facts
from naiad.cli.top.lines_page import Lines
from naiad.cli.top.panels import Panel, Panels
from naiad.cli.top.spans import Line, Span, span, spread
from naiad.cli.top.sparks import Sparks
from naiad.cli.top.values import age, lasting, metric_order, number, state_span
from naiad.cli.values import opened, tags_text
from naiad.container_kinds import RUN, RunId
from naiad.errors import MissingField, NaiadError, RunNotFound
from naiad.kinds import KINDS
from naiad.storage.base import RunReader, Store

TABS = ("curves", "fields", "output")


class RunPage:
    """One run. The tabs are read where they are shown, and only after the run has changed."""

    hints = (
        *(("1 2 3 tab", "curves fields output"), ("enter", "one chart"), ("/", "filter")),
        *(("esc", "back"), ("?", "help")),
    )

    def __init__(self, store: Store, uid: str, *, is_ascii: bool, has_colour: bool, tab: int = 0) -> None:
        self.uid = uid
        self.tab = tab
        self.filter = ""
        self._store = store
        self._is_ascii = is_ascii
        self._mark = "..." if is_ascii else "…"
        self._reader = store.reader(RunId(uid, RUN))
        self._panels = Panels(is_ascii=is_ascii, has_colour=has_colour)
        self._sparks = Sparks(store, is_ascii=is_ascii)
        self._facts = Facts(self._reader, self._sparks, is_ascii=is_ascii)
        self._output = Lines(self._reader)
        self._sys: dict[str, object] = {}
        self._tags: list[str] = []
        self._drawn: dict[tuple[str, int], Panel] = {}
        self._id = uid

    def changed(self, uids: Collection[str] | None) -> None:
        """Read again if this run has changed."""
        if uids is None or self.uid in uids:
            self.refresh()

    def refresh(self) -> None:
        """Read the run and the tab that is shown."""
        require(self._store, self._reader.run)
        # Charts are read when they are drawn, so that only those on the screen are.
        self._drawn.clear()
        self._sparks.forget(None)
        with self._reader.moment():
            self._sys = {path: opened(kind, value) for path, (kind, value) in self._reader.atoms("sys").items()}
            kinds = self._reader.kinds()
            self._tags = sorted(self._reader.tags("sys/tags")) if "sys/tags" in kinds else []
        self._id = str(self._sys.get("sys/id") or self.uid)
        paths = [p for p, kind in kinds.items() if KINDS[kind].drawn_as == "curve" and self.filter.lower() in p.lower()]
        self._panels.paths = sorted(paths, key=metric_order)
        self._facts.filter = self.filter
        self._part().refresh() if self.tab else None

    def _part(self) -> Facts | Lines:
        return self._facts if self.tab == 1 else self._output

    def press(self, key: str) -> bool:
        """Take a key; False for one that means nothing here."""
        if key in ("tab", "back tab", "1", "2", "3"):
            turn = {"tab": 1, "back tab": -1}.get(key)
            self.tab = int(key) - 1 if turn is None else (self.tab + turn) % len(TABS)
            self.refresh()
            return True
        if key == "o":
            self.tab = 2
            self.refresh()
            return True
        return self._panels.press(key) if self.tab == 0 else self._part().press(key)

    def fill(self, seconds: float) -> bool:  # noqa: ARG002 (all is read when it is drawn)
        """Read nothing more."""
        return False

    def lines(self, columns: int, rows: int) -> list[Line]:
        """Return the tab that is shown, below a line of facts."""
        about = self._about(columns)
        body = rows - len(about)
        if self.tab == 0:
            return [*about, *self._panels.lines(columns, body, self._panel)]
        return [*about, *self._part().lines(columns, body)]

    def headline(self, room: int) -> Line:
        """Return the first line: the run, its name and state, and the tabs."""
        state = str(self._sys.get("sys/state") or self._reader.state())
        name = str(self._sys.get("sys/name") or "")
        left = [Span(" "), state_span(state, is_ascii=self._is_ascii), span(f" {self._id}", "bold")]
        left += [span(f"  {name}")] if name not in ("", "Untitled") else []
        if self.filter:
            left.append(span(f"  /{self.filter}", "cyan"))
        tabs = [Span(f" {name} ", "reverse" if place == self.tab else "dim") for place, name in enumerate(TABS)]
        return spread(left, [*tabs, Span(" ")], room, self._mark)

    def place(self) -> str:
        """Return which part is shown, for the foot of the page."""
        return self._panels.place() if self.tab == 0 else self._part().place()

    def _about(self, columns: int) -> list[Line]:
        state = str(self._sys.get("sys/state") or "")
        created, runs = self._sys.get("sys/creation_time"), self._sys.get("sys/running_time")
        parts = [state]
        if created is not None:
            parts.append(f"began {age(clock.now() - created.timestamp())} ago")  # type: ignore[attr-defined]  # a moment
        if isinstance(runs, int | float):
            parts.append(f"{'running' if state == 'running' else 'took'} {lasting(runs)}")
        parts += [str(self._sys[path]) for path in ("sys/owner", "sys/hostname") if self._sys.get(path)][-1:]
        if self._sys.get("sys/parent"):
            parts.append(f"child of {self._sys['sys/parent']}")
        dot = " - " if self._is_ascii else " · "
        return [
            spread(
                [span(f"   {dot.join(parts)}", "dim")],
                [span(tags_text(self._tags), "cyan"), Span(" ")],
                columns,
                self._mark,
            )
        ]

    def _panel(self, path: str, buckets: int) -> Panel:
        if (path, buckets) not in self._drawn:
            self._drawn[path, buckets] = read_panel(path, [(self._reader, 0)], buckets)
        return self._drawn[path, buckets]


def require(store: Store, run: RunId) -> None:
    """Raise RunNotFound of a run that was deleted; a reader of it finds nothing, and that is no error."""
    if not store.exists(run):
        raise RunNotFound(f"The run that was shown was deleted ({run.uid}).", run_id=run.uid)


def read_panel(path: str, runs: list[tuple[RunReader, int]], buckets: int) -> Panel:
    """Read the curves of one path; runs that lack it, or whose bytes are damaged, are left out."""
    curves, colours, notes = [], [], []
    for reader, colour in runs:
        try:
            chart, last = reader.chart(path, buckets), reader.last(path)
        except MissingField:
            continue
        except (NaiadError, OSError):
            notes.append("damaged")
            continue
        if last is None:
            continue
        steps, low, high, mean = (column.tolist() for column in chart[:4])
        curves.append(Curve(path, steps, low, mean, high))
        colours.append(colour)
        notes.append(number(float(last.value), 9, is_even=True))
    return Panel(path, curves, notes[0] if len(runs) == 1 and notes else "", colours)
