"""`naiad tail`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from click.testing import Result

import naiad
from naiad.cli.tail import arrived
from naiad.storage.results import Points, Texts

Cli = Callable[..., Result]
COMMAND = [sys.executable, "-u", "-c", "from naiad.cli import main; main()", "tail"]


def test_last_points_are_printed_by_step(cli: Cli, digits: str) -> None:
    assert ["1\t0.5\t1970-01-01T00:00:02Z", "2\t0.25\t1970-01-01T00:00:03.500000Z"] == cli(
        "tail", digits, "train/loss", "-n", "2"
    ).stdout.splitlines()


def test_texts_are_printed_as_lines(cli: Cli, digits: str) -> None:
    assert ["begun", "half way", "to the end"] == cli("tail", digits, "train/notes").stdout.splitlines()
    assert ["half way", "to the end"] == cli("tail", digits, "train/notes", "-n", "1").stdout.splitlines()
    assert "" == cli("tail", digits, "train/notes", "-n", "0").stdout


def test_json_is_a_list_of_points(cli: Cli, digits: str) -> None:
    assert [{"step": 5, "value": "half way\nto the end\n", "time": "1970-01-01T00:00:02Z"}] == json.loads(
        cli("tail", digits, "train/notes", "-n", "1", "--json").stdout
    )


def test_controls_in_texts_are_escaped(cli: Cli, run: naiad.Run) -> None:
    run["log"].append("\x1b[2Jcleared\r50%")

    assert "\\x1b[2Jcleared\\r50%\n" == cli("tail", run["sys/id"].fetch(), "log").stdout


@pytest.mark.parametrize("path", ["parameters/lr", "sys/tags"])
def test_only_series_have_a_tail(cli: Cli, digits: str, path: str) -> None:
    result = cli("tail", digits, path)

    assert 1 == result.exit_code
    assert "so it cannot be shown point by point." in result.stderr


def test_following_a_stopped_run_ends_at_once(cli: Cli, digits: str) -> None:
    result = cli("tail", digits, "train/loss", "-f", "-n", "1", "--json")

    assert {"step": 2, "value": 0.25, "time": "1970-01-01T00:00:03.500000Z"} == json.loads(result.stdout)


def test_following_shows_every_point_until_the_run_stops(run: naiad.Run) -> None:
    run["loss"].append(0.0)
    process = subprocess.Popen([*COMMAND, run["sys/id"].fetch(), "loss", "-f"], stdout=subprocess.PIPE, text=True)
    assert process.stdout

    first = process.stdout.readline()
    for step in range(1, 200):
        run["loss"].append(float(step))
        time.sleep(0.002)
    run["loss"].append(0.5, step=0.5)
    run.stop()
    rest = process.stdout.read()
    process.stdout.close()

    assert 0 == process.wait(timeout=60)
    values = [float(line.split("\t")[1]) for line in [first, *rest.splitlines()]]
    assert sorted([0.5, *map(float, range(200))]) == sorted(values)


def test_interrupt_ends_following_quietly(run: naiad.Run) -> None:
    run["loss"].append(0.0)
    process = subprocess.Popen(
        [*COMMAND, run["sys/id"].fetch(), "loss", "-f"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout
    process.stdout.readline()
    time.sleep(0.1)

    process.send_signal(signal.SIGINT)

    output, errors = process.communicate(timeout=60)
    assert (130, b"", b"") == (process.returncode, output, errors)


def points(*rows: tuple[float, float]) -> Points:
    steps, values = np.array(rows, float).reshape(-1, 2).T
    return Points(steps, values, np.zeros(len(rows), np.int64))


def texts(*rows: tuple[int, str]) -> Texts:
    return Texts([step for step, _ in rows], [text for _, text in rows], [0 for _ in rows])


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [
        (points(), points((0, 1)), [1.0]),
        (points((0, 1)), points((0, 1), (1, 2)), [2.0]),
        (points((0, 1), (5, np.nan)), points((0, 1), (3, 3), (5, np.nan), (5, np.nan)), [3.0, np.nan]),
        (points((0, 1), (1, 2)), points((0, 7)), [7.0]),
        (points((0, 1), (1, 2)), points((0, 7), (1, 8), (2, 9)), [7.0, 8.0, 9.0]),
        (points((0, 1))._replace(steps=np.array([0])), points((-0.5, 7), (0, 1)), [7.0]),
        (texts((0, "a")), texts((0, "a"), (1, "b")), ["b"]),
        (texts((0, "a"), (4, "c")), texts((0, "a"), (0, "b"), (4, "c")), ["b"]),
    ],
)
def test_new_points_are_found_wherever_they_are(before: Any, after: Any, new: Sequence[Any]) -> None:
    assert [str(value) for value in new] == [str(row.value) for row in arrived(before, after)]
