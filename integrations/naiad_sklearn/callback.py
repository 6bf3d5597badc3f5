"""The callback for estimators that take one (scikit-learn 1.9 and later): `model.set_callbacks(NaiadCallback(run))`.

It keeps where to write and nothing else. Parallel searches pickle it into their workers, which write to the same run.
"""

from __future__ import annotations

import sys
from time import perf_counter
from typing import Any

from sklearn.metrics import check_scoring

from naiad.guard import Attempt, Place
from naiad.names import apart
from naiad_sklearn import fits
from naiad_sklearn.watching import unseen

OF_THIS_PROCESS = frozenset({"_fits", "_tasks", "_series", "on_fit_task_end"})


class NaiadCallback:
    """Logs the fits of an estimator, and each task within them: steps of a pipeline, candidates, iterations.

    A task is a point in a series of all its siblings, at the step that scikit-learn numbers it by. To fit several
    estimators in one run, give each a namespace: `NaiadCallback(run["svc"])`. Fits of one callback after the other
    go on with its series; the rest is that of the last.

    Args:
        run: a run, or a namespace of one.
        base_namespace: where to write, below that.
        scoring: the metric of each iteration on the data it was fitted to, as scikit-learn's own ScoringMonitor
            takes it: "accuracy", ["r2", "neg_mean_absolute_error"], a callable. It costs a prediction each.
        max_propagation_depth: how many estimators within estimators to watch, all of them if None. Those that take no
            callback are left out, of which scikit-learn warns; 0 watches only the outermost, without a warning.

    >>> search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1, 10]}, n_jobs=2)
    >>> search.set_callbacks(NaiadCallback(run)).fit(X, y)
    """

    def __init__(
        self,
        run: Place,
        *,
        base_namespace: str = "",
        scoring: Any = None,
        max_propagation_depth: int | None = None,
    ) -> None:
        self.max_propagation_depth = max_propagation_depth
        self._place = run[base_namespace] if base_namespace else run
        self._scoring = [scoring] if isinstance(scoring, str) else scoring
        self._forget()

    def _forget(self) -> None:
        self._fits: dict[Any, float] = {}  # when each fit that runs here began
        self._tasks: dict[Any, float] = {}  # when each task that runs here began
        self._series: dict[Any, dict[str, Any]] = {}  # where the tasks below a task that runs here go, by their name
        if self._scoring is not None:
            self.on_fit_task_end = self._score_task_end  # type: ignore[method-assign]  # who scores takes more

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without state that belongs to this process."""
        return {key: value for key, value in self.__dict__.items() if key not in OF_THIS_PROCESS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    # The protocol of scikit-learn

    def setup(self, estimator: Any, context: Any) -> None:
        """A fit begins."""
        self._fits[context] = perf_counter()
        with Attempt("naiad_sklearn", self._place, "log the start of a fit"):
            fits.begin(self._place, estimator)

    def teardown(self, estimator: Any, context: Any) -> None:  # noqa: ARG002 (scikit-learn gives it)
        """A fit has ended, by an exception if its own task has not."""
        began, error = self._fits.pop(context, None), sys.exc_info()[1]
        if not self._fits:  # what a failed fit has not ended
            self._tasks.clear()
            self._series.clear()
        # A fit that succeeds ends by its own task, where its time is logged.
        if began is not None and error is not None:
            with Attempt("naiad_sklearn", self._place, "log the end of a fit"):
                fits.fail(self._place, error, perf_counter() - began)

    def on_fit_task_begin(self, estimator: Any, context: Any, *, X: Any = None) -> None:  # noqa: ARG002 (as above)
        """A fit, or a task within one, begins."""
        self._tasks[context] = perf_counter()
        if context.parent is None:
            with Attempt("naiad_sklearn", self._place, "log the data of a fit"):
                self._place["fit"] = fits.size(X)

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """A fit, or a task within one, is done."""
        began = self._tasks.pop(context, None)
        if began is None:  # scikit-learn ends a task that was never begun where a fit fails
            return
        seconds = perf_counter() - began
        self._series.pop(context, None)
        with Attempt("naiad_sklearn", self._place, "log a task of a fit"):
            if context.parent is None:
                self._fits.pop(context, None)
                fits.end(self._place, estimator, seconds)
            else:
                self._append(context, {"seconds": seconds})

    def _score_task_end(
        self,
        estimator: Any,
        context: Any,
        *,
        X: Any = None,
        y: Any = None,
        metadata: dict[str, Any] | None = None,
        fitted_estimator: Any = None,
    ) -> None:
        """The same for a callback that scores. The copy it is given is made for those alone that have the argument."""
        NaiadCallback.on_fit_task_end(self, estimator, context)
        if y is None or not hasattr(fitted_estimator, "predict"):
            return
        with Attempt("naiad_sklearn", self._place, "score a task of a fit"):
            scores = {"scores": self._scores(fitted_estimator, X, y, metadata or {})}
            if context.parent is None:
                self._place["fit"] = scores
            else:
                self._append(context, scores)

    def _append(self, context: Any, values: dict[str, Any]) -> None:
        """Add a point to the series that a task shares with its siblings."""
        known = self._series.get(context.parent)
        if known is None:
            known = self._series[context.parent] = {}
        name = task_name(context)
        # A handler costs more than a point, and a search may have thousands of tasks with one name.
        if name not in known:
            known[name] = self._place[f"fit/tasks/{task_path(context)}"]
        known[name].append(values, step=context.task_id)

    @unseen()
    def _scores(self, fitted: Any, samples: Any, targets: Any, metadata: dict[str, Any]) -> dict[str, float]:
        found = check_scoring(fitted, self._scoring)(fitted, samples, targets, **metadata)
        scores = found if isinstance(found, dict) else {"score": found}
        return apart({name: float(score) for name, score in scores.items()})


NeptuneCallback = NaiadCallback
"""The name that fits beside Neptune's other callbacks; Neptune itself had none for scikit-learn."""


def task_name(context: Any) -> str:
    """Return the name of a task as its parent estimator has it."""
    return str(context.source_task_name or context.task_name)


def task_path(context: Any) -> str:
    """Return where the series of a task are, below those of the fit.

    Each task that others lie in is a namespace. It is numbered, unless its name is that of a step of its own.

    >>> class Task:
    ...     def __init__(self, name, task_id, parent=None):
    ...         self.task_name, self.task_id, self.parent, self.source_task_name = name, task_id, parent, None
    >>> search = Task("search", 0, Task("fit", 0))
    >>> task_path(Task("lbfgs-iter", 7, Task("fit-final-estimator", 1, Task("candidate", 3, search))))
    'search/candidate/3/fit-final-estimator/lbfgs-iter'
    """
    parts = [task_name(context)]
    parent = context.parent
    # The outermost task is the fit itself, which is `fit` in every path already.
    while parent.parent is not None:
        name = task_name(parent)
        parts += [name] if _is_one_of_its_kind(name) else [str(parent.task_id), name]
        parent = parent.parent
    return "/".join(reversed(parts))


def _is_one_of_its_kind(name: str) -> bool:
    """Whether no sibling of a task has its name: so scikit-learn calls steps of pipelines and of searches."""
    return name == "search" or name.startswith(("fit-", "refit-"))
