"""Charts: all of Neptune's are drawn, without pyplot and without a trace; what cannot be drawn is one warning."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.datasets import make_multilabel_classification
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import naiad
import naiad_sklearn as ns
from naiad.errors import NaiadWarning
from naiad.types import File
from naiad_sklearn.regressor_charts import _cooks_distances, _predictor


def ink(file: File | None) -> int:
    """How many colours a chart has; a blank page has one."""
    assert file is not None
    assert "png" == file.extension
    colours = Image.open(io.BytesIO(file.content)).convert("RGB").getcolors(1 << 24)
    assert colours is not None
    return len(colours)


CLASSIFIERS = ["classification_report", "confusion_matrix", "roc_auc", "class_prediction_error"]
REGRESSORS = ["residuals", "prediction_error"]
FITS = ["learning_curve", "feature_importance", "cooks_distance"]


def chart(name: str) -> Any:
    return getattr(ns, f"create_{name}_chart")


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_chart_of_a_classifier(name: str, classifier: Any, flowers: Any) -> None:
    assert 10 < ink(chart(name)(classifier, *flowers))


def test_precision_recall_chart_takes_probabilities(classifier: Any, flowers: Any) -> None:
    odds = classifier.predict_proba(flowers.x_test)
    made = ns.create_precision_recall_chart(classifier, flowers.x_test, flowers.y_test)
    given = ns.create_precision_recall_chart(classifier, flowers.x_test, flowers.y_test, y_pred_proba=odds)

    assert 10 < ink(made)
    assert made is not None
    assert given is not None
    assert made.content == given.content


def test_curves_are_drawn_of_decisions_where_there_are_no_probabilities(flowers: Any) -> None:
    two = flowers.y_train < 2
    model = LinearSVC().fit(flowers.x_train[two], flowers.y_train[two])
    x, y = flowers.x_test[flowers.y_test < 2], flowers.y_test[flowers.y_test < 2]

    assert 10 < ink(ns.create_roc_auc_chart(model, None, x, None, y))
    assert 10 < ink(ns.create_precision_recall_chart(model, x, y))


@pytest.mark.parametrize("name", REGRESSORS)
def test_chart_of_a_regressor(name: str, regressor: Any, patients: Any) -> None:
    assert 10 < ink(chart(name)(regressor, *patients))


@pytest.mark.parametrize("name", FITS)
def test_chart_of_a_fit(name: str, regressor: Any, patients: Any) -> None:
    assert 10 < ink(chart(name)(regressor, patients.x_train, patients.y_train))


@pytest.mark.parametrize("name", REGRESSORS)
def test_outputs_are_drawn_beside_each_other(name: str, flowers: Any) -> None:
    known, wanted = flowers.x_train[:, :2], flowers.x_train[:, 2:]
    file = chart(name)(LinearRegression().fit(known, wanted), known, known, wanted, wanted)

    width, height = Image.open(io.BytesIO(file.content)).size
    assert width > 1.8 * height


def test_charts_of_clusters(flowers: Any) -> None:
    model = KMeans(3, n_init=1, random_state=0)

    assert 10 < ink(ns.create_kelbow_chart(model, flowers.x_train, n_clusters=4))
    silhouettes = ns.create_silhouette_chart(model, flowers.x_train)
    assert [True, True] == [ink(each) > 10 for each in silhouettes.values]
    assert {"n_clusters": 3, "n_init": 1}.items() <= model.get_params().items()


def test_names_of_features_are_found_in_pipelines_and_frames(patients: Any) -> None:
    tree = DecisionTreeRegressor(max_depth=1)
    pipeline = make_pipeline(PolynomialFeatures(1, include_bias=False), tree).fit(patients.x_train, patients.y_train)
    bare = DecisionTreeRegressor(max_depth=1).fit(np.asarray(patients.x_train), patients.y_train)

    assert list(patients.x_train.columns) == list(_predictor(pipeline, patients.x_train)[1])
    assert list(patients.x_train.columns) == list(_predictor(bare, patients.x_train)[1])
    assert ["x0", "x1"] == list(_predictor(bare, np.asarray(patients.x_train))[1])[:2]


def test_cooks_distance_is_what_leaving_a_sample_out_does() -> None:
    """By its definition: how far all predictions move, over the variance of the fit."""
    draw = np.random.default_rng(0)
    samples = draw.normal(size=(20, 2))
    values = samples @ [1, -2] + draw.normal(size=20)
    full = LinearRegression().fit(samples, values).predict(samples)
    variance = ((values - full) ** 2).sum() / (20 - 3)
    moved = [
        LinearRegression().fit(np.delete(samples, i, 0), np.delete(values, i)).predict(samples) - full
        for i in range(20)
    ]

    assert np.allclose([(each**2).sum() / (3 * variance) for each in moved], _cooks_distances(samples, values))


def test_chart_that_cannot_be_drawn_is_a_warning(patients: Any) -> None:
    model = KNeighborsRegressor().fit(patients.x_train, patients.y_train)

    with pytest.warns(NaiadWarning, match="The chart 'Feature importance' was left out. ValueError: The feature names"):
        assert ns.create_feature_importance_chart(model, patients.x_train[["age"]], patients.y_train) is None


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_charts_of_one_output_say_that_they_are(name: str) -> None:
    samples, labels = make_multilabel_classification(30, n_classes=2, random_state=0)
    model = DecisionTreeClassifier(max_depth=1).fit(samples, labels)

    with pytest.warns(NaiadWarning, match="ValueError: it cannot be drawn for several outputs"):
        assert chart(name)(model, samples, samples, labels, labels) is None


def test_charts_leave_pyplot_and_settings_alone() -> None:
    program = """
import matplotlib, matplotlib.pyplot as plt
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier
import naiad_sklearn
backend, settings = matplotlib.rcParams._get_backend_or_none(), dict(matplotlib.rcParams.copy())
x, y = load_iris(return_X_y=True)
summary = naiad_sklearn.create_classifier_summary(DecisionTreeClassifier().fit(x, y), x, x, y, y)
assert 5 == sum("charts" in key for key in summary)
assert [] == plt.get_fignums()
assert backend == matplotlib.rcParams._get_backend_or_none()
assert settings == dict(matplotlib.rcParams.copy())
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_chart_without_matplotlib_is_a_warning(classifier: Any, flowers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    with pytest.warns(NaiadWarning, match="'Confusion matrix' was left out. ModuleNotFoundError: .*matplotlib"):
        assert ns.create_confusion_matrix_chart(classifier, *flowers) is None


def test_calibration_chart_of_two_and_of_many_classes(classifier: Any, flowers: Any) -> None:
    odds = classifier.predict_proba(flowers.x_test)
    many = ns.create_calibration_chart(classifier, flowers.x_test, flowers.y_test)
    given = ns.create_calibration_chart(classifier, flowers.x_test, flowers.y_test, y_pred_proba=odds)
    model = DecisionTreeClassifier(max_depth=2).fit(flowers.x_train, flowers.y_train == 1)

    assert 10 < ink(many)
    assert many is not None
    assert given is not None
    assert many.content == given.content
    assert 10 < ink(ns.create_calibration_chart(model, flowers.x_test, flowers.y_test == 1))


def test_calibration_chart_without_probabilities_is_left_out_with_a_warning(flowers: Any) -> None:
    model = LinearSVC().fit(flowers.x_train, flowers.y_train)

    with pytest.warns(NaiadWarning, match="'Calibration' was left out"):
        assert ns.create_calibration_chart(model, flowers.x_test, flowers.y_test) is None


def test_permutation_importance_has_the_feature_that_decides_on_top(run: naiad.Run) -> None:
    x = np.random.default_rng(0).normal(size=(300, 3))
    model = LinearRegression().fit(x[:200], 5 * x[:200, 1] + 0.1 * x[:200, 2])
    true = 5 * x[200:, 1] + 0.1 * x[200:, 2]

    run["importance"] = ns.create_permutation_importance(model, x[200:], true)

    means = {name: run[f"importance/mean/{name}"].fetch() for name in ("x0", "x1", "x2")}
    assert means["x1"] > 1 > means["x2"] > means["x0"]
    assert run["importance/std/x1"].fetch() > 0
    assert "png" == run["importance/chart"].fetch_extension()
