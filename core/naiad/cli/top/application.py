"""The application: pages on a screen, the keys between them, and a look at the store now and then."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from naiad import clock
from naiad.cli.top.board import Board, Selection
from naiad.cli.top.comparison import Comparison
from naiad.cli.top.picker import Picker
from naiad.cli.top.run_page import RunPage
from naiad.cli.top.screen import SMALLEST
from naiad.cli.top.spans import Line, Span, length, span, spread
from naiad.errors import ContainerNotFound, NaiadError
from naiad.kinds import KINDS
from naiad.storage.base import Store

LOOK_SECONDS = 1.0
AGE_SECONDS = 10.0
"""How often a screen on which nothing has changed is drawn again, because runs grow older."""
FILL_SECONDS = 0.03
"""How long sparklines are read before the next look at the keys."""
MESSAGE_SECONDS = 6.0
HELP = (
    ("Runs", ""),
    ("arrows, page up, down", "move; left and right: more columns"),
    ("enter", "open a run: curves, fields, output"),
    ("o", "its output"),
    ("space", "mark a run; c compares the marked ones"),
    ("/", "filter: words, or a query: val/acc > 0.9"),
    ("s  r", "sort by a column; reverse"),
    ("m", "choose the columns"),
    ("p", "children of a run; esc goes back to all"),
    ("a", "children beside their parents, or not"),
    ("", ""),
    ("A run", ""),
    ("1 2 3  tab", "curves, fields, output"),
    ("arrows  enter", "choose a chart; one chart alone"),
    ("/", "only paths with a text in them"),
    ("esc  q", "back; q ends the program"),
)


class Surface(Protocol):
    """A screen: where lines are drawn and keys come from."""

    is_ascii: bool
    has_colour: bool

    def size(self) -> tuple[int, int]:
        """Return columns and lines."""

    def show(self, lines: Sequence[Sequence[Span]]) -> None:
        """Draw lines."""

    def key(self, seconds: float) -> str | None:
        """Return the next key, None if none comes in time."""


class Page(Protocol):
    """A page: the board, a run or a comparison."""

    @property
    def hints(self) -> Sequence[tuple[str, str]]:
        """Keys and their meaning, the most important ones first."""

    def changed(self, uids: Collection[str] | None) -> None:
        """Read again after some runs have changed, or any."""

    def refresh(self) -> None:
        """Read again."""

    def press(self, key: str) -> bool:
        """Take a key; False for one that means nothing here."""

    def fill(self, seconds: float) -> bool:
        """Read parts that are missing, for so long; True if any was read."""

    def headline(self, room: int) -> Line:
        """Return the first line."""

    def lines(self, columns: int, rows: int) -> list[Line]:
        """Return all between the first line and the last."""


class Application:
    """The pages on the screen, and how keys change them."""

    def __init__(self, store: Store, screen: Surface, selection: Selection, seconds: float = LOOK_SECONDS) -> None:
        self.message = ""
        self._store = store
        self._screen = screen
        self._seconds = seconds
        self._board = Board(store, selection, is_ascii=screen.is_ascii)
        self._pages: list[Page] = [self._board]
        self._changes_mark: str | None = None
        self._prompt: str | None = None
        self._picker: Picker | None = None
        self._picked: Callable[[list[str]], None] = lambda _names: None
        self._has_help = False
        self._is_lost = False
        self._is_ended = False
        self._message_until = 0.0

    def run(self) -> None:
        """Show the store until the user leaves."""
        next_look = next_age = 0.0
        is_due = True
        # The first look reads every run of a store that was never listed, which takes seconds for thousands of them.
        self._screen.show([[Span(" naiad top", "bold")], [], [span(f"  Reading {self._store}")]])
        while not self._is_ended:
            now = clock.monotonic()
            if now >= next_look:
                next_look = now + self._seconds
                is_due = self.look() or is_due
            if self.message and now > self._message_until:
                self.message, is_due = "", True
            if is_due or now >= next_age:
                self.draw()
                next_age = now + AGE_SECONDS
            # Sparklines fill in between keys, so that scrolling through many runs never waits for them.
            is_due = not self._is_lost and bool(self._attempt(lambda: self._page.fill(FILL_SECONDS)))
            key = self._screen.key(0 if is_due else max(0.0, next_look - clock.monotonic()))
            if key is not None:
                self.press(key)
                is_due = True

    @property
    def _page(self) -> Page:
        return self._pages[-1]

    def say(self, message: str) -> None:
        """Show a message at the foot of the screen for a while. Any thread may call it."""
        self.message = message
        self._message_until = clock.monotonic() + MESSAGE_SECONDS

    def look(self) -> bool:
        """Look whether the store has changed, and read again if so; True if the screen is to be drawn."""
        was_lost, self._is_lost = self._is_lost, False
        try:
            # Asked first: the catalog of a folder that has gone would be made anew.
            if not self._store.has_begun():
                self._is_lost, self._changes_mark = True, None
                return not was_lost
            changes = self._store.catalog().changes(self._changes_mark)
            is_first, self._changes_mark = self._changes_mark is None, changes.mark
            if not (is_first or was_lost or changes.is_all or changes.rows or changes.removed):
                return False
            uids = {row.uid for row in changes.rows} | {uid for uid, _id in changes.removed}
        except (NaiadError, OSError) as error:
            self.say(_first_line(error))
            return True
        # Only the page on top is read again; the others are when one goes back to them.
        everything = is_first or was_lost or changes.is_all
        self._attempt(lambda: self._page.changed(None if everything else uids))
        return True

    def _attempt(self, work: Callable[[], object]) -> object:
        """Do something that reads the store; its trouble becomes a message."""
        try:
            return work()
        except ContainerNotFound as error:
            self._back()
            self.say(_first_line(error))
        except (NaiadError, OSError) as error:
            self.say(_first_line(error))
        return None

    # Keys

    def press(self, key: str) -> None:
        """Take a key."""
        if self._prompt is not None:
            self._type(key)
        elif self._picker is not None:
            self._pick(key)
        elif self._has_help:
            self._has_help = False
        elif key == "?":
            self._has_help = True
        elif key in ("q", "interrupt"):
            self._is_ended = True
        elif key == "escape":
            self._escape()
        elif key == "/":
            self._prompt = self._filter()
        elif key != "resize":
            self._attempt(lambda: self._press(key))

    def _press(self, key: str) -> None:
        board = self._board
        if self._page is not board:
            self._page.press(key)
        elif key in ("enter", "o") and board.current:
            self._open(RunPage(
                self._store, board.current.uid, is_ascii=self._screen.is_ascii, has_colour=self._screen.has_colour,
                tab=2 if key == "o" else 0,
            ))  # fmt: skip
        elif key == "c":
            self._compare()
        elif key == "s":
            names = [
                "newest first",
                *board.paths(board.selection.project, kinds=[k for k in KINDS if KINDS[k].sorted_as]),
            ]
            self._choose("Sort by", names, [], self._sort, are_several=False)
        elif key == "m":
            shown = board.selection.columns or board.shown_paths
            names = board.paths(board.selection.project, kinds=[k for k in KINDS if KINDS[k].has_value])
            self._choose("Columns", names, shown, self._show_columns, are_several=True)
        elif key == "r":
            column, is_ascending = board.selection.sort or ("sys/creation_time", False)
            board.selection.sort = (column, not is_ascending)
            board.refresh()
        elif key == "a":
            board.selection.are_all = not board.selection.are_all
            self.say(
                "Children are listed." if board.selection.are_all else "Children are counted in their parent's line."
            )
            board.refresh()
        elif key == "p" and board.current:
            board.selection.parent = (board.current.uid, board.current.id)
            board.press("home")
            board.refresh()
        else:
            board.press(key)

    def _open(self, page: Page) -> None:
        self._pages.append(page)
        page.refresh()

    def _compare(self) -> None:
        if len(self._board.marked) < 2:
            self.say("Mark two runs or more with space, then press c.")
            return
        has_colour = self._screen.has_colour
        self._open(Comparison(self._store, self._board.marked, is_ascii=self._screen.is_ascii, has_colour=has_colour))

    def _escape(self) -> None:
        selection = self._board.selection
        if len(self._pages) > 1:
            if self._filter():
                self._set_filter("")
            else:
                self._back()
        elif selection.text or selection.parent:
            if selection.text:
                selection.text = ""
            else:
                selection.parent = None
            self._attempt(self._board.refresh)
        else:
            self._board.marked.clear()

    def _back(self) -> None:
        """Leave a page; the board may be older than the store by then."""
        if len(self._pages) > 1:
            self._pages.pop()
            self._attempt(lambda: self._page.changed(None))

    def _filter(self) -> str:
        page = self._page
        return page.filter if isinstance(page, RunPage | Comparison) else self._board.selection.text

    def _set_filter(self, text: str) -> None:
        page, before = self._page, self._filter()
        if isinstance(page, RunPage | Comparison):
            page.filter = text
        else:
            self._board.selection.text = text
        # A query is checked by running it; the one before it stays where it is none.
        try:
            page.refresh()
        except NaiadError as error:
            self.say(_first_line(error))
            self._board.selection.text = before

    def _type(self, key: str) -> None:
        """Take a key of a filter that is being typed."""
        text = self._prompt or ""
        if key == "enter":
            self._prompt = None
            self._attempt(lambda: self._set_filter(text.strip()))
        elif key in ("escape", "interrupt"):
            self._prompt = None
        elif key == "backspace":
            self._prompt = text[:-1]
        elif key == "clear":
            self._prompt = ""
        elif len(key) == 1 and key.isprintable():
            self._prompt = text + key

    def _choose(
        self,
        title: str,
        names: Sequence[str],
        chosen: Sequence[str],
        picked: Callable[[list[str]], None],
        *,
        are_several: bool,
    ) -> None:
        self._picker = Picker(title, names, chosen, are_several=are_several, is_ascii=self._screen.is_ascii)
        self._picked = picked

    def _pick(self, key: str) -> None:
        picker = self._picker
        if picker is None or key in ("escape", "interrupt"):
            self._picker = None
            return
        picker.press(key)
        if picker.is_done:
            self._picker = None
            self._attempt(lambda: self._picked(picker.chosen))

    def _sort(self, names: list[str]) -> None:
        for name in names:
            is_newest = name == "newest first"
            self._board.selection.sort = None if is_newest else (name, False)
        self._board.press("home")
        self._board.refresh()

    def _show_columns(self, names: list[str]) -> None:
        self._board.selection.columns = names
        self._board.refresh()

    # Drawing

    def draw(self) -> None:
        """Draw the screen."""
        columns, rows = self._screen.size()
        if columns < SMALLEST[0] or rows < SMALLEST[1]:
            self._screen.show([[Span(f"{columns}x{rows} is too small"[:columns])]])
            return
        head = self._page.headline(columns)
        body: list[Line]
        if self._is_lost:
            body = [
                [],
                [span(f"  The store {self._store} is gone.", "red")],
                [Span("  It is shown again when it is back.", "dim")],
            ]
        elif self._picker is not None:
            body = self._picker.lines(columns, rows - 2)
        elif self._has_help:
            body = _help(rows - 2)
        else:
            # Charts are read while they are drawn, so that drawing can meet damage or a run that was deleted.
            found = self._attempt(lambda: self._page.lines(columns, rows - 2))
            body = found if isinstance(found, list) else [[]]
        body = [*body[: rows - 2], *([[]] * (rows - 2 - len(body)))]
        self._screen.show([head, *body, self._foot(columns)])

    def _foot(self, columns: int) -> Line:
        mark = "..." if self._screen.is_ascii else "…"
        if self._prompt is not None:
            cursor = "_" if self._screen.is_ascii else "▏"
            shown = span(self._prompt).text
            return [Span(" /", "bold cyan"), Span(shown[-(columns - 4) :]), Span(cursor, "bold cyan")]
        if self.message:
            return [span(f" {self.message}", "yellow")]
        hints = self._picker.hints() if self._picker else (("any key", "back"),) if self._has_help else self._page.hints
        place = [Span(f"{found} ", "dim")] if (found := self._place()) else []
        left: Line = []
        for key, meaning in hints:
            part = [Span(f" {key} ", "bold cyan"), Span(f"{meaning} ", "dim")]
            # A hint is shown whole or not at all; the last ones are those one needs least.
            if length([*left, *part, *place]) >= columns:
                break
            left += part
        return spread(left, place, columns, mark) if place else left

    def _place(self) -> str:
        page = self._page
        return page.place() if isinstance(page, RunPage | Comparison) and not (self._picker or self._has_help) else ""


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def _help(rows: int) -> list[Line]:
    lines: list[Line] = []
    for keys, meaning in HELP[:rows]:
        title = [Span(f" {keys}", "bold")]
        lines.append([Span(f"   {keys:<24}", "cyan"), Span(meaning)] if meaning else title if keys else [])
    return lines
