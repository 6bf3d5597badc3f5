"""Texts over steps."""

from __future__ import annotations

import pytest

import naiad
from naiad import types
from naiad.errors import LimitWarning, NaiadTypeError
from naiad.utils import stringify_unsupported


def texts_of(run: naiad.Run, path: str) -> list[str]:
    return run[path].fetch_values()["value"].tolist()


def test_texts_are_kept_whole_and_numbered(run: naiad.Run) -> None:
    given = ["", "a" * 100_000, "nul \0", "\ud800 alone", "\U0001f40d", "1.5"]
    for text in given:
        run["log"].append(text)

    frame = run["log"].fetch_values()

    assert given == frame["value"].tolist()
    assert [0.0, 1.0, 2.0, 3.0, 4.0, 5.0] == frame["step"].tolist()
    assert "1.5" == run["log"].fetch_last()


def test_extend_takes_steps_and_times(run: naiad.Run) -> None:
    run["log"].extend(["b", "a"], steps=[2, 1], timestamps=[5, 6])
    run["log"].append("c")

    assert ["a", "b", "c"] == texts_of(run, "log")


def test_text_is_one_value_and_not_a_collection(run: naiad.Run) -> None:
    run["log"].extend("begun")

    assert ["begun"] == texts_of(run, "log")


def test_number_is_refused_and_nothing_of_the_call_is_kept(run: naiad.Run) -> None:
    run["log"].append("a")

    with pytest.raises(NaiadTypeError, match='"log"'):
        run["log"].extend(["b", 1.5])

    assert ["a"] == texts_of(run, "log")


def test_clear_and_assign_replace_all_entries(run: naiad.Run) -> None:
    run["log"].extend(["a", "b"])
    run["log"].clear()

    assert [] == texts_of(run, "log")

    run["log"].append("c")
    run["log"] = types.StringSeries(["d", "e"], steps=[4, 5])

    assert ["d", "e"] == texts_of(run, "log")


def test_series_can_be_copied(run: naiad.Run) -> None:
    run["log"].extend(["a", "\udfff"], steps=[1, 2.5], timestamps=[10, 11])
    run["copy"] = run["log"]

    assert run["log"].fetch_values().equals(run["copy"].fetch_values())


def test_marked_values_are_kept_as_text(run: naiad.Run) -> None:
    run["log"].append(stringify_unsupported([1, 2]))

    assert ["[1, 2]"] == texts_of(run, "log")


@pytest.mark.usefixtures("store")
def test_neptunes_limit_cuts_entries_with_one_warning() -> None:
    with naiad.init_run(limits="neptune") as run:
        with pytest.warns(LimitWarning, match='"log"'):
            run["log"].append("a" * 2_000)
        run["log"].append("b" * 2_000)

        assert ["a" * 1_000, "b" * 1_000] == texts_of(run, "log")
