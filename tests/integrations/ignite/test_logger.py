"""The logger of Ignite: real engines, checkpoints, continued runs and trouble."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import naiad
from naiad import Run
from naiad.errors import InvalidArgument, NaiadTypeError, PluginWarning
from naiad.testing.mapping import check_mapping
from naiad_ignite.plugin import INTEGRATION

pytest.importorskip("ignite", reason='Ignite is not installed: pip install "naiad[ignite]"')
import torch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint
from ignite.handlers.tensorboard_logger import OutputHandler as OfTensorBoard

from naiad_ignite import (
    GradsHistHandler,
    GradsScalarHandler,
    NaiadLogger,
    NaiadSaver,
    WeightsHistHandler,
    WeightsScalarHandler,
)

EACH = Events.ITERATION_COMPLETED


class Fit:
    """A trainer of a linear model, and the parts that handlers take."""

    def __init__(self) -> None:
        self.model = torch.nn.Linear(2, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.trainer = Engine(self.step)

    def step(self, _engine: Any, batch: Any) -> float:
        self.optimizer.zero_grad()
        loss = self.model(batch).square().mean()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def attach(self, logger: Any, tag: str = "training") -> None:
        logger.attach_output_handler(self.trainer, EACH, tag=tag, output_transform=lambda loss: {"loss": loss})

    def run(self, epochs: int = 2) -> None:
        self.trainer.run([torch.ones(2, 2), torch.zeros(2, 2)], max_epochs=epochs)


@pytest.fixture
def fit() -> Fit:
    return Fit()


def test_handlers_fill_the_rows_and_nothing_else(run: Run, fit: Fit) -> None:
    logger = NaiadLogger(run=run)
    fit.attach(logger)
    logger.attach_opt_params_handler(fit.trainer, Events.ITERATION_STARTED, optimizer=fit.optimizer)
    handlers: list[Callable[..., Any]] = [
        WeightsScalarHandler,
        GradsScalarHandler,
        WeightsHistHandler,
        GradsHistHandler,
    ]
    for handler in handlers:
        logger.attach(fit.trainer, handler(fit.model), EACH)
    saver = Checkpoint({"model": fit.model}, NaiadSaver(logger), n_saved=1)
    fit.trainer.add_event_handler(Events.EPOCH_COMPLETED, saver)

    fit.run()
    logger.close()

    names = {each.__name__ for each in handlers}
    check_mapping(INTEGRATION, run, when=names | {"OptimizerParamsHandler", "NaiadSaver"})
    assert [1, 2, 3, 4] == run["training/loss"].fetch_values()["step"].tolist()
    assert pytest.approx(float(fit.model.weight.detach().norm())) == run["weights_norm/weight"].fetch_last()
    assert 2 == sum(run["grads_histogram/weight"].fetch_last().counts)
    assert not run.exists("model_2.pt"), "only the last checkpoint is kept"
    assert torch.equal(fit.model.bias, _loaded(run, "model_4.pt")["bias"])


def _loaded(run: Run, name: str) -> Any:
    import io

    return torch.load(io.BytesIO(run[name].fetch_content()))


def test_a_run_of_its_own_is_stopped_by_close(store: Path, fit: Fit) -> None:
    with NaiadLogger(project="p", tags=["tiny"]) as logger:
        fit.attach(logger)
        logger["seed"] = 7
        fit.run(1)

    with naiad.init_run(with_id="P-1", mode="read-only") as run:
        assert ("finished", 7) == (run["sys/state"].fetch(), run["seed"].fetch())


def test_texts_and_metrics_are_logged(run: Run, fit: Fit) -> None:
    logger = NaiadLogger(run=run["a"], base_namespace="b")
    logger.attach_output_handler(
        fit.trainer,
        Events.EPOCH_COMPLETED,
        tag="t",
        metric_names="all",
        output_transform=lambda loss: {"note": "fine", "pair": (loss, loss)},
    )
    fit.trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: None)

    fit.run()

    assert ["fine", "fine"] == run["a/b/t/note"].fetch_values()["value"].tolist()
    assert [1, 2] == run["a/b/t/pair/1"].fetch_values()["step"].tolist()


def test_a_continued_training_continues_the_curves(store: Path, fit: Fit) -> None:
    for epochs in (1, 2):
        with NaiadLogger(custom_run_id="same") as logger:
            handle = logger.attach_output_handler(fit.trainer, EACH, tag="t", output_transform=lambda loss: loss)
            fit.run(epochs)
            handle.remove()

    with naiad.init_run(custom_run_id="same", mode="read-only") as run:
        assert [1, 2, 3, 4] == run["t/output"].fetch_values()["step"].tolist()


def test_a_failing_training_leaves_a_failed_run(store: Path, fit: Fit) -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"), naiad.init_run(project="p") as run:
        _fail(fit, run)

    with naiad.init_run(with_id="P-1", mode="read-only") as run:
        assert "failed" == run["sys/state"].fetch()


def _fail(fit: Fit, run: Run) -> None:
    fit.attach(NaiadLogger(run=run))
    fit.trainer.run([torch.ones(2, 7)])


def test_trouble_of_logging_does_not_reach_the_training(run: Run, fit: Fit) -> None:
    run["training/loss"] = "taken"
    fit.attach(NaiadLogger(run=run))

    with pytest.warns(PluginWarning, match="could not log training/loss"):
        fit.run()

    assert 4 == fit.trainer.state.iteration


def test_a_broken_run_warns_and_lets_the_training_go_on(run: Run, fit: Fit) -> None:
    fit.attach(NaiadLogger(run=run))
    run.stop()

    with pytest.warns(PluginWarning, match="could not log"):
        fit.run()


def test_handlers_of_another_logger_are_a_mistake(run: Run, fit: Fit) -> None:
    with pytest.raises(NaiadTypeError, match="naiad_ignite"):
        WeightsScalarHandler(fit.model)(fit.trainer, object(), EACH)
    with pytest.raises(RuntimeError, match="TensorboardLogger"):
        OfTensorBoard("t", output_transform=float)(fit.trainer, NaiadLogger(run=run), EACH)


@pytest.mark.parametrize(("given", "error"), [({"run": "RUN-1"}, NaiadTypeError), ({"tag": "a"}, TypeError)])
def test_mistakes_raise_where_they_are_made(store: Path, given: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        NaiadLogger(**given)


def test_a_given_run_takes_no_arguments_for_a_new_one(run: Run) -> None:
    with pytest.raises(InvalidArgument, match="tags"):
        NaiadLogger(run=run, tags=["a"])
