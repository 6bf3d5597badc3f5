"""Files a fit leaves: descriptions of the model, models, predictions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

from naiad import Run
from naiad.errors import PluginWarning
from naiad_keras import NaiadCallback

Fit = Callable[..., Any]


def loaded(run: Run, path: str, folder: Path) -> Any:
    """The model that is kept at a path."""
    run[path].download(str(folder / "model.keras"))
    return keras.saving.load_model(folder / "model.keras")


def test_summary_and_history_are_kept_unless_refused(run: Run, model: Any, fit: Fit) -> None:
    history = fit(model, NaiadCallback(run), epochs=2).history
    fit(model, NaiadCallback(run, "refused", log_model_summary=False), epochs=1)

    summary = run["training/model/summary"].fetch_content().decode()
    assert "txt" == run["training/model/summary"].fetch_extension()
    assert "Trainable params: 21 " in summary
    assert 2 == summary.count("(Dense)")
    assert "\x1b" not in summary
    kept = json.loads(run["training/model/history"].fetch_content())
    assert {"epoch": [0, 1], **history} == kept
    assert not run.exists("refused/model/summary")


def test_model_that_is_built_by_its_first_batch_is_described_at_the_end(run: Run, data: Any) -> None:
    class Late(keras.Sequential):
        def _symbolic_build(self, *_: Any, **__: Any) -> None:
            """Do nothing, as on tensorflow; other back ends build models before they are trained."""

    model = Late([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    states: list[bool] = []
    look = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: states.append(model.built))

    model.fit(*data, verbose=0, callbacks=[NaiadCallback(run), look])

    assert [False] == states
    assert "Trainable params: 4 " in run["training/model/summary"].fetch_content().decode()


def test_architecture_makes_the_same_model(run: Run, model: Any, fit: Fit) -> None:
    fit(model, NaiadCallback(run, log_architecture=True), epochs=1)

    assert "json" == run["training/model/architecture"].fetch_extension()
    again = keras.models.model_from_json(run["training/model/architecture"].fetch_content().decode())
    assert [4, 1] == [layer.units for layer in again.layers]


def test_last_checkpoint_and_final_model_predict_as_the_model_does(
    run: Run, model: Any, fit: Fit, data: Any, tmp_path: Path
) -> None:
    fit(model, NaiadCallback(run, log_checkpoints="last", log_final_model=True), epochs=2)

    expected = model.predict(data[0], verbose=0)
    for path in ("training/model/checkpoints/last", "training/model/final"):
        found = loaded(run, path, tmp_path).predict(data[0], verbose=0)
        assert np.allclose(expected, found, atol=1e-6)


def test_all_checkpoints_carry_their_epoch(run: Run, model: Any, fit: Fit, tmp_path: Path) -> None:
    callback = NaiadCallback(run, log_checkpoints="all")
    fit(model, callback, epochs=2)
    fit(model, callback, epochs=1)

    structure = run.get_structure()["training"]["model"]["checkpoints"]
    assert {"epoch_0", "epoch_1", "epoch_2"} == set(structure)
    updates = [
        int(loaded(run, f"training/model/checkpoints/{name}", tmp_path).optimizer.iterations)
        for name in sorted(structure)
    ]
    assert [4, 8, 12] == updates


@pytest.mark.parametrize(("mode", "best"), [("min", 2), ("max", 1)])
def test_best_checkpoint_is_that_of_the_best_epoch_of_all_fits(
    run: Run, model: Any, fit: Fit, tmp_path: Path, mode: str, best: int
) -> None:
    class Score(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs["score"] = scores[epoch]

    scores = [float("nan"), 5.0, 2.0, 3.0]
    options = {"log_checkpoints": "best", "monitor": "score", "mode": mode}

    fit(model, Score(), NaiadCallback(run, **options), epochs=3)
    fit(model, Score(), NaiadCallback(run, **options), epochs=4, initial_epoch=3)

    assert (best, scores[best]) == (run["training/model/best_epoch"].fetch(), run["training/model/best_score"].fetch())
    assert 4 * (best + 1) == int(loaded(run, "training/model/checkpoints/best", tmp_path).optimizer.iterations)


def test_best_of_a_metric_that_is_not_there_costs_a_warning(run: Run, model: Any, fit: Fit) -> None:
    with pytest.warns(PluginWarning, match="monitor='val_loss' is not a metric of this fit. The metrics are loss, mae"):
        fit(model, NaiadCallback(run, log_checkpoints="best"), epochs=2, validation=False)

    assert not run.exists("training/model/checkpoints")
    assert "done" == run["training/status"].fetch()


def test_best_waits_for_epochs_with_validation(run: Run, model: Any, fit: Fit) -> None:
    fit(model, NaiadCallback(run, log_checkpoints="best"), epochs=3, validation_freq=2)

    assert 1 == run["training/model/best_epoch"].fetch()


def test_direction_that_keras_does_not_know_costs_a_warning(run: Run, another_model: Any, fit: Fit) -> None:
    class Odd(keras.metrics.Mean):
        def update_state(self, y: Any, predicted: Any, sample_weight: Any = None) -> Any:
            return super().update_state(predicted)

    model = another_model("sgd")
    model.compile("sgd", "mse", metrics=[Odd(name="odd")])

    with pytest.warns(PluginWarning, match="Pass `mode='max'`"):
        fit(model, NaiadCallback(run, log_checkpoints="best", monitor="val_odd"), epochs=2)

    assert "could not keep a checkpoint" in run["training/integration/errors"].fetch_last()


def test_predictions_of_any_kind_become_series(run: Run, model: Any, fit: Fit, data: Any) -> None:
    def predictions(model: Any, epoch: int) -> dict[str, Any]:
        found = model.predict(data[0][:4], verbose=0)
        table = pd.DataFrame({"expected": data[1][:4, 0], "predicted": found[:, 0]})
        return {"table": table, "mean": float(found.mean()), "note": f"after epoch {epoch}"}

    fit(model, NaiadCallback(run, log_predictions=predictions), epochs=2)

    assert ["after epoch 0", "after epoch 1"] == run["training/predictions/note"].fetch_values()["value"].tolist()
    assert [0, 1] == run["training/predictions/mean"].fetch_values()["step"].tolist()
    assert "file_series" == run.get_attribute("training/predictions/table").kind
    assert not run.exists("training/prediction")


@pytest.mark.parametrize(("answer", "words"), [([1, 2], "not \\[1, 2\\]"), (ZeroDivisionError("a"), "ZeroDivision")])
def test_predictions_that_go_wrong_cost_a_warning(run: Run, model: Any, fit: Fit, answer: Any, words: str) -> None:
    def predictions(model: Any, epoch: int) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.warns(PluginWarning, match=words) as given:
        fit(model, NaiadCallback(run, log_predictions=predictions), epochs=2)

    assert 1 == len([each for each in given if each.category is PluginWarning])


def test_function_of_predictions_may_have_nothing_to_say(run: Run, model: Any, fit: Fit) -> None:
    fit(model, NaiadCallback(run, log_predictions=lambda model, epoch: {"n": epoch} if epoch else None), epochs=2)

    assert [1] == run["training/predictions/n"].fetch_values()["step"].tolist()
