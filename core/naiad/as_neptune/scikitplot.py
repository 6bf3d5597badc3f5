"""The three charts of scikit-plot used by neptune-sklearn and neptune-lightgbm, drawn with scikit-learn."""

from __future__ import annotations

from typing import Any

__all__ = ["plot_confusion_matrix", "plot_learning_curve", "plot_precision_recall"]


def _axes(ax: Any, title: str | None) -> Any:
    import matplotlib.pyplot as plt

    if ax is None:
        _figure, ax = plt.subplots()
    if title:
        ax.set_title(title)
    return ax


def plot_learning_curve(
    clf: Any, X: Any, y: Any, title: str = "Learning Curve", cv: Any = None, *, ax: Any = None, **options: Any
) -> Any:
    """Draw the score of an estimator over the number of samples it was trained with."""
    import numpy as np
    from sklearn.model_selection import LearningCurveDisplay

    sizes = np.linspace(0.1, 1.0, 5) if options.get("train_sizes") is None else options["train_sizes"]
    # scikit-plot's further options are of size and colour, for which scikit-learn has other names.
    known = {name: options[name] for name in ("shuffle", "random_state", "n_jobs", "scoring") if name in options}
    place = _axes(ax, title)
    LearningCurveDisplay.from_estimator(clf, X, y, cv=cv, train_sizes=sizes, ax=place, score_type="both", **known)
    return place


def plot_precision_recall(
    y_true: Any, y_probas: Any, title: str = "Precision-Recall Curve", plot_micro: bool = True, *, ax: Any = None
) -> Any:
    """Draw precision over recall, a curve for each class and one for all of them together."""
    import numpy as np
    from sklearn.metrics import PrecisionRecallDisplay

    labels, probas = np.asarray(y_true), np.asarray(y_probas)
    classes = np.unique(labels)
    # One column for each class, true where a sample is of it: the form in which classes can be flattened together.
    is_class = labels[:, None] == classes
    place = _axes(ax, title)
    for column, name in enumerate(classes):
        PrecisionRecallDisplay.from_predictions(is_class[:, column], probas[:, column], name=f"class {name}", ax=place)
    if plot_micro:
        PrecisionRecallDisplay.from_predictions(is_class.ravel(), probas.ravel(), name="micro-average", ax=place)
    return place


def plot_confusion_matrix(
    y_true: Any, y_pred: Any, labels: Any = None, *, title: str | None = None, normalize: bool = False, ax: Any = None
) -> Any:
    """Draw how often each class was predicted for each true one."""
    from sklearn.metrics import ConfusionMatrixDisplay

    place = _axes(ax, title or ("Normalized Confusion Matrix" if normalize else "Confusion Matrix"))
    ConfusionMatrixDisplay.from_predictions(
        y_true, y_pred, labels=labels, normalize="true" if normalize else None, cmap="Blues", ax=place
    )
    return place
