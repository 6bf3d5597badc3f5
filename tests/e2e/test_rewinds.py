"""Rewinds: a job that goes on from a checkpoint leaves one curve, and nothing is destroyed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import naiad
from naiad.cli import main
from naiad.errors import InvalidArgument, MissingField, NaiadTypeError, ReadOnlyWarning, WrongVerb
from naiad.types import File, Histogram


def values(run: naiad.Run, path: str, **options: bool) -> list[object]:
    found: list[object] = run[path].fetch_values(progress_bar=False, **options)["value"].tolist()
    return found


def train(first: int, last: int, shift: float = 0.0, **options: object) -> None:
    with naiad.init_run(custom_run_id="job", project="p", **options) as run:  # type: ignore[arg-type]  # options of runs
        for step in range(first, last):
            run["train/loss"].append(step + shift, step=step)
            run["log"].append(f"{step + shift:g}", step=step)
            run["monitoring/x/cpu"].append(step, step=step)


@pytest.fixture(autouse=True)
def _store(store: Path) -> None:
    assert store


@pytest.mark.parametrize("fold", ["1", "1000000"])
def test_requeued_job_leaves_one_clean_curve(monkeypatch: pytest.MonkeyPatch, fold: str) -> None:
    monkeypatch.setenv("NAIAD_FOLD_RECORDS", fold)
    monkeypatch.setenv("NAIAD_SMALL_RUN_RECORDS", "0" if fold == "1" else "4096")
    train(0, 80, rewind_to=500)  # the first job has nothing to rewind
    train(51, 90, 1000, rewind_to=50)
    train(61, 70, 2000, rewind_to=60)
    run = naiad.init_run(with_id="P-1", mode="read-only")

    expected = [
        *map(float, range(51)),
        *(1000.0 + step for step in range(51, 61)),
        *(2000.0 + s for s in range(61, 70)),
    ]
    assert expected == values(run, "train/loss")
    assert [f"{value:g}" for value in expected] == values(run, "log")
    assert 80 + 39 + 9 == len(values(run, "train/loss", include_rewound=True))
    assert 80 + 39 + 9 == len(values(run, "monitoring/x/cpu"))
    assert (2069.0, "2069") == (run["train/loss"].fetch_last(), run["log"].fetch_last())
    assert 2069.0 == np.nanmax(run._session.reader.chart("train/loss").maximum)
    project = naiad.init_project("p", mode="read-only")
    row = project.fetch_runs_table(columns=["train/loss", "train/loss:max"], progress_bar=False).to_pandas().iloc[0]
    assert [2069.0, 2069.0] == [row["train/loss"], row["train/loss:max"]]
    shown = CliRunner().invoke(main, ["show", "P-1"])
    assert 0 == shown.exit_code, shown.output
    assert "2069" in shown.output


def test_journal_of_an_earlier_session_that_arrives_later_is_hidden_too(store: Path) -> None:
    train(0, 10)
    folder = naiad.init_run(with_id="P-1", mode="read-only")._store.directory(  # type: ignore[attr-defined]  # a folder's
        naiad.init_run(with_id="P-1", mode="read-only")._run
    )
    [early] = folder.journal.glob("*.seg")
    name = early.name.split(".")[0]
    parts = [early, *folder.journal.glob(f"{name}*.ops")]
    kept = {path: store.parent / path.name for path in parts}
    for path, copy in kept.items():
        shutil.copy(path, copy)
    train(3, 5, 100, rewind_to=2)
    for path, copy in kept.items():
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            shutil.copy(copy, path)

    run = naiad.init_run(with_id="P-1", mode="read-only")
    assert [0.0, 1.0, 2.0, 103.0, 104.0] == values(run, "train/loss")


def test_truncate_of_a_series_or_a_namespace(run: naiad.Run) -> None:
    for step in range(10):
        run.append({"a/loss": step / 1, "a/acc": step / 1, "b": step / 1}, step=step)
    run["a"].truncate(4)
    run["b"].truncate(6)
    run.append({"a/loss": -1.0, "a/acc": -1.0, "b": -1.0})

    assert [0.0, 1.0, 2.0, 3.0, 4.0, -1.0] == values(run, "a/loss") == values(run, "a/acc")
    assert [*map(float, range(7)), -1.0] == values(run, "b")
    assert 5.0 == run["a/loss"].fetch_values()["step"].iloc[-1]
    run["a/loss"].truncate(-1)
    assert [] == values(run, "a/loss")
    run["a/loss"].append(7.0)
    assert ([7.0], [0.0]) == (values(run, "a/loss"), run["a/loss"].fetch_values()["step"].tolist())


def test_files_and_histograms_are_rewound(run: naiad.Run) -> None:
    for step in range(4):
        run["files"].append(File.from_content(str(step)), step=step)
        run["grads"].append(Histogram([0, 1], [step + 1]), step=step)
    run[""].truncate(1)

    assert [b"0", b"1"] == [file.content for file in run["files"].fetch_files()]
    assert (2, 4) == tuple(len(run["grads"].fetch_values(include_rewound=flag)) for flag in (False, True))
    assert 4 == len(run["files"].fetch_values(include_rewound=True))


def test_what_cannot_be_rewound_says_so(run: naiad.Run) -> None:
    run["x"] = 1
    run["y"].append(1.0)
    with pytest.raises(WrongVerb, match="truncate"):
        run["x"].truncate(1)
    with pytest.raises(MissingField):
        run["z"].truncate(1)
    with pytest.raises(ValueError, match="cannot be a step"):
        run["y"].truncate(float("nan"))
    with pytest.raises(InvalidArgument, match="with_id="):
        naiad.init_run(rewind_to=5)
    with pytest.raises(NaiadTypeError, match="rewind_to="):
        naiad.init_run(with_id="RUN-1", rewind_to="5")  # type: ignore[arg-type]  # on purpose
    run.sync()
    with naiad.init_run(with_id=run["sys/id"].fetch(), mode="read-only") as reader, pytest.warns(ReadOnlyWarning):
        reader["y"].truncate(0)
