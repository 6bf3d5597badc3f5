"""The callback: real fits, in this process and in workers of joblib; its rows, its trouble, and its silence."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from joblib.externals.loky import get_reusable_executor
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from tests.integrations.sklearn.conftest import needs_callbacks

import naiad
from naiad.errors import PluginWarning, forget_warnings
from naiad.testing.mapping import check_mapping
from naiad_sklearn import NaiadCallback
from naiad_sklearn.plugin import INTEGRATION

FIT = {"fit", "tasks"}
ITERATIONS = "fit/tasks/lbfgs-iter/seconds"

pytestmark = needs_callbacks


class Breaks(ClassifierMixin, BaseEstimator):
    """A classifier whose fit ends in an exception."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error

    def fit(self, X: Any, y: Any) -> Breaks:
        raise self.error or ValueError("no convergence")


@pytest.fixture(scope="module")
def workers() -> Iterator[None]:
    """Workers for parallel fits, ended with the last test here."""
    yield
    get_reusable_executor().shutdown(wait=True)


def points(run: naiad.Run, path: str) -> list[float]:
    return [float(value) for value in run[path].fetch_values()["value"]]


def test_iterations_are_points(run: naiad.Run, flowers: Any) -> None:
    model = LogisticRegression(max_iter=500)
    model.set_callbacks(NaiadCallback(run, scoring=["accuracy", "neg_log_loss"])).fit(flowers.x_train, flowers.y_train)

    check_mapping(INTEGRATION, run, when=FIT | {"scoring", "single"})
    iterations = int(model.n_iter_[0])
    scores = run["fit/tasks/lbfgs-iter/scores/accuracy"].fetch_values()
    assert list(range(iterations)) == scores["step"].tolist()[:iterations]
    assert model.score(flowers.x_train, flowers.y_train) == scores["value"].iloc[-1]
    assert scores["value"].iloc[-1] == run["fit/scores/accuracy"].fetch()
    assert points(run, "fit/tasks/lbfgs-iter/scores/neg_log_loss")[0] < -0.1
    assert {"status": "done", "estimator": "LogisticRegression"}.items() <= run["fit"].fetch().items()
    assert {"samples": 75, "features": 4} == run["fit/data"].fetch()


def test_search_in_workers_is_one_run(run: naiad.Run, flowers: Any, workers: None) -> None:
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    search = GridSearchCV(pipeline, {"logisticregression__C": [0.1, 1]}, cv=2, n_jobs=2)
    search.set_callbacks(NaiadCallback(run["search"], scoring="accuracy")).fit(flowers.x_train, flowers.y_train)

    check_mapping(INTEGRATION, run, base="search", when=FIT | {"scoring", "search"})
    tasks = run["search/fit/tasks"]
    evaluations = tasks["search/candidate-split-evaluation/seconds"].fetch_values()
    assert [0, 1, 2, 3] == evaluations["step"].tolist()
    for i in range(4):
        inner = tasks[f"search/candidate-split-evaluation/{i}/fit-final-estimator/lbfgs-iter/scores/accuracy"]
        assert 2 < len(inner.fetch_values())
    assert 1 == len(tasks["refit-with-best-params/seconds"].fetch_values())
    assert search.best_score_ == run["search/search/best_score"].fetch()


def test_clones_in_workers_log_to_the_same_series(run: naiad.Run, flowers: Any, workers: None) -> None:
    model = LogisticRegression(max_iter=500).set_callbacks(NaiadCallback(run))
    cross_val_score(model, flowers.x_train, flowers.y_train, cv=3, n_jobs=2)

    assert [0.0, 0.0, 0.0] == run[ITERATIONS].fetch_values()["step"].tolist()[:3]
    assert "done" == run["fit/status"].fetch()


def test_depth_limits_what_is_watched(run: naiad.Run, flowers: Any) -> None:
    """And scikit-learn does not warn of the tree that takes no callback."""
    pipeline = make_pipeline(StandardScaler(), DecisionTreeClassifier())
    pipeline.set_callbacks(NaiadCallback(run, max_propagation_depth=0)).fit(flowers.x_train, flowers.y_train)

    assert 1 == len(points(run, "fit/tasks/fit-final-estimator/seconds"))
    check_mapping(INTEGRATION, run, when=FIT)


def test_fits_go_on_with_the_series_and_replace_the_rest(run: naiad.Run, flowers: Any) -> None:
    callback = NaiadCallback(run)
    lengths = []
    for model in (LogisticRegression(max_iter=3), make_pipeline(LogisticRegression(max_iter=4))):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that so few iterations do not converge is the point
            model.set_callbacks(callback).fit(flowers.x_train, flowers.y_train)
        lengths.append(len(points(run, ITERATIONS)))

    assert [4, 4] == lengths
    assert 5 == len(points(run, "fit/tasks/fit-final-estimator/lbfgs-iter/seconds"))
    assert "C" not in run["fit/params"].fetch()
    assert "Pipeline" == run["fit/estimator"].fetch()


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("no convergence"), "failed"), (KeyboardInterrupt(), "interrupted")],
    ids=["failed", "interrupted"],
)
def test_exception_is_kept_and_raised(run: naiad.Run, flowers: Any, error: BaseException, status: str) -> None:
    model = make_pipeline(StandardScaler(), Breaks(error))
    model.set_callbacks(NaiadCallback(run, max_propagation_depth=0))
    with pytest.raises(type(error)):
        model.fit(flowers.x_train, flowers.y_train)

    found = run["fit"].fetch()
    assert (status, type(error).__name__) == (found["status"], found["exception"]["type"])
    assert "in fit" in found["exception"]["traceback"]
    assert 1 == len(points(run, "fit/tasks/fit-transform-standardscaler/seconds"))


def test_failed_fit_fills_its_rows(run: naiad.Run, flowers: Any) -> None:
    model = make_pipeline(StandardScaler(), Breaks()).set_callbacks(NaiadCallback(run, max_propagation_depth=0))
    with pytest.raises(ValueError, match="no convergence"):
        model.fit(flowers.x_train, flowers.y_train)

    check_mapping(INTEGRATION, run, when=FIT | {"exception"})


def test_fit_within_a_handled_exception_is_no_failure(run: naiad.Run, flowers: Any) -> None:
    model = LogisticRegression(max_iter=500).set_callbacks(NaiadCallback(run))
    try:
        raise RuntimeError("the first try")
    except RuntimeError:
        model.fit(flowers.x_train, flowers.y_train)

    assert "done" == run["fit/status"].fetch()


def test_two_runs_in_one_process_do_not_mix(store: Path, flowers: Any) -> None:
    with naiad.init_run() as one, naiad.init_run() as other:
        first = LogisticRegression(max_iter=500).set_callbacks(NaiadCallback(one, base_namespace="a"))
        first.fit(flowers.x_train, flowers.y_train)
        second = LogisticRegression(C=0.1, max_iter=500).set_callbacks(NaiadCallback(other["b"]))
        second.fit(flowers.x_train, flowers.y_train)

        assert (1.0, 0.1) == (one["a/fit/params/C"].fetch(), other["b/fit/params/C"].fetch())
        assert not one.exists("b")
        assert not other.exists("a")


def test_resumed_run_goes_on(store: Path, flowers: Any) -> None:
    lengths = []
    with_id = None
    for _ in range(2):
        with naiad.init_run(with_id=with_id) as run:
            LogisticRegression(max_iter=500).set_callbacks(NaiadCallback(run)).fit(flowers.x_train, flowers.y_train)
            lengths.append(len(points(run, ITERATIONS)))
            with_id = run["sys/id"].fetch()

    assert 2 * lengths[0] == lengths[1]


def test_stopped_run_costs_one_warning_and_no_fit(store: Path, flowers: Any) -> None:
    forget_warnings()
    run = naiad.init_run()
    run.stop()
    model = LogisticRegression(max_iter=500).set_callbacks(NaiadCallback(run))
    with pytest.warns(PluginWarning, match="InactiveRun") as given:
        model.fit(flowers.x_train, flowers.y_train)

    assert 1 == len(given)
    assert hasattr(model, "coef_")


def test_trouble_is_noted_in_the_run(run: naiad.Run, flowers: Any) -> None:
    """What the user has stored where the fit should go stays, and the fit goes on."""
    forget_warnings()
    run["fit/status"].append("mine")
    model = LogisticRegression(max_iter=500).set_callbacks(NaiadCallback(run))
    with pytest.warns(PluginWarning) as given:
        model.fit(flowers.x_train, flowers.y_train)

    assert hasattr(model, "coef_")
    assert "could not log the start of a fit" in str(given[0].message)
    assert "could not log the start of a fit: " in run["integration/errors"].fetch_values()["value"][0]
    assert "mine" == run["fit/status"].fetch_last()


def test_scoring_that_fails_is_trouble_and_no_exception(run: naiad.Run, flowers: Any) -> None:
    forget_warnings()

    def broken(*_: object) -> float:
        raise ZeroDivisionError("no samples")

    model = LogisticRegression(max_iter=500).set_callbacks(NaiadCallback(run, scoring=broken))
    with pytest.warns(PluginWarning, match="could not score a task of a fit: ZeroDivisionError: no samples") as given:
        model.fit(flowers.x_train, flowers.y_train)

    assert 1 == len(given)
    check_mapping(INTEGRATION, run, when=FIT | {"trouble"})


def test_estimator_is_what_it_would_be_without(run: naiad.Run, flowers: Any) -> None:
    plain, watched = LogisticRegression(max_iter=500), LogisticRegression(max_iter=500)
    plain.fit(flowers.x_train, flowers.y_train)
    watched.set_callbacks(NaiadCallback(run, scoring="accuracy")).fit(flowers.x_train, flowers.y_train)

    assert plain.coef_.tolist() == watched.coef_.tolist()
    assert {*vars(plain), "_skl_callbacks"} == set(vars(watched))


def test_callback_pickles_to_the_place_of_the_run(run: naiad.Run, flowers: Any) -> None:
    """A fitted estimator carries it along, and a clone too."""
    model = Pipeline([("scale", StandardScaler()), ("model", LogisticRegression())]).set_callbacks(NaiadCallback(run))
    model.fit(flowers.x_train, flowers.y_train)
    content = pickle.dumps(model._skl_callbacks[0])
    pickle.loads(pickle.dumps(clone(model))).fit(flowers.x_train, flowers.y_train)

    assert 1000 > len(content)
    assert 2 == len(points(run, "fit/tasks/fit-final-estimator/seconds"))
