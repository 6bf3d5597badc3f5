"""What a refused or failed write leaves behind: nothing."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path

import pytest

import naiad
from naiad.errors import (
    FieldConflict,
    NaiadTypeError,
    ReadOnlyWarning,
    StepOrderError,
    StorageError,
    UnsupportedValue,
)
from naiad.storage.base import Change
from naiad.storage.local.journal.files import list_journal
from naiad.storage.local.journal.frames import read_ops
from naiad.types import File, FloatSeries


def frames(run: naiad.Run) -> list[list[str]]:
    """Return the names of the ops in each frame that the run has written."""
    files = [file for file in list_journal(run._store.directory(run._run).journal) if file.suffix == "ops"]
    return [[type(op).__name__ for op in frame.ops] for file in files for frame in read_ops(file, 0)[0]]


def steps_of(run: naiad.Run, path: str) -> list[float]:
    steps: list[float] = run[path].fetch_values()["step"].tolist()
    return steps


def test_change_is_data() -> None:
    """A change can be read without being executed: no part of it is a function or a field."""
    assert ("path", "kind", "ops", "points", "number", "content") == Change.__struct_fields__


def test_several_series_and_their_axes_are_replaced_in_one_frame(run: naiad.Run) -> None:
    run["a"].append(9.0)
    before = len(frames(run))
    run.assign({"a": FloatSeries([1.0, 2.0], min=0.0), "b": FloatSeries([3.0], unit="m"), "c": 5})

    assert [["Define", "Configure", "Define", "Configure", "Assign"]] == frames(run)[before:]
    assert [1.0, 2.0] == run["a"].fetch_values()["value"].tolist()


def test_ops_of_one_call_have_one_time_and_calls_follow_each_other(run: naiad.Run) -> None:
    run.assign({"a": 1, "b": 2.0})
    run["c"] = 3
    files = [file for file in list_journal(run._store.directory(run._run).journal) if file.suffix == "ops"]
    times = [{op.at for op in frame.ops} for file in files for frame in read_ops(file, 0)[0]]

    assert [1, 1] == [len(each) for each in times[-2:]]
    assert max(times[-2]) < min(times[-1])


def test_refused_call_gives_steps_back(run: naiad.Run) -> None:
    run["a"].append(1.0)
    for values in ({"a": 2.0, "b": "text", "a/b": 1.0}, {"a": 2.0, "new": 1.0, "new/below": 1.0}):
        with pytest.raises(FieldConflict):
            run.append(values)
    run["a"].append(2.0)

    assert [0.0, 1.0] == steps_of(run, "a")
    assert not run.exists("b")
    assert not run.exists("new")


def test_steps_that_another_thread_built_upon_stay_taken(run: naiad.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run["a"].append(1.0)
    run["a"].append(1.5)  # from now on without the lock
    series = run["a"]

    def fail(_path: str) -> None:
        thread = threading.Thread(target=series.append, args=(2.0,))
        thread.start()
        thread.join()
        raise FieldConflict("not here")

    monkeypatch.setattr(run._session.tree, "check", fail)
    with pytest.raises(FieldConflict):
        run.append({"a": 3.0, "new": 1.0})
    monkeypatch.undo()
    series.append(4.0)

    assert len(steps_of(run, "a")) == len(set(steps_of(run, "a")))
    assert [1.0, 1.5, 2.0, 4.0] == run["a"].fetch_values()["value"].tolist()


def test_refused_value_takes_back_no_step_of_another_thread(run: naiad.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run["a"].append(1.0)
    run["a"].append(1.5)

    def fail(*_arguments: object) -> None:
        thread = threading.Thread(target=run["a"].append, args=(2.0,))
        thread.start()
        thread.join()
        raise NaiadTypeError("not this")

    monkeypatch.setattr(run._session.existing("a"), "plan_append", fail)
    with pytest.raises(NaiadTypeError):
        run.append({"a": 3.0, "b": 1.0})
    monkeypatch.undo()
    run["a"].append(4.0)

    assert [0.0, 1.0, 2.0, 3.0] == steps_of(run, "a")


@pytest.mark.usefixtures("store")
def test_point_refused_for_its_time_takes_no_step() -> None:
    with naiad.init_run(mode="sync", limits="neptune") as run:
        for path, first, second in (("a", 1.0, 2.0), ("b", "one", "two")):
            run[path].append(first, timestamp=10)
            with pytest.raises(StepOrderError):
                run[path].append(first, timestamp=5)
            run[path].append(second, timestamp=11)

            assert [0.0, 1.0] == steps_of(run, path)


def test_read_only_run_keeps_nothing_where_warnings_are_errors(run: naiad.Run) -> None:
    with (
        naiad.init_run(with_id=run["sys/id"].fetch(), mode="read-only") as reader,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("error")
        with pytest.raises(ReadOnlyWarning):
            reader.assign({"a/b": 1, "c": 2.0})

        assert not reader.exists("a")


def test_frame_that_is_too_large_leaves_no_new_field(run: naiad.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("naiad.storage.local.journal.journal.LARGEST", 10)
    with pytest.raises(ValueError, match="10 are the limit"):
        run.assign({"a": 1, "b": "text"})
    monkeypatch.undo()

    assert not run.exists("a")
    run["a"] = "of another kind"
    assert "of another kind" == run["a"].fetch()


def test_content_of_a_refused_call_is_dropped(run: naiad.Run, store: Path) -> None:
    run["a"] = 1
    with pytest.raises(FieldConflict):
        run["a/file"].upload(File.from_content(bytes(100_000)))
    with pytest.raises(NaiadTypeError):
        run["files"].extend([File.from_content(bytes(100_000)), "a text"])

    assert [] == [each for each in (store / "blobs").rglob("*") if each.is_file() and each.stat().st_size >= 100_000]


def test_disk_that_refuses_a_frame_leaves_no_new_field(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with naiad.init_run(on_error="raise") as run:

        def refuse(*_given: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("naiad.storage.local.journal.op_log.OpsFile.append", refuse)
        with pytest.raises(StorageError):
            run["a"].append(0.5)
        monkeypatch.undo()

        assert not run.exists("a")
        run["a"] = "text"
        assert "text" == run["a"].fetch()


def test_value_that_is_left_out_does_not_hold_back_the_others(run: naiad.Run) -> None:
    with pytest.warns(naiad.errors.UnsupportedValueWarning):
        run.append({"a": 1.0, "b": object()})

    assert [0.0] == steps_of(run, "a")
    assert not run.exists("b")
    with naiad.init_run(strict=True) as strict:
        with pytest.raises(UnsupportedValue):
            strict.append({"a": 1.0, "b": object()})
        assert not strict.exists("a")
