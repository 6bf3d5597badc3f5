"""The callback of LightGBM: real training, cross-validation, estimators, summaries and trouble."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import naiad
from naiad import Run
from naiad.errors import NaiadTypeError, PluginWarning
from naiad.testing.mapping import check_mapping
from naiad_lightgbm.plugin import INTEGRATION

lightgbm = pytest.importorskip("lightgbm", reason='LightGBM is not installed: pip install "naiad[lightgbm]"')
NaiadCallback = pytest.importorskip("naiad_lightgbm").NaiadCallback
create_booster_summary = pytest.importorskip("naiad_lightgbm").create_booster_summary

SETTINGS = {"objective": "binary", "metric": ["binary_logloss", "auc"], "num_threads": 1, "verbose": -1}


@pytest.fixture
def data() -> Any:
    return dataset()


def dataset() -> Any:
    random = np.random.default_rng(7)
    x = random.normal(size=(200, 4))
    return lightgbm.Dataset(x, (x[:, 0] + 0.3 * random.normal(size=200) > 0).astype(int), free_raw_data=False)


def train(data: Any, *callbacks: Any, rounds: int = 5, **options: Any) -> Any:
    sets = {"valid_sets": [data, dataset()], "valid_names": ["train", "valid"]}
    return lightgbm.train(SETTINGS, data, rounds, callbacks=list(callbacks), **sets, **options)


def test_training_fills_the_rows_and_nothing_else(run: Run, data: Any) -> None:
    train(data, NaiadCallback(run))

    check_mapping(INTEGRATION, run, when={"valid_sets", "booster"})


def test_values_are_those_of_lightgbm(run: Run, data: Any) -> None:
    found: dict[str, Any] = {}

    train(data, NaiadCallback(run["a"], ""), lightgbm.record_evaluation(found))

    points = run["a/valid/binary_logloss"].fetch_values()
    assert found["valid"]["binary_logloss"] == points["value"].tolist()
    assert [0, 1, 2, 3, 4] == points["step"].tolist()
    assert {"num_rows": 200, "num_features": 4} == run["a/train_set"].fetch()


def test_early_stopping_loses_no_iteration(run: Run, data: Any) -> None:
    found: dict[str, Any] = {}

    stop, record = lightgbm.early_stopping(2, verbose=False), lightgbm.record_evaluation(found)
    train(data, NaiadCallback(run), stop, record, rounds=200)

    assert found["valid"]["auc"] == run["training/valid/auc"].fetch_values()["value"].tolist()


def test_continued_training_continues_the_curves(run: Run, data: Any) -> None:
    booster = train(data, NaiadCallback(run))

    train(dataset(), NaiadCallback(run), init_model=booster)

    assert list(range(10)) == run["training/train/auc"].fetch_values()["step"].tolist()


def test_cross_validation_logs_mean_and_deviation(run: Run, data: Any) -> None:
    table = lightgbm.cv(SETTINGS, data, 3, nfold=3, callbacks=[NaiadCallback(run)], seed=7)

    assert table["valid auc-mean"] == run["training/valid/auc/mean"].fetch_values()["value"].tolist()
    assert table["valid auc-stdv"] == run["training/valid/auc/std"].fetch_values()["value"].tolist()


def test_an_estimator_of_scikit_learn_takes_the_callback(run: Run) -> None:
    x = np.random.default_rng(7).normal(size=(50, 2))
    y = (x[:, 0] > 0).astype(int)

    lightgbm.LGBMClassifier(n_estimators=3, n_jobs=1, verbose=-1).fit(
        x, y, eval_X=x, eval_y=y, callbacks=[NaiadCallback(run)]
    )

    assert 3 == len(run["training/valid_0/binary_logloss"].fetch_values())


def test_a_summary_describes_the_booster(run: Run, data: Any) -> None:
    booster = train(data)
    y = data.get_label()

    run["summary"] = create_booster_summary(
        booster, list_trees=[0], log_confusion_matrix=True, y_true=y, y_pred=booster.predict(data.get_data()) > 0.5
    )

    loaded = lightgbm.Booster(model_str=run["summary/pickled_model"].fetch_content().decode())
    assert np.array_equal(booster.predict(data.get_data()), loaded.predict(data.get_data()))
    assert 5 == run["summary/num_trees"].fetch()
    gains = run["summary/importances/gain"].fetch()
    assert "Column_0" == max(gains, key=lambda name: gains[name])
    for path in ("visualizations/confusion_matrix", "visualizations/feature_importances/gain"):
        assert run[f"summary/{path}"].fetch_content().startswith(b"\x89PNG")


def test_a_summary_takes_boosters_only() -> None:
    with pytest.raises(NaiadTypeError, match="takes a booster"):
        create_booster_summary("model")


def test_a_failing_training_leaves_a_failed_run(store: Path, data: Any) -> None:
    def boom(_env: Any) -> None:
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"), naiad.init_run(custom_run_id="failing") as run:
        train(data, NaiadCallback(run), boom)

    with naiad.init_project(mode="read-only") as project:
        states = project.fetch_runs_table(columns=["sys/state"]).to_pandas()["sys/state"].tolist()
    assert ["failed"] == states


def test_trouble_of_logging_does_not_reach_the_training(run: Run, data: Any) -> None:
    run["training/valid/auc"] = "taken"

    with pytest.warns(PluginWarning, match="could not log valid/auc"):
        booster = train(data, NaiadCallback(run))

    assert 5 == booster.num_trees()
    assert 5 == len(run["training/train/auc"].fetch_values())


def test_a_broken_run_warns_and_lets_the_training_go_on(run: Run, data: Any) -> None:
    callback = NaiadCallback(run)
    run.stop()

    with pytest.warns(PluginWarning, match="could not log"):
        booster = train(data, callback)

    assert 5 == booster.num_trees()


def test_a_callback_crosses_to_another_process(run: Run) -> None:
    assert isinstance(pickle.loads(pickle.dumps(NaiadCallback(run))), NaiadCallback)


def test_mistakes_raise_where_they_are_made() -> None:
    with pytest.raises(NaiadTypeError):
        NaiadCallback("RUN-1")
