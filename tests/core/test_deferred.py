"""Deferred dataclasses behave as those of `dataclasses` from their first instance on."""

from __future__ import annotations

import dataclasses
import pickle
import threading

import pytest

from naiad.deferred import asdict, dataclass, field, replace


@dataclass(frozen=True)
class Point:
    """A place."""

    x: int
    y: int = 0
    names: list[str] = field(default_factory=list)

    def moved(self, by: int) -> Point:
        return replace(self, x=self.x + by)


@dataclass(frozen=True)
class Named(Point):
    """A place with a name of its own, which inherits members that are not complete yet."""

    name: str = "origin"

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name.upper())


@dataclass(order=True)
class Mutable:
    """A counter."""

    count: int = 0


def test_instance_is_made_compared_shown_and_copied_as_a_dataclass() -> None:
    point = Named(1, names=["a"], name="b")

    assert Named(1, 0, ["a"], "b") == point
    assert Named(2, 0, ["a"], "b") == point.moved(1)
    assert "Named(x=1, y=0, names=['a'], name='B')" == repr(point)
    assert {"x": 1, "y": 0, "names": ["a"], "name": "B"} == asdict(point)
    assert ["x", "y", "names", "name"] == [each.name for each in dataclasses.fields(Named)]
    assert dataclasses.is_dataclass(Point)
    assert Mutable(1) < Mutable(2)
    assert Point(1).names is not Point(1).names


def test_frozen_instance_refuses_changes() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError, match="'x'"):
        Point(1).x = 2  # type: ignore[misc]  # the point of the test
    with pytest.raises(dataclasses.FrozenInstanceError, match="'x'"):
        del Point(1).x  # type: ignore[misc]  # likewise
    changed = Mutable()
    changed.count = 5

    assert Mutable(5) == changed
    with pytest.raises(TypeError):
        hash(changed)


def test_instance_from_another_process_is_complete_before_the_first_one_here() -> None:
    """`pickle` calls no `__init__`."""

    @dataclass(frozen=True)
    class Late:
        value: int

    one, two = (object.__new__(Late) for _ in range(2))
    one.__dict__["value"] = two.__dict__["value"] = 3

    assert one == two
    assert hash(one) == hash(two)
    assert Named(1, 2) == pickle.loads(pickle.dumps(Named(1, 2)))


def test_threads_that_make_the_first_instance_at_once_all_get_one() -> None:
    for _ in range(50):

        @dataclass(frozen=True)
        class Fresh:
            value: int
            other: str = "x"

        start, made = threading.Barrier(4), []

        def make(start: threading.Barrier = start, made: list[object] = made, fresh: type = Fresh) -> None:
            start.wait()
            made.append(fresh(1))

        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [Fresh(1)] * 4 == made
