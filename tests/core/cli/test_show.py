"""`naiad show`."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from click.testing import Result

import naiad
from naiad.ops import Dropped
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.writer import Writer
from naiad.types import Histogram

Cli = Callable[..., Result]


def rows(result: Result) -> dict[str, list[str]]:
    assert 0 == result.exit_code, result.stderr
    return {path: rest for path, *rest in (line.split("\t") for line in result.stdout.splitlines())}


def test_every_field_is_a_line(cli: Cli, digits: str) -> None:
    shown = rows(cli("show", digits))

    assert {
        "parameters/epochs": ["int", "3"],
        "parameters/lr": ["float", "0.1"],
        "parameters/optimizer": ["string", "sgd"],
        "parameters/shuffle": ["bool", "True"],
        "sys/id": ["string", digits],
        "sys/state": ["run_state", "finished"],
        "sys/tags": ["string_set", "good, sgd"],
        "train/loss": ["float_series", "0.25", "3"],
        "train/notes": ["string_series", r"half way\nto the end\n", "2"],
    }.items() <= shown.items()
    assert sorted(shown, key=lambda path: path.split("/")) == list(shown)


def test_json_is_exact(cli: Cli, digits: str) -> None:
    document = json.loads(cli("show", digits, "--json").stdout)

    assert digits == document["id"]
    assert {"kind": "float", "value": 0.1} == document["fields"]["parameters/lr"]
    assert {"kind": "string_set", "value": ["good", "sgd"]} == document["fields"]["sys/tags"]
    assert {
        "kind": "float_series",
        "count": 3,
        "last": {"step": 2, "value": 0.25, "time": "1970-01-01T00:00:03.500000Z"},
    } == document["fields"]["train/loss"]
    assert "half way\nto the end\n" == document["fields"]["train/notes"]["last"]["value"]


def test_odd_values_are_shown(store: Path, cli: Cli) -> None:
    with naiad.init_run(project="odd") as run:
        run["nan"], run["inf"], run["big"], run["half"] = float("nan"), -float("inf"), 2**63 - 1, "\ud800"
        run["when"] = datetime(2026, 3, 5, 1, 2, 3, 4, tzinfo=timezone.utc)
        run["\x9b31m/漢字 👍"] = "\x1b[2J"
        run["loss"].append(float("nan"))

    shown, document = rows(cli("show", "ODD-1")), json.loads(cli("show", "ODD-1", "--json").stdout)["fields"]

    assert [
        ["float", "NaN"],
        ["float", "-Infinity"],
        ["int", "9223372036854775807"],
        ["string", r"\ud800"],
    ] == [shown[path] for path in ("nan", "inf", "big", "half")]
    assert ["datetime", "2026-03-05T01:02:03.000004Z"] == shown["when"]
    assert ["string", r"\x1b[2J"] == shown[r"\x9b31m/漢字 👍"]
    assert ["NaN", "-Infinity", 2**63 - 1, "\ufffd", "\x1b[2J"] == [
        document[path]["value"] for path in ("nan", "inf", "big", "half", "\x9b31m/漢字 👍")
    ]
    assert "NaN" == document["loss"]["last"]["value"]


def test_series_without_points_is_shown(store: Path, cli: Cli, terminal: Callable[..., str]) -> None:
    with naiad.init_run(project="odd") as run:
        run["loss"].append(1.0)
        run["loss"].clear()

    assert ["float_series", "", "0"] == rows(cli("show", "ODD-1"))["loss"]
    assert {"kind": "float_series", "count": 0, "last": None} == json.loads(cli("show", "ODD-1", "--json").stdout)[
        "fields"
    ]["loss"]
    assert "loss  no points" in terminal("show", "ODD-1", NO_COLOR="1")


def test_terminal_gets_a_tree(digits: str, terminal: Callable[..., str]) -> None:
    lines = terminal("show", digits, NO_COLOR="1").splitlines()

    assert digits == lines[0]
    assert "├── parameters" in lines
    assert "│   ├── lr  0.1" in lines
    assert "    ├── loss  0.25  step 2, 3 points" in lines
    assert r"    └── notes  half way\nto the end\n  step 5, 2 points" in lines


def test_long_texts_are_cut_in_a_terminal_only(store: Path, cli: Cli, terminal: Callable[..., str]) -> None:
    with naiad.init_run(project="odd") as run:
        run["text"] = "x" * 1000

    assert 80 == max(map(len, terminal("show", "ODD-1", NO_COLOR="1").splitlines()))
    assert ["string", "x" * 1000] == rows(cli("show", "ODD-1"))["text"]


def test_histogram_is_shown_in_a_few_words(run: naiad.Run, cli: Cli) -> None:
    run["grads"].append(Histogram([0, 1, 2], [1, 2]), step=4)

    shown = rows(cli("show", run["sys/id"].fetch()))
    document = json.loads(cli("show", run["sys/id"].fetch(), "--json").stdout)["fields"]["grads"]

    assert ["histogram_series", "2 bins from 0 to 2, 3 values", "1"] == shown["grads"]
    assert ("histogram_series", 1, 4) == (document["kind"], document["count"], document["last"]["step"])


def test_run_is_shown_while_it_is_written(run: naiad.Run, cli: Cli) -> None:
    run["train/loss"].append(0.5)

    shown = rows(cli("show", run["sys/id"].fetch()))

    assert ["float_series", "0.5", "1"] == shown["train/loss"]
    assert ["run_state", "running"] == shown["sys/state"]


def test_run_that_could_not_store_everything_says_so(cli: Cli, store: Path) -> None:
    with naiad.init_run() as run:
        run["a"] = 1
        writer = Writer.open(RunDirectory(Path(run.get_url().removeprefix("file://"))))
        writer.log([Dropped(3, 1, writer.now())])  # what a writer says after a disk refused for long
        writer.stop()
        run_id = run["sys/id"].fetch()

    assert 4 == json.loads(cli("show", run_id, "--json").stdout)["incomplete"]
    assert "incomplete: 4 points" in cli("verify").stderr
    [seal] = store.glob("runs/*/seal.json")
    seal.unlink()
    assert 4 == json.loads(cli("show", run_id, "--json").stdout)["incomplete"]
    assert "incomplete: 4 points" in cli("verify").stderr
