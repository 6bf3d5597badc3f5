"""`autolog`: it sees the fits that the user makes, leaves estimators alone, and can be undone."""

from __future__ import annotations

import inspect
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator
from sklearn.cluster import DBSCAN, KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from tests.integrations.sklearn.conftest import needs_callbacks

import naiad
from naiad.errors import PluginWarning, forget_warnings
from naiad.testing.mapping import check_mapping
from naiad_sklearn import NaiadCallback, autolog, create_kmeans_summary, create_learning_curve_chart
from naiad_sklearn.patches import METHODS, _subclasses
from naiad_sklearn.plugin import INTEGRATION


def methods() -> dict[str, object]:
    """All that `autolog` may touch."""
    kinds = [*_subclasses(BaseEstimator), BaseEstimator]
    return {
        f"{kind.__module__}.{kind.__qualname__}.{name}": vars(kind)[name]
        for kind in kinds
        for name in (*METHODS, "__init_subclass__")
        if name in vars(kind)
    }


@pytest.fixture(autouse=True)
def _undone() -> Iterator[None]:
    """Whatever a test does, all classes are as before when it ends."""
    before = methods()
    yield
    after = methods()
    assert before == {name: after[name] for name in before}
    assert not any("naiad_sklearn" in getattr(method, "__module__", "") for method in after.values())


def names(run: naiad.Run) -> list[str]:
    """The namespaces of the fits."""
    return sorted(set(run.get_structure()) - {"sys", "source_code", "monitoring"})


def test_classifier_fills_its_rows(run: naiad.Run, flowers: Any) -> None:
    with autolog(run, log_models=True):
        model = DecisionTreeClassifier(max_depth=2).fit(flowers.x_train, flowers.y_train)

    when = {"fit", "log_train_metrics", "model"}
    check_mapping(INTEGRATION, run, base="DecisionTreeClassifier", when=when)
    assert "done" == run["DecisionTreeClassifier/fit/status"].fetch()
    expected = model.score(flowers.x_train, flowers.y_train)
    assert expected == run["DecisionTreeClassifier/train/metrics/accuracy_score"].fetch()
    assert run["DecisionTreeClassifier/fit/seconds"].fetch() < 60


def test_search_fills_its_rows(run: naiad.Run, flowers: Any) -> None:
    with autolog(run["auto"], base_namespace="mine", log_train_metrics=False):
        search = GridSearchCV(DecisionTreeClassifier(), {"max_depth": [1, 2]}, cv=2)
        search.fit(flowers.x_train, flowers.y_train)

    check_mapping(INTEGRATION, run, base="auto/mine/GridSearchCV", when={"fit", "search"})


def test_failed_fit_fills_its_rows_and_raises(run: naiad.Run, flowers: Any) -> None:
    with autolog(run), pytest.raises(ValueError, match="max_depth"):
        DecisionTreeClassifier(max_depth=-1).fit(flowers.x_train, flowers.y_train)

    check_mapping(INTEGRATION, run, base="DecisionTreeClassifier", when={"fit", "exception"})
    assert "failed" == run["DecisionTreeClassifier/fit/status"].fetch()


def test_fits_are_numbered_and_go_on_in_a_resumed_run(store: Path, patients: Any) -> None:
    with_id = None
    for _ in range(2):
        with naiad.init_run(with_id=with_id) as run, autolog(run, log_train_metrics=False):
            for model in (LinearRegression(), DecisionTreeRegressor(), LinearRegression()):
                model.fit(patients.x_train, patients.y_train)
            with_id = run["sys/id"].fetch()
            found = names(run)

    expected = ["DecisionTreeRegressor", "DecisionTreeRegressor_2"]
    assert [*expected, *(f"LinearRegression{i}" for i in ("", "_2", "_3", "_4"))] == found


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(StandardScaler(), DecisionTreeClassifier()),
        BaggingClassifier(n_estimators=2),
        BaggingClassifier(n_estimators=2, n_jobs=2),
        VotingClassifier([("a", DecisionTreeClassifier()), ("b", DecisionTreeClassifier())], n_jobs=2),
    ],
    ids=["pipeline", "bagging", "parallel bagging", "parallel voting"],
)
def test_fits_within_fits_belong_to_the_outermost(run: naiad.Run, flowers: Any, model: Any) -> None:
    import joblib

    with autolog(run, log_train_metrics=False), joblib.parallel_config(backend="threading"):
        model.fit(flowers.x_train, flowers.y_train)

    assert [type(model).__name__] == names(run)


def test_other_ways_to_fit_are_seen_once(run: naiad.Run, flowers: Any) -> None:
    with autolog(run):
        StandardScaler().fit_transform(flowers.x_train)
        DBSCAN().fit_predict(flowers.x_train)
        PCA(2).fit_transform(flowers.x_train)
        KMeans(2, n_init=1).fit(X=flowers.x_train)

    assert ["DBSCAN", "KMeans", "PCA", "StandardScaler"] == names(run)
    assert {"samples": 75, "features": 4} == run["KMeans/fit/data"].fetch()


@needs_callbacks
def test_estimators_with_a_callback_are_left_to_it(run: naiad.Run, flowers: Any) -> None:
    with autolog(run["auto"]):
        LogisticRegression(max_iter=500).set_callbacks(NaiadCallback(run)).fit(flowers.x_train, flowers.y_train)

    assert ["fit"] == names(run)


def test_copies_that_summaries_fit_are_not_seen(run: naiad.Run, regressor: Any, patients: Any, flowers: Any) -> None:
    with autolog(run):
        create_learning_curve_chart(regressor, patients.x_train, patients.y_train)
        create_kmeans_summary(KMeans(2, n_init=1), flowers.x_train, n_clusters=2)

    assert [] == names(run)


def test_classes_defined_meanwhile_are_seen_and_put_back(run: naiad.Run) -> None:
    with autolog(run):

        class Mine(BaseEstimator):
            def fit(self, X: Any, y: Any = None) -> Mine:
                return self

        Mine().fit(np.ones((3, 2)))
    Mine().fit(np.ones((3, 2)))

    assert ["Mine"] == names(run)


def test_methods_keep_their_signatures_and_estimators_pickle(run: naiad.Run, flowers: Any) -> None:
    before = inspect.signature(DecisionTreeClassifier.fit)
    with autolog(run):
        assert before == inspect.signature(DecisionTreeClassifier.fit)
        content = pickle.dumps(DecisionTreeClassifier(random_state=0).fit(flowers.x_train, flowers.y_train))

    assert pickle.dumps(DecisionTreeClassifier(random_state=0).fit(flowers.x_train, flowers.y_train)) == content


def test_two_runs_see_what_happens_while_they_look(store: Path, flowers: Any) -> None:
    with naiad.init_run() as one, naiad.init_run() as other:
        first = autolog(one)
        with autolog(other):
            DecisionTreeClassifier().fit(flowers.x_train, flowers.y_train)
        StandardScaler().fit(flowers.x_train)
        first.stop()
        first.stop()
        PCA().fit(flowers.x_train)

        assert (["DecisionTreeClassifier", "StandardScaler"], ["DecisionTreeClassifier"]) == (names(one), names(other))


def test_threads_of_the_user_are_seen(run: naiad.Run, flowers: Any) -> None:
    with autolog(run, log_train_metrics=False):
        fits = [
            threading.Thread(target=DecisionTreeClassifier().fit, args=(flowers.x_train, flowers.y_train))
            for _ in range(4)
        ]
        for fit in fits:
            fit.start()
        for fit in fits:
            fit.join()

    assert 4 == len(names(run))


def test_workers_of_joblib_are_not_seen(run: naiad.Run, flowers: Any) -> None:
    with autolog(run):
        models = [DecisionTreeClassifier() for _ in range(3)]
        Parallel(n_jobs=2, backend="threading")(delayed(each.fit)(flowers.x_train, flowers.y_train) for each in models)

    assert [] == names(run)


def test_stopped_run_costs_one_warning_and_no_fit(store: Path, flowers: Any) -> None:
    forget_warnings()
    run = naiad.init_run()
    with autolog(run):
        run.stop()
        with pytest.warns(PluginWarning, match="InactiveRun") as given:
            model = DecisionTreeClassifier().fit(flowers.x_train, flowers.y_train)

    assert 1 == len(given)
    assert 3 == model.n_classes_


def test_wrong_call_fails_as_it_would_without(run: naiad.Run) -> None:
    with autolog(run), pytest.raises(TypeError, match="missing 1 required positional argument"):
        DecisionTreeClassifier().fit([[1.0]])


def test_replacing_a_method_meanwhile_is_respected(run: naiad.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's patch stays, and calls ours, which does nothing any more."""
    before = PCA.fit
    with autolog(run):
        ours = PCA.fit

        def theirs(self: Any, *args: Any) -> Any:
            return ours(self, *args)

        PCA.fit = theirs
    try:
        PCA(1).fit(np.eye(3))
        assert PCA.fit is theirs
    finally:
        PCA.fit = before

    assert [] == names(run)
