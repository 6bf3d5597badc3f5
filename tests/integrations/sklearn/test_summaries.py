"""Summaries: Neptune's keys, what is new beside them, and an estimator that stays as it was."""

from __future__ import annotations

import inspect
import json
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris, make_multilabel_classification
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from tests.integrations.sklearn.conftest import needs_callbacks

import naiad
import naiad_sklearn
from naiad.errors import NaiadTypeError, NaiadWarning, forget_warnings
from naiad.testing.mapping import check_mapping
from naiad.utils import describe
from naiad_sklearn import (
    NaiadCallback,
    create_classifier_summary,
    create_kmeans_summary,
    create_regressor_summary,
    create_search_summary,
    get_estimator_params,
    get_pickled_model,
    log_estimator,
)
from naiad_sklearn.plugin import INTEGRATION

NEPTUNES = {
    "create_class_prediction_error_chart": "classifier X_train X_test y_train y_test",
    "create_classification_report_chart": "classifier X_train X_test y_train y_test",
    "create_classifier_summary": "classifier X_train X_test y_train y_test nrows log_charts",
    "create_confusion_matrix_chart": "classifier X_train X_test y_train y_test",
    "create_cooks_distance_chart": "regressor X_train y_train",
    "create_feature_importance_chart": "regressor X_train y_train",
    "create_kelbow_chart": "model X kwargs",
    "create_kmeans_summary": "model X nrows kwargs",
    "create_learning_curve_chart": "regressor X_train y_train",
    "create_precision_recall_chart": "classifier X_test y_test y_pred_proba",
    "create_prediction_error_chart": "regressor X_train X_test y_train y_test",
    "create_regressor_summary": "regressor X_train X_test y_train y_test nrows log_charts",
    "create_residuals_chart": "regressor X_train X_test y_train y_test",
    "create_roc_auc_chart": "classifier X_train X_test y_train y_test",
    "create_silhouette_chart": "model X kwargs",
    "get_cluster_labels": "model X nrows kwargs",
    "get_estimator_params": "estimator",
    "get_pickled_model": "estimator",
    "get_scores": "estimator X y y_pred",
    "get_test_preds": "estimator X_test y_test y_pred nrows",
    "get_test_preds_proba": "classifier X_test y_pred_proba nrows",
}


def leaves(values: Mapping[str, Any], above: str = "") -> set[str]:
    """The paths of a nested dict."""
    found = set()
    for name, value in values.items():
        found |= leaves(value, f"{above}{name}/") if isinstance(value, Mapping) else {above + name}
    return found


@pytest.mark.parametrize("name", NEPTUNES)
def test_neptunes_functions_take_neptunes_arguments(name: str) -> None:
    assert NEPTUNES[name] == " ".join(inspect.signature(getattr(naiad_sklearn, name)).parameters)


def test_classifier_summary_has_neptunes_keys_and_fills_its_rows(run: naiad.Run, classifier: Any, flowers: Any) -> None:
    run["models/linear"] = summary = create_classifier_summary(classifier, *flowers)
    found = leaves(summary)

    when = {"summary", "model", "predictions", "probabilities", "classifier", "log_charts"}
    check_mapping(INTEGRATION, run, base="models/linear", when=when)

    charts = ("classification_report", "confusion_matrix", "ROC_AUC", "precision_recall", "class_prediction_error")
    scores = ("precision", "recall", "fbeta_score", "support")
    expected = {f"diagnostics_charts/{chart}" for chart in charts}
    expected |= {f"test/scores/class_{i}/{score}" for i in range(3) for score in scores}
    expected |= {"pickled_model", "test/preds", "test/preds_proba", "integration/about/neptune-sklearn"}
    assert expected <= found
    assert {f"all_params/{name}" for name in classifier.get_params()} <= found


def test_regressor_summary_has_neptunes_keys_and_fills_its_rows(run: naiad.Run, regressor: Any, patients: Any) -> None:
    run["tree"] = summary = create_regressor_summary(regressor, *patients)
    found = leaves(summary)

    when = {"summary", "model", "predictions", "regressor", "frame", "log_charts"}
    check_mapping(INTEGRATION, run, base="tree", when=when)

    charts = ("learning_curve", "feature_importance", "residuals", "prediction_error", "cooks_distance")
    scores = ("explained_variance_score", "max_error", "mean_absolute_error", "r2_score")
    expected = {f"diagnostics_charts/{chart}" for chart in charts} | {f"test/scores/{score}" for score in scores}
    expected |= {"pickled_model", "test/preds", "integration/about/neptune-sklearn"}
    assert expected <= found
    assert "test/preds_proba" not in found


def test_regressor_of_several_outputs_fills_its_rows(run: naiad.Run, flowers: Any) -> None:
    data = (flowers.x_train[:, :2], flowers.x_test[:, :2], flowers.x_train[:, 2:], flowers.x_test[:, 2:])
    run["many"] = create_regressor_summary(LinearRegression().fit(data[0], data[2]), *data, log_charts=False)

    when = {"summary", "model", "predictions", "regressor", "multioutput"}
    check_mapping(INTEGRATION, run, base="many", when=when)


def test_kmeans_fills_its_rows(run: naiad.Run) -> None:
    run["kmeans"] = create_kmeans_summary(KMeans(5, n_init=1), load_iris().data, n_clusters=3)

    check_mapping(INTEGRATION, run, base="kmeans", when={"summary", "model", "kmeans", "log_charts"})
    assert [0, 1] == run["kmeans/diagnostics_charts/silhouette"].fetch_values()["step"].tolist()


def test_search_fills_its_rows(run: naiad.Run, flowers: Any) -> None:
    search = GridSearchCV(DecisionTreeClassifier(random_state=0), {"max_depth": [1, 2, 3]}, cv=2)
    search.fit(flowers.x_train, flowers.y_train)
    log_estimator(run["search"], search, flowers.x_test, flowers.y_test)

    when = {"summary", "model", "predictions", "probabilities", "classifier", "search"}
    check_mapping(INTEGRATION, run, base="search", when=when)
    assert search.best_params_ == run["search/search/best_params"].fetch()


def test_estimator_that_cannot_predict_is_logged_too(run: naiad.Run, flowers: Any) -> None:
    log_estimator(run["scaler"], StandardScaler().fit(flowers.x_train), flowers.x_test, flowers.y_test)

    check_mapping(INTEGRATION, run, base="scaler", when={"summary"})


def test_logging_again_replaces_what_was_there(run: naiad.Run, flowers: Any) -> None:
    """A number may have become a text, and a parameter may have gone."""
    log_estimator(run["it"], StandardScaler())
    run["it/all_params/with_mean"].assign(True)
    log_estimator(run["it"], DecisionTreeClassifier(max_features="sqrt"))
    log_estimator(run["it"], DecisionTreeClassifier(max_features=2))

    params = run["it/all_params"].fetch()
    assert (2, False) == (params["max_features"], "with_mean" in params)


def test_summaries_leave_the_estimator_as_it_was(flowers: Any) -> None:
    model = KMeans(4, n_init=1)
    fitted = LogisticRegression(max_iter=500).fit(flowers.x_train, flowers.y_train)
    before = pickle.dumps(fitted)
    create_classifier_summary(fitted, *flowers, log_charts=False)
    create_kmeans_summary(model, flowers.x_train, n_clusters=2)

    assert before == pickle.dumps(fitted)
    assert 4 == model.n_clusters
    with pytest.raises(NotFittedError):
        model.predict(flowers.x_train)


def test_kmeans_summary_describes_the_copy_it_fitted(flowers: Any) -> None:
    summary = create_kmeans_summary(KMeans(4, n_init=1, random_state=0), flowers.x_train, n_clusters=3)
    model = pickle.loads(summary["pickled_model"].content)

    assert 3 == summary["all_params"]["n_clusters"].value == model.n_clusters
    assert 75 == len(model.labels_)
    assert 2 == len(summary["diagnostics_charts/silhouette"].values)


@needs_callbacks
def test_pickled_model_predicts_and_carries_no_callbacks(run: naiad.Run, flowers: Any) -> None:
    model = LogisticRegression(max_iter=500).set_callbacks(NaiadCallback(run))
    model.fit(flowers.x_train, flowers.y_train)
    content = get_pickled_model(model).content

    assert b"naiad" not in content
    assert model.predict(flowers.x_test).tolist() == pickle.loads(content).predict(flowers.x_test).tolist()
    assert model._skl_callbacks


def test_classes_and_features_are_in_the_order_of_scores(regressor: Any, patients: Any, flowers: Any) -> None:
    names = np.array(["setosa", "versicolor", "virginica"])
    model = DecisionTreeClassifier().fit(flowers.x_train, names[flowers.y_train])
    summary = create_classifier_summary(
        model, flowers.x_train, flowers.x_test, names[flowers.y_train], names[flowers.y_test], log_charts=False
    )
    tree = create_regressor_summary(regressor, *patients, log_charts=False)

    assert names.tolist() == json.loads(summary["estimator"]["classes"])
    assert list(patients.x_train.columns) == json.loads(tree["estimator"]["features"])
    assert "DecisionTreeClassifier" in summary["estimator"]["html"].content.decode()


def test_search_with_several_scores_and_no_refit_has_no_best(flowers: Any) -> None:
    grid = {"max_depth": [1, 2, 3, 4, 5, 6, 7]}
    search = GridSearchCV(DecisionTreeClassifier(), grid, cv=2, refit=False, scoring=["accuracy", "f1_macro"])
    found = create_search_summary(search.fit(flowers.x_train, flowers.y_train), candidates=3)

    assert not {"best_score", "best_params"} & set(found)
    assert 3 == len(found["candidates"])
    assert {"mean_test_accuracy", "rank_test_f1_macro"} <= set(next(iter(found["candidates"].values())))
    assert 8 == len(found["cv_results"].content.decode().splitlines())


def test_best_candidates_are_listed_by_the_score_the_search_went_by(flowers: Any) -> None:
    search = GridSearchCV(DecisionTreeClassifier(random_state=0), {"max_depth": [1, 3]}, cv=2, scoring="accuracy")
    found = create_search_summary(search.fit(flowers.x_train, flowers.y_train), candidates=1)

    assert [str(search.best_index_)] == list(found["candidates"])
    assert search.best_score_ == found["candidates"][str(search.best_index_)]["mean_test_score"]


def test_classifier_without_probabilities_costs_one_warning(flowers: Any) -> None:
    forget_warnings()
    model = LinearSVC().fit(flowers.x_train, flowers.y_train)
    with pytest.warns(NaiadWarning, match="This LinearSVC has no probabilities"):
        found = leaves(create_classifier_summary(model, *flowers, log_charts=False))

    assert "test/preds_proba" not in found
    assert "test/metrics/accuracy_score" in found


def test_several_outputs_of_classes_are_summed_up_one_by_one() -> None:
    samples, labels = make_multilabel_classification(60, n_classes=2, random_state=0)
    labels[:, 0] += samples[:, 0] > 5  # three classes
    model = DecisionTreeClassifier(max_depth=2, random_state=0).fit(samples, labels)
    found = create_classifier_summary(model, samples, samples, labels, labels, log_charts=False)

    assert {"output_0", "output_1"} == set(found["test"]["scores"])
    assert {"class_0", "class_1", "class_2"} == set(found["test"]["scores"]["output_0"])
    assert "output_1/1" in found["test"]["preds_proba"].content.decode()


@pytest.mark.parametrize(
    ("create", "what"),
    [(create_classifier_summary, "a classifier"), (create_regressor_summary, "a regressor")],
)
def test_summary_of_something_else_is_refused(create: Any, what: str, flowers: Any) -> None:
    with pytest.raises(NaiadTypeError, match=f"{create.__name__} takes {what} of scikit-learn, not KMeans"):
        create(KMeans(), *flowers)


def test_parameters_of_something_else_are_refused() -> None:
    with pytest.raises(NaiadTypeError, match="takes an estimator of scikit-learn, not 7"):
        get_estimator_params(7)


def test_naiad_describe_names_class_and_parameters() -> None:
    found = describe(DecisionTreeClassifier(max_depth=3))

    assert "DecisionTreeClassifier" == found["class"]
    assert 3 == found["params"]["max_depth"].value
