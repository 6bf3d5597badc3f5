"""What a fit of scikit-learn costs with a callback or with autolog, beside the same fit without.

    python tests/bench/bench_sklearn.py [--quick] [--json]

The fit is a logistic regression on as many samples as make an iteration last about 1 ms; each iteration is a task with
a point of its own. Its floors are the same fit without any callback, and with a callback that does nothing, which is
what scikit-learn itself asks for the calls. `autolog` has no part in iterations: its cost is that of a whole fit, here
of a tree, with and without the metrics that need predictions. The plain loop is interleaved with all others. One
thread for BLAS, or a busy machine drowns the difference.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is loaded

import numpy as np
from figures import Figure, folder, in_turns, main, seconds
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

import naiad
from naiad_sklearn import NaiadCallback, autolog

ITERATIONS = 300


class Nothing:
    """A callback that asks for as little as one can."""

    max_propagation_depth = None

    def setup(self, estimator: Any, context: Any) -> None:
        """Nothing."""

    def teardown(self, estimator: Any, context: Any) -> None:
        """Nothing."""

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Nothing."""

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Nothing."""


def data(samples: int) -> tuple[Any, Any]:
    """Two classes that cannot be told apart, by features of very different size: no iteration is soon the last."""
    draw = np.random.default_rng(0)
    return draw.normal(size=(samples, 50)) * np.geomspace(0.01, 100, 50), draw.integers(0, 2, samples)


def milliseconds(samples: int, callback: object | None) -> Callable[[], float]:
    """How long an iteration of a regression takes."""
    x, y = data(samples)

    def fit() -> float:
        model = LogisticRegression(C=1e6, max_iter=ITERATIONS, tol=0)
        if callback is not None:
            model.set_callbacks(callback)
        took = seconds(lambda: model.fit(x, y))
        return 1000 * took / int(model.n_iter_[0])

    return fit


def tree_milliseconds(samples: int, run: naiad.Run | None, **options: bool) -> Callable[[], float]:
    """How long a fit of a tree takes."""
    x, y = data(samples // 4)

    def fit() -> float:
        model = DecisionTreeClassifier(max_depth=6)
        if run is None:
            return 1000 * seconds(lambda: model.fit(x, y))
        with autolog(run, **options):
            return 1000 * seconds(lambda: model.fit(x, y))

    return fit


def measure(quick: bool) -> list[Figure]:
    """Callback and autolog, each beside the bare fit."""
    samples, repeats = (200, 2) if quick else (8_000, 15)
    warnings.filterwarnings("ignore", message="lbfgs failed to converge")  # it is not meant to
    with folder() as place, naiad.init_run(store=place) as run:
        found = in_turns(
            repeats,
            {
                "without": milliseconds(samples, None),
                "callback that does nothing": milliseconds(samples, Nothing()),
                "naiad": milliseconds(samples, NaiadCallback(run["model"])),
            },
        )
        trees = in_turns(
            repeats,
            {
                "without": tree_milliseconds(samples, None),
                "naiad": tree_milliseconds(samples, run["trees"], log_train_metrics=False),
                "naiad with metrics": tree_milliseconds(samples, run["scored"]),
            },
        )
    return [
        Figure("an iteration of a logistic regression, with a callback", "ms", found.pop("naiad"), "1.01x", found),
        Figure("a fit of a tree, with autolog", "ms", trees.pop("naiad"), "", {"without": trees["without"]}),
        Figure("the same, with training metrics", "ms", trees.pop("naiad with metrics"), "", trees),
    ]


if __name__ == "__main__":
    main(measure)
