"""Screens of the terminal at 40 to 200 columns, with colour and in pipes, compared with those stored beside this file.

After a change that is meant, write them anew: python -m pytest -n0 tests/core/cli/test_screens.py, with
WRITE_SCREENS=1, and look at them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import naiad

FOLDER = Path(__file__).parent / "screens"
IS_WRITING = bool(os.environ.get("WRITE_SCREENS"))
COMMANDS = {
    "ls": ["ls"],
    "query": ["query", "params/lr > 0.1 AND val/loss < 1", "--sort", "params/lr"],
    "compare": ["compare", "VISION-1", "VISION-2", "VISION-3"],
    "show": ["show", "VISION-2"],
}


WIDTHS = {"40": 40, "60": 60, "80": 80, "100": 100, "200": 200, "colour": 80, "pipe": 0}
"""The columns of each screen; a pipe has none."""


@pytest.fixture
def runs(store: Path) -> None:
    """Four runs with names that are long, wide, and hostile, and one whose parameter is of another kind."""
    names = ["baseline", "a long name of a run that says what was tried", "模型 resnet \U0001f680", "\x1b[31mred\ttab"]
    for number, name in enumerate(names, 1):
        facts = {"name": name, "tags": ["good", "sweep-7"], "git_ref": False, "source_files": []}
        with naiad.init_run(project="vision", monitoring_namespace="m", **facts) as run:
            run["params"] = {"lr": number / 7, "optimizer": "adam" if number % 2 else "sgd", "a" * 30: number}
            run["val/loss"].extend([1.0, 1 / 3 / number], steps=[0, 1])
    with naiad.init_run(project="vision", git_ref=False, source_files=[]) as run:
        run["params/lr"] = "high"


def normal(screen: str) -> str:
    """Return a screen without what differs from one machine and moment to another."""
    kept = [
        line
        for line in screen.splitlines()
        if not re.search(r"(_time|hostname|owner|size|sys/pid|tid|m/)(\x1b\[0m)?(  |\t)|source_code|entrypoint", line)
    ]
    without_moments = re.sub(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+Z)?", "2024-02-06 05:00:00", "\n".join(kept))
    return without_moments.replace("\x1b[", "<").replace("<0m", "<>") + "\n"


@pytest.mark.usefixtures("runs")
def test_screens_are_those_that_were_looked_at(terminal: Callable[..., str], cli: Callable[..., Result]) -> None:
    for name, columns in WIDTHS.items():
        settings = {} if name == "colour" else {"NO_COLOR": "1"}
        screens = [
            normal(terminal(*command, columns=columns, **settings) if columns else cli(*command).output)
            for command in COMMANDS.values()
        ]
        headed = [
            f"$ naiad {' '.join(words)}\n{screen}" for words, screen in zip(COMMANDS.values(), screens, strict=True)
        ]
        text, file = "\n".join(headed), FOLDER / f"{name}.txt"
        if IS_WRITING:
            file.write_text(text, encoding="utf-8")

        assert file.read_text(encoding="utf-8") == text


def test_colours_are_alone_what_colour_adds(runs: None, terminal: Callable[..., str]) -> None:
    plain, coloured = terminal("ls", NO_COLOR="1"), terminal("ls")

    assert "\x1b[31m" not in plain
    assert plain == re.sub(r"\x1b\[\d*m", "", coloured)
    assert "\x1b[1mVISION-1\x1b[0m" in coloured


def test_times_of_a_terminal_name_their_zone(runs: None, terminal: Callable[..., str]) -> None:
    assert "CREATED (IST)" in terminal("ls", TZ="IST-5:30", NO_COLOR="1")
    assert "CREATED (CET/CEST)" in terminal("ls", TZ="CET-1CEST,M3.5.0,M10.5.0/3", NO_COLOR="1")


def test_no_runs_and_one_run(store: Path, terminal: Callable[..., str]) -> None:
    store.mkdir()
    assert "ID  STATE  CREATED (UTC)  PROJECT  NAME  TAGS\nNo runs.\n" == terminal("ls", NO_COLOR="1")
    with naiad.init_run(project="vision"):
        pass
    assert 2 == len(terminal("ls", NO_COLOR="1", columns=40).splitlines()[:2])
