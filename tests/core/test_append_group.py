"""A dict of floats is packed at once, and means the same as an append for each, whether its keys are few or many."""

from __future__ import annotations

import os
import sys
import threading

import pytest

import naiad
from naiad import packing
from naiad.errors import NaiadValueError

NAMES = [f"m{number}" for number in range(40)]
FEW_AND_MANY = pytest.mark.parametrize("names", [NAMES[:4], NAMES], ids=["few", "many"])


def rows(run: naiad.Run, name: str) -> list[tuple[float, float]]:
    frame = run[f"train/{name}"].fetch_values()
    return list(zip(frame["step"], frame["value"], strict=True))


def test_dict_of_many_gives_each_series_its_own_points(run: naiad.Run) -> None:
    for step in range(1_000):  # over several windows, and segments
        run["train"].append({name: step + at / 100 for at, name in enumerate(NAMES)}, step=step)

    for at, name in enumerate(NAMES):
        assert [(step, step + at / 100) for step in range(1_000)] == rows(run, name)


def test_dict_of_very_many_gives_each_series_its_own_points(run: naiad.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "LARGEST_GROUP", 30)
    for step in (0, 1, None, 7, None):
        run["train"].append({name: (step or 0) + at / 100 for at, name in enumerate(NAMES)}, step=step)
    run["train"].append(dict.fromkeys(NAMES, 0.5), step=2**63 - 1)
    with pytest.raises(NaiadValueError, match="cannot be a step"):
        run["train"].append(dict.fromkeys(NAMES, 0.5))

    for at, name in enumerate(NAMES):
        expected = [(0, at / 100), (1, 1 + at / 100), (2, at / 100), (7, 7 + at / 100), (8, at / 100)]
        assert [*expected, (2**63 - 1, 0.5)] == rows(run, name)


@FEW_AND_MANY
def test_steps_go_on_after_those_of_single_appends(run: naiad.Run, names: list[str]) -> None:
    handle = run["train"]
    handle.append(dict.fromkeys(names, 0.0))
    handle["m3"].append(1.0, step=10)
    handle.append(dict.fromkeys(names, 2.0))

    assert [(0, 0.0), (1, 2.0)] == rows(run, "m0")
    assert [(0, 0.0), (10, 1.0), (11, 2.0)] == rows(run, "m3")


@FEW_AND_MANY
def test_series_that_begins_anew_gets_its_new_number(run: naiad.Run, names: list[str]) -> None:
    handle = run["train"]
    for step in range(3):
        handle.append(dict.fromkeys(names, 0.5), step=step)
    handle["m1"] = naiad.types.FloatSeries([7.0])
    handle.append(dict.fromkeys(names, 0.25), step=3)

    assert [(0, 7.0), (3, 0.25)] == rows(run, "m1")
    assert 4 == len(rows(run, "m2"))


@FEW_AND_MANY
def test_series_that_was_removed_begins_anew(run: naiad.Run, names: list[str]) -> None:
    handle = run["train"]
    for step in range(3):
        handle.append(dict.fromkeys(names, 0.5), step=step)
    handle["m1"].pop()
    for step in range(3, 5):
        handle.append(dict.fromkeys(names, 0.25), step=step)

    assert [(3, 0.25), (4, 0.25)] == rows(run, "m1")
    assert 5 == len(rows(run, "m2"))


@FEW_AND_MANY
def test_removal_of_one_series_leaves_the_others_as_they_are(run: naiad.Run, names: list[str]) -> None:
    handle = run["train"]
    for step in range(2):
        handle.append(dict.fromkeys(names, 0.5), step=step)
    del run["train/m1"]
    run["train/m1"] = "a text"
    with pytest.raises(naiad.errors.WrongVerb, match="train/m1"):
        handle.append(dict.fromkeys(names, 0.25), step=2)

    assert [(0, 0.5), (1, 0.5)] == rows(run, "m0") == rows(run, "m2")


@FEW_AND_MANY
def test_refused_dict_leaves_no_point_of_any_key(run: naiad.Run, names: list[str]) -> None:
    handle = run["train"]
    handle.append(dict.fromkeys(names, 0.5), step=0)
    with pytest.raises(naiad.errors.NaiadTypeError, match="train/m3"):
        handle.append(dict.fromkeys(names, 0.5) | {"m3": "high"}, step=1)

    assert [(0, 0.5)] == rows(run, "m0") == rows(run, "m3")


@FEW_AND_MANY
def test_keys_may_change_order_and_number_from_call_to_call(run: naiad.Run, names: list[str]) -> None:
    handle = run["train"]
    whole = {name: float(at) for at, name in enumerate(names)}
    for step, keys in enumerate([names, names[::-1], names[1:], names, names[:2]]):
        handle.append({key: whole[key] for key in keys}, step=step)

    assert [(0, 0.0), (1, 0.0), (3, 0.0), (4, 0.0)] == rows(run, "m0")
    assert [(step, 3.0) for step in range(4)] == rows(run, "m3")


@FEW_AND_MANY
def test_whole_numbers_are_points_like_floats(run: naiad.Run, names: list[str]) -> None:
    for step in range(3):
        run["train"].append(dict.fromkeys(names, 0.5) | {"m2": step}, step=step)

    assert [(step, float(step)) for step in range(3)] == rows(run, "m2")


def test_threads_take_records_of_their_own(run: naiad.Run) -> None:
    def log(namespace: str) -> None:
        for step in range(500):
            run[namespace].append(dict.fromkeys(NAMES, step * 0.5), step=step)

    threads = [threading.Thread(target=log, args=(f"train/{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for number in range(4):
        assert [(step, step * 0.5) for step in range(500)] == rows(run, f"{number}/m39")


def test_threads_with_dicts_of_other_keys_share_a_handle(run: naiad.Run) -> None:
    handle = run["train"]

    def log(names: list[str], value: float) -> None:
        for step in range(2_000):
            handle.append(dict.fromkeys(names, value), step=step)

    def log_new_names() -> None:
        for number in range(200):
            handle.append({"m": 0.5, f"new{number}": 0.5})

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        groups = (NAMES[:20], 1.0), (NAMES[20:], 2.0), (NAMES[20:38], 2.0)
        threads = [threading.Thread(target=log, args=each) for each in groups]
        threads.append(threading.Thread(target=log_new_names))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)

    assert [(step, 1.0) for step in range(2_000)] == rows(run, "m0")
    assert [(step, 2.0) for step in range(2_000)] == rows(run, "m39")
    assert 4_000 == len(rows(run, "m20"))


@pytest.mark.parametrize("setting", ["write", "mmap"])
def test_dict_of_many_where_nothing_is_mapped(setting: str, store: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAIAD_JOURNAL", setting)
    with naiad.init_run() as run:
        for step in range(10):
            run["train"].append(dict.fromkeys(NAMES, 0.5), step=step)

        assert [(step, 0.5) for step in range(10)] == rows(run, "m39")


def test_forked_child_writes_its_own(run: naiad.Run) -> None:
    run["train"].append(dict.fromkeys(NAMES, 0.5), step=0)
    child = os.fork()
    if child == 0:
        run["train"].append(dict.fromkeys(NAMES, 0.75), step=1)
        run.sync()
        os._exit(0)
    os.waitpid(child, 0)
    run["train"].append(dict.fromkeys(NAMES, 0.25), step=2)

    assert [(0, 0.5), (1, 0.75), (2, 0.25)] == rows(run, "m5")


@pytest.mark.parametrize("setting", ["auto", "write"])
def test_first_dict_fills_several_windows(setting: str, store: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 16,384 records each; each series gets its own value, and the next point follows it."""
    monkeypatch.setenv("NAIAD_JOURNAL", setting)
    values = {f"m{number}": number / 7 for number in range(40_000)}
    with naiad.init_run() as run:
        run["train"].append(values)
        run["train"].append({"m16384": 0.5, "m39999": 0.25})

        assert [(0, 16383 / 7)] == rows(run, "m16383")
        assert [(0, 16384 / 7), (1, 0.5)] == rows(run, "m16384")
        assert [(0, 39999 / 7), (1, 0.25)] == rows(run, "m39999")


ODD_KEYS = {
    "usual": [],
    "parts": ["a/b", "a/c/d", "x.y", "spaced name", "größe"],
    "to be parsed": ["/slashes//here/"],
    "a part of another": ["m3/below"],
    "a dot": ["a/./b"],
    "blank": [" "],
    "long": ["x" * 300],
    "too long": ["x" * 2000],
    "at a string": ["text"],
    "below a string": ["text/below"],
    "above a series": ["series"],
    "at a series": ["series/known"],
    "no text": [5],
}


@pytest.mark.parametrize("step", [None, 3, 0.5])
@pytest.mark.parametrize("keys", ODD_KEYS.values(), ids=ODD_KEYS)
def test_first_dict_means_an_append_for_each_of_its_keys(
    run: naiad.Run, keys: list[object], step: float | None
) -> None:
    values: dict[object, float] = {**dict.fromkeys(NAMES, 0.5), **dict.fromkeys(keys, 0.25)}
    for base in ("one", "all"):
        run[base]["text"] = "a text"
        run[base]["series/known"].append(1.0)
    raised: list[type[Exception] | None] = [None, None]
    try:
        for key, value in values.items():
            run["one"].append({key: value}, step=step)
    except naiad.errors.NaiadError as error:
        raised[0] = type(error)
    try:
        run["all"].append(values, step=step)
    except naiad.errors.NaiadError as error:
        raised[1] = type(error)

    found = run.get_structure()
    assert raised[0] is raised[1]
    if raised[0] is None:
        assert structure_of(found["one"]) == structure_of(found["all"])
        assert [*run["one/m5"].fetch_values()["step"]] == [*run["all/m5"].fetch_values()["step"]]
    else:
        assert {"text", "series"} == found["all"].keys()


def structure_of(found: dict[str, object]) -> dict[str, object]:
    return {name: structure_of(each) if isinstance(each, dict) else type(each) for name, each in found.items()}


def test_first_dict_of_a_base_that_cannot_take_it_leaves_no_trace(run: naiad.Run) -> None:
    run["text"] = "a text"
    with pytest.raises(naiad.errors.FieldConflict):
        run["text"].append(dict.fromkeys(NAMES, 0.5))
    with pytest.raises(naiad.errors.ProtectedPath):
        run["sys"].append(dict.fromkeys(NAMES, 0.5))
    run["none"] = None
    run["none"].append(dict.fromkeys(NAMES, 0.5), step=4)

    assert "a text" == run["text"].fetch()
    assert [4] == [*run["none/m39"].fetch_values()["step"]]
