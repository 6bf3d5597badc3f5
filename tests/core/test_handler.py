"""Handlers: one for each path, whatever is stored there; brackets, dicts, copies, namespaces and errors."""

from __future__ import annotations

import argparse
import time
from typing import Any

import pytest

import naiad
from naiad.errors import (
    FieldConflict,
    InactiveRun,
    MissingField,
    NaiadPathError,
    NaiadValueError,
    ProtectedPath,
    WrongVerb,
)
from naiad.handler import Handler
from naiad.utils import stringify_unsupported


def test_one_path_has_one_handler(run: naiad.Run) -> None:
    assert run["a/b"] is run["a/b"] is run["/a//b/"] is run["a"]["b"] is run[""]["a"]["b"]
    assert isinstance(run["a"], Handler)


def test_keys_that_are_no_text_become_one(run: naiad.Run) -> None:
    run[5] = "five"
    run[True] = "true"
    run[1.0] = "one"

    assert "five" == run["5"].fetch()
    assert "true" == run["True"].fetch()
    assert "one" == run["1.0"].fetch()


def test_repr_says_what_is_there(run: naiad.Run) -> None:
    run["a/n"] = 1
    run["a/s"].append(0.5)
    run["a/t"].append("x")

    assert '<Integer field at "a/n">' == repr(run["a/n"])
    assert '<FloatSeries field at "a/s">' == repr(run["a/s"])
    assert '<StringSeries field at "a/t">' == repr(run["a/t"])
    assert '<Namespace field at "a">' == repr(run["a"])
    assert '<Unassigned field at "b/c">' == repr(run["b/c"])
    assert '<StringSet field at "sys/tags">' == repr(run["sys/tags"])


@pytest.mark.parametrize("name", ["exists", "get_structure", "print_structure", "stop", "sync", "wait"])
def test_verbs_of_the_run_are_not_on_handlers(run: naiad.Run, name: str) -> None:
    assert not hasattr(run["a"], name)
    assert hasattr(run, name)


def test_handler_is_no_collection(run: naiad.Run) -> None:
    with pytest.raises(TypeError):
        list(run["a"])
    with pytest.raises(TypeError):
        assert "b" not in run["a"]
    with pytest.raises(TypeError):
        iter(run)


def test_root_object_and_container_are_the_run(run: naiad.Run) -> None:
    assert run is run["a/b"].get_root_object() is run["a"].container is run.get_root_object()


def test_dicts_are_merged_into_the_tree(run: naiad.Run) -> None:
    run["params"] = {"lr": 0.1, "model": {"depth": 3}}
    run["params"] = {"model": {"width": 8}, "data/size": 5, 7: "seven"}
    run["args"] = argparse.Namespace(epochs=3, nested=argparse.Namespace(x="y"))
    run.assign({"top": 1, "params": {"lr": 0.2}})

    assert {
        "lr": 0.2,
        "model": {"depth": 3, "width": 8},
        "data": {"size": 5},
        "7": "seven",
    } == run["params"].fetch()
    assert {"epochs": 3, "nested": {"x": "y"}} == run["args"].fetch()
    assert 1 == run["top"].fetch()


def test_empty_dict_stores_nothing(run: naiad.Run) -> None:
    run["a"] = {}

    assert not run.exists("a")


@pytest.mark.parametrize(
    "bad", [{"a": 1, "b": 10**30}, {"a": 1, "a/b": 2}, {"a": 1, "known": "text"}, {"a": 1, "sys/id": "x"}], ids=str
)
def test_dict_assignment_is_all_or_nothing(run: naiad.Run, bad: dict[str, Any]) -> None:
    run["known"] = 1

    with pytest.raises((TypeError, ValueError)):
        run.assign(bad)

    assert not run.exists("a")
    assert 1 == run["known"].fetch()


def test_dict_cannot_be_assigned_to_a_field(run: naiad.Run) -> None:
    run["a"] = 1

    for write in (
        lambda: run["a"].assign({"b": 2}),
        lambda: run["a"].append({"b": 2.0}),
        lambda: run["a"].extend({"b": [2]}),
    ):
        with pytest.raises(FieldConflict, match='"a" is an Integer'):
            write()


def test_only_dicts_are_written_to_the_root(run: naiad.Run) -> None:
    for write in (lambda: run.assign(1), lambda: run.append(1.0), lambda: run.extend([1.0])):
        with pytest.raises(TypeError, match="Only a dict"):
            write()


def test_dict_that_contains_itself_is_refused(run: naiad.Run) -> None:
    loop: dict[str, Any] = {"a": 1}
    loop["loop"] = loop

    with pytest.raises(NaiadValueError):
        run["x"] = loop

    assert not run.exists("x")


def test_dict_of_two_thousand_levels_is_refused(run: naiad.Run) -> None:
    deep: dict[str, Any] = {"v": 1}
    for _ in range(2_000):
        deep = {"d": deep}

    with pytest.raises((NaiadValueError, NaiadPathError)):
        run["x"] = deep


def test_field_below_a_field_and_above_one_is_refused(run: naiad.Run) -> None:
    run["a/b"] = 1

    with pytest.raises(FieldConflict, match='"a/b/c"'):
        run["a/b/c"] = 2
    with pytest.raises(FieldConflict, match='"a" is a namespace'):
        run["a"].append(0.5)

    assert {"b": 1} == run["a"].fetch()


def test_namespace_fetch_is_a_nested_dict_of_single_values(run: naiad.Run) -> None:
    run["a/x"] = 1
    run["a/b/y"] = "two"
    run["a/series"].append(0.5)

    assert {"x": 1, "b": {"y": "two"}} == run["a"].fetch()
    assert {"y": "two"} == run["a/b"].fetch()


def test_namespace_of_series_only_fetches_as_an_empty_dict(run: naiad.Run) -> None:
    run["a/series"].append(0.5)

    assert {} == run["a"].fetch()


def test_fetching_a_series_names_the_field(run: naiad.Run) -> None:
    run["a"].append(0.5)

    with pytest.raises(AttributeError, match='"a" is a FloatSeries'):
        run["a"].fetch()


def test_missing_field_names_its_neighbours(run: naiad.Run) -> None:
    run["train/loss"].append(0.5)

    with pytest.raises(MissingField, match='has no field "train/los". Nearby: "train/loss"') as caught:
        run["train/los"].fetch_values()

    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, AttributeError)
    assert "train/los" == caught.value.path


@pytest.mark.parametrize("verb", ["fetch", "fetch_last", "fetch_values", "clear"])
def test_reading_nothing_is_a_missing_field(run: naiad.Run, verb: str) -> None:
    with pytest.raises(MissingField):
        getattr(run["nothing"], verb)()


def test_pop_removes_fields_and_namespaces(run: naiad.Run) -> None:
    run["a"] = {"b": 1, "c": {"d": 2, "e": 3}}
    run["x"] = 4
    run["a"].pop("b")
    run.pop("x")
    del run["a/c/d"]

    assert {"c": {"e": 3}} == run["a"].fetch()

    del run["a"]

    assert not run.exists("a")


def test_pop_of_nothing_is_an_error(run: naiad.Run) -> None:
    with pytest.raises(FieldConflict, match="nothing to remove"):
        run.pop("nothing")


def test_popped_field_can_come_back_as_another_kind(run: naiad.Run) -> None:
    run["a"] = 1
    run.pop("a")
    run["a"] = "text"

    assert "text" == run["a"].fetch()


def test_namespace_is_copied_with_all_it_holds(run: naiad.Run) -> None:
    run["a"] = {"x": 1, "b": {"y": "two"}}
    run["a/series"].extend([1, 2], steps=[3, 4])
    run["copy"] = run["a"]

    assert run["a"].fetch() == run["copy"].fetch()
    assert run["a/series"].fetch_values().equals(run["copy/series"].fetch_values())


def test_marked_values_are_kept_as_text_where_needed(run: naiad.Run) -> None:
    run["p"] = stringify_unsupported({"lr": 0.1, "layers": [1, 2], "none": None, "n": 3})

    assert {"lr": 0.1, "layers": "[1, 2]", "none": "None", "n": 3} == run["p"].fetch()


@pytest.mark.parametrize(
    "path", ["a\0b", "a/../b", ".", "\n", "\ud800", " ", "x" * 10_000, "a/" * 10_000 + "a"], ids=lambda p: ascii(p)[:12]
)
def test_hostile_paths_are_refused_at_once_and_the_run_goes_on(run: naiad.Run, path: str) -> None:
    began = time.thread_time()
    with pytest.raises(NaiadPathError):
        run[path] = 1
    took = time.thread_time() - began
    run["fine"] = 1

    assert took < 0.05
    assert 1 == run["fine"].fetch()


@pytest.mark.parametrize(
    "path",
    [
        "<script>",
        "'; DROP TABLE x; --",
        "%2e%2e",
        "C:\\x",
        "Loss",
        "loss",
        "e\u0301",
        "\xe9",
        "\U0001f40d",
        "x" * 1_024,
    ],
)
def test_odd_paths_are_kept_as_they_are(run: naiad.Run, path: str) -> None:
    run[path] = 1
    run["p"][path].append(0.5) if len(path) < 1_000 else None

    assert 1 == run[path].fetch()


PROTECTED = [
    "id",
    "state",
    "creation_time",
    "modification_time",
    "ping_time",
    "running_time",
    "size",
    "trashed",
    "owner",
    "hostname",
    "custom_run_id",
    "anything",
]


@pytest.mark.parametrize("name", PROTECTED)
def test_what_naiad_keeps_cannot_be_written(run: naiad.Run, name: str) -> None:
    with pytest.raises((ProtectedPath, AttributeError)):
        run[f"sys/{name}"] = "mine"
    with pytest.raises((ProtectedPath, FieldConflict)):
        run.pop(f"sys/{name}")


def test_users_own_sys_fields_can_be_written(run: naiad.Run) -> None:
    run["sys/name"] = "baseline"
    run["sys"] = {"description": "longer", "failed": True}

    assert ("baseline", "longer", True) == tuple(run["sys"].fetch()[key] for key in ("name", "description", "failed"))


def test_completions_for_notebooks(run: naiad.Run) -> None:
    run["a/b/c"] = 1

    assert {"a", "a/b", "a/b/c"} <= set(run._ipython_key_completions_())
    assert ["b", "b/c"] == run["a"]._ipython_key_completions_()


def test_every_verb_is_refused_after_stop(run: naiad.Run) -> None:
    run["x"].append(1.0)
    run["n"] = 1
    series, number, namespace = run["x"], run["n"], run["ns"]
    namespace.append({"a": 1.0})
    run.stop()

    for use in (
        lambda: series.append(2.0),
        lambda: series.append(2.0, step=3),
        lambda: series.append(2),
        lambda: series.extend([1.0]),
        series.fetch_values,
        series.clear,
        series.pop,
        lambda: number.assign(2),
        number.fetch,
        lambda: namespace.append({"a": 2.0}),
        lambda: namespace.append({"a": 2.0}, step=5),
        lambda: namespace["b"],
        lambda: run["x"],
        run.fetch,
        lambda: run.assign({"a": 1}),
    ):
        with pytest.raises(InactiveRun, match="was stopped"):
            use()

    assert repr(series)


def test_wait_returns_when_it_is_stored(run: naiad.Run) -> None:
    run["a"].assign(1, wait=True)
    run["s"].append(0.5, wait=True)
    run["s"].extend([1, 2], wait=True)
    run["t"].append("x", wait=True)
    run["sys/tags"].add("t", wait=True)
    run["a"].pop(wait=True)

    assert [0.5, 1.0, 2.0] == run["s"].fetch_values()["value"].tolist()


def test_names_of_points_are_for_files(run: naiad.Run) -> None:
    with pytest.warns(naiad.errors.NaiadWarning, match="only files have them"):
        run["s"].append(0.5, name="a", description="b")

    assert [0.5] == run["s"].fetch_values()["value"].tolist()


def test_interrupted_generator_leaves_no_trace_and_no_lock(run: naiad.Run) -> None:
    def values() -> Any:
        yield 1.0
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run["x"].extend(values())
    run["x"].append(2.0)

    assert [2.0] == run["x"].fetch_values()["value"].tolist()


@pytest.mark.parametrize(
    "value", [[1], None, object(), naiad.types.FloatSeries([1.0])], ids=lambda each: type(each).__name__
)
def test_whatever_is_no_dict_is_refused_at_the_root(run: naiad.Run, value: Any) -> None:
    for verb in (run.assign, run.append, run.log, run.extend):
        with pytest.raises(TypeError, match="Only a dict can be written to the root"):
            verb(value)

    assert {"sys"} == run.get_structure().keys()


def test_reading_by_the_verb_of_another_kind_names_the_right_one(run: naiad.Run) -> None:
    run["n"] = 1
    run["x"].append(1.0)

    with pytest.raises(WrongVerb, match=r"Read it with fetch_last\(\) or fetch_values\(\)"):
        run["x"].fetch()
    for verb in ("fetch_last", "fetch_values"):
        with pytest.raises(WrongVerb, match=r"Read it with fetch\(\)"):
            getattr(run["n"], verb)()


def test_stopped_run_is_named_before_a_bad_value(run: naiad.Run) -> None:
    held = run["x"]
    held.append(1.0)
    run.stop()

    for value in ("text", 10**400):
        with pytest.raises(InactiveRun):
            held.append(value)


@pytest.mark.parametrize("value", [7, True, -(2**53)], ids=repr)
def test_whole_numbers_are_appended_like_floats(run: naiad.Run, value: int) -> None:
    for step in range(3):
        run["x"].append(value, step=step)
    run["x"].append(value)

    assert [float(value)] * 4 == run["x"].fetch_values()["value"].tolist()
    assert [0, 1, 2, 3] == run["x"].fetch_values()["step"].tolist()
