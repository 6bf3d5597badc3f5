"""Metrics of any name, and hooks that are called otherwise than by a fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from naiad import Run
from naiad_keras import NaiadCallback

Fit = Callable[..., Any]


def steps(run: Run, path: str) -> list[float]:
    return list(run[path].fetch_values()["step"])


def names(run: Run, path: str) -> set[str]:
    structure = run.get_structure()
    for part in path.split("/"):
        structure = structure[part]
    return set(structure)


def model_with(*metrics: str) -> Any:
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=[keras.metrics.MeanSquaredError(name=name) for name in metrics])
    return model


@pytest.mark.parametrize("validation", [True, False])
def test_metrics_called_like_counts_or_validation_are_kept(run: Run, fit: Fit, validation: bool) -> None:
    metrics = ("size", "batch", "val_like", "val_")

    fit(model_with(*metrics), NaiadCallback(run, log_on_batch=True), epochs=2, validation=validation)

    assert {"loss", *metrics} == names(run, "training/train/epoch") == names(run, "training/train/batch")
    assert [0, 1] == steps(run, "training/train/epoch/val_like")
    if validation:
        assert {"loss", *metrics} == names(run, "training/validation/epoch")


@pytest.mark.parametrize("metrics", [("acc/top", "acc"), ("acc", "acc/top"), ("acc/top", "acc_", "acc")])
def test_metric_whose_name_is_the_namespace_of_another_is_kept(run: Run, fit: Fit, metrics: tuple[str, ...]) -> None:
    model = model_with(*metrics)
    fit(model, NaiadCallback(run), epochs=1)
    fit(model, NaiadCallback(run), epochs=1)  # another object, which finds the same names

    places = {name: name for name in metrics}
    renamed = run["training/integration/renamed/train/epoch"].fetch()
    for path, name in [(path, name.rpartition("train/epoch/")[2]) for path, name in renamed.items()]:
        places[name] = path
    assert len(metrics) == len(set(places.values())) > len(renamed) == 1
    for path in places.values():
        assert [0, 1] == steps(run, f"training/train/epoch/{path}") == steps(run, f"training/validation/epoch/{path}")


@pytest.mark.parametrize("separate", [False, True])
def test_evaluation_keeps_metrics_whose_names_exclude_each_other(run: Run, data: Any, separate: bool) -> None:
    model = model_with("acc/top", "acc")
    model.evaluate(*data, verbose=0, callbacks=[NaiadCallback(run, separate_evaluate=separate)])

    found = names(run, f"training/{'evaluation/0' if separate else 'validation/epoch'}")
    assert found in ({"acc", "acc_", "loss"}, {"acc", "acc_top", "loss"})  # Keras chooses the order


@pytest.mark.parametrize("first", [True, False], ids=["before ours", "after ours"])
@pytest.mark.parametrize("what", ["evaluate", "predict"])
def test_evaluation_within_a_fit_is_no_point_of_the_validation(
    run: Run, model: Any, fit: Fit, data: Any, first: bool, what: str
) -> None:
    ours = NaiadCallback(run, log_predict_calls=True, log_on_batch=True)
    given = data if what == "evaluate" else data[:1]
    others = [
        keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: getattr(model, what)(*given, verbose=0, callbacks=[ours])
        )
    ]

    fit(model, *(others if first else []), ours, *([] if first else others), epochs=3)

    assert [0, 1, 2] == steps(run, "training/validation/epoch/loss") == steps(run, "training/train/epoch/loss")
    assert 12 == len(steps(run, "training/validation/batch/loss")) == len(steps(run, "training/train/batch/loss"))
    if what == "evaluate":
        assert [0, 1, 2] == steps(run, "training/evaluation/within_fit/loss")
    assert {"epochs": 3, "steps": 4, "verbose": 0} == run["training/fit_params"].fetch()


def test_evaluation_after_a_fit_that_failed_belongs_to_the_curve(run: Run, model: Any, fit: Fit, data: Any) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("on purpose")

    ours = NaiadCallback(run)
    with pytest.raises(RuntimeError, match="on purpose"):
        fit(model, ours, keras.callbacks.LambdaCallback(on_epoch_end=fail), epochs=2)
    model.evaluate(*data, verbose=0, callbacks=[ours])

    assert [0, 1] == steps(run, "training/validation/epoch/loss")


def outputs_of(kind: str) -> Any:
    inputs = keras.Input((3,))
    first, second = keras.layers.Dense(1, name="a")(inputs), keras.layers.Dense(2, name="b")(inputs)
    made = {"dict": {"a": first, "b": second}, "list": [first, second], "nested": {"x": [first, {"y": second}]}}
    return keras.Model(inputs, made.get(kind, first))


@pytest.mark.parametrize("kind", ["one", "list", "dict", "nested"])
def test_samples_are_counted_whatever_the_outputs(run: Run, data: Any, kind: str) -> None:
    callback = NaiadCallback(run, log_predict_calls=True)

    outputs_of(kind).predict(data[0], batch_size=8, verbose=0, callbacks=[callback])

    assert (32, 4) == tuple(run[f"training/prediction/{name}"].fetch_last() for name in ("samples", "batches"))


def test_hooks_called_by_hand_log_what_they_are_given(run: Run) -> None:
    """As in a training loop of one's own: no params, no model, and not every hook."""
    ours = NaiadCallback(run, log_on_batch=True, log_predict_calls=True)
    ours.on_train_begin()
    for epoch in range(2):
        ours.on_epoch_begin(epoch)
        ours.on_train_batch_end(0, {"loss": 1.0, "size": 8})
        ours.on_epoch_end(epoch, {"loss": 0.5, "val_loss": 0.7, "val_like": np.float32(0.1)})
    ours.on_test_end({"loss": 0.7})
    ours.on_predict_end()
    ours.on_train_end()

    assert {"loss", "val_like"} == names(run, "training/train/epoch")
    assert [0, 1] == steps(run, "training/train/epoch/loss")
    assert [0, 1, 2] == steps(run, "training/validation/epoch/loss")
    assert {"loss", "size"} == names(run, "training/train/batch")
    assert "done" == run["training/status"].fetch()
    assert not run.exists("training/integration/errors")
