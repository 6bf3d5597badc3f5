"""Each kind, in each mode, through each of its verbs: written in one process life, read in the same and in the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import pytest

import naiad
from naiad import types
from naiad.errors import MissingField, ReadOnlyWarning
from naiad.handler import Handler

MOMENT = datetime(2024, 5, 6, 7, 8, 9, 123_456, tzinfo=timezone.utc)
MODES = ["async", "sync", "offline", "debug"]
PATH = "some/where"


@dataclass(frozen=True)
class Case:
    """A verb of a kind: what is done, and what is there afterwards."""

    kind: str
    verb: str
    do: Callable[[Handler], object]
    expected: Any
    path: str = PATH
    exists: bool = True


def points(handler: Handler) -> list[tuple[float, Any]]:
    frame = handler.fetch_values(include_timestamp=False)
    return list(zip(frame["step"].tolist(), frame["value"].tolist(), strict=True))


READ: dict[str, Callable[[Handler], Any]] = {
    **dict.fromkeys(["Boolean", "Integer", "Float", "String", "Datetime", "StringSet"], Handler.fetch),
    **dict.fromkeys(["FloatSeries", "StringSeries"], points),
}


def series(kind: str, a: Any, b: Any, c: Any, value: Callable[..., Any]) -> list[Case]:
    return [
        Case(kind, "append", lambda h: h.append(a), [(0, a)]),
        Case(kind, "append-step", lambda h: h.append(a, step=7, timestamp=5), [(7, a)]),
        Case(kind, "append-wait", lambda h: h.append(a, wait=True), [(0, a)]),
        Case(kind, "append-dict", lambda h: h.container["some"].append({"where": a}, step=2), [(2, a)]),
        Case(kind, "extend", lambda h: h.extend([a, b]), [(0, a), (1, b)]),
        Case(kind, "extend-steps", lambda h: h.extend((a, b), steps=[5, 1.5], timestamps=[1, 2]), [(1.5, b), (5, a)]),
        Case(kind, "extend-dict", lambda h: h.container.extend({"some": {"where": [a, b]}}), [(0, a), (1, b)]),
        Case(kind, "log", lambda h: (h.log(a), h.log([b, c])), [(0, a), (1, b), (2, c)]),
        Case(kind, "assign-value", lambda h: h.assign(value([a, b], steps=[3, 4])), [(3, a), (4, b)]),
        Case(kind, "assign-list", lambda h: (h.append(c), h.assign([a, b])), [(0, a), (1, b)]),
        Case(kind, "clear", lambda h: (h.append(c), h.clear()), []),
        Case(kind, "clear-append", lambda h: (h.append(c), h.clear(), h.append(a)), [(0, a)]),
        Case(kind, "pop", lambda h: (h.append(a), h.pop()), None, exists=False),
        Case(kind, "pop-append", lambda h: (h.append(a), h.pop(), h.append(b)), [(0, b)]),
        Case(kind, "copy", lambda h: (h.container["x"].extend([a, b]), h.assign(h.container["x"])), [(0, a), (1, b)]),
    ]


def atoms(kind: str, a: Any, b: Any) -> list[Case]:
    value = getattr(types, kind)
    return [
        Case(kind, "assign", lambda h: h.assign(a), a),
        Case(kind, "assign-wait", lambda h: h.assign(a, wait=True), a),
        Case(kind, "assign-again", lambda h: (h.assign(a), h.assign(b)), b),
        Case(kind, "assign-item", lambda h: h.container.__setitem__(PATH, a), a),
        Case(kind, "assign-value", lambda h: h.assign(value(a)), a),
        Case(kind, "assign-dict", lambda h: h.container.assign({"some": {"where": a}}), a),
        Case(kind, "define", lambda h: h.container.define(PATH, a), a),
        Case(kind, "pop", lambda h: (h.assign(a), h.pop()), None, exists=False),
        Case(kind, "pop-namespace", lambda h: (h.assign(a), h.container.pop("some")), None, exists=False),
        Case(kind, "del-assign", lambda h: (h.assign("x"), h.container["some"].pop("where"), h.assign(a)), a),
        Case(kind, "copy", lambda h: (h.container["x"].assign(a), h.assign(h.container["x"])), a),
    ]


def sets(path: str) -> list[Case]:
    kind = "StringSet"
    return [
        Case(kind, f"{path}-add", lambda h: (h.add("a"), h.add(["b", "a"])), {"a", "b"}, path),
        Case(kind, f"{path}-remove", lambda h: (h.add(["a", "b"]), h.remove("a"), h.remove(["c"])), {"b"}, path),
        Case(kind, f"{path}-clear", lambda h: (h.add("a"), h.clear()), set(), path),
        Case(kind, f"{path}-assign", lambda h: (h.add("a"), h.assign(types.StringSet(["b"]))), {"b"}, path),
    ]


CASES = [
    *atoms("Boolean", True, False),
    *atoms("Integer", 2**62, -5),
    *atoms("Float", 0.1, float("inf")),
    *atoms("String", "text \0 \U0001f40d", ""),
    *atoms("Datetime", MOMENT, MOMENT.replace(year=1990)),
    *series("FloatSeries", 0.5, -1e300, 3.0, types.FloatSeries),
    *series("StringSeries", "one", "", "three", types.StringSeries),
    *sets("sys/tags"),
    *sets("sys/group_tags"),
]


def check(run: naiad.Run, case: Case) -> None:
    assert case.exists is run.exists(case.path)
    if case.exists:
        assert case.expected == READ[case.kind](run[case.path])
        assert case.kind == type(run.get_attribute(case.path)).__name__
    else:
        with pytest.raises(MissingField):
            run[case.path].fetch()


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}-{case.verb}")
def test_verb(case: Case, mode: str) -> None:
    with naiad.init_run(mode=mode) as run:
        case.do(run[case.path])

        check(run, case)
        if mode == "debug":
            return
        with naiad.init_run(with_id=run["sys/id"].fetch(), mode="read-only") as live:
            check(live, case)
        name = run["sys/id"].fetch()
    with naiad.init_run(with_id=name, mode="read-only") as stopped:
        check(stopped, case)


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}-{case.verb}")
def test_verb_on_a_run_that_goes_on(case: Case) -> None:
    with naiad.init_run() as run:
        run["other"] = 1
        name = run["sys/id"].fetch()
    with naiad.init_run(with_id=name) as run:
        case.do(run[case.path])

        check(run, case)
        assert 1 == run["other"].fetch()


WRITING: dict[str, Callable[[Handler], object]] = {
    "assign": lambda h: h.assign(1),
    "append": lambda h: h.append(0.5),
    "append-dict": lambda h: h.append({"a": 1.0}),
    "extend": lambda h: h.extend([1, 2]),
    "log": lambda h: h.log(1),
    "configure": lambda h: h.configure(min=0),
    "wait": lambda h: h.append(0.5, wait=True),
}


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("verb", WRITING)
def test_read_only_run_stores_nothing_and_says_so(verb: str) -> None:
    with naiad.init_run() as run:
        run["other"] = 1
        name = run["sys/id"].fetch()
    with naiad.init_run(with_id=name, mode="read-only") as reader:
        with pytest.warns(ReadOnlyWarning):
            WRITING[verb](reader[PATH])

        assert not reader.exists(PATH)
        assert 1 == reader["other"].fetch()
