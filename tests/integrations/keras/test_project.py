"""An untidy project: colliding metrics, a fit that fails, and a run that is rewound and goes on; as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import naiad
from naiad_keras import NaiadCallback


def leaves(structure: dict[str, Any], above: str = "") -> dict[str, str]:
    """The kind of each field, by its path."""
    found: dict[str, str] = {}
    for name, inner in structure.items():
        found |= leaves(inner, f"{above}{name}/") if isinstance(inner, dict) else {f"{above}{name}": inner.kind}
    return found


def made() -> Any:
    keras.utils.set_random_seed(7)
    inputs = keras.Input((3,))
    outputs = {name: keras.layers.Dense(1, name=name)(inputs) for name in ("mask", "score")}
    model = keras.Model(inputs, outputs)
    error = keras.metrics.MeanSquaredError
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    model.compile(
        keras.optimizers.SGD(schedule),
        loss={"mask": "mse", "score": "mae"},
        metrics={"mask": [error(name="acc"), error(name="acc/top")], "score": [error(name="size")]},
    )
    return model


class Fails(keras.callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch == 1:
            raise RuntimeError("out of memory")


METRICS = ("loss", "mask_loss", "score_loss", "mask_acc", "mask_acc_top", "score_size")


def test_failing_fit_and_the_one_that_goes_on_in_a_rewound_run_are_stored_as_a_whole(store: Path) -> None:
    x, y = np.ones((8, 3)), {"mask": np.ones((8, 1)), "score": np.ones((8, 1))}
    with naiad.init_run(project="p") as run:
        failing = [NaiadCallback(run["fold/0"], log_architecture=True), Fails()]
        with pytest.raises(RuntimeError, match="out of memory"):
            made().fit(x, y, validation_data=(x, y), epochs=3, verbose=0, callbacks=failing)

    with naiad.init_run(with_id="P-1", rewind_to=0) as run:
        ours, model = NaiadCallback(run["fold/0"], log_predict_calls=True), made()
        evaluate = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: model.evaluate(x, y, verbose=0, callbacks=[ours])
        )
        model.fit(x, y, validation_data=(x, y), epochs=3, verbose=0, callbacks=[ours, evaluate], initial_epoch=1)
        model.predict(x, verbose=0, callbacks=[ours])

    run = naiad.init_run(with_id="P-1", mode="read-only")
    found = {
        path[16:]: kind for path, kind in leaves(run.get_structure()).items() if path.startswith("fold/0/training")
    }
    config = {
        path: kind for path, kind in found.items() if path.startswith(("model/optimizer_config", "model/compile"))
    }
    expected = {f"train/epoch/{name}": "float_series" for name in METRICS}
    expected |= {f"validation/epoch/{name}": "float_series" for name in METRICS}
    expected |= {f"evaluation/within_fit/{name}": "float_series" for name in METRICS}
    for place in ("train/epoch", "validation/epoch", "evaluation/within_fit"):
        expected[f"integration/renamed/{place}/mask_acc_top"] = "string"
    expected |= {"model/learning_rate": "float_series", "model/history": "file", "model/summary": "file"}
    expected |= {"model/architecture": "file", "status": "string"}
    expected |= {f"fit_params/{name}": "int" for name in ("epochs", "steps", "verbose")}
    expected |= {f"prediction/{name}": "float_series" for name in ("samples", "batches", "seconds")}
    assert expected == {path: kind for path, kind in found.items() if path not in config}
    assert "float" == config["model/optimizer_config/learning_rate/config/initial_learning_rate"]
    steps = {
        name: list(run[f"fold/0/training/{name}"].fetch_values()["step"])
        for name in (
            "train/epoch/mask_acc",
            "validation/epoch/loss",
            "evaluation/within_fit/mask_acc_top",
            "model/learning_rate",
        )
    }
    assert [[0, 1, 2], [0, 1, 2], [1, 2], [0, 1, 2]] == list(steps.values())
    everything = run["fold/0/training/train/epoch/loss"].fetch_values(include_rewound=True)
    assert [0, 1, 1, 2] == list(everything["step"])
    assert ("done", 8) == (
        run["fold/0/training/status"].fetch(),
        run["fold/0/training/prediction/samples"].fetch_last(),
    )
