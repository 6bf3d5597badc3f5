"""The callback of skorch: real fits, searches in several processes, continued fits and trouble."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import naiad
from naiad import Run
from naiad.errors import NaiadTypeError, PluginWarning
from naiad.testing.mapping import check_mapping
from naiad_skorch.plugin import INTEGRATION

pytest.importorskip("skorch", reason='skorch is not installed: pip install "naiad[skorch]"')
import torch
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, EpochScoring, LRScheduler

from naiad_skorch import NaiadCallback

X = np.random.default_rng(7).normal(size=(40, 3)).astype("float32")
Y = (X[:, 0] > 0).astype("int64")


class Module(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.line = torch.nn.Linear(3, 2)

    def forward(self, x: Any) -> Any:
        return torch.softmax(self.line(x), dim=-1)


def net_of(*callbacks: Any, **options: Any) -> Any:
    return NeuralNetClassifier(
        Module, max_epochs=2, lr=0.1, batch_size=16, verbose=0, callbacks=list(callbacks), **options
    )


def test_a_fit_fills_the_rows_and_nothing_else(run: Run) -> None:
    callbacks = [
        LRScheduler("StepLR", step_size=1),
        EpochScoring("roc_auc", name="score_auc", lower_is_better=False),
        NaiadCallback(run, log_on_batch_end=True, log_model=True),
    ]

    net = net_of(*callbacks).fit(X, Y)

    when = {"LRScheduler", "train_split", "scoring", "log_on_batch_end", "best", "log_model"}
    check_mapping(INTEGRATION, run, when=when)
    assert net.history[:, "train_loss"] == run["training/train/epoch/loss"].fetch_values()["value"].tolist()
    assert net.history[:, "valid_acc"] == run["training/validation/epoch/acc"].fetch_values()["value"].tolist()
    assert [0.1, pytest.approx(0.01)] == run["training/train/epoch/event_lr"].fetch_values()["value"].tolist()
    state = torch.load(io.BytesIO(run["training/model/state"].fetch_content()))
    assert torch.equal(net.module_.line.weight, state["line.weight"])
    best = int(np.argmin(net.history[:, "valid_loss"])) + 1
    assert best == run["training/best/valid_loss/epoch"].fetch()
    assert "done" == run["training/status"].fetch()


def test_further_fits_continue_the_curves(run: Run) -> None:
    net = net_of(NaiadCallback(run["a"], base_namespace="", keys_ignored="dur")).fit(X, Y)
    net.partial_fit(X, Y)

    assert [0, 1, 2, 3] == run["a/train/epoch/loss"].fetch_values()["step"].tolist()
    assert not run.exists("a/epoch_duration")


def test_a_resumed_run_continues_the_curves(store: Path) -> None:
    for _ in range(2):
        with naiad.init_run(custom_run_id="same") as run:
            net_of(NaiadCallback(run)).fit(X, Y)

    with naiad.init_run(custom_run_id="same", mode="read-only") as run:
        assert [0, 1, 2, 3] == run["training/train/epoch/loss"].fetch_values()["step"].tolist()


def test_processes_of_a_search_log_to_the_same_run(run: Run) -> None:
    """Two processes fit four nets; each clone opens the run where it arrives."""
    search = GridSearchCV(net_of(NaiadCallback(run)), {"lr": [0.1, 0.2]}, cv=2, n_jobs=2, refit=False)

    search.fit(X, Y)

    assert 8 == len(run["training/train/epoch/loss"].fetch_values())


def test_the_run_is_stopped_if_that_is_wanted(store: Path) -> None:
    run = naiad.init_run()

    net_of(NaiadCallback(run, close_after_train=True)).fit(X, Y)

    assert "finished" == naiad.init_run(with_id=run.id, mode="read-only")["sys/state"].fetch()


def test_a_failing_fit_leaves_a_failed_run(store: Path) -> None:
    class Boom(Callback):  # type: ignore[misc]  # the framework is not typed
        def on_epoch_end(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"), naiad.init_run(project="p") as run:
        net_of(NaiadCallback(run), Boom()).fit(X, Y)

    with naiad.init_run(with_id="P-1", mode="read-only") as run:
        assert ("failed", "running") == (run["sys/state"].fetch(), run["training/status"].fetch())


def test_trouble_of_logging_does_not_reach_the_fit(run: Run) -> None:
    run["training/train/epoch/loss"] = "taken"

    with pytest.warns(PluginWarning, match="could not log train/epoch/loss"):
        net_of(NaiadCallback(run)).fit(X, Y)

    assert 2 == len(run["training/validation/epoch/loss"].fetch_values())


def test_a_broken_run_warns_and_lets_the_fit_go_on(run: Run) -> None:
    net = net_of(NaiadCallback(run)).initialize()
    run.stop()

    with pytest.warns(PluginWarning, match="could not"):
        net.partial_fit(X, Y)

    assert 2 == len(net.history)


def test_a_net_with_the_callback_can_be_pickled(run: Run) -> None:
    net = pickle.loads(pickle.dumps(net_of(NaiadCallback(run)).fit(X, Y)))

    net.partial_fit(X, Y)

    assert 4 == len(run["training/train/epoch/loss"].fetch_values())


def test_a_run_that_is_none_raises_when_the_net_is_made() -> None:
    with pytest.raises(NaiadTypeError):
        net_of(NaiadCallback("RUN-1")).initialize()
