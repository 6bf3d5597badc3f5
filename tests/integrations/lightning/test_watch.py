"""Watching gradients and weights."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from naiad.testing.mapping import check_mapping
from naiad_lightning import NaiadLogger
from naiad_lightning.plugin import INTEGRATION

SMALL = {"log_model_checkpoints": False, "log_model_summary": False}


@pytest.mark.parametrize("log", ["gradients", "parameters", "all"])
def test_watch_logs_what_was_asked_for(log: Any, fit: Any, model: Any) -> None:
    logger = NaiadLogger(**SMALL)
    logger.watch(model, log, log_freq=1)

    fit(logger, model=model)

    what = {"gradients", "parameters"} if log == "all" else {log}
    check_mapping(INTEGRATION, logger.run, when={f"watch {each}" for each in what})


@pytest.mark.parametrize("log", ["gradients", "all"])
def test_watch_logs_histograms_if_bins_are_given(log: Any, fit: Any, model: Any) -> None:
    logger = NaiadLogger(**SMALL)
    logger.watch(model, log, log_freq=2, bins=8)

    fit(logger, model=model)

    what = {"gradients", "parameters"} if log == "all" else {log}
    check_mapping(INTEGRATION, logger.run, when={"bins", *(f"watch {each}" for each in what)})
    points = logger.run["training/gradients/line.weight/histogram"].fetch_values()
    norms = logger.run["training/gradients/line.weight/norm"].fetch_values()
    assert list(norms["step"]) == list(points["step"])
    assert [(8, 4)] * len(points) == [(len(each.counts), sum(each.counts)) for each in points["value"]]


def test_watch_takes_every_nth_step_and_what_the_optimizer_has_used(fit: Any, model: Any, lightning: Any) -> None:
    logger = NaiadLogger(**SMALL)
    logger.watch(model, log_freq=3)
    seen = []

    class Seen(lightning.Callback):
        def on_train_batch_end(self, _trainer: Any, module: Any, *_: Any) -> None:
            seen.append(float(module.line.weight.grad.norm()))

    fit(logger, model=model, max_epochs=2, callbacks=[Seen()], gradient_clip_val=0.01)

    points = logger.run["training/gradients/line.weight/norm"].fetch_values()
    assert [0, 3, 6] == list(points["step"])
    assert pytest.approx([seen[0], seen[3], seen[6]]) == list(points["value"])
    assert 0.0101 > points["value"].max()


def test_watch_ends_when_removed(fit: Any, model: Any) -> None:
    logger = NaiadLogger(**SMALL)
    logger.watch(model, log_freq=1).remove()

    fit(logger, model=model)

    check_mapping(INTEGRATION, logger.run)


def test_watch_of_a_plain_module_counts_steps_by_itself() -> None:
    import torch

    module = torch.nn.Linear(2, 1)
    logger = NaiadLogger()
    logger.watch(module, log="all", log_freq=1)
    optimizer = torch.optim.SGD([module.bias], lr=1.0)
    for _ in range(2):
        module(torch.ones(1, 2)).sum().backward()
        optimizer.step()

    assert [0, 1] == list(logger.run["training/gradients/bias/norm"].fetch_values()["step"])
    assert [1.0, 2.0] == list(logger.run["training/gradients/bias/norm"].fetch_values()["value"])
    assert not logger.run.exists("training/parameters/weight")


def test_watch_crosses_to_another_process_with_logger_and_model() -> None:
    import torch

    module = torch.nn.Linear(2, 1)
    logger = NaiadLogger()
    logger.watch(module, log_freq=1).remove()
    other, twin = pickle.loads(pickle.dumps((logger, module)))
    twin(torch.ones(1, 2)).sum().backward()
    torch.optim.SGD(twin.parameters(), lr=1.0).step()

    assert 1 == len(logger.run["training/gradients/bias/norm"].fetch_values())
    for watch in other._watches:
        watch.remove()
