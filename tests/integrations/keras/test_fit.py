"""What a fit leaves in a run. All of it holds on every back end: `test_backends.py` runs this file on another one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import keras
import pytest

from naiad import Run
from naiad.handler import Handler
from naiad_keras import NaiadCallback, NeptuneCallback

Fit = Callable[..., Any]


def points(series: Handler) -> tuple[list[float], list[float]]:
    frame = series.fetch_values()
    return frame["step"].tolist(), frame["value"].tolist()


def test_metrics_of_each_epoch_are_those_of_the_history(run: Run, model: Any, fit: Fit) -> None:
    history = fit(model, NaiadCallback(run), epochs=3).history

    for name in ("loss", "mae"):
        assert ([0, 1, 2], history[name]) == points(run[f"training/train/epoch/{name}"])
        assert ([0, 1, 2], history[f"val_{name}"]) == points(run[f"training/validation/epoch/{name}"])
    assert not run.exists("training/train/batch")
    assert not run.exists("training/validation/batch")


def test_settings_and_configurations_are_there_from_the_beginning(run: Run, model: Any, fit: Fit) -> None:
    seen: dict[str, Any] = {}
    look = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: seen.update(run["training"].fetch()))

    fit(model, NeptuneCallback(run), look, epochs=1)

    assert {"epochs": 1, "steps": 4, "verbose": 0} == seen["fit_params"]
    assert {"beta_1": 0.9, "clipnorm": "None"}.items() <= seen["model"]["optimizer_config"].items()
    assert pytest.approx(0.01) == seen["model"]["optimizer_config"]["learning_rate"]
    assert {"loss": "mse", "metrics": "['mae']"}.items() <= seen["model"]["compile_config"].items()
    assert "running" == seen["status"]
    assert "done" == run["training/status"].fetch()


def test_learning_rate_may_be_a_variable_that_changes(run: Run, model: Any, fit: Fit) -> None:
    halve = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)

    fit(model, halve, NaiadCallback(run), epochs=3)

    steps, rates = points(run["training/model/learning_rate"])
    assert [0, 1, 2] == steps
    assert pytest.approx([0.005, 0.0025, 0.00125]) == rates


def test_learning_rate_may_be_a_schedule(run: Run, another_model: Callable[..., Any], fit: Fit) -> None:
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, decay_steps=4, decay_rate=0.5)

    fit(another_model(keras.optimizers.SGD(schedule)), NaiadCallback(run), epochs=3)

    assert pytest.approx([0.1, 0.05, 0.025]) == points(run["training/model/learning_rate"])[1]
    assert 4 == run["training/model/optimizer_config/learning_rate/config/decay_steps"].fetch()


def test_every_batch_is_logged_at_the_number_of_batches_so_far(run: Run, model: Any, fit: Fit) -> None:
    told: list[float] = []
    listen = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: told.append(logs["loss"]))

    fit(model, NaiadCallback(run, log_on_batch=True), listen, epochs=2)

    assert (list(range(1, 9)), told) == points(run["training/train/batch/loss"])
    assert list(range(8)) == points(run["training/validation/batch/mae"])[0]
    assert 8 == int(keras.ops.convert_to_numpy(model.optimizer.iterations))


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="Keras refuses steps_per_execution on torch")
def test_batches_that_are_run_together_are_counted(run: Run, another_model: Callable[..., Any], fit: Fit) -> None:
    fit(another_model("sgd", steps_per_execution=3), NaiadCallback(run, log_on_batch=2), epochs=2)

    assert [3, 7] == points(run["training/train/batch/loss"])[0]


def test_evaluate_goes_to_the_curves_of_validation(run: Run, model: Any, fit: Fit, data: Any) -> None:
    callback = NaiadCallback(run)
    history = fit(model, callback, epochs=2).history

    loss, _ = model.evaluate(*data, verbose=0, callbacks=[callback])

    steps, values = points(run["training/validation/epoch/loss"])
    assert [0, 1, 2] == steps
    assert [*history["val_loss"], pytest.approx(loss)] == values


def test_predict_calls_are_counted_if_asked_for(run: Run, model: Any, data: Any) -> None:
    for callback in (NaiadCallback(run), NaiadCallback(run, "asked", log_predict_calls=True)):
        model.predict(data[0], batch_size=8, verbose=0, callbacks=[callback])

    assert not run.exists("training")
    assert 32 == run["asked/prediction/samples"].fetch_last()
    assert 4 == run["asked/prediction/batches"].fetch_last()
    assert 0 < run["asked/prediction/seconds"].fetch_last() < 60


def test_models_that_are_built_late_and_metrics_with_slashes(run: Run, data: Any) -> None:
    class Late(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(1)

        def call(self, x: Any) -> Any:
            return self.dense(x)

    model = Late()
    model.compile("sgd", "mse", metrics=[keras.metrics.MeanAbsoluteError(name="error/absolute")])

    history = model.fit(*data, epochs=2, verbose=0, callbacks=[NaiadCallback(run, log_on_batch=True)]).history

    assert history["error/absolute"] == points(run["training/train/epoch/error/absolute"])[1]
    assert not run.exists("training/integration/errors")


def test_tensorflow_is_not_needed() -> None:
    assert "tensorflow" not in sys.modules
