"""Every argument of Neptune's `init_run`: it does what it says, or says that it does not. None is silently ignored."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest

import naiad
from naiad.errors import MissingField, NaiadWarning, ReadOnlyWarning, forget_warnings

pytestmark = pytest.mark.usefixtures("store")
Run = naiad.Run

DOES: dict[str, tuple[dict[str, Any], Callable[[Run], Any], Any]] = {
    "project": ({"project": "w/digits"}, lambda run: run["sys/project"].fetch(), "w/digits"),
    "custom_run_id": ({"custom_run_id": "mine"}, lambda run: run["sys/custom_run_id"].fetch(), "mine"),
    "name": ({"name": "n"}, lambda run: run["sys/name"].fetch(), "n"),
    "description": ({"description": "d"}, lambda run: run["sys/description"].fetch(), "d"),
    "tags": ({"tags": ("a", "b")}, lambda run: run["sys/tags"].fetch(), {"a", "b"}),
    "monitoring_namespace": ({"monitoring_namespace": "m/n"}, lambda run: run.monitoring_namespace, "m/n"),
}
"""Argument, its value, where its effect is seen, and the effect."""

ELSEWHERE = {
    "with_id",
    "mode",
    "fail_on_exception",
    "capture_traceback",
    "capture_stdout",
    "capture_stderr",
    "capture_hardware_metrics",
    "source_files",
    "git_ref",
    "dependencies",
}
"""What takes more than a line to see; below, and in tests/core/capture."""

SAYS: dict[str, tuple[Any, type[Warning]]] = {
    "proxies": ({"http": "x"}, NaiadWarning),
    "async_lag_callback": (print, NaiadWarning),
    "async_no_progress_callback": (print, NaiadWarning),
}
"""Argument, a value that asks for something, and the warning that says it does not happen."""

DOCUMENTED = {
    "api_token": ("ANONYMOUS", "a folder needs none"),
    "flush_period": (1, "no effect"),
    "async_lag_threshold": (10.0, "no effect"),
    "async_no_progress_threshold": (10.0, "no effect"),
}
"""Argument that only tunes what is not there: its value is taken, and the docstring says what comes of it."""


def test_each_argument_is_in_one_of_the_tables() -> None:
    ours = {"alerts", "parent", "store", "strict", "limits", "on_error", "rewind_to", "unknown"}
    neptunes = inspect.signature(naiad.init_run).parameters.keys() - ours

    assert sorted(neptunes) == sorted([*DOES, *ELSEWHERE, *SAYS, *DOCUMENTED])


@pytest.mark.parametrize("name", DOES)
def test_argument_has_its_effect(name: str) -> None:
    given, effect, expected = DOES[name]
    with naiad.init_run(**given) as run:
        assert expected == effect(run)


@pytest.mark.parametrize("name", SAYS)
def test_argument_says_once_that_nothing_happens(name: str) -> None:
    forget_warnings()
    value, category = SAYS[name]
    with pytest.warns(category, match=f"{name}= "):
        naiad.init_run(**{name: value}).stop()
    naiad.init_run(**{name: value}).stop()  # a second warning would be an error here
    naiad.init_run(**{name: None}).stop()


@pytest.mark.parametrize("name", DOCUMENTED)
def test_argument_without_effect_is_documented(name: str) -> None:
    value, words = DOCUMENTED[name]
    naiad.init_run(**{name: value}).stop()

    assert re.search(rf"^        {name}: .*{words}", naiad.init_run.__doc__ or "", re.MULTILINE)


def test_with_id_goes_on_and_is_the_only_positional_argument() -> None:
    with naiad.init_run(project="digits") as run:
        run["a"] = 1
    with naiad.init_run("DIGITS-1") as run:
        assert 1 == run["a"].fetch()
    with pytest.raises(TypeError):
        naiad.init_run("DIGITS-1", "digits")  # type: ignore[misc]  # what is tested


@pytest.mark.parametrize("mode", ["async", "sync", "offline", "read-only", "debug"])
def test_each_mode_is_what_it_is_called(mode: str) -> None:
    with naiad.init_run(project="digits"):
        pass
    with naiad.init_run("DIGITS-1", mode=mode) as run:
        if mode == "read-only":
            with pytest.warns(ReadOnlyWarning):
                run["a"] = 1
        else:
            run["a"] = 1
    with naiad.init_run("DIGITS-1") as run:
        assert (mode in ("async", "sync", "offline")) is run.exists("a")


@pytest.mark.parametrize("marks", [True, False])
@pytest.mark.parametrize("keeps", [True, False])
def test_exception_is_marked_and_kept_as_asked(marks: bool, keeps: bool) -> None:
    arguments = {"fail_on_exception": marks, "capture_traceback": keeps, "monitoring_namespace": "m"}
    with pytest.raises(ZeroDivisionError), naiad.init_run(project="digits", **arguments):
        1 / 0
    with naiad.init_run("DIGITS-1", mode="read-only") as run:
        assert (marks, "failed" if marks else "finished") == (run["sys/failed"].fetch(), run["sys/state"].fetch())
        if keeps:
            assert "ZeroDivisionError" in run["m/traceback"].fetch_last()
        else:
            with pytest.raises(MissingField):
                run["m/traceback"].fetch_last()
