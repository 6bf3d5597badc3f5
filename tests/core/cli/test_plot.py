"""`naiad plot`; how a curve is drawn is in test_curve.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import naiad
from naiad.types import Histogram, HistogramSeries

Cli = Callable[..., Result]


def test_curve_ends_with_its_legend(cli: Cli, digits: str) -> None:
    result = cli("plot", digits, "train/loss", "--width", "60", "--height", "12")

    lines = result.stdout.splitlines()
    assert 0 == result.exit_code, result.stderr
    assert 12 == len(lines)
    assert "━━ train/loss  3 points, last 0.25 at step 2" == lines[-1]
    assert any("\u2800" < character <= "\u28ff" for character in lines[0])
    assert "\x1b" not in result.stdout


def test_several_curves_in_a_pipe_are_told_apart_by_marks(cli: Cli, run: naiad.Run) -> None:
    run["a"].extend([1.0, 2.0])
    run["b"].extend([2.0, 1.0])

    lines = cli("plot", run["sys/id"].fetch(), "a", "b", "a").stdout.splitlines()

    assert ["* a  2 points, last 2.0 at step 1", "+ b  2 points, last 1.0 at step 1"] == lines[-2:]
    assert all(line.isascii() for line in lines)


def test_terminal_gives_size_and_colour(digits: str, terminal: Callable[..., str]) -> None:
    shown = terminal("plot", digits, "train/loss", columns=50)
    plain = terminal("plot", digits, "train/loss", columns=50, NO_COLOR="1")

    assert "\x1b[36m" in shown
    assert "\x1b" not in plain
    assert 22 == len(plain.splitlines())
    assert 50 == max(map(len, plain.splitlines()))


def test_terminal_without_utf8_gets_ascii(digits: str, terminal: Callable[..., str]) -> None:
    shown = terminal("plot", digits, "train/loss", PYTHONUTF8="0", PYTHONIOENCODING="ascii", NO_COLOR="1")

    assert "* train/loss" in shown
    assert shown.isascii()


def test_json_has_the_numbers(cli: Cli, digits: str) -> None:
    document = json.loads(cli("plot", digits, "train/loss", "--json").stdout)

    assert {"train/loss"} == set(document)
    assert [0, 1, 2] == document["train/loss"]["steps"]
    assert [0.9, 0.5, 0.25] == document["train/loss"]["mean"]
    assert [1, 1, 1] == document["train/loss"]["finite"]


def test_many_points_with_nan_and_infinities(cli: Cli, run: naiad.Run) -> None:
    values = [float(number % 97) for number in range(20_000)]
    values[3], values[500:900], values[7] = float("inf"), [float("nan")] * 400, -float("inf")
    run["loss"].extend(values)

    result = cli("plot", run["sys/id"].fetch(), "loss")

    assert 0 == result.exit_code, result.stderr
    assert result.stdout.splitlines()[0].startswith("96 ┤")
    json.loads(cli("plot", run["sys/id"].fetch(), "loss", "--json").stdout)


def test_series_without_numbers_is_drawn_empty(cli: Cli, run: naiad.Run) -> None:
    run["loss"].append(float("nan"))

    result = cli("plot", run["sys/id"].fetch(), "loss")

    assert 0 == result.exit_code, result.stderr
    assert "━━ loss  1 point, last NaN at step 0" == result.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("train/los", 'Run DIGITS-1 has no field "train/los". Nearby: "train/loss", "train/notes".'),
        ("train", 'Run DIGITS-1 has no field "train". Nearby: "train/loss", "train/notes".'),
        ("parameters/lr", '"parameters/lr" is a Float, so it cannot be plotted.'),
        ("parameters/epochs", '"parameters/epochs" is an Integer, so it cannot be plotted.'),
        ("", "The path '' names no field."),
    ],
)
def test_wrong_paths_are_explained(cli: Cli, digits: str, path: str, message: str) -> None:
    result = cli("plot", digits, path)

    assert 1 == result.exit_code
    assert message == result.stderr.splitlines()[0]


def test_paths_are_cleaned_in_the_legend(store: Path, cli: Cli) -> None:
    with naiad.init_run(project="odd") as run:
        run["a\x9b31m"].append(1.0)

    assert r"━━ a\x9b31m  1 point, last 1.0 at step 0" in cli("plot", "ODD-1", "a\x9b31m").stdout


def test_last_histogram_is_drawn_as_bars_in_a_chart_of_its_own(cli: Cli, run: naiad.Run) -> None:
    run["loss"].extend([1.0, 2.0])
    run["grads"].extend([Histogram([0, 1], [1]), Histogram([0, 1, 2, 3], [0, 4, 2])])

    lines = cli("plot", run["sys/id"].fetch(), "grads", "loss", "--width", "40", "--height", "9").stdout.splitlines()

    assert 18 == len(lines)
    assert "━━ loss  2 points, last 2.0 at step 1" == lines[8]
    assert "━━ grads  2 points, last 3 bins from 0 to 3, 6 values at step 1" == lines[17]
    drawn = lines[9:15]
    assert ["4 ┤", "2 ┤", "0 ┤"] == [line[:3] for line in drawn if "┤" in line]
    assert drawn[0].index("\u28ff") > 3 + 36 // 3 - 2, "nothing is in the first bin"
    assert drawn[-1].rstrip().endswith("\u28ff"), "the last bin is as high as half the chart"


def test_histogram_is_drawn_in_ascii_where_there_is_nothing_else(run: naiad.Run, terminal: Callable[..., str]) -> None:
    run["grads"].append(Histogram([0, 1, 2], [1, 2]))

    shown = terminal("plot", run["sys/id"].fetch(), "grads", PYTHONUTF8="0", PYTHONIOENCODING="ascii", NO_COLOR="1")

    assert "* grads" in shown
    assert shown.isascii()


def test_json_has_the_bins_of_the_last_histogram(cli: Cli, run: naiad.Run) -> None:
    run["grads"].append(Histogram([0, 0.1, 2], [1, 2]), step=5)
    run["dense"].append(Histogram([0, 1], densities=[1.0]))
    run["none"] = HistogramSeries([])

    document = json.loads(cli("plot", run["sys/id"].fetch(), "grads", "dense", "none", "--json").stdout)

    assert {"step": 5, "bin_edges": [0.0, 0.1, 2.0], "counts": [1, 2]} == document["grads"]
    assert {"step": 0, "bin_edges": [0.0, 1.0], "densities": [1.0]} == document["dense"]
    assert {} == document["none"]


def test_histograms_of_any_size_are_drawn(cli: Cli, run: naiad.Run) -> None:
    run["many"].append(Histogram(range(5001), [1] * 5000))
    run["empty"].append(Histogram([-1e308, 1e308], [0]))
    run["none"] = HistogramSeries([])

    lines = cli("plot", run["sys/id"].fetch(), "many", "empty", "none", "--height", "6").stdout.splitlines()

    assert 13 == len(lines)
    assert "none  no points" == lines[-1]
