"""Numbers over steps: what is accepted, how points are numbered and ordered, and that refusals leave no points."""

from __future__ import annotations

import math
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import naiad
from naiad import types
from naiad.errors import (
    EmptySeries,
    InvalidArgument,
    LimitWarning,
    StepOrderError,
    UnsupportedValue,
    UnsupportedValueWarning,
    WrongVerb,
)
from naiad.handler import Handler


def steps_of(handler: Handler) -> list[float]:
    return handler.fetch_values()["step"].tolist()


def values_of(handler: Handler) -> list[float]:
    return handler.fetch_values()["value"].tolist()


def test_points_without_steps_are_numbered_from_zero(run: naiad.Run) -> None:
    for value in (0.5, 0.25, 0.125):
        run["loss"].append(value)

    assert [0.0, 1.0, 2.0] == steps_of(run["loss"])
    assert [0.5, 0.25, 0.125] == values_of(run["loss"])


def test_point_without_step_follows_the_last_one(run: naiad.Run) -> None:
    run["loss"].append(1.0, step=10)
    run["loss"].append(2.0)
    run["loss"].append(3.0, step=2.5)
    run["loss"].append(4.0)

    assert [2.5, 3.0, 10.0, 11.0] == steps_of(run["loss"])


def test_equal_steps_are_kept_in_order_of_arrival(run: naiad.Run) -> None:
    for step, value in ((5, 1.0), (3, 2.0), (5, 3.0), (5, 4.0)):
        run["loss"].append(value, step=step)

    assert [3.0, 5.0, 5.0, 5.0] == steps_of(run["loss"])
    assert [2.0, 1.0, 3.0, 4.0] == values_of(run["loss"])


def test_values_without_number_and_limit_are_kept(run: naiad.Run) -> None:
    given = [math.nan, math.inf, -math.inf, 5e-324, 1e308, -0.0]
    for value in given:
        run["x"].append(value)

    assert repr(given) == repr(values_of(run["x"]))


NUMBERS = [True, 3, np.int64(3), np.float32(0.5), np.array([2.0]), Decimal("1.5"), np.float64(7.0)]


@pytest.mark.parametrize("value", NUMBERS, ids=repr)
def test_whatever_is_a_number_is_taken(run: naiad.Run, value: Any) -> None:
    run["x"].append(0.0)
    run["x"].append(value)
    run["y"].append(value)

    assert float(value if not isinstance(value, np.ndarray) else value[0]) == values_of(run["x"])[1]
    assert "FloatSeries" == type(run.get_attribute("y")).__name__


@pytest.mark.parametrize("step", [0, -3, 2.5, np.int64(4), np.float32(1.5), 2**53 + 1, 2**63 - 1, -(2**63)])
def test_step_is_kept_exactly(run: naiad.Run, step: Any) -> None:
    run["x"].append(1.0, step=step)

    assert [step] == steps_of(run["x"])


@pytest.mark.parametrize("step", ["1", math.nan, math.inf, 2**63, None.__class__])
def test_step_that_is_none_is_refused_and_the_series_goes_on(run: naiad.Run, step: Any) -> None:
    run["x"].append(1.0, step=7)

    with pytest.raises((TypeError, ValueError), match='"x"'):
        run["x"].append(2.0, step=step)
    run["x"].append(3.0)

    assert [7.0, 8.0] == steps_of(run["x"])


def test_refused_extend_leaves_no_points(run: naiad.Run) -> None:
    """If one value cannot be a number, none of the points of that call are kept."""
    run["loss"].append(0.9, step=5)

    with pytest.raises(TypeError, match='"loss"'):
        run["loss"].extend([0.8, "high"], steps=[6, 7])

    assert [5] == steps_of(run["loss"])


def test_refused_extend_leaves_no_new_field(run: naiad.Run) -> None:
    with pytest.raises(TypeError):
        run["a/b"].extend([1, "x"])

    assert not run.exists("a")


COLLECTIONS = [
    [1, 2, 3],
    (1, 2, 3),
    range(1, 4),
    np.array([1.0, 2.0, 3.0]),
    pd.Series([1, 2, 3], index=[5, 6, 7]),
    iter([1, 2, 3]),
]


@pytest.mark.parametrize("values", COLLECTIONS, ids=lambda each: type(each).__name__)
def test_extend_takes_any_collection(run: naiad.Run, values: Any) -> None:
    run["x"].extend(values, steps=pd.Series([2, 4, 6]), timestamps=(t for t in (1.0, 2.0, 3.0)))

    frame = run["x"].fetch_values()

    assert [1.0, 2.0, 3.0] == frame["value"].tolist()
    assert [2.0, 4.0, 6.0] == frame["step"].tolist()


def test_extend_takes_a_single_value(run: naiad.Run) -> None:
    run["x"].extend(5)
    run["x"].extend(6.5)

    assert [5.0, 6.5] == values_of(run["x"])


@pytest.mark.parametrize("nothing", [[], (), {}, {"a": []}, iter([])])
def test_extend_with_nothing_stores_nothing(run: naiad.Run, nothing: Any) -> None:
    run["x"].extend(nothing)
    run["x"].append({})

    assert not run.exists("x")


def test_unequal_lengths_are_named(run: naiad.Run) -> None:
    with pytest.raises(InvalidArgument, match='"x" was given 3 values and 2 steps'):
        run["x"].extend([1, 2, 3], steps=[1, 2])

    assert not run.exists("x")


def test_dict_goes_to_the_series_below(run: naiad.Run) -> None:
    for epoch in range(3):
        run["train"].append({"loss": 1.0 / (epoch + 1), "deep": {"acc": 0.5}, "note": "ok"}, step=epoch)
    run["train"].extend({"loss": [7, 8], "deep": {"acc": [9, 10]}}, steps=[10, 11])

    assert [0, 1, 2, 10, 11] == steps_of(run["train/loss"]) == steps_of(run["train/deep/acc"])
    assert ["ok"] * 3 == run["train/note"].fetch_values()["value"].tolist()


def test_dict_of_floats_is_numbered_like_single_points(run: naiad.Run) -> None:
    for value in range(4):
        run["t"].append({"a": float(value), "b": value})
    run["t/a"].append(9.0)
    run["t"].append({"a": 10.0, "b": 11.0})

    assert [0, 1, 2, 3, 4, 5] == steps_of(run["t/a"])
    assert [0, 1, 2, 3, 4] == steps_of(run["t/b"])


def test_dict_with_one_bad_value_appends_nothing(run: naiad.Run) -> None:
    run["t"].append({"a": 1.0, "b": 2.0}, step=0)

    with pytest.raises(TypeError, match='"t/b"'):
        run["t"].append({"a": 3.0, "b": "text"}, step=1)

    assert [0] == steps_of(run["t/a"]) == steps_of(run["t/b"])


def test_missing_value_in_a_dict_is_left_out_with_a_warning(run: naiad.Run) -> None:
    with pytest.warns(UnsupportedValueWarning, match='"t/b"'):
        run["t"].append({"a": 1.0, "b": None})

    assert [1.0] == values_of(run["t/a"])
    assert not run.exists("t/b")


def test_appending_after_pop_begins_anew(run: naiad.Run) -> None:
    for _ in range(3):
        run["t"].append({"a": 1.0})
        run["x"].append(1.0)
    run.pop("t")
    run["x"].pop()

    run["t"].append({"a": 2.0})
    run["x"].append(2.0)

    assert [2.0] == values_of(run["t/a"]) == values_of(run["x"])
    assert [0.0] == steps_of(run["x"]) == steps_of(run["t/a"])


def test_popped_series_can_become_another_kind(run: naiad.Run) -> None:
    run["x"].append(1.0)
    run["x"].append(2.0)
    del run["x"]
    run["x"].append("text")

    assert ["text"] == run["x"].fetch_values()["value"].tolist()


def test_clear_leaves_an_empty_series(run: naiad.Run) -> None:
    run["x"].append(1.0)
    run["x"].configure(min=0, max=1, unit="s")
    run["x"].clear()

    assert run.exists("x")
    assert [] == values_of(run["x"])
    assert (0.0, 1.0, "s") == run.get_attribute("x").fetch_config()
    with pytest.raises(EmptySeries):
        run["x"].fetch_last()

    run["x"].append(5.0)

    assert [0.0] == steps_of(run["x"])


def test_assigned_list_replaces_all_points(run: naiad.Run) -> None:
    run["x"].extend([1, 2, 3])
    run["x"] = [7, 8]
    run["x"].append(9.0)

    assert [7.0, 8.0, 9.0] == values_of(run["x"])
    assert [0.0, 1.0, 2.0] == steps_of(run["x"])


def test_single_value_is_not_assigned_to_a_series(run: naiad.Run) -> None:
    run["x"].extend([1, 2, 3])

    with pytest.raises(TypeError, match='"x" is a FloatSeries'):
        run["x"] = 5.0

    assert 3 == len(values_of(run["x"]))


def test_series_value_brings_steps_times_and_axis(run: naiad.Run) -> None:
    run["x"] = types.FloatSeries([1, 2], min=0, max=5, unit="m", steps=[3, 4], timestamps=[10, 20])

    assert [3.0, 4.0] == steps_of(run["x"])
    assert (0.0, 5.0, "m") == run.get_attribute("x").fetch_config()


def test_series_can_be_copied_with_steps_times_and_axis(run: naiad.Run) -> None:
    run["x"].extend([1, 2], steps=[2**60 + 1, 2.5], timestamps=[10, 20.5])
    run["x"].configure(unit="m")
    run["y"] = run["x"]

    assert run["x"].fetch_values().equals(run["y"].fetch_values())
    assert (None, None, "m") == run.get_attribute("y").fetch_config()


def test_frame_has_local_times_in_milliseconds(run: naiad.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Europe/Warsaw")
    time.tzset()
    try:
        run["x"].extend([1, 2], timestamps=[1_700_000_000.1234, 1_720_000_000.9876])
        frame = run["x"].fetch_values()
    finally:
        monkeypatch.undo()
        time.tzset()

    assert ["step", "value", "timestamp"] == list(frame.columns)
    expected = [pd.Timestamp("2023-11-14 23:13:20.123"), pd.Timestamp("2024-07-03 11:46:40.988")]
    assert expected == frame["timestamp"].tolist()


def test_frame_has_the_offset_of_each_time_where_the_clocks_change(
    run: naiad.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monkeypatch.setenv("TZ", "Europe/Warsaw")
    time.tzset()
    change = 1_698_541_200  # 2023-10-29 03:00 becomes 02:00
    try:
        run["x"].extend([1, 2, 3, 4], timestamps=[change - 0.001, change, change + 3_600, change - 1_800])
        frame = run["x"].fetch_values()
    finally:
        monkeypatch.undo()
        time.tzset()

    expected = ["2023-10-29 02:59:59.999", "2023-10-29 02:00", "2023-10-29 03:00", "2023-10-29 02:30"]
    assert list(map(pd.Timestamp, expected)) == frame["timestamp"].tolist()


def test_frame_without_timestamps(run: naiad.Run) -> None:
    run["x"].append(1.0)

    assert ["step", "value"] == list(run["x"].fetch_values(include_timestamp=False, progress_bar=False).columns)


def test_frame_that_is_changed_leaves_the_series_as_it_is(run: naiad.Run) -> None:
    numbers = np.arange(5_000.0)  # so many that the points are kept
    run["loss"].extend(numbers.tolist(), timestamps=(numbers + 1).tolist())
    first = run["loss"].fetch_values()
    for _ in range(4):
        frame = run["loss"].fetch_values()

        assert first.equals(frame)
        frame["value"] *= 0
        frame.loc[:, "timestamp"] += pd.Timedelta(1, "h")
        run["loss"].fetch_chart()


@pytest.mark.parametrize("is_folded", [False, True])
def test_long_series_that_is_read_again_and_again_shows_every_change(store: Path, is_folded: bool) -> None:
    expected: list[float] = []
    for number in range(2):
        with naiad.init_run(store=store, custom_run_id="again") as run:
            if number == 1:
                del run["loss"]
                expected.clear()
            new = [float(number)] * 5_000
            run["loss"].extend(new)
            expected += new
            for is_last in (False, False, True):
                if is_last and is_folded:
                    run["loss"].append(-1.0)
                    expected.append(-1.0)
                    run.sync()
                assert expected == run["loss"].fetch_values()["value"].to_list()
                assert sum(expected) == (run["loss"].fetch_chart().eval("mean * count")).sum()


def test_fetch_last_returns_the_last_value(run: naiad.Run) -> None:
    run["x"].extend([1, 2, 3])

    assert 3.0 == run["x"].fetch_last()


def test_log_takes_a_value_or_a_list(run: naiad.Run) -> None:
    run["x"].log(1)
    run["x"].log([2, 3])
    run["x"].log(4, step=10)

    assert [1.0, 2.0, 3.0, 4.0] == values_of(run["x"])
    with pytest.raises(ValueError, match="empty"):
        run["x"].log([])
    with pytest.raises(ValueError, match="2 values and one step"):
        run["x"].log([1, 2], step=1)


def test_threads_without_steps_get_each_number_once(run: naiad.Run) -> None:
    run["x"].append(0.0)

    def work() -> None:
        handler = run["x"]
        for _ in range(3_000):
            handler.append(1.0)
        handler.extend([2.0] * 100)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert list(range(6 * 3_100 + 1)) == steps_of(run["x"])


def test_threads_that_make_one_field_at_once_agree_on_it(run: naiad.Run) -> None:
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        barrier.wait()
        run["new"].append(float(number))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert list(range(8)) == steps_of(run["new"]) == sorted(values_of(run["new"]))


@pytest.mark.usefixtures("store")
def test_numbering_goes_on_when_the_run_is_resumed() -> None:
    with naiad.init_run() as run:
        run["x"].extend([1, 2, 3])
        name = run["sys/id"].fetch()
    with naiad.init_run(with_id=name) as run:
        run["x"].append(4.0)
        run["x"].append(5.0)

        assert [0, 1, 2, 3, 4] == steps_of(run["x"])


@pytest.mark.usefixtures("store")
def test_neptunes_limits_leave_out_steps_that_do_not_grow() -> None:
    run = naiad.init_run(limits="neptune")
    run["x"].extend([1, 2], steps=[1, 2])
    with pytest.warns(LimitWarning, match='Step 2 of "x" is not above 2'):
        run["x"].append(2.0, step=2)
    run["x"].append(1.0, step=1)
    run["x"].append(3.0, step=3)
    run["x"].extend([4, 3, 5], steps=[4, 3, 5])

    assert [1, 2, 3, 4, 5] == steps_of(run["x"])
    with pytest.warns(LimitWarning, match='3 points of "x" were left out'):
        run.stop()


@pytest.mark.usefixtures("store")
def test_refused_call_takes_no_step_and_counts_no_point_with_neptunes_limits() -> None:
    with naiad.init_run(limits="neptune", strict=True) as run:
        run["a"].append(1.0)
        for values in ({"a": [2.0], "b": [object()]}, {"a": [2.0, 3.0], "b": [1.0, object()]}):
            with pytest.raises(UnsupportedValue):
                run.extend(values)
        with pytest.raises(UnsupportedValue):
            run.extend({"a": [9.0], "b": [object()]}, steps=[0])
        run["a"].append(2.0)

        assert [0.0, 1.0] == run["a"].fetch_values()["step"].tolist()
        assert 0 == run._session.existing("a").left_out  # type: ignore[attr-defined]  # it is a series


@pytest.mark.usefixtures("store")
def test_neptunes_limits_raise_in_sync_mode() -> None:
    with naiad.init_run(limits="neptune", mode="sync") as run:
        run["x"].append(1.0, step=1)

        with pytest.raises(StepOrderError, match='"x"'):
            run["x"].append(2.0, step=1)
        run["x"].append(3.0)

        assert [1, 2] == steps_of(run["x"])


def test_number_too_large_for_a_float_is_refused(run: naiad.Run) -> None:
    run["x"].append(1.0)

    with pytest.raises(ValueError, match='"x"'):
        run["x"].append(10**400)

    assert [1.0] == values_of(run["x"])


def test_refused_step_leaves_no_hole_in_the_journal(run: naiad.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run["x"].append(0.0, step=0)
    with pytest.raises(ValueError, match='"x"'):
        run["x"].append(1.0, step=2**63)
    run["x"].append(2.0)
    page = run.get_attribute("x").point_log.slot[1]
    commits = [int.from_bytes(page[at + 28 : at + 32], "little") for at in (64, 96, 128)]

    assert [64, 96, 128] == commits
    assert [0, 1] == steps_of(run["x"])


def test_dict_with_a_refused_step_leaves_no_hole_in_the_journal(run: naiad.Run) -> None:
    run["train"].append({"x": 0.0, "y": 1.0}, step=0)
    with pytest.raises(ValueError, match='"train/x"'):
        run["train"].append({"x": 1.0, "y": 2.0}, step=2**63)
    run["train"].append({"x": 2.0, "y": 3.0})
    page = run.get_attribute("train/x").point_log.slot[1]
    places = range(64, 64 + 5 * 32, 32)

    assert [*places] == [int.from_bytes(page[at + 28 : at + 32], "little") for at in places]
    assert [0, 1] == steps_of(run["train/x"])
    assert [0, 1] == steps_of(run["train/y"])


def test_dicts_go_on_in_the_next_segment_when_one_is_full(run: naiad.Run) -> None:
    for step in range(3_000):
        run["given"].append({"x": step, "y": step + 0.5, "z": -step}, step=step)
        run["next"].append({"x": step, "y": step + 0.5, "z": -step})

    for path in ("given/x", "given/y", "given/z", "next/x", "next/y", "next/z"):
        assert [*range(3_000)] == steps_of(run[path])


def test_integer_that_no_float_holds_is_rounded_with_one_warning(run: naiad.Run) -> None:
    with pytest.warns(LimitWarning, match='"x"'):
        run["x"].append(2**53 + 1)
    run["x"].append(2**53 + 1)
    run["x"].append(2**53)

    assert [2.0**53] * 3 == values_of(run["x"])


def test_threads_numbering_dicts_get_each_step_once(run: naiad.Run) -> None:
    run["t"].append({"a": 0.0, "b": 0.0})

    def work() -> None:
        for _ in range(2_000):
            run["t"].append({"a": 1.0, "b": 2.0})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert list(range(8_001)) == steps_of(run["t/a"]) == steps_of(run["t/b"])


def test_popping_while_others_append_keeps_the_run_whole(run: naiad.Run) -> None:
    is_done = threading.Event()

    def work() -> None:
        while not is_done.is_set():
            run["t"].append({"a": 1.0, "b": 2.0}, step=1)
            run["x"].append(1.0)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(30):
        for path in ("t", "x"):
            if run.exists(path):
                run.pop(path)
    is_done.set()
    for thread in threads:
        thread.join()
    run["t"].append({"a": 5.0}, step=7)

    assert 7 == steps_of(run["t/a"])[-1]


def test_page_after_page_is_filled_without_loss(run: naiad.Run) -> None:
    count = 20_000
    for step in range(count):
        run["x"].append(float(step), step=step)
        if step % 100 == 0:
            run["y"].append({"a": 1.0, "b": 2.0, "c": 3.0}, step=step)

    assert list(range(count)) == steps_of(run["x"]) == values_of(run["x"])
    assert count // 100 == len(steps_of(run["y/a"])) == len(steps_of(run["y/c"]))


def test_chart_of_few_points_has_a_row_for_each(run: naiad.Run) -> None:
    run["loss"].extend([3.0, math.nan, 1.0], steps=[0, 2, 5])
    chart = run["loss"].fetch_chart()

    assert ["step", "min", "max", "mean", "count"] == list(chart.columns)
    assert [0.0, 2.0, 5.0] == chart["step"].tolist()
    assert [1, 0, 1] == chart["count"].tolist()
    assert [3.0, 1.0] == chart["mean"].dropna().tolist()


@pytest.mark.parametrize("is_stopped", [False, True])
def test_chart_keeps_every_spike(run: naiad.Run, is_stopped: bool) -> None:
    values = [0.0] * 20_000
    values[7_777] = 9.0
    run["loss"].extend(values)
    if is_stopped:
        run.stop()
        run = naiad.init_run(with_id=run._id, mode="read-only")
    chart = run["loss"].fetch_chart(buckets=50)

    assert 45 <= len(chart) <= 50
    assert 9.0 == chart["max"].max()
    assert 20_000 == chart["count"].sum()
    assert chart["step"].is_monotonic_increasing


def test_smoothed_chart_is_the_moving_average_of_all_points(run: naiad.Run) -> None:
    """Debiased as TensorBoard's, and not dependent on the number of rows."""
    values = [float(number % 7) for number in range(1_000)]
    run["loss"].extend(values)
    last, expected = 0.0, []
    for number, value in enumerate(values, 1):
        last = 0.9 * last + 0.1 * value
        expected.append(last / (1 - 0.9**number))
    whole = run["loss"].fetch_chart(buckets=1_000, smooth=0.9)["smooth"].tolist()
    few = run["loss"].fetch_chart(buckets=10, smooth=0.9)["smooth"].tolist()

    assert expected == pytest.approx(whole)
    assert [sum(expected[at : at + 100]) / 100 for at in range(0, 1_000, 100)] == pytest.approx(few)


def test_chart_of_no_points_is_empty(run: naiad.Run) -> None:
    run["loss"].extend([])
    run["loss"].configure(min=0)

    assert 0 == len(run["loss"].fetch_chart(smooth=0.5))


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"buckets": 0}, "buckets"),
        ({"buckets": 2.5}, "buckets"),
        ({"buckets": True}, "buckets"),
        ({"buckets": 10**9}, "buckets"),
        ({"smooth": 1}, "smooth"),
        ({"smooth": -0.1}, "smooth"),
        ({"smooth": math.nan}, "smooth"),
    ],
)
def test_chart_out_of_range_is_refused(run: naiad.Run, options: dict[str, Any], argument: str) -> None:
    run["loss"].append(0.5)
    with pytest.raises(InvalidArgument) as refused:
        run["loss"].fetch_chart(**options)

    assert argument == refused.value.argument


def test_only_numbers_have_a_chart(run: naiad.Run) -> None:
    run["text"].append("a")
    with pytest.raises(WrongVerb, match="fetch_chart"):
        run["text"].fetch_chart()
