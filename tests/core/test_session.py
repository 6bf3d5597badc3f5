"""What this process knows to exist, and how it learns of others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import naiad
from naiad import session
from naiad.errors import FieldConflict, FieldWarning, MissingField, NaiadTypeError, WrongVerb
from naiad.storage.local.index import snapshot
from naiad.storage.results import Shadowed


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
    monkeypatch.setattr(run._session.writer.journal.directory, "is_troubled", True)
    monkeypatch.setattr(run._session.reader, "kinds", dict)

    run._session.refresh()

    assert run.exists("a")
    assert run.exists("x")
    monkeypatch.undo()


def test_field_object_of_a_removed_field_cannot_hide_what_came_after(run: naiad.Run) -> None:
    run["a"] = 1
    stale = run.get_attribute("a")
    run.pop("a")
    run["a"] = "text"

    assert stale is not None
    with pytest.raises(FieldConflict, match="replaced by another field"):
        stale.assign(2)
    assert "text" == run["a"].fetch()


def test_kind_that_another_process_gave_a_path_holds_here_too(run: naiad.Run, other: naiad.Run) -> None:
    run["m"].append(1.0)
    with pytest.raises(NaiadTypeError, match='"m" is a series of numbers'):
        other["m"].append("text")
    with pytest.raises(WrongVerb, match='"m" is a FloatSeries'):
        other["m"].fetch()
    for i in range(3):
        run["m"].append(float(i))

    assert [1.0, 0.0, 1.0, 2.0] == other["m"].fetch_values()["value"].tolist()


def test_field_cannot_lie_below_what_another_process_stored(run: naiad.Run, other: naiad.Run) -> None:
    run["n"] = 1
    with pytest.raises(FieldConflict, match='"n/x" cannot exist'):
        other["n/x"] = 2
    other["o/x"] = 2
    with pytest.raises(FieldConflict, match='"o" is a namespace'):
        run["o"] = 1


def test_value_is_coerced_to_the_kind_that_another_process_chose(run: naiad.Run, other: naiad.Run) -> None:
    run["x"] = 1.5
    other["x"] = 2

    assert 2.0 == run["x"].fetch()
    assert isinstance(run["x"].fetch(), float)


def test_run_that_nobody_else_writes_is_never_read_for_a_new_field(
    run: naiad.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise AssertionError("the run was read")

    monkeypatch.setattr(run._session, "refresh", refuse)
    run["a"] = 1
    run["b"].append({"c": 1.0, "d": 2.0})
    monkeypatch.undo()

    assert 1 == run["a"].fetch()


@pytest.fixture
def blind(run: naiad.Run, other: naiad.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither handle looks at the other before it writes, as when both write at the same moment."""
    for each in (run, other):
        monkeypatch.setattr(each._session.writer, "peers_have_written", lambda: False)


@pytest.mark.usefixtures("blind")
def test_of_two_kinds_at_one_path_the_first_is_shown_and_the_other_writer_warned(
    run: naiad.Run, other: naiad.Run
) -> None:
    run["m"].append(1.0)
    other["m"].append("x")
    for i in range(1000):
        run["m"].append(float(i))
    with pytest.warns(FieldWarning, match='"m" \\(float_series\\) and then "m" \\(string_series\\)'):
        other.sync()
    other.sync()
    run.sync()

    assert 1001 == len(run["m"].fetch_values())
    assert 1001 == len(other["m"].fetch_values())
    assert [Shadowed("m", "string_series", "m", "float_series")] == run._session.reader.shadowed()


@pytest.mark.usefixtures("blind")
def test_first_kind_is_shown_after_a_fold_and_the_fold_warns_the_other_writer(run: naiad.Run, other: naiad.Run) -> None:
    run["m"] = 1
    other["m"] = "text"
    run["m"] = 2  # written last, defined first
    with pytest.warns(FieldWarning, match='"m"'):
        other._session.writer._fold()
    run._session.writer._fold()

    with naiad.init_run(with_id=run["sys/id"].fetch(), mode="read-only") as reader:
        assert 2 == reader["m"].fetch()
        assert ["m"] == [each.path for each in reader._session.reader.shadowed()]


@pytest.mark.usefixtures("blind")
@pytest.mark.parametrize(("first", "second"), [("n", "n/x"), ("n/x", "n"), ("n/x/y", "n"), ("n", "n/x/y")])
def test_run_with_a_field_below_a_field_can_be_read_whole(
    run: naiad.Run, other: naiad.Run, first: str, second: str
) -> None:
    run[first] = 1
    other[second] = 2
    with pytest.warns(FieldWarning, match=f'"{first}" .*"{second}" '):
        other.sync()
    run.sync()

    for each in (run, other, naiad.init_run(with_id=run["sys/id"].fetch(), mode="read-only")):
        found = each.fetch()
        for part in first.split("/"):
            found = found[part]
        assert 1 == found
        assert not each._session.tree.get(second)
        assert "n" in each.get_structure()
    with pytest.raises(FieldConflict):
        other[second] = 3


@pytest.mark.usefixtures("blind")
def test_kind_of_a_field_is_learned_anew_when_it_is_read(run: naiad.Run, other: naiad.Run) -> None:
    run["v"] = 1.5
    other.sync()
    other.pop("v")
    other["v"] = "text"

    assert "text" == run["v"].fetch()
    assert "<String field" in repr(run["v"])


@pytest.mark.usefixtures("blind")
def test_namespace_is_read_with_the_kinds_that_are_stored(run: naiad.Run, other: naiad.Run) -> None:
    run["n/v"] = "text"
    run["n/w"] = 1
    other.sync()
    other.pop("n")
    other["n/v"] = 2.5
    other["n/w"].append(0.5)

    assert {"v": 2.5} == run["n"].fetch()


@pytest.mark.usefixtures("blind")
def test_verb_that_does_not_fit_what_another_process_put_there_says_so(run: naiad.Run, other: naiad.Run) -> None:
    run["v"].append(1.5)
    run["w"] = 1
    run["x"].append(1.5)
    other.sync()
    for path in "vwx":
        other.pop(path)
    other["v"] = "text"
    other["w"].append("entry")
    other["x"].append("entry")

    with pytest.raises(WrongVerb, match='"v" is a String'):
        run["v"].fetch_values()
    with pytest.raises(WrongVerb, match='"w" is a StringSeries'):
        run["w"].fetch()
    assert "entry" == run["x"].fetch_last()


def test_what_others_write_shows_in_completions_and_reprs_of_a_reader(run: naiad.Run) -> None:
    with naiad.init_run(with_id=run["sys/id"].fetch(), mode="read-only") as reader:
        run["new/field"] = 5

        assert '<Integer field at "new/field">' == repr(reader["new/field"])
        run["new/other"] = 5
        assert ["field", "other"] == reader["new"]._ipython_key_completions_()
        run["newer"] = 5
        assert "newer" in reader._ipython_key_completions_()


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


@pytest.fixture
def wide(store: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of a stopped run whose fields are looked up one by one at first."""
    monkeypatch.setenv("NAIAD_SMALL_RUN_RECORDS", "0")
    monkeypatch.setattr(snapshot, "MANY_FIELDS", 0)
    with naiad.init_run() as run:
        run["a/value"] = 1
        run["a/series"].append(0.5)
        run["long"].extend([0.5] * 1000)  # or the run would keep its journal
        for number in range(20):
            run[f"f{number}"] = number
        name = str(run["sys/id"].fetch())
    with naiad.init_run(with_id=name, mode="read-only") as opened:
        assert opened._session.reader.is_partial
    return name


def test_field_of_an_opened_run_is_read_without_listing_the_others(wide: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with naiad.init_run(with_id=wide, mode="read-only") as opened, monkeypatch.context() as patched:
        patched.delattr(type(opened._session.reader), "kinds")

        assert 1 == opened["a/value"].fetch()
        assert 0.5 == opened["a/series"].fetch_last()
        assert [0.5] == list(opened["a/series"].fetch_values()["value"])
        assert "finished" == opened["sys/state"].fetch()


def test_fields_that_are_looked_up_one_by_one_are_listed_with_the_others(wide: str) -> None:
    with naiad.init_run(with_id=wide, mode="read-only") as opened:
        for number in range(12):
            assert number == opened[f"f{number}"].fetch()
        there = {*opened.get_structure()}

    assert {f"f{number}" for number in range(20)} <= there


def test_namespaces_and_missing_fields_of_a_run_with_very_many_are_what_they_are(wide: str) -> None:
    with naiad.init_run(with_id=wide, mode="read-only") as opened:
        assert {"value": 1} == opened["a"].fetch()
        assert not opened.exists("a/valu")
        with pytest.raises(MissingField, match="a/value"):
            opened["a/valu"].fetch()


def test_new_field_of_a_resumed_run_cannot_lie_below_one_that_was_not_read(wide: str) -> None:
    with naiad.init_run(with_id=wide) as resumed, pytest.raises(FieldConflict):
        resumed["f1/b"] = 2


def test_fields_of_a_resumed_run_with_very_many_are_made_as_they_are_needed(
    wide: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "MANY_STORED", 20)
    with naiad.init_run(with_id=wide) as resumed:
        tree, reader = resumed._session.tree, resumed._session.reader
        resumed["a/series"].append(1.5, step=7)
        resumed["f3"] = 30

        assert {"a/series", "f3"} == {field.path for field in tree.made()}
        assert reader.is_partial
        assert resumed.exists("a/value")
        assert [0.5, 1.5] == resumed["a/series"].fetch_values()["value"].tolist()
        assert not reader.is_partial
    with naiad.init_run(with_id=wide, mode="read-only") as stopped:
        assert (30, 4) == (stopped["f3"].fetch(), stopped["f4"].fetch())
        assert [0.0, 7.0] == stopped["a/series"].fetch_values()["step"].tolist()


def test_point_of_a_resumed_run_with_very_many_series_gets_the_next_step(
    wide: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "MANY_STORED", 20)
    with naiad.init_run(with_id=wide) as resumed:
        resumed["a/series"].append(1.5)
        resumed["long"].append(1.5)

        assert 1.0 == resumed["a/series"].fetch_values()["step"].iloc[-1]
        assert 1000.0 == resumed["long"].fetch_values()["step"].iloc[-1]


def test_removal_by_others_of_a_field_that_is_not_made_is_seen(wide: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MANY_STORED", 20)
    with naiad.init_run(with_id=wide) as resumed, naiad.init_run(with_id=wide) as other:
        other.pop("f5")
        other.pop("f6")
        other["f6"] = "another kind"
        resumed.sync()

        assert not resumed.exists("f5")
        assert "another kind" == resumed["f6"].fetch()


def test_field_that_several_threads_ask_for_first_is_made_once(wide: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MANY_STORED", 20)
    with naiad.init_run(with_id=wide) as resumed, ThreadPoolExecutor(8) as threads:
        for number in range(20):
            found = {*threads.map(resumed._session.tree.get, [f"f{number}"] * 8)}

            assert 1 == len(found)
            assert None not in found


@pytest.mark.parametrize("verb", ["append", "extend", "log"])
def test_dict_after_a_resume_looks_at_the_journal_once_for_all_its_series(
    store: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """Where each series looked by itself, a dict of 1,000 took 4 seconds."""
    with naiad.init_run() as run:
        name = run["sys/id"].fetch()
        run["m"].append({f"k{number}": 0.5 for number in range(50)}, step=3)
    looks: list[object] = []
    look = snapshot.Snapshot._update
    monkeypatch.setattr(snapshot.Snapshot, "_update", lambda own: (looks.append(own), look(own))[1])
    with naiad.init_run(with_id=name) as run:
        looks.clear()
        value: object = [1.5] if verb == "extend" else 1.5
        getattr(run["m"], verb)({f"k{number}": value for number in range(50)})
        count = len(looks)
        steps = {tuple(run[f"m/k{number}"].fetch_values()["step"]) for number in range(50)}

    assert {(3.0, 4.0)} == steps
    assert count <= 2  # for the fields, and for the last steps
