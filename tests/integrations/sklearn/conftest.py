"""What the tests of scikit-learn share: small real data, and small real models."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeRegressor

needs_callbacks = pytest.mark.skipif(
    not hasattr(LogisticRegression, "set_callbacks"), reason="scikit-learn has callbacks from 1.9 on"
)


class Data(NamedTuple):
    """A data set in two halves, in the order in which the helpers take them."""

    x_train: Any
    x_test: Any
    y_train: Any
    y_test: Any


def halves(x: Any, y: Any) -> Data:
    return Data(x[::2], x[1::2], y[::2], y[1::2])


@pytest.fixture
def flowers() -> Data:
    """Three classes."""
    return halves(*load_iris(return_X_y=True))


@pytest.fixture
def patients() -> Data:
    """A value, with names for the features."""
    return halves(*load_diabetes(return_X_y=True, as_frame=True))


@pytest.fixture
def classifier(flowers: Data) -> LogisticRegression:
    return LogisticRegression(max_iter=500).fit(flowers.x_train, flowers.y_train)


@pytest.fixture
def regressor(patients: Data) -> DecisionTreeRegressor:
    return DecisionTreeRegressor(max_depth=3, random_state=0).fit(patients.x_train, patients.y_train)
