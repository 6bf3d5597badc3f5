"""Charts of a classifier that is fitted. Where a chart is for two classes, each class is drawn against the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.metrics import (
    ConfusionMatrixDisplay,
    PrecisionRecallDisplay,
    RocCurveDisplay,
    confusion_matrix,
    precision_recall_fscore_support,
)
from sklearn.utils.multiclass import unique_labels

from naiad.types import File
from naiad_sklearn.drawing import drawn
from naiad_sklearn.estimators import require, targets

MOST_WRITTEN = 30
"""Classes up to which each cell of a table has its number; a thousand texts take longer to draw than all the rest."""
MOST_CURVES = 10
MOST_BARS = 30
MOST_TICKS = 60
CALIBRATION_BINS = 10

# Neptune's functions take the training data too, because yellowbrick did; a fitted classifier knows its classes.
# ruff: noqa: ARG001


def create_classification_report_chart(
    classifier: Any, X_train: Any, X_test: Any, y_train: Any, y_test: Any
) -> File | None:
    """Draw precision, recall, F1 and support of each class as a table in colours."""
    require(classifier, "create_classification_report_chart", "a classifier", is_classifier)

    def draw(axes: Any) -> None:
        predicted = _predicted(classifier, X_test)
        true = targets(y_test)
        labels = unique_labels(true, predicted)
        columns = precision_recall_fscore_support(true, predicted, labels=labels, zero_division=0)
        # Support as a share, so that all four columns have one scale of colours; the text in the cell is the count.
        shares = np.column_stack([*columns[:3], columns[3] / len(predicted)])
        image = axes.imshow(shares, cmap="YlGn", vmin=0, vmax=1, aspect="auto")
        axes.figure.colorbar(image, ax=axes)
        axes.set_xticks(range(4), ["precision", "recall", "f1", "support"])
        _name(axes.set_yticks, labels)
        for (row, column), share in np.ndenumerate(shares if len(labels) <= MOST_WRITTEN else np.empty((0, 4))):
            text = f"{columns[3][row]}" if column == 3 else f"{share:.3f}"
            axes.text(column, row, text, ha="center", va="center", color="white" if share > 0.6 else "black")

    return drawn("Classification report", draw)


def create_confusion_matrix_chart(classifier: Any, X_train: Any, X_test: Any, y_train: Any, y_test: Any) -> File | None:
    """Draw how often each class was taken for each other one."""
    require(classifier, "create_confusion_matrix_chart", "a classifier", is_classifier)

    def draw(axes: Any) -> None:
        true, predicted = targets(y_test), _predicted(classifier, X_test)
        labels = unique_labels(true, predicted)
        chart = ConfusionMatrixDisplay(confusion_matrix(true, predicted, labels=labels), display_labels=labels)
        chart.plot(ax=axes, cmap="Blues", xticks_rotation="vertical", include_values=len(labels) <= MOST_WRITTEN)
        _name(axes.set_xticks, labels)
        _name(axes.set_yticks, labels)

    return drawn("Confusion matrix", draw)


def create_roc_auc_chart(classifier: Any, X_train: Any, X_test: Any, y_train: Any, y_test: Any) -> File | None:
    """Draw the true over the false positive rate, with the area below; of the ten most frequent classes."""
    require(classifier, "create_roc_auc_chart", "a classifier", is_classifier)

    def draw(axes: Any) -> None:
        for name, true, scores in _one_against_rest(classifier, y_test, _scores(classifier, X_test)):
            RocCurveDisplay.from_predictions(true, scores, name=name, ax=axes)
        axes.plot([0, 1], [0, 1], "k:", label="chance")
        axes.set(xlabel="false positive rate", ylabel="true positive rate")
        axes.legend()

    return drawn("ROC", draw)


def create_precision_recall_chart(classifier: Any, X_test: Any, y_test: Any, y_pred_proba: Any = None) -> File | None:
    """Draw precision over recall, with the average precision; of the ten most frequent classes.

    Args:
        classifier: a fitted classifier.
        X_test: the samples.
        y_test: their classes.
        y_pred_proba: the probabilities of their classes, if they are known already.
    """
    require(classifier, "create_precision_recall_chart", "a classifier", is_classifier)

    def draw(axes: Any) -> None:
        odds = _scores(classifier, X_test) if y_pred_proba is None else np.asarray(y_pred_proba)
        for name, true, scores in _one_against_rest(classifier, y_test, odds):
            PrecisionRecallDisplay.from_predictions(true, scores, name=name, ax=axes)
        axes.set(xlabel="recall", ylabel="precision")
        axes.legend()

    return drawn("Precision and recall", draw)


def create_calibration_chart(classifier: Any, X_test: Any, y_test: Any, y_pred_proba: Any = None) -> File | None:
    """Draw how often a class occurs over the probability that was predicted; of the ten most frequent classes.

    A classifier whose probabilities can be trusted lies on the diagonal. Below it they are too high, above too low.

    Args:
        classifier: a fitted classifier with `predict_proba`.
        X_test: the samples, which it was not fitted to.
        y_test: their classes.
        y_pred_proba: the probabilities of their classes, if they are known already.
    """
    require(classifier, "create_calibration_chart", "a classifier", is_classifier)

    def draw(axes: Any) -> None:
        from sklearn.calibration import CalibrationDisplay  # loads much that no other chart needs

        # Decisions of a classifier without probabilities are no numbers from 0 to 1, so that nothing could be drawn.
        odds = classifier.predict_proba(X_test) if y_pred_proba is None else np.asarray(y_pred_proba)
        for name, true, scores in _one_against_rest(classifier, y_test, odds):
            CalibrationDisplay.from_predictions(true, scores, n_bins=CALIBRATION_BINS, name=name, ax=axes)
        axes.set(xlabel="predicted probability", ylabel="share of samples")
        axes.legend()

    return drawn("Calibration", draw)


def create_class_prediction_error_chart(
    classifier: Any, X_train: Any, X_test: Any, y_train: Any, y_test: Any
) -> File | None:
    """Draw a bar for each true class, made of the classes its samples were taken for; of the thirty most frequent."""
    require(classifier, "create_class_prediction_error_chart", "a classifier", is_classifier)

    def draw(axes: Any) -> None:
        true, predicted = targets(y_test), _predicted(classifier, X_test)
        labels = unique_labels(true, predicted)
        table = confusion_matrix(true, predicted, labels=labels)
        rows = _most_frequent(table.sum(axis=1), MOST_BARS)
        columns = _most_frequent(table[rows].sum(axis=0), MOST_BARS)
        parts = [(str(labels[j]), table[rows, j]) for j in columns]
        # The bars stay as high as their classes are frequent.
        if len(columns) < len(labels):
            parts.append(("others", table[rows].sum(axis=1) - table[np.ix_(rows, columns)].sum(axis=1)))
        below = np.zeros(len(rows))
        for name, counts in parts:
            axes.bar(range(len(rows)), counts, bottom=below, label=name)
            below += counts
        axes.set_xticks(range(len(rows)), labels[rows], rotation="vertical" if len(rows) > MOST_CURVES else None)
        axes.set(xlabel="true class", ylabel="samples")
        axes.legend(title="predicted class", ncols=1 + len(parts) // (MOST_BARS // 2))

    return drawn("Class prediction error", draw)


def _predicted(classifier: Any, X: Any) -> Any:
    """Return the class of each sample, if it has only one."""
    predicted = targets(classifier.predict(X))
    if predicted.ndim > 1:
        raise ValueError("it cannot be drawn for several outputs")
    return predicted


def _scores(classifier: Any, X: Any) -> Any:
    """Return the scores of each class: probabilities, or the decision function."""
    _predicted(classifier, X[:1])  # refuses several outputs
    say = classifier.predict_proba if hasattr(classifier, "predict_proba") else classifier.decision_function
    return np.asarray(say(X))


def _one_against_rest(classifier: Any, y: Any, scores: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, truth and scores: once for two classes, else per frequent class."""
    true, classes = targets(y), np.asarray(classifier.classes_)
    # One curve: that of the other class is its mirror image.
    if len(classes) == 2:
        yield str(classes[1]), true == classes[1], scores if scores.ndim == 1 else scores[:, 1]
        return
    counts = np.array([(true == label).sum() for label in classes])
    for i in _most_frequent(counts, MOST_CURVES):
        # Of a class without a sample neither curve is defined.
        if counts[i]:
            yield str(classes[i]), true == classes[i], scores[:, i]


def _most_frequent(counts: Any, most: int) -> Any:
    """Return the places of the largest counts, in their order."""
    return np.sort(np.argsort(-np.asarray(counts), kind="stable")[:most])


def _name(set_ticks: Callable[..., Any], labels: Any) -> None:
    """Write the classes at an axis, as many as there is room for."""
    places = range(0, len(labels), 1 + len(labels) // MOST_TICKS)
    set_ticks(places, [labels[i] for i in places], **({"fontsize": 6} if len(labels) > MOST_WRITTEN else {}))
