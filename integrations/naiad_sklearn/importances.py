"""Importances of features by permutation: numbers and a chart."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing

from naiad.names import apart
from naiad_sklearn.drawing import drawn
from naiad_sklearn.estimators import targets
from naiad_sklearn.watching import unseen

MOST_FEATURES = 30
"""Features in the chart; the numbers are those of all."""


def permutation_importances(estimator: Any, X: Any, y: Any, repeats: int, most_rows: int) -> dict[str, Any]:
    """Return mean and standard deviation of each feature's importance, and a chart of the largest ones."""
    from sklearn.inspection import permutation_importance  # joblib's pools and the displays of scikit-learn

    count = X.shape[0] if hasattr(X, "shape") else len(X)
    rows = np.random.default_rng(0).permutation(count)[:most_rows]
    with unseen():  # it predicts many times, and none of that is the program's own
        found = permutation_importance(
            estimator, _safe_indexing(X, rows), targets(y)[rows], n_repeats=repeats, random_state=0
        )
    names = [str(name) for name in getattr(X, "columns", [f"x{i}" for i in range(len(found.importances_mean))])]
    mean, std = found.importances_mean, found.importances_std

    def draw(axes: Any) -> None:
        order = np.argsort(mean)[-MOST_FEATURES:]  # barh draws from the bottom up
        axes.barh(range(len(order)), mean[order], xerr=std[order])
        axes.set_yticks(range(len(order)), [names[i] for i in order])
        axes.set(xlabel="fall of the score when permuted")

    chart = drawn("Permutation importance", draw)
    values: dict[str, Any] = {
        "mean": apart(dict(zip(names, map(float, mean), strict=True))),
        "std": apart(dict(zip(names, map(float, std), strict=True))),
    }
    return values if chart is None else {**values, "chart": chart}
