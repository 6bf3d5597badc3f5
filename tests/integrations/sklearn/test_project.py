"""An untidy project: frames, a search that fails, a run that is rewound and gone on with; as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import naiad
from naiad_sklearn import autolog, create_classifier_summary


def leaves(structure: dict[str, Any], above: str = "") -> dict[str, str]:
    """The kind of each field, by its path."""
    found: dict[str, str] = {}
    for name, inner in structure.items():
        found |= leaves(inner, f"{above}{name}/") if isinstance(inner, dict) else {f"{above}{name}": inner.kind}
    return found


def search_of(columns: Any) -> GridSearchCV:
    scale = ColumnTransformer([("scale", StandardScaler(), list(columns))])
    model = Pipeline([("features", scale), ("model", LogisticRegression(max_iter=300))])
    return GridSearchCV(
        model, {"model__C": [0.1, 1.0]}, cv=2, scoring={"acc": "accuracy", "acc/f1": "f1_macro"}, refit="acc"
    )


def test_failing_fit_and_the_search_that_goes_on_in_a_rewound_run_are_stored_as_a_whole(store: Path) -> None:
    x, y = load_iris(return_X_y=True, as_frame=True)
    data = train_test_split(x, y.to_frame(), random_state=0)
    with naiad.init_run(project="p") as run:
        run["folds/score"].extend([0.5, 0.6, 0.7])
        failing = search_of(["no such column"]).set_params(error_score="raise")
        with autolog(run["fits"]), pytest.raises(ValueError, match="column"):
            failing.fit(data[0], data[2].values.ravel())

    with naiad.init_run(with_id="P-1", rewind_to=0) as run:
        run["folds/score"].append(0.8, step=1)
        search = search_of(x.columns)
        with autolog(run["fits"]):
            search.fit(data[0], data[2].values.ravel())
        run["report"] = create_classifier_summary(search, *data)

    run = naiad.init_run(with_id="P-1", mode="read-only")
    found = leaves(run.get_structure())
    params = {
        path
        for path in found
        if path.startswith(("fits/GridSearchCV/fit/params/", "fits/GridSearchCV_2/fit/params/", "report/all_params/"))
    }
    rest = {path: kind for path, kind in found.items() if path not in params and not path.startswith("sys/")}
    fit = {"estimator": "string", "status": "string", "seconds": "float", "data/samples": "int", "data/features": "int"}
    expected = {
        f"fits/{name}/fit/{path}": kind for name in ("GridSearchCV", "GridSearchCV_2") for path, kind in fit.items()
    }
    expected |= {f"fits/GridSearchCV/fit/exception/{name}": "string" for name in ("type", "message", "traceback")}
    metrics = ("accuracy_score", "f1_score", "log_loss", "precision_score", "recall_score", "roc_auc_score")
    expected |= {f"fits/GridSearchCV_2/train/metrics/{name}": "float" for name in metrics}
    expected |= {f"report/test/metrics/{name}": "float" for name in metrics}
    results = ["mean_fit_time", "std_fit_time", "mean_score_time", "std_score_time"]
    results += [f"{fact}_test_{name}" for fact in ("mean", "std", "rank") for name in ("acc", "acc_f1")]
    for base in ("fits/GridSearchCV_2/search", "report/search"):
        expected |= {f"{base}/{name}": "file" for name in ("cv_results", "cv_results_table")}
        expected |= {
            f"{base}/best_score": "float",
            f"{base}/best_index": "int",
            f"{base}/best_params/model__C": "float",
        }
        for i in range(2):
            expected |= {f"{base}/candidates/{i}/{name}": "float" for name in [*results, "params/model__C"]}
            expected |= {f"{base}/candidates/{i}/rank_test_{name}": "int" for name in ("acc", "acc_f1")}
    charts = ("ROC_AUC", "class_prediction_error", "classification_report", "confusion_matrix", "precision_recall")
    expected |= {f"report/diagnostics_charts/{name}": "file" for name in charts}
    files = ("estimator/html", "pickled_model", "test/preds", "test/preds_proba")
    expected |= {f"report/{name}": "file" for name in files}
    expected |= {f"report/estimator/{name}": "string" for name in ("class", "classes", "features")}
    expected |= {f"report/integration/about/{name}": "string" for name in ("neptune-sklearn", "scikit-learn")}
    scores = ("precision", "recall", "fbeta_score", "support")
    expected |= {f"report/test/scores/class_{i}/{name}": "float" for i in range(3) for name in scores}
    expected["source_code/integrations/scikit-learn"] = "string"
    expected["folds/score"] = "float_series"
    assert expected == rest
    assert [[0.5, 0.8], [0.5, 0.6, 0.8, 0.7]] == [
        list(run["folds/score"].fetch_values(include_rewound=each)["value"]) for each in (False, True)
    ]
    assert {"acc": "accuracy", "acc_f1": "f1_macro"} == run["report/all_params/scoring"].fetch()
    statuses = [run[f"fits/{name}/fit/status"].fetch() for name in ("GridSearchCV", "GridSearchCV_2")]
    assert ["failed", "done"] == statuses
    assert "ValueError" == run["fits/GridSearchCV/fit/exception/type"].fetch()
