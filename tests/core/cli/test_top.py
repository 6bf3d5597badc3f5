"""`naiad top`: its pages on a screen in memory, and the whole program in a terminal beside a real training."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import naiad
from naiad.alerts.delivery import missed
from naiad.alerts.wanted import AlertsWanted
from naiad.cli.text import unsafe, width
from naiad.cli.top.application import Application
from naiad.cli.top.board import Selection
from naiad.cli.top.spans import Span
from naiad.container_kinds import RUN
from naiad.storage.local.store import Store

QUIET: dict[str, Any] = {
    "git_ref": False, "source_files": [], "capture_hardware_metrics": False, "capture_stdout": False,
    "capture_stderr": False,
}  # fmt: skip
HOSTILE = ["\x1b[2J\x1b[31mred", "模型" * 30, "tab\there\nline", "e\u0301\u200b\u202eevil", "a" * 300, "\x00\x07bell"]
TRAINING = """
import sys, time, naiad
run = naiad.init_run(project="p", store=sys.argv[1], name="live", git_ref=False, source_files=[], capture_stdout=True)
print("ready", flush=True)
for step in range(100_000):
    run["train/loss"].append(1000.0 + step, step=step)
    run["train/acc"].append(step / 7, step=step)
    time.sleep(0.05)
"""
SINK = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + '\\n')"


class Memory:
    """A screen whose lines a test reads."""

    def __init__(self, columns: int = 80, rows: int = 24, *, is_ascii: bool = False, has_colour: bool = True) -> None:
        self.columns, self.rows = columns, rows
        self.is_ascii, self.has_colour = is_ascii, has_colour
        self.lines: list[str] = []

    def size(self) -> tuple[int, int]:
        return self.columns, self.rows

    def show(self, lines: Sequence[Sequence[Span]]) -> None:
        self.lines = ["".join(part.text for part in line) for line in lines]

    def key(self, seconds: float) -> str | None:
        return None


class Top:
    """An application, its keys and its screen."""

    def __init__(self, store: Store | Path, screen: Memory | None = None, **selection: Any) -> None:
        self.screen = screen or Memory()
        place: Any = Store.locate(store) if isinstance(store, Path) else store
        self.app = Application(place, self.screen, Selection(**selection))
        self.look()

    def look(self) -> str:
        """Look at the store, and return the screen."""
        self.app.look()
        return self.press()

    def press(self, *keys: str) -> str:
        """Press keys, and return the screen."""
        for key in keys:
            self.app.press(key)
        self.app.draw()
        while self.app._attempt(lambda: self.app._page.fill(1.0)):
            self.app.draw()
        return "\n".join(self.screen.lines)


def train(store: Path, name: str = "trial", **fields: Any) -> str:
    given = {key: fields.pop(key) for key in ("parent", "tags") if key in fields}
    with naiad.init_run(project="p", store=store, name=name, **QUIET, **given) as run:
        for path, value in fields.items():
            if isinstance(value, list):
                run[path.replace("__", "/")].extend(value)
            else:
                run[path.replace("__", "/")] = value
        return str(run["sys/id"].fetch())


@pytest.fixture
def runs(store: Path) -> Path:
    """Three runs with two metrics and a parameter."""
    for number in (1, 2, 3):
        loss = [9.0 / number / (step + 1) for step in range(40)]
        train(store, f"trial {number}", train__loss=loss, val__acc=[1 - each / 10 for each in loss], lr=0.1 * number)
    return store


def test_board_shows_last_values_and_sparklines_newest_first(runs: Path) -> None:
    shown = Top(runs).press().split("\n")

    assert (80, 24) == (max(map(width, shown)), len(shown))
    assert "3 runs" in shown[0]
    assert ["RUN", "NAME", "AGE", "train/loss", "val/acc"] == shown[1].split()
    assert ["▌", "✓", "P-3", "trial", "3"] == shown[2].split()[:5]
    assert "0.07500 █▃▂▁▁▁▁▁" in shown[2]
    assert "0.9925 ▁▆▇█████" in shown[2]
    assert ["P-2", "P-1"] == [line.split()[1] for line in shown[3:5]]


def test_filter_takes_words_and_queries_and_names_the_mistake_of_one(runs: Path) -> None:
    top = Top(runs)

    assert "P-2" in (words := top.press("/", *"trial 2", "enter"))
    assert "P-1" not in words
    assert "1 run " in words
    query = top.press("/", "clear", *"lr < 0.25", "enter")
    assert ("P-1" in query, "P-2" in query, "P-3" in query) == (True, True, False)
    wrong = top.press("/", "clear", *"lr <", "enter")
    assert "P-2" in wrong  # the filter before it stays
    assert "lr <" in wrong.split("\n")[-1] or "query" in wrong.split("\n")[-1].lower()
    top.app.message = ""
    assert "No run matches" in top.press("/", "clear", *"nothing", "enter")
    assert "3 runs" in top.press("escape")


def test_sort_and_columns_are_chosen_from_lists(runs: Path) -> None:
    top = Top(runs)
    by_loss = top.press("s", *"train/l", "enter")

    assert ["P-1", "P-2", "P-3"] == [line.split("✓")[1].split()[0] for line in by_loss.split("\n")[2:5]]
    assert "train/loss ↓" in by_loss
    assert "P-3" in top.press("r").split("\n")[2]
    chosen = top.press("m", *"lr", " ", "enter")
    assert "lr" in chosen.split("\n")[1].split()
    assert "0.3" in chosen.split("\n")[2].split()


def test_marked_runs_are_compared_in_one_chart_and_in_a_table(runs: Path) -> None:
    top = Top(runs)

    assert "Mark two runs" in top.press("c")
    curves = top.press(" ", " ", "c")
    assert "comparing 2 runs" in curves
    assert "━━ P-3" in curves
    assert "━━ P-2" in curves
    assert sum("└" in line for line in curves.split("\n")) == 1  # two charts beside each other
    table = top.press("tab")
    assert ["lr", "0.3", "0.2"] == next(line.split() for line in table.split("\n") if line.startswith(" lr"))
    assert "RUN" in top.press("escape")


def test_run_page_has_curves_fields_and_output(store: Path) -> None:
    name = train(store, "long", train__loss=[3.0, 2.0, 1.0], note="first", monitoring__0__stdout=["hello", "world"])
    top = Top(store)
    curves = top.press("enter")

    assert f"{name}  long" in curves.split("\n")[0]
    assert "train/loss" in curves
    assert any("⠒" in line or "⠑" in line or "⣀" in line or "⡇" in line for line in curves.split("\n"))
    assert "0 └" in curves
    fields = top.press("2")
    assert any(line.split() == ["note", "first"] for line in fields.split("\n"))
    assert any(line.split()[:2] == ["train/loss", "1.000"] for line in fields.split("\n"))
    output = top.press("3").split("\n")
    assert ["hello", "world"] == [line.split()[-1] for line in output[2:4]]
    assert "2 lines" in output[-1]
    assert "note" not in top.press("1", "/", *"loss", "enter", "2")


def test_long_output_is_read_from_its_end_and_further_up_when_scrolled(store: Path) -> None:
    train(store, monitoring__0__stdout=[f"line {number}" for number in range(2000)])
    top = Top(store)

    assert "line 1999" in top.press("o")
    assert "line 0\n" not in top.press("page up")
    for _ in range(3):
        shown = top.press("home")
    assert "line 0\n" in shown
    assert "below" in shown
    assert "line 1999" in top.press("end", "end", "end")


def test_children_are_counted_and_listed_on_request(store: Path) -> None:
    parent = train(store, "search")
    child = train(store, "fold", parent=parent)
    top = Top(store)

    assert "+1 search" in (shown := top.press())
    assert child not in shown
    assert child in (listed := top.press("p"))
    assert f"children of {parent}" in listed
    assert child in top.press("escape", "a")


def test_every_size_of_terminal_gets_lines_that_fit_and_no_control_characters(store: Path) -> None:
    for name in HOSTILE:
        train(
            store,
            name,
            tags=[name],
            loss=[1e308, -1e308, float("nan"), float("inf")],
            p=f"{name}\n",
            monitoring__0__stdout=[name],
        )
    for columns, rows in ((80, 24), (40, 10), (20, 5), (200, 60), (10, 3)):
        for is_ascii in (False, True):
            top = Top(store, Memory(columns, rows, is_ascii=is_ascii, has_colour=not is_ascii))
            for keys in (
                (),
                ("enter",),
                ("2",),
                ("3",),
                ("escape", " ", " ", "c"),
                ("tab",),
                ("?",),
                ("x", "escape", "m"),
                ("escape", "s"),
            ):
                shown = top.press(*keys)
                assert not unsafe().search(shown.replace("\n", "")), (columns, keys)
                assert rows >= len(top.screen.lines), (columns, keys)
                assert columns >= max(map(width, (line[:10_000] for line in _fitted(top.screen)))), (columns, keys)


def _fitted(screen: Memory) -> Iterator[str]:
    """The lines as a terminal has them, which cuts the ones of texts."""
    from naiad.cli.text import cut

    yield from (cut(line, screen.columns, "") for line in screen.lines)


def test_empty_store_and_one_run(store: Path) -> None:
    with naiad.init_model(project="p", key="M", store=store):
        pass
    top = Top(store)

    assert "No runs yet" in top.press()
    assert "No runs yet" in top.press("down", "enter", " ", "c", "end", "page up", "right")
    train(store, "first", loss=[1.0])
    shown = top.look()
    assert "P-1" in shown
    assert "1 run " in shown
    assert "1.000 ▄" in top.press("down", "end", "home", "page down")


def test_store_deleted_beneath_is_named_and_shown_again_when_it_is_back(runs: Path) -> None:
    top = Top(runs)
    away = runs.with_name("away")
    runs.rename(away)

    assert "is gone" in top.look()
    assert not runs.exists()  # looking makes no store
    assert "is gone" in top.press("enter", "down")
    away.rename(runs)
    assert "trial 3" in top.look()


def test_run_deleted_while_it_is_open_leads_back_to_the_list(runs: Path) -> None:
    top = Top(runs)
    top.press("enter")
    place = Store.locate(runs)
    place.delete([("P-3", place.find("P-3", RUN))])

    shown = top.look()

    assert "P-2" in shown
    assert "P-3" not in shown.split("\n")[2]


class Counting:
    """A store, or a part of it, that counts the calls of its methods by name."""

    def __init__(self, inner: Any, calls: list[str]) -> None:
        self._inner, self._calls = inner, calls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            self._calls.append(name)
            answer = found(*arguments, **named)
            return Counting(answer, self._calls) if name in ("catalog", "reader") else answer

        return call

    def __str__(self) -> str:
        return str(self._inner)


def test_idle_screen_makes_one_small_query_a_look(runs: Path) -> None:
    calls: list[str] = []
    counting: Any = Counting(Store.locate(runs), calls)
    top = Top(counting)
    calls.clear()

    for _ in range(60):
        top.look()

    assert {"has_begun": 60, "catalog": 60, "changes": 60} == {name: calls.count(name) for name in set(calls)}
    train(runs, "fourth", train__loss=[1.0])
    calls.clear()
    top.look()
    assert 1 == calls.count("chart")  # the sparkline of the new run alone


def test_screen_of_many_runs_reads_those_it_shows(runs: Path) -> None:
    calls: list[str] = []
    counting: Any = Counting(Store.locate(runs), calls)
    top = Top(counting, Memory(80, 5))

    assert 4 == calls.count("chart")  # two rows of two series are visible
    assert "P-1" in top.press("end")


# In a real terminal


class Tmux:
    """A terminal of 80 by 24 in a tmux of its own."""

    def __init__(self, socket: Path, *command: str, **environment: str) -> None:
        self._tmux = ["tmux", "-S", str(socket), "-f", "/dev/null"]
        hidden = {"TMUX", "NO_COLOR", "COLUMNS", "LINES"}
        inherited = {name: value for name, value in os.environ.items() if name not in hidden}
        settings = inherited | {"LC_ALL": "C.UTF-8"} | environment
        subprocess.run([*self._tmux, "new-session", "-d", "-x", "80", "-y", "24", *command], env=settings, check=True)

    def keys(self, *keys: str) -> None:
        subprocess.run([*self._tmux, "send-keys", *keys], check=True)

    def screen(self) -> str:
        done = subprocess.run([*self._tmux, "capture-pane", "-p"], capture_output=True, text=True, check=False)
        return done.stdout

    def until(self, holds: Callable[[str], object]) -> str:
        """Return the first screen for which something is so."""
        end = time.monotonic() + 60
        while not holds(shown := self.screen()):
            assert time.monotonic() < end, f"it never came true of\n{shown}"
            time.sleep(0.1)
        return shown

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False, capture_output=True)


def value_of(shown: str, run: str) -> float:
    """The number of the first column in the line of a run."""
    line = next((line for line in shown.split("\n") if f" {run} " in line), "")
    numbers = [word for word in line.split() if word.replace(".", "").isdigit()]
    return float(numbers[0]) if numbers else -1.0


@pytest.mark.skipif(shutil.which("tmux") is None, reason="the terminal of this test is one of tmux")
def test_training_is_followed_and_its_kill_alerts_once(store: Path, tmp_path: Path) -> None:
    alerts = tmp_path / "alerts"
    (tmp_path / "sink.py").write_text(SINK)
    given = {"NAIAD_ALERT_COMMAND": f"{sys.executable} {tmp_path}/sink.py {alerts}"}
    training = subprocess.Popen(
        [sys.executable, "-c", TRAINING, str(store)], stdout=subprocess.PIPE, env=os.environ | given
    )
    assert training.stdout is not None
    training.stdout.readline()
    program = "from naiad.cli import main; main()"
    top = Tmux(
        tmp_path / "tmux", sys.executable, "-c", program, "--store", str(store), "top", "--every", "0.3", **given
    )
    try:
        first = value_of(top.until(lambda shown: value_of(shown, "P-1") > 0), "P-1")
        top.until(lambda shown: value_of(shown, "P-1") > first)  # its values go on
        top.keys("Enter")
        top.until(lambda shown: "train/loss" in shown and "└" in shown)
        top.keys("3")
        top.until(lambda shown: "ready" in shown)
        top.keys("Escape")
        training.send_signal(signal.SIGKILL)
        training.wait()
        top.until(lambda shown: "1 killed" in shown)
        end = time.monotonic() + 60
        while not (alerts.exists() and alerts.read_text().count("\n")):
            assert time.monotonic() < end, "no alert"
            time.sleep(0.1)
        top.keys("q")
        top.until(lambda shown: not shown.strip())
    finally:
        top.close()
        training.kill()
        training.stdout.close()
    sent_again = missed(Store.locate(store), AlertsWanted((("true",),)))

    [alert] = [json.loads(line) for line in alerts.read_text().splitlines()]
    assert ("killed", "P-1") == (alert["event"], alert["id"])
    assert 0 == sent_again


def test_pipe_and_terminal_that_cannot_be_drawn_on_are_refused_with_the_remedy(
    runs: Path, cli: Callable[..., Any], terminal: Callable[..., str]
) -> None:
    assert "naiad ls" in cli("top").stderr
    assert "'dumb'" in terminal("top", TERM="dumb")
    assert "lr <" in terminal("top", "lr <")  # a mistake in the filter is named before the screen is taken


def test_terminal_is_given_back_when_the_program_is_terminated(runs: Path, tmp_path: Path) -> None:
    if shutil.which("tmux") is None:
        pytest.skip("the terminal of this test is one of tmux")
    shell = (
        f"{sys.executable} -c 'from naiad.cli import main; main()' --store {runs} top & echo $! > {tmp_path}/pid; fg"
    )
    top = Tmux(tmp_path / "tmux", "bash", "-c", f"set -m; {shell}; echo code $?; sleep 60")
    try:
        top.until(lambda shown: "trial 3" in shown)
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
        shown = top.until(lambda shown: "code" in shown)
    finally:
        top.close()

    assert "code 143" in shown
    assert "trial" not in shown
