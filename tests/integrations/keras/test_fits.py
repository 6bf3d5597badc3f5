"""Several fits and evaluations in one run, and what differs from one fit as it comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from naiad import Run
from naiad.handler import Handler
from naiad_keras import NaiadCallback

Fit = Callable[..., Any]


def points(series: Handler) -> tuple[list[float], list[float]]:
    frame = series.fetch_values()
    return frame["step"].tolist(), frame["value"].tolist()


def test_every_third_batch_is_logged_across_epochs(run: Run, model: Any, fit: Fit) -> None:
    fit(model, NaiadCallback(run, log_on_batch=3), epochs=3)

    assert [3, 6, 9, 12] == points(run["training/train/batch/loss"])[0]
    assert 4 == len(points(run["training/validation/batch/loss"])[0])


def test_accumulated_gradients_do_not_change_the_count_of_batches(
    run: Run, another_model: Callable[..., Any], fit: Fit
) -> None:
    model = another_model(keras.optimizers.SGD(0.01, gradient_accumulation_steps=2))
    callback = NaiadCallback(run, log_on_batch=True)

    fit(model, callback, epochs=1)
    fit(model, callback, epochs=2, initial_epoch=1)

    assert list(range(1, 9)) == points(run["training/train/batch/loss"])[0]


def test_further_fits_go_on_where_the_one_before_ended(
    run: Run, model: Any, another_model: Callable[..., Any], fit: Fit
) -> None:
    fit(model, NaiadCallback(run, log_on_batch=True), epochs=2)

    fit(model, NaiadCallback(run, log_on_batch=True), epochs=3, initial_epoch=2)
    fit(another_model("sgd"), NaiadCallback(run, log_on_batch=True), epochs=1)

    for path in ("train/epoch/loss", "validation/epoch/loss", "model/learning_rate"):
        assert [0, 1, 2, 3] == points(run[f"training/{path}"])[0]
    assert list(range(1, 17)) == points(run["training/train/batch/loss"])[0]


def test_configuration_of_another_optimizer_replaces_that_of_the_first(
    run: Run, model: Any, another_model: Callable[..., Any], fit: Fit
) -> None:
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    callback = NaiadCallback(run)

    fit(model, callback, epochs=1)
    fit(another_model(keras.optimizers.SGD(schedule)), callback, epochs=1)
    scheduled = run["training/model/optimizer_config"].fetch()
    fit(model, callback, epochs=1)

    assert "CosineDecay" == scheduled["learning_rate"]["class_name"]
    assert "beta_1" not in scheduled
    assert pytest.approx(0.01) == run["training/model/optimizer_config/learning_rate"].fetch()


def test_separate_evaluations_are_numbered(run: Run, model: Any, fit: Fit, data: Any) -> None:
    fit(model, NaiadCallback(run, separate_evaluate=True, log_on_batch=True), epochs=1)

    for _ in range(2):
        loss, _ = model.evaluate(*data, verbose=0, callbacks=[NaiadCallback(run, separate_evaluate=True)])

    kept = run["training/evaluation"].fetch()
    assert {"0", "1"} == set(kept)
    assert pytest.approx(loss) == kept["1"]["loss"]
    assert [0] == points(run["training/validation/epoch/loss"])[0]


def test_values_that_are_not_finite_are_kept(run: Run, model: Any, data: Any) -> None:
    x, y = data

    model.fit(x, y * np.nan, epochs=1, verbose=0, callbacks=[NaiadCallback(run)])

    assert np.isnan(run["training/train/epoch/loss"].fetch_last())
