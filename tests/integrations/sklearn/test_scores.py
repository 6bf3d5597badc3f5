"""Scores and predictions are those that scikit-learn gives."""

from __future__ import annotations

import ast
import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.cluster import KMeans
from sklearn.datasets import make_multilabel_classification
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from naiad.errors import InvalidArgument, NaiadTypeError
from naiad.types import File
from naiad_sklearn import get_cluster_labels, get_metrics, get_scores, get_test_preds, get_test_preds_proba


def table(file: File | None) -> pd.DataFrame:
    """What is in a page with one table."""
    assert file is not None
    page = file.content.decode()
    (text,) = re.findall("<table.*</table>", page, re.DOTALL)
    header, *rows = ([str(cell.text or "") for cell in row] for row in ElementTree.fromstring(text).iter("tr"))
    cells = [[ast.literal_eval(cell) for cell in row] for row in rows]
    return pd.DataFrame([row[1:] for row in cells], columns=header[1:], index=[row[0] for row in cells])


def test_scores_of_each_class(classifier: Any, flowers: Any) -> None:
    found = get_scores(classifier, flowers.x_test, flowers.y_test)

    expected = metrics.precision_recall_fscore_support(flowers.y_test, classifier.predict(flowers.x_test))
    assert {"class_0", "class_1", "class_2"} == set(found)
    assert [float(row[1]) for row in expected] == list(found["class_1"].values())


def test_class_that_is_not_in_the_data_keeps_its_number(classifier: Any, flowers: Any) -> None:
    some = flowers.y_test == 2
    found = get_scores(classifier, flowers.x_test[some], flowers.y_test[some])

    assert [0.0, 0.0, float(some.sum())] == [found[f"class_{i}"]["support"] for i in range(3)]


def test_classes_that_the_classifier_does_not_know_are_scored_too(flowers: Any) -> None:
    some = flowers.y_train < 2
    model = DecisionTreeClassifier().fit(flowers.x_train[some], flowers.y_train[some])
    found = get_scores(model, flowers.x_test, flowers.y_test)

    assert 25.0 == found["class_2"]["support"]
    assert "log_loss" not in get_metrics(model, flowers.x_test, flowers.y_test)


def test_scores_of_values(regressor: Any, patients: Any) -> None:
    found = get_scores(regressor, patients.x_test, patients.y_test)

    assert metrics.max_error(patients.y_test, regressor.predict(patients.x_test)) == found["max_error"]
    assert regressor.score(patients.x_test, patients.y_test) == found["r2_score"]


def test_scores_of_several_outputs_are_neptunes_and_one_of_each(flowers: Any) -> None:
    known, wanted = flowers.x_train[:, :2], flowers.x_train[:, 2:]
    model = LinearRegression().fit(known, wanted)
    found = get_scores(model, known, wanted)

    assert model.score(known, wanted) == pytest.approx(found["r2_score"])
    assert metrics.r2_score(wanted[:, 1], model.predict(known)[:, 1]) == found["output_1"]["r2_score"]
    assert {"output_0", "output_1", "r2_score"} == set(found)


def test_scores_of_several_labels_are_one_of_each() -> None:
    samples, labels = make_multilabel_classification(60, n_classes=3, random_state=0)
    model = DecisionTreeClassifier(max_depth=2, random_state=0).fit(samples, labels)
    found = get_scores(model, samples, labels)

    expected = metrics.f1_score(labels, model.predict(samples), average=None)
    assert expected.tolist() == [found[f"class_{i}"]["fbeta_score"] for i in range(3)]


def test_metrics_of_a_classifier(classifier: Any, flowers: Any) -> None:
    found = get_metrics(classifier, flowers.x_test, flowers.y_test)

    odds = classifier.predict_proba(flowers.x_test)
    assert classifier.score(flowers.x_test, flowers.y_test) == found["accuracy_score"]
    assert metrics.log_loss(flowers.y_test, odds) == found["log_loss"]
    expected = metrics.roc_auc_score(flowers.y_test, odds, average="weighted", multi_class="ovr")
    assert expected == found["roc_auc_score"]
    assert metrics.f1_score(flowers.y_test, odds.argmax(axis=1), average="weighted") == found["f1_score"]


def test_metrics_of_two_classes_are_about_both(flowers: Any) -> None:
    some, other = flowers.y_train > 0, flowers.y_test > 0
    model = LogisticRegression(C=0.001).fit(flowers.x_train[some], flowers.y_train[some])
    x, y = flowers.x_test[other], flowers.y_test[other]
    found = get_metrics(model, x, y)

    assert metrics.roc_auc_score(y, model.predict_proba(x)[:, 1]) == found["roc_auc_score"]
    assert metrics.precision_score(y, model.predict(x), average="weighted") == found["precision_score"]


def test_metrics_of_a_regressor(regressor: Any, patients: Any) -> None:
    found = get_metrics(regressor, patients.x_test, patients.y_test)

    assert found["mean_squared_error"] == pytest.approx(found["root_mean_squared_error"] ** 2)


def test_predictions_that_are_given_are_not_made_again(flowers: Any) -> None:
    class Silent(ClassifierMixin, BaseEstimator):
        """A classifier that does not answer."""

    found = get_scores(Silent(), None, flowers.y_test, y_pred=flowers.y_test)

    assert 1.0 == found["class_0"]["precision"]
    assert [[1, 1]] == table(get_test_preds(Silent(), None, [1], y_pred=[1])).to_numpy().tolist()


def test_tables_hold_the_first_rows(classifier: Any, flowers: Any) -> None:
    found = table(get_test_preds(classifier, flowers.x_test, flowers.y_test, nrows=4))
    odds = table(get_test_preds_proba(classifier, flowers.x_test, nrows=5))

    assert flowers.y_test[:4].tolist() == found["y_true"].tolist()
    assert classifier.predict(flowers.x_test)[:4].tolist() == found["y_pred"].tolist()
    assert np.allclose(classifier.predict_proba(flowers.x_test)[:5], odds, atol=1e-6)
    assert ["0", "1", "2"] == [str(name) for name in odds.columns]


def test_table_keeps_the_index_of_a_series(regressor: Any, patients: Any) -> None:
    found = table(get_test_preds(regressor, patients.x_test, patients.y_test, nrows=3))

    assert [1, 3, 5] == found.index.tolist()


def test_table_of_several_outputs_has_neptunes_columns(flowers: Any) -> None:
    known, wanted = flowers.x_train[:, :2], flowers.x_train[:, 2:]
    found = table(get_test_preds(LinearRegression().fit(known, wanted), known, pd.DataFrame(wanted), nrows=2))

    assert ["y_test_output_0", "y_pred_output_0", "y_test_output_1", "y_pred_output_1"] == list(found.columns)
    assert wanted[:2, 1].tolist() == found["y_test_output_1"].tolist()


def test_clusters_are_those_of_a_copy(flowers: Any) -> None:
    model = KMeans(2, n_init=1, random_state=0)
    found = table(get_cluster_labels(model, flowers.x_test, nrows=6, n_clusters=3))

    expected = KMeans(3, n_init=1, random_state=0).fit_predict(flowers.x_test)[:6]
    assert expected.tolist() == found["cluster_labels"].tolist()
    assert not hasattr(model, "labels_")


def test_probabilities_are_given_or_made(classifier: Any, flowers: Any) -> None:
    with pytest.raises(InvalidArgument, match="X_test or y_pred_proba"):
        get_test_preds_proba(classifier)
    with pytest.raises(InvalidArgument, match="X_test or y_pred_proba"):
        get_test_preds_proba(classifier, flowers.x_test, classifier.predict_proba(flowers.x_test))


def test_number_of_rows_is_a_number(classifier: Any, flowers: Any) -> None:
    with pytest.raises(NaiadTypeError, match="nrows= takes a number of rows, not 'all'"):
        get_test_preds(classifier, flowers.x_test, flowers.y_test, nrows="all")
