"""Situations of single values, namespaces, tags, series and copies."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest
from containers import KINDS, begun
from neptune.types import FileSeries, FloatSeries, StringSeries
from PIL import Image

VALUES = [7, 0.25, True, "word"]
STEPS = [3, 14, 15, 92, 99]
TIMES = [1675876469.0 + number for number in range(5)]
SERIES: dict[str, list[Any]] = {
    "floats": [0.5, 0.25, 1 / 3, -1.0, 7.0],
    "strings": ["a", "b", "c", "d", "e"],
    "files": [Image.new("RGB", (8, 8), (number, 2, 3)) for number in range(5)],
}
TYPES = {"floats": FloatSeries, "strings": StringSeries, "files": FileSeries}


@pytest.mark.parametrize("value", VALUES)
def test_simple_assign_and_fetch(container: Any, key: str, value: object) -> None:
    container[key] = value
    container.sync()

    assert value == container[key].fetch()


def test_simple_assign_datetime(container: Any, key: str) -> None:
    now = datetime.now()
    container[key] = now
    container.sync()

    wanted = now.astimezone(timezone.utc)
    assert wanted.replace(microsecond=wanted.microsecond // 1000 * 1000) == container[key].fetch()


def test_fetch_non_existing_key(container: Any, key: str) -> None:
    with pytest.raises(AttributeError):
        container[key].fetch()


def test_delete_atom(container: Any, key: str) -> None:
    container[key] = "word"
    del container[key]

    with pytest.raises(AttributeError):
        container[key].fetch()


def test_reassigning(container: Any, key: str) -> None:
    found = []
    for value, path, given in (("1", key, {"a/b": "1"}), ("2", f"{key}/a/b", "2"), ("3", key, {"a/b": "3"})):
        container[path] = given
        container.sync()
        found.append(container[f"{key}/a/b"].fetch() == value)

    assert all(found)


def test_distinct_types(container: Any, key: str) -> None:
    container[key] = {"a/b": 5}
    container.sync()

    with pytest.raises(ValueError, match="b"):
        container[key] = {"a/b": "five"}
    assert 5 == container[f"{key}/a/b"].fetch()


def test_delete_namespace(container: Any, key: str) -> None:
    container[key]["a"], container[key]["b"] = "1", "2"
    container.sync()
    del container[key]

    for name in "ab":
        with pytest.raises(AttributeError):
            container[key][name].fetch()


def test_do_not_accept_non_tag_path(container: Any, key: str) -> None:
    """Neptune's server keeps tags at sys/tags alone, and naiad's alias answers as it does."""
    container[key].add("tag")
    container.sync()

    with pytest.raises(AttributeError):
        container[key].fetch()


def test_add_and_remove_tags(container: Any) -> None:
    tags = container["sys/tags"]
    if container.exists("sys/tags"):
        tags.clear()
    tags.add("a")
    tags.add(["gone", "b"])
    tags.remove("gone")
    tags.remove("never there")
    container.sync()

    assert {"a", "b"} == tags.fetch()


# Series


def _log(series: Any, values: list[Any]) -> None:
    for value, step, moment in zip(values, STEPS, TIMES, strict=True):
        series.log(value, step=step, timestamp=moment)


def _append(series: Any, values: list[Any]) -> None:
    for value, step, moment in zip(values, STEPS, TIMES, strict=True):
        series.append(value, step=step, timestamp=moment)


def _extend(series: Any, values: list[Any]) -> None:
    series.extend(values[:1], steps=STEPS[:1], timestamps=TIMES[:1])
    series.extend(values[1:], steps=STEPS[1:], timestamps=TIMES[1:])


def _check(container: Any, key: str, kind: str, write: Callable[[Any, list[Any]], object]) -> None:
    values = SERIES[kind]
    write(container[key], values)
    container.sync()
    if kind == "files":
        container[key].download_last("last")
        container[key].download("all")
        for path, value in [("last/4.png", values[4]), *((f"all/{at}.png", each) for at, each in enumerate(values))]:
            stream = io.BytesIO()
            value.save(stream, "PNG")
            with Image.open(path) as image:
                assert Image.open(stream) == image
        return
    frame = container[key].fetch_values()
    assert values[-1] == container[key].fetch_last()
    assert (values, STEPS) == (list(frame["value"]), list(frame["step"]))
    assert TIMES == [time.mktime(each.utctimetuple()) for each in frame["timestamp"]]


@pytest.mark.parametrize("kind", SERIES)
def test_log(container: Any, key: str, kind: str) -> None:
    _check(container, key, kind, _log)


@pytest.mark.parametrize("kind", SERIES)
def test_append(container: Any, key: str, kind: str) -> None:
    _check(container, key, kind, _append)


@pytest.mark.parametrize("kind", SERIES)
def test_extend(container: Any, key: str, kind: str) -> None:
    _check(container, key, kind, _extend)


@pytest.mark.parametrize("kind", SERIES)
def test_series_type_assign(container: Any, key: str, kind: str) -> None:
    """Three tests of the client, one for each type of series."""
    make = TYPES[kind]
    _check(container, key, kind, lambda series, values: series.assign(make(values, steps=STEPS, timestamps=TIMES)))


# Copies


@pytest.fixture(scope="module")
def others() -> Any:
    """A second container of each kind."""
    found = {kind: begun(kind) for kind in KINDS}
    yield found
    for each in found.values():
        each.stop()


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("other", KINDS)
def test_copy(container: Any, others: dict[str, Any], other: str, key: str, value: object) -> None:
    container[key] = value
    container.sync()
    once, twice = f"copies/{key}/once", f"copies/{key}/twice"
    others[other][once] = container[key]
    others[other].wait()
    others[other][twice] = others[other][once]
    others[other].sync()

    assert [value, value] == [others[other][path].fetch() for path in (once, twice)]
