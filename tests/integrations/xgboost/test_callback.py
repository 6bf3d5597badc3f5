"""The callback of XGBoost: real training, continued training, cross-validation, estimators and trouble."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import naiad
from naiad import Run
from naiad.errors import InvalidArgument, NaiadTypeError, PluginWarning
from naiad.testing.mapping import check_mapping
from naiad_xgboost.plugin import INTEGRATION

xgboost = pytest.importorskip("xgboost", reason='XGBoost is not installed: pip install "naiad[xgboost]"')
NaiadCallback = pytest.importorskip("naiad_xgboost").NaiadCallback

SETTINGS = {"objective": "binary:logistic", "eval_metric": ["logloss", "auc"], "nthread": 1}


@pytest.fixture
def data() -> Any:
    random = np.random.default_rng(7)
    x = random.normal(size=(200, 4))
    return xgboost.DMatrix(x, (x[:, 0] + 0.3 * random.normal(size=200) > 0).astype(int))


def train(data: Any, callback: Any, rounds: int = 5, **options: Any) -> Any:
    evals = [(data, "train"), (data, "valid")]
    return xgboost.train(SETTINGS, data, rounds, evals=evals, verbose_eval=False, callbacks=[callback], **options)


def test_training_fills_the_rows_and_nothing_else(run: Run, data: Any) -> None:
    train(data, NaiadCallback(run, log_tree=[0]), early_stopping_rounds=3)

    options = {"evals", "early stopping", "log_importance", "matplotlib", "log_tree", "log_model"}
    check_mapping(INTEGRATION, run, when=options)


def test_values_are_those_of_xgboost(run: Run, data: Any) -> None:
    found: dict[str, Any] = {}

    booster = train(data, NaiadCallback(run["a"], ""), evals_result=found)

    points = run["a/valid/logloss"].fetch_values()
    assert found["valid"]["logloss"] == points["value"].tolist()
    assert [0, 1, 2, 3, 4] == points["step"].tolist()
    assert "done" == run["a/status"].fetch()
    loaded = xgboost.Booster(model_file=bytearray(run["a/pickled_model"].fetch_content()))
    assert np.array_equal(booster.predict(data), loaded.predict(data))
    assert 6 == run["a/booster_config/learner/gradient_booster/tree_train_param/max_depth"].fetch()


def test_continued_training_continues_the_curves(run: Run, data: Any) -> None:
    booster = train(data, NaiadCallback(run))

    train(data, NaiadCallback(run), xgb_model=booster)

    assert list(range(10)) == run["training/train/auc"].fetch_values()["step"].tolist()


def test_a_resumed_run_takes_another_training(store: Path, data: Any) -> None:
    for _ in range(2):
        with naiad.init_run(custom_run_id="same") as run:
            train(data, NaiadCallback(run))

    with naiad.init_run(custom_run_id="same") as run:
        assert 10 == len(run["training/train/auc"].fetch_values())


def test_cross_validation_logs_mean_and_deviation(run: Run, data: Any) -> None:
    table = xgboost.cv(SETTINGS, data, 3, nfold=3, callbacks=[NaiadCallback(run)], seed=7)

    assert table["test-auc-mean"].tolist() == run["training/test/auc/mean"].fetch_values()["value"].tolist()
    assert table["test-auc-std"].tolist() == run["training/test/auc/std"].fetch_values()["value"].tolist()


def test_an_estimator_of_scikit_learn_takes_the_callback(run: Run) -> None:
    x = np.random.default_rng(7).normal(size=(50, 2))
    estimator = xgboost.XGBClassifier(n_estimators=3, n_jobs=1, callbacks=[NaiadCallback(run)])

    estimator.fit(x, x[:, 0] > 0, eval_set=[(x, x[:, 0] > 0)], verbose=False)

    assert 3 == len(run["training/validation_0/logloss"].fetch_values())


def test_feature_names_that_exclude_each_other_are_all_logged(run: Run) -> None:
    x = np.random.default_rng(7).normal(size=(100, 2))
    data = xgboost.DMatrix(x, x[:, 0] + x[:, 1], feature_names=["age", "age/squared"])

    xgboost.train({"nthread": 1}, data, 3, callbacks=[NaiadCallback(run)])

    assert 2 == len(run["training/importance"].fetch())


def test_a_failing_training_leaves_a_failed_run(store: Path, data: Any) -> None:
    class Boom(xgboost.callback.TrainingCallback):  # type: ignore[misc]  # the framework is not typed
        def after_iteration(self, *_: Any) -> bool:
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"), naiad.init_run(custom_run_id="failing") as run:
        xgboost.train(SETTINGS, data, 3, evals=[(data, "a")], callbacks=[NaiadCallback(run), Boom()])

    with naiad.init_project(mode="read-only") as project:
        states = project.fetch_runs_table(columns=["sys/state"]).to_pandas()["sys/state"].tolist()
    assert ["failed"] == states


def test_trouble_of_logging_does_not_reach_the_training(run: Run, data: Any) -> None:
    run["training/valid/auc"] = "taken"

    with pytest.warns(PluginWarning, match="could not log valid/auc"):
        booster = train(data, NaiadCallback(run))

    assert 5 == booster.num_boosted_rounds()
    assert 5 == len(run["training/train/auc"].fetch_values())


def test_a_broken_run_warns_and_lets_the_training_go_on(run: Run, data: Any) -> None:
    callback = NaiadCallback(run)
    run.stop()

    with pytest.warns(PluginWarning, match="could not log"):
        booster = train(data, callback)

    assert 5 == booster.num_boosted_rounds()


def test_a_callback_crosses_to_another_process(run: Run) -> None:
    assert isinstance(pickle.loads(pickle.dumps(NaiadCallback(run))), NaiadCallback)


@pytest.mark.parametrize(
    ("given", "error"), [({"run": "RUN-1"}, NaiadTypeError), ({"log_tree": ["a"]}, InvalidArgument)]
)
def test_mistakes_raise_where_they_are_made(run: Run, given: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        NaiadCallback(**{"run": run, **given})
