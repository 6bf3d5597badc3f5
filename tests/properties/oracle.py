"""The oracle: what a run must hold after each verb, as plain dicts and lists; and how that is compared with a reader.

A hand is one run object of one process. It remembers what it knows to exist and where its series go on, because two
hands on one run need not know of each other's verbs.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from itertools import groupby
from typing import Any

from verbs import Done, Verb

from naiad.storage.local.reader import Reader

EXACT = 2**53
LARGEST_STEP = 2**63 - 1
TAGS = ("sys/tags", "sys/group_tags")
KINDS: dict[type, str] = {bool: "bool", int: "int", float: "float", str: "string", datetime: "datetime"}
Axis = tuple[float | None, float | None, str | None]
NO_AXIS: Axis = (None, None, None)


@dataclass(frozen=True)
class Point:
    """One point; its time is known to lie between two milliseconds. Values are kept as bits or texts."""

    step: int | float
    value: bytes | str
    low: int
    high: int
    hand: int


@dataclass
class SeriesModel:
    """All points of a series in the order in which they came."""

    kind: str
    points: list[Point] = field(default_factory=list)
    axis: Axis = NO_AXIS


@dataclass(frozen=True)
class AtomModel:
    """One value."""

    kind: str
    value: Any


@dataclass
class Memory:
    """What a hand remembers of a field: `last` is None until it has looked where a series goes on."""

    kind: str
    last: int | None = -1
    axis: Axis | None = NO_AXIS


@dataclass
class Hand:
    """One run object and what it knows."""

    number: int
    known: dict[str, Memory] = field(default_factory=dict)

    def fork(self, number: int) -> Hand:
        return Hand(number, {path: replace(memory) for path, memory in self.known.items()})


@dataclass
class Model:
    """A run as it must be."""

    fields: dict[str, SeriesModel | AtomModel] = field(default_factory=dict)
    tags: dict[str, set[str]] = field(default_factory=dict)

    # What there is

    def kinds(self) -> dict[str, str]:
        return {path: one.kind for path, one in self.fields.items()} | dict.fromkeys(self.tags, "string_set")

    def kind(self, path: str) -> str | None:
        return self.kinds().get(path)

    def is_free(self, path: str) -> bool:
        """Whether a new field at the path would lie neither above nor below another one."""
        return not any(other.startswith(path + "/") or path.startswith(other + "/") for other in self.kinds())

    def below(self, path: str) -> list[str]:
        return [other for other in self.fields if other == path or other.startswith(path + "/")]

    # What hands learn

    def refresh(self, hand: Hand) -> None:
        kinds = {path: one.kind for path, one in self.fields.items()}
        hand.known = {path: memory for path, memory in hand.known.items() if kinds.get(path) == memory.kind}
        for path, kind in kinds.items():
            hand.known.setdefault(path, Memory(kind, None, None))

    # What verbs do

    def apply(self, hand: Hand, verb: Verb, done: Done) -> None:
        getattr(self, verb.name)(hand, verb, done)

    def assign(self, hand: Hand, verb: Verb, done: Done) -> None:
        given = verb.given["value"]
        if isinstance(given, dict):
            for path, value in leaves(given, verb.path):
                self._assign(hand, path, value)
        elif isinstance(given, list):
            self._fill(hand, verb.path, given, None, None, done, is_fresh=True)
        else:
            self._assign(hand, verb.path, given)

    def append(self, hand: Hand, verb: Verb, done: Done) -> None:
        given = verb.given
        for path, value in leaves(given["value"], verb.path):
            steps = None if given.get("step") is None else [given["step"]]
            times = None if given.get("timestamp") is None else [given["timestamp"]]
            self._fill(hand, path, [value], steps, times, done)

    def extend(self, hand: Hand, verb: Verb, done: Done) -> None:
        for path, values in leaves(verb.given["values"], verb.path):
            if values:
                self._fill(hand, path, values, verb.given.get("steps"), verb.given.get("timestamps"), done)

    def configure(self, hand: Hand, verb: Verb, done: Done) -> None:
        series = self._series(verb.path, "float_series")
        series.axis = (verb.given.get("min"), verb.given.get("max"), verb.given.get("unit"))
        self._memory(hand, verb.path, "float_series").axis = series.axis

    def clear(self, hand: Hand, verb: Verb, done: Done) -> None:
        if verb.path in TAGS:
            self.tags[verb.path] = set()
        else:
            self._fill(hand, verb.path, [], None, None, done, is_fresh=True)

    def pop(self, hand: Hand, verb: Verb, done: Done) -> None:
        for path in self.below(verb.path):
            del self.fields[path]
            hand.known.pop(path, None)

    def copy(self, hand: Hand, verb: Verb, done: Done) -> None:
        for path, content in verb.given["found"]:
            if isinstance(content, AtomModel):
                self._assign(hand, path, content.value)
                continue
            self._fill(hand, path, [], None, None, done, is_fresh=True, kind=content.kind)
            series = self.fields[path]
            assert isinstance(series, SeriesModel)
            series.points = [replace(point, hand=hand.number) for point in content.points]
            memory = hand.known[path]
            if series.points:
                memory.last = math.floor(series.points[-1].step)
            if series.kind == "float_series":
                series.axis = memory.axis = content.axis

    def add(self, hand: Hand, verb: Verb, done: Done) -> None:
        values = verb.given["values"]
        self.tags[verb.path] |= {values} if isinstance(values, str) else set(values)

    def remove(self, hand: Hand, verb: Verb, done: Done) -> None:
        values = verb.given["values"]
        self.tags[verb.path] -= {values} if isinstance(values, str) else set(values)

    def sync(self, hand: Hand, verb: Verb, done: Done) -> None:
        self.refresh(hand)

    def _assign(self, hand: Hand, path: str, value: Any) -> None:
        self.fields[path] = AtomModel(KINDS[type(value)], value)
        self._memory(hand, path, KINDS[type(value)])

    def _memory(self, hand: Hand, path: str, kind: str) -> Memory:
        return hand.known.setdefault(path, Memory(kind))

    def _series(self, path: str, kind: str) -> SeriesModel:
        found = self.fields.setdefault(path, SeriesModel(kind))
        assert isinstance(found, SeriesModel)
        assert found.kind == kind
        return found

    def _fill(
        self,
        hand: Hand,
        path: str,
        values: list[Any],
        steps: list[Any] | None,
        times: list[Any] | None,
        done: Done,
        *,
        is_fresh: bool = False,
        kind: str | None = None,
    ) -> None:
        known = hand.known.get(path)
        kind = kind or (known.kind if known else None) or series_kind(values[0])
        series = self._series(path, kind)
        memory = self._memory(hand, path, kind)
        if is_fresh:
            if memory.axis is None:
                memory.axis = series.axis
            series.points, series.axis, memory.last = [], memory.axis, -1
        if steps is None:
            if values and memory.last is None:
                top = max((point.step for point in series.points), default=-1)
                memory.last = math.floor(top)
            steps = [memory.last + 1 + i for i in range(len(values))]  # type: ignore[operator]
        steps = [whole(step) for step in steps]
        if steps:
            memory.last = math.floor(steps[-1])
        windows = [(done.low, done.high)] * len(values) if times is None else [milliseconds(time) for time in times]
        for value, step, window in zip(values, steps, windows, strict=True):
            series.points.append(Point(step, content(kind, value), *window, hand.number))

    def takes_auto_steps(self, hand: Hand, path: str, count: int) -> bool:
        """Whether the steps after the last one are still steps."""
        memory, series = hand.known.get(path), self.fields.get(path)
        last = -1 if memory is None else memory.last
        if last is None and isinstance(series, SeriesModel):
            last = math.floor(max((point.step for point in series.points), default=-1))
        return (last or 0) + count <= LARGEST_STEP


def leaves(given: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(given, dict):
        for key, value in given.items():
            yield from leaves(value, f"{path}/{key}" if path else key)
    else:
        yield path, given


def series_kind(value: Any) -> str:
    return "string_series" if isinstance(value, str) else "float_series"


def content(kind: str, value: Any) -> bytes | str:
    return value if kind == "string_series" else bits(value)


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


def whole(step: int | float) -> int | float:
    """A step as it is kept: an int where it is a whole number that a double holds."""
    return int(step) if isinstance(step, int) or (abs(step) < EXACT and float(step).is_integer()) else step


def milliseconds(time: float | datetime) -> tuple[int, int]:
    seconds = time.timestamp() if isinstance(time, datetime) else time
    return round(seconds * 1000), round(seconds * 1000)


# Comparing


def differences(model: Model, reader: Reader, fixed: dict[str, Any]) -> list[str]:
    """What a reader shows that is not so; `fixed` are values that naiad itself wrote."""
    found: list[str] = []
    expected = model.kinds() | {path: kind for path, (kind, _value) in fixed.items()}
    kinds = {path: kind for path, kind in reader.kinds().items() if path not in DERIVED}
    if kinds != expected:
        gone, new = expected.items() - kinds.items(), kinds.items() - expected.items()
        return [f"fields: missing {sorted(gone)}, unexpected {sorted(new)}"]
    atoms = reader.values()
    for path, one in model.fields.items():
        if isinstance(one, AtomModel):
            if stored(one.value) != stored(atoms[path]):
                found.append(f"{path} is {atoms[path]!r}, not {one.value!r}")
        else:
            found += [f"{path}: {what}" for what in _series_differences(one, reader, path)]
    for path, (_kind, value) in fixed.items():
        if atoms[path] != value:
            found.append(f"{path} is {atoms[path]!r}, not {value!r}")
    for path, tags in model.tags.items():
        if reader.tags(path) != tags:
            found.append(f"{path} are {reader.tags(path)}, not {tags}")
    return found


DERIVED = ("sys/state", "sys/modification_time", "sys/ping_time", "sys/running_time", "sys/size")


def stored(value: Any) -> Any:
    """A value that equals another one only if both are the same to the bit."""
    if isinstance(value, datetime):
        delta = value.astimezone(timezone.utc) - datetime(1970, 1, 1, tzinfo=timezone.utc)
        return ("int", (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogatepass")
    return (type(value).__name__, bits(value) if isinstance(value, float) else value)


def points_of(reader: Reader, path: str, kind: str) -> list[tuple[int | float, bytes | str, int]]:
    """Step, value and milliseconds of each point, as read."""
    if kind == "string_series":
        texts = reader.texts(path)
        return list(zip(texts.steps, texts.texts, texts.times, strict=True))
    points = reader.points(path)
    raw = points.values.tobytes()
    values = [raw[at : at + 8] for at in range(0, len(raw), 8)]
    return list(zip(points.steps.tolist(), values, points.times.tolist(), strict=True))


def _series_differences(model: SeriesModel, reader: Reader, path: str) -> Iterator[str]:
    found = points_of(reader, path, model.kind)
    yield from order_differences(model, found)
    facts, last = reader.facts(path), reader.last(path)
    if facts.count != len(model.points):
        yield f"count is {facts.count}, not {len(model.points)}"
    if found and last is not None:
        value = last.value if isinstance(last.value, str) else bits(last.value)
        if (last.step, value, last.time) != found[-1] and not is_among_rounded(last.step, found):
            yield f"last is {last}, not {found[-1]}"
    elif found or last is not None:
        yield f"last is {last} of {len(found)} points"
    if model.kind == "float_series":
        finite = [value for point in model.points if math.isfinite(value := unpacked(point.value))]
        extremes = (min(finite, default=None), max(finite, default=None), len(finite))
        if (facts.minimum, facts.maximum, facts.finite) != extremes:
            yield f"extremes are {facts.minimum}, {facts.maximum} of {facts.finite}, not {extremes}"
        if reader.config(path) != model.axis:
            yield f"axis is {reader.config(path)}, not {model.axis}"


def is_among_rounded(step: int | float, found: list[tuple[int | float, bytes | str, int]]) -> bool:
    """Whether a step that no double holds was read as the nearest one, beside fractional steps."""
    read = found[-1][0]
    return isinstance(step, int) and abs(step) > EXACT and isinstance(read, float) and float(step) == read


def unpacked(value: bytes | str) -> float:
    assert isinstance(value, bytes)
    return float(struct.unpack("<d", value)[0])


def order_differences(model: SeriesModel, found: list[tuple[int | float, bytes | str, int]]) -> Iterator[str]:
    """By step; of points with equal steps those of one hand in the order in which they came."""
    steps = [point.step for point in model.points]
    is_rounded = model.kind == "float_series" and not all(isinstance(step, int) for step in steps)
    key = float if is_rounded else (lambda step: step)
    expected = sorted(model.points, key=lambda point: key(point.step))
    both = [key(point.step) for point in expected], [step for step, _value, _time in found]
    if both[0] != both[1]:
        at = next((i for i, (one, two) in enumerate(zip(*both, strict=False)) if one != two), min(map(len, both)))
        yield f"{len(both[1])} steps, {both[1][at : at + 5]} at {at}, not {len(both[0])}, {both[0][at : at + 5]}"
        return
    rest = iter(found)
    for step, group in groupby(expected, key=lambda point: key(point.step)):
        points = list(group)
        got = [next(rest)[1:] for _ in points]
        if not is_merge_of(points, got):
            yield f"at step {step} there is {got}, not {points}"


def is_merge_of(points: list[Point], got: list[tuple[bytes | str, int]]) -> bool:
    """Whether `got` holds the points of each hand in their order, however the hands are mixed.

    Steps that are one only as doubles may be in the order of what they were.
    """
    keys = dict.fromkeys((point.hand, point.step) for point in points)
    hands = [[point for point in points if (point.hand, point.step) == key] for key in keys]

    taken = {(0,) * len(hands)}  # all ways in which the hands can be as far as that
    for value, time in got:
        taken = {
            (*counts[:i], count + 1, *counts[i + 1 :])
            for counts in taken
            for i, (hand, count) in enumerate(zip(hands, counts, strict=True))
            if count < len(hand) and hand[count].value == value and hand[count].low <= time <= hand[count].high
        }
    return bool(taken)
