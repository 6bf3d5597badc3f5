"""A tiny model and its data. Keras runs on torch unless KERAS_BACKEND says otherwise; see `test_backends.py`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")  # before keras is imported, and it is never imported without
os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # on a busy machine, threads that wait for each other take most of the time
keras = pytest.importorskip("keras", reason='Keras is not installed: pip install "naiad[keras]"')

SAMPLES = 32
BATCH = 8


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets, four batches of them."""
    random = np.random.default_rng(7)
    x = random.normal(size=(SAMPLES, 3)).astype("float32")
    return x, x.sum(axis=1, keepdims=True)


@pytest.fixture
def model() -> Any:
    """A compiled model of two layers."""
    return compiled(keras.optimizers.Adam(learning_rate=0.01))


@pytest.fixture
def another_model() -> Callable[..., Any]:
    """Makes a model with another optimizer."""
    return compiled


@pytest.fixture
def fit(data: tuple[np.ndarray, np.ndarray]) -> Callable[..., Any]:
    """Fits a model: `fit(model, callback, epochs=2)`, with validation unless it is refused."""

    def fit(model: Any, *callbacks: Any, validation: bool = True, **options: Any) -> Any:
        options = {"batch_size": BATCH, "verbose": 0, "validation_data": data if validation else None, **options}
        return model.fit(*data, callbacks=list(callbacks), **options)

    return fit


def compiled(optimizer: Any, **options: Any) -> Any:
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(1)])
    model.compile(optimizer, loss="mse", metrics=["mae"], **options)
    return model
