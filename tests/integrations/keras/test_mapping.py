"""The mapping says all that a fit, an evaluation and a prediction write, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import keras
import pandas as pd

from naiad import Run
from naiad.testing.mapping import check_mapping
from naiad_keras import NaiadCallback
from naiad_keras.plugin import INTEGRATION

Fit = Callable[..., Any]


def test_fit_as_it_comes_fills_the_rows_without_options(run: Run, model: Any, fit: Fit) -> None:
    fit(model, NaiadCallback(run), epochs=1, validation=False)

    check_mapping(INTEGRATION, run, when={"log_model_summary"})


def test_all_options_together_fill_all_rows(run: Run, model: Any, fit: Fit, data: Any) -> None:
    options = {"log_model_diagram"} if shutil.which("dot") and find_spec("pydot") else set()
    callback = NaiadCallback(
        run["fold"],
        "first",
        log_on_batch=2,
        log_architecture=True,
        log_checkpoints="best",
        log_final_model=True,
        log_predictions=lambda model, epoch: {"table": pd.DataFrame({"a": [1]}), "number": 1.0, "text": "a"},
        log_predict_calls=True,
        separate_evaluate=True,
        **dict.fromkeys(options, True),
    )

    fit(model, callback, epochs=1)
    model.evaluate(*data, verbose=0, callbacks=[callback])
    model.predict(data[0], verbose=0, callbacks=[callback])

    given = {
        *options,
        *{"log_model_summary", "log_on_batch", "validation_data", "log_architecture", "log_checkpoints"},
        *{"log_checkpoints=best", "log_final_model", "log_predictions", "log_predict_calls", "separate_evaluate"},
    }
    check_mapping(INTEGRATION, run, base="fold/first", when=given)


def test_what_went_wrong_has_a_row(run: Run, model: Any, fit: Fit, recwarn: Any) -> None:
    run["training/validation/epoch/mae"] = "taken"

    fit(model, NaiadCallback(run), epochs=1)

    assert 1 == len([each for each in recwarn if "could not log validation/epoch/mae" in str(each.message)])
    assert any(row.fits("training/integration/errors", "training") for row in INTEGRATION.rows)
    check_mapping(
        INTEGRATION,
        run,
        when={"log_model_summary", "validation_data", "error"},
        besides={"training/validation/epoch/mae"},
    )


def test_metrics_that_exclude_each_other_and_evaluations_within_a_fit_have_rows(run: Run, fit: Fit, data: Any) -> None:
    model = keras.Sequential([keras.layers.Dense(1)])
    names = ("acc/top", "acc", "size")
    model.compile("sgd", "mse", metrics=[keras.metrics.MeanSquaredError(name=name) for name in names])
    ours = NaiadCallback(run)
    evaluate = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: model.evaluate(*data, verbose=0, callbacks=[ours])
    )

    fit(model, ours, evaluate, epochs=1)

    when = {"log_model_summary", "validation_data", "evaluate within a fit", "taken names"}
    check_mapping(INTEGRATION, run, when=when)
