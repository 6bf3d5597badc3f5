"""The tracker of Accelerate: real trainings, several trackers, continued runs and trouble."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import naiad
from naiad import Run
from naiad.errors import InvalidArgument, NaiadTypeError, PluginWarning
from naiad.testing.mapping import check_mapping
from naiad_accelerate.plugin import INTEGRATION

accelerate = pytest.importorskip("accelerate", reason='not installed: pip install "naiad[accelerate]"')
import torch  # noqa: E402 (with Accelerate)

from naiad_accelerate import NaiadTracker  # noqa: E402 (the skip comes first)


@pytest.fixture(autouse=True)
def _workplace(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    accelerate.Accelerator().free_memory()
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)


def train(log_with: Any, steps: int = 3, first: int = 0, **options: Any) -> Any:
    accelerator = accelerate.Accelerator(cpu=True, log_with=log_with, project_dir="out")
    accelerator.init_trackers("digits", config={"lr": 0.1, "layers": {"width": 3}}, **options)
    model = torch.nn.Linear(3, 1)
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
    for step in range(first, first + steps):
        loss = model(torch.ones(2, 3)).square().mean()
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        accelerator.log({"train/loss": loss.item(), "lr": {"group": 0.1}, "phase": "fit"}, step=step)
    return accelerator


def test_log_with_naiad_needs_the_import_alone(store: Path) -> None:
    accelerator = train("naiad", init_kwargs={"naiad": {"tags": ["tiny"]}})
    tracker = accelerator.get_tracker("naiad")
    tracker.log_images({"images": [np.zeros((2, 2))]}, step=2)
    tracker.log_table("table", ["a"], [[1], [2]], step=2)
    accelerator.end_training()

    with naiad.init_run(with_id="DIGITS-1", mode="read-only") as run:
        check_mapping(INTEGRATION, run, when={"config", "text", "files"})
        assert [0, 1, 2] == run["train/loss"].fetch_values()["step"].tolist()
        assert {"lr": 0.1, "layers": {"width": 3}} == run["parameters"].fetch()
        assert ("finished", {"tiny"}) == (run["sys/state"].fetch(), run["sys/tags"].fetch())


def test_a_given_run_stays_open(run: Run) -> None:
    accelerator = train([NaiadTracker(run=run["a"], base_namespace="fit")])
    accelerator.end_training()

    run["after"] = accelerator.get_tracker("naiad", unwrap=True)["sys/id"].fetch()
    assert 3 == len(run["a/fit/train/loss"].fetch_values())


def test_a_continued_training_continues_the_curves(store: Path) -> None:
    for first in (0, 3):
        train(NaiadTracker("p", custom_run_id="same"), first=first).end_training()

    with naiad.init_run(custom_run_id="same", project="p", mode="read-only") as run:
        assert list(range(6)) == run["train/loss"].fetch_values()["step"].tolist()


def test_a_failing_training_leaves_a_failed_run(store: Path) -> None:
    with pytest.raises(RuntimeError, match="element 0"), naiad.init_run(project="p") as run:
        train(NaiadTracker(run=run)).backward(torch.ones(1))

    with naiad.init_run(with_id="P-1", mode="read-only") as run:
        assert "failed" == run["sys/state"].fetch()


def test_trouble_of_logging_does_not_reach_the_training(run: Run) -> None:
    run["train/loss"] = "taken"

    with pytest.warns(PluginWarning, match="could not log train/loss"):
        train(NaiadTracker(run=run))

    assert 3 == len(run["lr/group"].fetch_values())


def test_a_broken_run_warns_and_lets_the_training_go_on(run: Run) -> None:
    tracker = NaiadTracker(run=run)
    run.stop()

    with pytest.warns(PluginWarning, match="could not log"):
        train(tracker).end_training()


@pytest.mark.parametrize(
    ("given", "error"),
    [({"run": "RUN-1"}, NaiadTypeError), ({"tag": "a"}, TypeError), ({"run": "given", "tags": ["a"]}, InvalidArgument)],
)
def test_mistakes_raise_where_they_are_made(run: Run, given: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        NaiadTracker("p", **{**given, **({"run": run} if given.get("run") == "given" else {})})
