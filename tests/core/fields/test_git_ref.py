"""What is known of a commit, as a field."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

import naiad
from naiad.errors import NaiadTypeError, WrongVerb
from naiad.types import GitRef

COMMIT = GitRef(
    "train.py",
    commit_id="0" * 40,
    message="Teach it more\n\nwith ä and \U0001f40d",
    author_name="A",
    author_email="a@example.org",
    commit_date=datetime(2024, 5, 6, 7, 8, 9, 5, tzinfo=timezone(timedelta(hours=2))),
    branch="main",
    remotes=("https://example.org/a.git", "b"),
    is_dirty=True,
)


def test_everything_known_comes_back(run: naiad.Run) -> None:
    run["code/git"] = COMMIT
    run["code/nothing"].assign(GitRef("."), wait=True)

    assert COMMIT == run["code/git"].fetch()
    assert GitRef(".") == run["code/nothing"].fetch()
    run.stop()
    with naiad.init_run(with_id=run._id, mode="read-only") as again:
        assert COMMIT == again["code/git"].fetch()


def test_it_is_copied_and_replaced(run: naiad.Run) -> None:
    run["a"] = COMMIT
    run["b"] = run["a"]
    run["a"] = GitRef("other")

    assert (GitRef("other"), COMMIT) == (run["a"].fetch(), run["b"].fetch())


@pytest.mark.parametrize("value", ["0" * 40, 5, {"a": 1}], ids=repr)
def test_other_values_are_refused(run: naiad.Run, value: object) -> None:
    run["a"] = COMMIT

    with pytest.raises((NaiadTypeError, naiad.errors.FieldConflict), match="a GitRef"):
        run["a"] = value

    assert COMMIT == run["a"].fetch()


def test_it_has_no_verbs_of_others(run: naiad.Run) -> None:
    run["a"] = COMMIT

    for verb in ("download", "fetch_last", "fetch_hash"):
        with pytest.raises(WrongVerb, match="a GitRef"):
            getattr(run["a"], verb)()


def test_namespace_leaves_it_out(run: naiad.Run) -> None:
    run["a/git"] = COMMIT
    run["a/x"] = 1

    assert {"x": 1} == run["a"].fetch()


def test_fetch_sees_the_field_that_replaced_it_in_another_process(run: naiad.Run) -> None:
    run["a"] = COMMIT
    field = run.get_attribute("a")
    with naiad.init_run(with_id=run["sys/id"].fetch()) as other:
        other["a"].pop()
        other["a"] = 5

    assert 5 == field.fetch()
