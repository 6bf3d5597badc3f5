"""What this process knows to exist, and how it learns of others."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import naiad
from naiad.errors import FieldConflict, MissingField


@pytest.fixture
def other(run: naiad.Run) -> Iterator[naiad.Run]:
    """A second handle on the same run, as another process would have it."""
    with naiad.init_run(with_id=run["sys/id"].fetch()) as other:
        yield other


def test_fields_of_others_are_seen_when_they_are_asked_for(run: naiad.Run, other: naiad.Run) -> None:
    other["new/field"] = 1
    other["series"].append(0.5)

    assert 1 == run["new/field"].fetch()
    assert 0.5 == run["series"].fetch_last()
    assert run.exists("new")
    assert "new" in run.get_structure()


def test_removal_by_others_is_seen_after_sync(run: naiad.Run, other: naiad.Run) -> None:
    run["a"] = 1
    other.sync()
    other.pop("a")
    run.sync()

    assert not run.exists("a")
    with pytest.raises(MissingField):
        run["a"].fetch()
    run["a"] = "another kind"
    assert "another kind" == run["a"].fetch()


def test_series_removed_by_others_begins_anew_after_sync(run: naiad.Run, other: naiad.Run) -> None:
    for _ in range(3):
        run["x"].append(1.0)
    other["x"].pop()
    run.sync()
    run["x"].append(2.0)

    assert [2.0] == run["x"].fetch_values()["value"].tolist()
    assert [0.0] == run["x"].fetch_values()["step"].tolist()


def test_nothing_is_forgotten_while_the_disk_refuses(run: naiad.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run["a"] = 1
    run["x"].append(0.5)
    monkeypatch.setattr(run._scope.writer.journal, "is_troubled", True)
    monkeypatch.setattr(run._scope.reader, "kinds", dict)

    run._scope.refresh()

    assert run.exists("a")
    assert run.exists("x")
    monkeypatch.undo()


def test_field_object_of_a_removed_field_cannot_hide_what_came_after(run: naiad.Run) -> None:
    run["a"] = 1
    stale = run.get_attribute("a")
    run.pop("a")
    run["a"] = "text"

    assert stale is not None
    with pytest.raises(FieldConflict, match="another field now"):
        stale.assign(2)
    assert "text" == run["a"].fetch()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_lock_held_by_another_thread_does_not_hang_a_forked_child(run: naiad.Run) -> None:
    import threading

    is_held, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with run.lock():
            is_held.set()
            may_end.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait(30)
    pid = os.fork()
    if not pid:
        run["child"] = 1
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    may_end.set()
    thread.join()

    assert 0 == status
    assert 1 == run["child"].fetch()
