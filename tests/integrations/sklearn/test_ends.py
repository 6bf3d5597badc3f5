"""A fit that is cut short keeps what it had logged, and its run says how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integrations.sklearn.conftest import needs_callbacks

from naiad.storage.local.reader import Reader
from naiad.storage.local.store import Store

PROGRAM = """
import sys, time
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
import naiad
from naiad_sklearn import NaiadCallback, autolog

class Endless(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        if sys.argv[1] == "raise":
            raise ValueError("no convergence")
        print("fitting", flush=True)
        time.sleep(60)

class Outer(BaseEstimator):
    def fit(self, X, y):
        callback = NaiadCallback(run["inner"], max_propagation_depth=0)
        make_pipeline(StandardScaler(), Endless()).set_callbacks(callback).fit(X, y)

run = naiad.init_run()
autolog(run)
Outer().fit(*load_iris(return_X_y=True))
"""


@pytest.mark.parametrize(
    ("end", "state", "status"),
    [
        ("raise", "failed", "failed"),
        (signal.SIGINT, "terminated", "interrupted"),
        (signal.SIGKILL, "killed", "running"),
    ],
    ids=["exception", "Ctrl-C", "kill -9"],
)
@needs_callbacks
def test_run_says_how_fits_ended(store: Path, end: str | signal.Signals, state: str, status: str) -> None:
    """One that `autolog` sees, and within it one that has a callback."""
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(end)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout
    if isinstance(end, signal.Signals):
        assert "fitting\n" == child.stdout.readline()
        os.kill(child.pid, end)
    _, errors = child.communicate(timeout=60)
    (folder,) = Store(store).folders()
    run = Reader(folder)

    assert state == run.state()
    assert [status, status] == [run.value(f"{place}/fit/status") for place in ("Outer", "inner")]
    assert (150, "Pipeline") == (run.value("Outer/fit/data/samples"), run.value("inner/fit/estimator"))
    assert 1 == len(run.points("inner/fit/tasks/fit-transform-standardscaler/seconds").values)
    assert [] == run.damages
    if end == "raise":
        assert "no convergence" == run.value("inner/fit/exception/message")
        assert 1 == errors.count("ValueError: no convergence")


@pytest.mark.slow
def test_search_whose_process_is_killed_keeps_what_its_workers_logged(store: Path) -> None:
    program = """
import os, signal
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
import naiad
from naiad_sklearn import NaiadCallback

class Fatal(NaiadCallback):
    def on_fit_task_end(self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None):
        super().on_fit_task_end(estimator, context)
        if context.task_name == "search":
            os.kill(os.getpid(), signal.SIGKILL)

search = GridSearchCV(LogisticRegression(max_iter=500), {"C": [0.1, 1]}, cv=2, n_jobs=2)
search.set_callbacks(Fatal(naiad.init_run())).fit(*load_iris(return_X_y=True))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    (folder,) = Store(store).folders()
    run = Reader(folder)

    assert -signal.SIGKILL == done.returncode
    assert [0, 1, 2, 3] == sorted(run.points("fit/tasks/search/candidate-split-evaluation/seconds").steps.tolist())
    assert "running" == run.value("fit/status")
