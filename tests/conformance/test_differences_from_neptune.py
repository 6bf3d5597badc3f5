"""Rows of DESIGN.md, section 4, that no other test shows: where the Neptune client lost data, and naiad keeps it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import date, datetime, timezone
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pytest

import naiad
from naiad.errors import LimitWarning, StepOrderError, UnsupportedValue, forget_warnings


def steps_of(run: naiad.Run, path: str) -> list[float]:
    return run[path].fetch_values()["step"].tolist()


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("kind", [float, str], ids=["numbers", "texts"])
def test_neptunes_rule_of_steps_leaves_points_out_with_one_warning_and_a_count(kind: type) -> None:
    """Row "steps equal or going back", with `limits="neptune"`."""
    forget_warnings()
    run = naiad.init_run(limits="neptune")
    with pytest.warns(LimitWarning) as given:  # noqa: PT031 (all that is said from the first point to the end)
        for step in (1, 2, 2, 0, 3):
            run["x"].append(kind(step), step=step)
        found = steps_of(run, "x")
        run.stop()

    assert [1, 2, 3] == found
    said = [str(each.message) for each in given]
    assert 2 == len(said)
    assert 'Step 2 of "x" is not above 2' in said[0]
    assert said[1].startswith('2 points of "x" were left out in all')


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("kind", [float, str], ids=["numbers", "texts"])
def test_neptunes_rule_of_steps_raises_in_sync_mode(kind: type) -> None:
    """Row "steps equal or going back", with `limits="neptune"`."""
    with naiad.init_run(limits="neptune", mode="sync") as run:
        run["x"].append(kind(1), step=1)
        with pytest.raises(StepOrderError, match='"x"'):
            run["x"].append(kind(1), step=1)
        run["x"].append(kind(2), step=2)

        assert [1, 2] == steps_of(run, "x")


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("name", ["NAIAD_STRICT", "NEPTUNE_STRICT"])
def test_strict_comes_from_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row "set, arbitrary object"."""
    monkeypatch.setenv(name, "1")
    with naiad.init_run() as run, pytest.raises(UnsupportedValue):
        run["a"] = {1, 2}


@pytest.mark.parametrize(
    ("value", "kind", "kept"),
    [
        (Path("data") / "train.csv", "String", "data/train.csv"),
        (PurePosixPath("/x"), "String", "/x"),
        (date(2024, 5, 6), "Datetime", datetime(2024, 5, 6).astimezone(timezone.utc)),
        (np.datetime64("2024-05-06T07:08:09.5"), "Datetime", None),
        (pd.Timestamp("2024-05-06", tz="UTC"), "Datetime", datetime(2024, 5, 6, tzinfo=timezone.utc)),
    ],
    ids=lambda each: type(each).__name__,
)
def test_paths_and_moments_are_kept(run: naiad.Run, value: Any, kind: str, kept: Any) -> None:
    """Row "`pathlib.Path`, `date`, `np.datetime64`, `pd.Timestamp`"."""
    run["x"] = value
    run["x"] = value  # and the field takes it again

    assert kind == type(run.get_attribute("x")).__name__
    assert kept is None or kept == run["x"].fetch()


COLLECTIONS: list[Callable[[list[int]], Any]] = [
    np.array,
    pd.Series,
    iter,
    tuple,
    lambda items: range(items[0], items[-1] + 1),
    lambda items: (item for item in items),
    lambda items: [np.int64(item) for item in items],
]


@pytest.mark.parametrize("kind", [float, str], ids=["numbers", "texts"])
@pytest.mark.parametrize("collection", COLLECTIONS)
def test_steps_and_timestamps_come_in_any_collection(run: naiad.Run, collection: Any, kind: type) -> None:
    """Row "`extend(pd.Series / ndarray / range / generator)`, `steps=`/`timestamps=` likewise; np integer steps"."""
    run["x"].extend([kind(1), kind(2), kind(3)], steps=collection([4, 5, 6]), timestamps=collection([7, 8, 9]))
    run["x"].append(kind(4), step=np.int64(7), timestamp=np.float64(10.5))

    assert [4, 5, 6, 7] == steps_of(run, "x")
    found = run["x"].fetch_values()["timestamp"].astype("int64").tolist()
    assert [1000, 1000, 1500] == [b - a for a, b in pairwise(found)]


@pytest.mark.usefixtures("store")
def test_offline_run_keeps_what_identifies_it() -> None:
    """Row "offline run"."""
    with naiad.init_run(mode="offline", project="workspace/digits", custom_run_id="mine", name="n", tags="t") as run:
        run["x"].append(1.0)
        assert [0] == steps_of(run, "x")
    with naiad.init_run(with_id="DIGITS-1", mode="read-only") as run:
        assert ("workspace/digits", "mine", "n", {"t"}) == (
            run["sys/project"].fetch(),
            run["sys/custom_run_id"].fetch(),
            run["sys/name"].fetch(),
            run["sys/tags"].fetch(),
        )


def test_exception_in_the_block_is_printed_once_and_kept(store: Path) -> None:
    """Row "exception in `with`"."""
    program = "import naiad\nwith naiad.init_run(monitoring_namespace='monitoring/m', project='p') as run:\n    1 / 0\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    with naiad.init_run(with_id="P-1", mode="read-only") as run:
        kept = run["monitoring/m/traceback"].fetch_values()["value"].tolist()
        assert ("failed", True) == (run["sys/state"].fetch(), run["sys/failed"].fetch())
    assert 1 == done.returncode
    assert 1 == done.stderr.count("ZeroDivisionError")
    assert "ZeroDivisionError: division by zero" == kept[-1]
