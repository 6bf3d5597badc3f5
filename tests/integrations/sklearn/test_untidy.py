"""Targets, weights and estimators as they come: frames, many classes, what cannot be pickled or cannot predict."""

from __future__ import annotations

import threading
import time
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor, RegressorChain
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier
from tests.integrations.sklearn.conftest import Data, halves

import naiad
from naiad.errors import NaiadWarning
from naiad_sklearn import (
    autolog,
    create_classifier_summary,
    create_feature_importance_chart,
    create_regressor_summary,
    get_metrics,
    log_estimator,
)
from naiad_sklearn.estimators import targets

WEIGHTS = np.linspace(0.1, 5, 75)

FORMS = {
    "frame": lambda y: pd.DataFrame({"target": y}, index=range(100, 100 + len(y))),
    "column": lambda y: np.asarray(y).reshape(-1, 1),
    "list": list,
    "objects": lambda y: pd.Series(y).astype(object),
    "nullable": lambda y: pd.Series(y).astype("Int64"),
    "categories": lambda y: pd.Series(y).astype("category"),
}


def small_tree(flowers: Data) -> DecisionTreeClassifier:
    return DecisionTreeClassifier(max_depth=2, random_state=0).fit(flowers.x_train, flowers.y_train)


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    """The summary of targets in arrays, which takes a second."""
    flowers = halves(*load_iris(return_X_y=True))
    return create_classifier_summary(small_tree(flowers), *flowers)


@pytest.mark.parametrize("form", FORMS)
def test_targets_of_any_form_give_the_same_summary(form: str, flowers: Data, plain: dict[str, Any]) -> None:
    model = small_tree(flowers)

    found = create_classifier_summary(
        model, flowers.x_train, flowers.x_test, FORMS[form](flowers.y_train), FORMS[form](flowers.y_test)
    )

    assert plain["test"]["metrics"] == found["test"]["metrics"]
    assert plain["test"]["scores"] == found["test"]["scores"]
    assert plain.keys() == found.keys()  # with all charts


def test_regressor_fitted_to_a_frame_has_all_of_its_summary(patients: Any) -> None:
    """Its predictions have one column then, too."""
    y_train, y_test = patients.y_train.to_frame(), patients.y_test.to_frame()
    model = LinearRegression().fit(patients.x_train, y_train)

    found = create_regressor_summary(model, patients.x_train, patients.x_test, y_train, y_test)

    charts = {"learning_curve", "feature_importance", "residuals", "prediction_error", "cooks_distance"}
    assert {f"diagnostics_charts/{chart}" for chart in charts} <= found.keys()
    expected = r2_score(patients.y_test, model.predict(patients.x_test))
    assert expected == pytest.approx(found["test"]["metrics"]["r2_score"]) == found["test"]["scores"]["r2_score"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (scipy.sparse.csr_matrix([[1, 0], [0, 1]]), [[1, 0], [0, 1]]),
        (np.array(["a", "b"], dtype=object), ["a", "b"]),
        (np.array([1, "a"], dtype=object), [1, "a"]),
        (pd.DataFrame({"a": [1.5]}), [1.5]),
    ],
)
def test_targets_are_plain_arrays(given: Any, expected: list[Any]) -> None:
    assert expected == targets(given).tolist()


@pytest.mark.parametrize(
    ("estimator", "options"),
    [
        (LogisticRegression(max_iter=500), {"sample_weight": WEIGHTS}),
        (make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__sample_weight": WEIGHTS}),
    ],
    ids=["estimator", "pipeline"],
)
def test_autolog_weighs_samples_as_the_fit_does(run: naiad.Run, estimator: Any, options: Any, flowers: Any) -> None:
    with autolog(run):
        estimator.fit(flowers.x_train[::-1], flowers.y_train[::-1], **options)

    predicted = estimator.predict(flowers.x_train[::-1])
    expected = accuracy_score(flowers.y_train[::-1], predicted, sample_weight=WEIGHTS)
    assert expected != accuracy_score(flowers.y_train[::-1], predicted)
    assert expected == run[f"{type(estimator).__name__}/train/metrics/accuracy_score"].fetch()


@pytest.mark.parametrize("model", [LogisticRegression(max_iter=500), Ridge()], ids=["classifier", "regressor"])
def test_weights_count_in_every_metric(run: naiad.Run, model: Any, flowers: Any) -> None:
    model.fit(flowers.x_train, flowers.y_train)
    log_estimator(run["m"], model, flowers.x_test, flowers.y_test, sample_weight=pd.Series(WEIGHTS))

    weighted, plain = run["m/test/metrics"].fetch(), get_metrics(model, flowers.x_test, flowers.y_test)
    assert weighted.keys() == plain.keys()
    assert not any(weighted[name] == plain[name] for name in plain)


@pytest.mark.parametrize(
    "estimator",
    [
        MultiOutputClassifier(DecisionTreeClassifier()),
        ClassifierChain(DecisionTreeClassifier()),
        RegressorChain(Ridge()),
        MultiOutputRegressor(Ridge()),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
@pytest.mark.parametrize("by", ["place", "name"])
def test_targets_called_otherwise_have_training_metrics(run: naiad.Run, estimator: Any, by: str, flowers: Any) -> None:
    is_chain = isinstance(estimator, ClassifierChain)
    values = (
        np.c_[flowers.y_train > 0, flowers.y_train > 1].astype(int)
        if is_chain
        else np.c_[flowers.y_train, flowers.y_train]
    )
    name = "y" if isinstance(estimator, MultiOutputClassifier | MultiOutputRegressor) else "Y"
    with autolog(run):
        estimator.fit(flowers.x_train, values) if by == "place" else estimator.fit(
            X=flowers.x_train, **_named(estimator, name, values)
        )

    assert run.get_structure()[type(estimator).__name__]["train"]["metrics"]
    assert not run.exists(f"{type(estimator).__name__}/integration/errors")


def _named(estimator: Any, name: str, values: Any) -> dict[str, Any]:
    import inspect

    return {name if name in inspect.signature(estimator.fit).parameters else "Y": values}


@pytest.mark.parametrize("state", ["search without refit", "not fitted"])
def test_estimator_that_cannot_predict_has_the_rest_of_its_summary(run: naiad.Run, state: str, flowers: Any) -> None:
    model: Any = DecisionTreeClassifier()
    if state == "search without refit":
        model = GridSearchCV(SVC(), {"C": [1, 2]}, scoring=["accuracy", "f1_macro"], refit=False)
        model.fit(flowers.x_train, flowers.y_train)

    log_estimator(run["one"], model, flowers.x_test, flowers.y_test)
    run["two"] = create_classifier_summary(model, *flowers)

    for base in ("one", "two"):
        assert run.exists(f"{base}/pickled_model")
        assert "test" not in run.get_structure()[base]
        assert (state == "search without refit") == run.exists(f"{base}/search/cv_results")


class Locked(ClassifierMixin, BaseEstimator):
    """Holds what cannot be pickled, and draws no diagram."""

    _html_repr = property(lambda self: 1 / 0)

    def fit(self, X: Any, y: Any) -> Locked:
        self.classes_, self.lock_ = np.unique(y), threading.Lock()
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.classes_[0])


class Odd(Locked):
    """Fails in its own way when it is pickled."""

    def __reduce__(self) -> Any:
        raise RuntimeError("not today")


@pytest.mark.parametrize("kind", [Locked, Odd])
def test_estimator_that_cannot_be_pickled_costs_a_warning(run: naiad.Run, kind: Any, flowers: Any) -> None:
    model = kind().fit(flowers.x_train, flowers.y_train)

    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        run["m"] = create_classifier_summary(model, *flowers, log_charts=False)

    messages = [str(each.message).partition(" was left out")[0] for each in given if each.category is NaiadWarning]
    # before version 1.9 scikit-learn draws these
    assert "The pickled model" == next(each for each in messages if each != "The diagram")
    assert run.exists("m/test/metrics/accuracy_score")
    assert not run.exists("m/pickled_model")


def test_two_hundred_classes_take_seconds(run: naiad.Run) -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(4000, 5)), np.arange(4000) % 200
    model = RandomForestClassifier(3, max_depth=6, random_state=0).fit(x[:2000], y[:2000])

    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run["m"] = create_classifier_summary(model, x[:2000], x[2000:], y[:2000], y[2000:])

    assert time.process_time() - began < 30  # it was minutes
    assert 5 == len(run.get_structure()["m"]["diagnostics_charts"])
    assert 200 == len(run.get_structure()["m"]["test"]["scores"])


@pytest.mark.parametrize(
    "regressor",
    [KNeighborsRegressor(), SVR(), make_pipeline(StandardScaler(), SVR(C=100)), GridSearchCV(SVR(), {"C": [1, 100]})],
    ids=["neighbours", "kernel", "pipeline", "search"],
)
def test_features_are_permuted_where_nothing_else_tells_their_importance(regressor: Any, patients: Any) -> None:
    regressor.fit(patients.x_train, patients.y_train)

    chart = create_feature_importance_chart(regressor, patients.x_train, patients.y_train)

    assert chart is not None
    assert b"PNG" in chart.content[:8]


def test_nothing_is_logged_by_the_autolog_of_mlflow_besides_what_the_user_does(
    run: naiad.Run, tmp_path: Any, flowers: Any, patients: Any
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed; it is no dependency of the tests")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.sklearn.autolog(silent=True, log_models=False)
    try:
        with mlflow.start_run() as theirs, autolog(run["fits"]):
            model = DummyClassifier().fit(flowers.x_train, flowers.y_train)
            before = set(mlflow.get_run(theirs.info.run_id).data.metrics)
            run["c"] = create_classifier_summary(model, *flowers)
            log_estimator(run["e"], model, flowers.x_test, flowers.y_test)
            line = LinearRegression().fit(patients.x_train, patients.y_train)
            run["r"] = create_regressor_summary(line, *patients)
            after = set(mlflow.get_run(theirs.info.run_id).data.metrics)
        runs = mlflow.search_runs()
    finally:
        mlflow.sklearn.autolog(disable=True)

    assert after - before == {name for name in after - before if name.startswith("training_")}
    assert 1 == len(runs)
