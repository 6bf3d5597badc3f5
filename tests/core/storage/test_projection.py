"""The projection: how ops of several writers add up to fields, whatever the order in which their frames arrive."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naiad.kinds import POINTS
from naiad.ops import Assign, Configure, Define, Delete, Dropped, End, Members, Op, Open, Plain, Strings, Tags
from naiad.storage.local.index.projection import Projection
from naiad.storage.local.index.states import FieldState, Series
from naiad.storage.results import Shadowed

ANN, BEN = "1-ann", "2-ben"
FLOAT = "float"


def opening(writer: str, *, session: int = 1, role: str = "owner", at: float = 0.0) -> Open:
    return Open(writer, 1, "host", "boot", session, role, at)


def projection_of(*frames: tuple[str, Op]) -> Projection:
    projection = Projection()
    for writer in (ANN, BEN):
        projection.apply(writer, [opening(writer)])
    for writer, op in frames:
        projection.apply(writer, [op])
    return projection


def value_of(projection: Projection, path: str) -> Plain:
    state = projection.at(path)
    assert state is not None
    return state.value


def assign(value: float, at: float, path: str = "x") -> Assign:
    return Assign(path, "float", value, at)


def test_value_written_last_wins_in_whatever_order_frames_arrive() -> None:
    frames = [(ANN, assign(1.0, 10.0)), (BEN, assign(2.0, 11.0)), (ANN, assign(3.0, 12.0)), (BEN, assign(4.0, 9.0))]

    for order in itertools.permutations(frames):
        if [op.at for writer, op in order if writer == ANN] == [10.0, 12.0]:  # those of one writer stay in order
            assert 3.0 == value_of(projection_of(*order), "x")


def test_of_values_written_at_the_same_time_that_of_the_greater_writer_wins() -> None:
    frames = [(ANN, assign(1.0, 10.0)), (BEN, assign(2.0, 10.0))]

    assert 2.0 == value_of(projection_of(*frames), "x")
    assert 2.0 == value_of(projection_of(*reversed(frames)), "x")


def test_writer_replaces_its_own_value_even_if_its_clock_stands_still() -> None:
    projection = projection_of((BEN, assign(1.0, 10.0)), (BEN, assign(2.0, 10.0)), (BEN, assign(3.0, 10.0)))

    assert 3.0 == value_of(projection, "x")


def test_define_of_a_path_that_is_there_means_the_same_field() -> None:
    projection = projection_of((ANN, Define(1, "loss", False, 1.0)), (BEN, Define(1, "loss", False, 2.0)))

    assert projection.owner_of(ANN, 1) is projection.owner_of(BEN, 1) is projection.at("loss")


def test_numbers_without_definition_mean_nothing() -> None:
    projection = projection_of((ANN, Define(3, "loss", False, 1.0)))

    assert [None, None, None, None] == [projection.owner_of(ANN, number) for number in (0, 1, 2, 4)]
    assert projection.owner_of("unknown", 1) is None
    assert (projection.at("loss"), -math.inf) == projection.meaning(ANN, 3)
    assert projection.meaning(ANN, 2)[0] is None


def test_fresh_definition_begins_anew_and_sends_the_writers_old_points_nowhere() -> None:
    projection = projection_of(
        (ANN, Define(1, "loss", False, 1.0)),
        (ANN, Configure("loss", 0.0, 1.0, "m", 2.0)),
        (ANN, Define(2, "loss", True, 3.0)),
    )
    state = projection.at("loss")

    assert (state, -math.inf) == projection.meaning(ANN, 2)
    assert projection.meaning(ANN, 1)[0] is None
    assert state is not None
    assert (None, None, None) == state.config


def test_deleted_field_is_gone_and_another_kind_can_follow() -> None:
    projection = projection_of(
        (ANN, Define(1, "x", False, 1.0)), (ANN, Delete("x", 2.0)), (ANN, Assign("x", "string", "text", 3.0))
    )

    assert ["string"] == [state.kind for state in projection.states()]
    assert projection.meaning(ANN, 1)[0] is None


def test_delete_of_nothing_changes_nothing() -> None:
    projection = projection_of((ANN, Delete("x", 2.0)))

    assert projection.at("x") is None
    assert [] == list(projection.states())
    assert [] == projection.retired


def test_delete_leaves_what_another_writer_wrote_later() -> None:
    projection = projection_of((BEN, assign(2.0, 12.0)), (ANN, Delete("x", 11.0)))

    assert 2.0 == value_of(projection, "x")


def test_writer_deletes_what_it_wrote_itself_even_if_its_clock_went_back() -> None:
    projection = projection_of((ANN, assign(2.0, 12.0)), (ANN, Delete("x", 11.0)))

    assert projection.at("x") is None


def test_late_points_of_another_writer_bring_the_series_back() -> None:
    projection = projection_of((ANN, Define(1, "loss", False, 1.0)), (BEN, Delete("loss", 5.0)))

    state, since = projection.meaning(ANN, 1)
    assert state is not None
    assert 5.0 == since
    assert projection.at("loss") is None, "as long as nothing came late, nothing is there"
    assert [(ANN, 1, state, 5.0)] == projection.orphans()

    projection.revive_after_deletion(state, ANN)
    assert state is projection.at("loss")
    assert (POINTS, 0, 5.0, BEN) == (state.kind, state.series.count, state.defined_at, state.defined_by)


def test_late_points_go_to_the_field_that_was_defined_meanwhile() -> None:
    projection = projection_of(
        (ANN, Define(1, "loss", False, 1.0)), (BEN, Delete("loss", 5.0)), (BEN, Define(1, "loss", False, 6.0))
    )
    state, _since = projection.meaning(ANN, 1)

    assert projection.owner_of(BEN, 1) is state is projection.at("loss")


def test_second_delete_takes_what_came_late_to_the_first() -> None:
    projection = projection_of(
        (ANN, Define(1, "loss", False, 1.0)), (BEN, Delete("loss", 5.0)), (BEN, Delete("loss", 9.0))
    )

    assert 9.0 == projection.meaning(ANN, 1)[1]


def test_writer_that_deletes_a_series_itself_leaves_no_late_points() -> None:
    projection = projection_of(
        (ANN, Define(1, "loss", False, 1.0)), (BEN, Delete("loss", 5.0)), (ANN, Delete("loss", 9.0))
    )

    assert projection.meaning(ANN, 1)[0] is None
    assert [] == projection.orphans()


def test_writers_of_earlier_sessions_have_no_late_points() -> None:
    """Points with times in the future must not come back when a later session removes the series."""
    projection = Projection()
    projection.apply(ANN, [opening(ANN), Define(1, "loss", False, 1.0)])
    projection.apply(BEN, [opening(BEN, session=2), Delete("loss", 5.0)])

    assert projection.meaning(ANN, 1)[0] is None
    assert [] == projection.orphans()


def test_writer_that_ended_before_the_delete_has_no_late_points() -> None:
    projection = projection_of(
        (ANN, Define(1, "loss", False, 1.0)), (ANN, End("finished", 3.0)), (BEN, Delete("loss", 5.0))
    )

    assert [] == projection.orphans()


def test_definition_inherited_by_a_forked_child_does_not_bring_a_deleted_series_back() -> None:
    projection = projection_of(
        (ANN, Define(1, "loss", False, 1.0)), (ANN, Delete("loss", 5.0)), (BEN, Define(1, "loss", False, 4.0))
    )

    assert projection.at("loss") is None
    assert 5.0 == projection.meaning(BEN, 1)[1]


def test_of_two_kinds_at_a_path_the_one_defined_first_is_shown_and_both_are_kept() -> None:
    frames = [(ANN, assign(1.0, 10.0)), (BEN, Assign("x", "string", "text", 11.0)), (ANN, assign(2.0, 12.0))]

    for order in itertools.permutations(frames):
        if order.index(frames[0]) > order.index(frames[2]):
            continue  # those of one writer stay in order
        projection = projection_of(*order)
        assert 2.0 == value_of(projection, "x")
        assert FLOAT == projection.at("x").kind  # type: ignore[union-attr]
        assert {"float", "string"} == {state.kind for state in projection.states()}
        assert [Shadowed("x", "string", "x", "float")] == projection.shadowed()


def test_of_kinds_defined_at_the_same_time_that_of_the_smaller_writer_is_shown() -> None:
    frames = [(ANN, assign(1.0, 10.0)), (BEN, Assign("x", "string", "text", 10.0))]

    assert 1.0 == value_of(projection_of(*frames), "x")
    assert 1.0 == value_of(projection_of(*reversed(frames)), "x")


@pytest.mark.parametrize(("first", "second"), [("n", "n/x/y"), ("n/x/y", "n"), ("n/x", "n/x/y")])
def test_of_a_field_and_one_below_it_the_one_defined_first_is_shown(first: str, second: str) -> None:
    frames = [(ANN, assign(1.0, 10.0, first)), (BEN, assign(2.0, 11.0, second)), (BEN, assign(3.0, 9.0, "n2/x"))]

    for order in itertools.permutations(frames):
        projection = projection_of(*order)
        assert (1.0, None, 3.0) == (value_of(projection, first), projection.at(second), value_of(projection, "n2/x"))
        assert [Shadowed(second, "float", first, "float")] == projection.shadowed()


def test_field_is_shown_again_when_what_hid_it_is_removed() -> None:
    projection = projection_of((ANN, assign(1.0, 10.0, "n")), (BEN, assign(2.0, 11.0, "n/x")))
    projection.apply(ANN, [Delete("n", 12.0)])

    assert 2.0 == value_of(projection, "n/x")
    assert [] == projection.shadowed()


def test_what_is_hidden_hides_nothing() -> None:
    projection = projection_of(
        (ANN, assign(1.0, 10.0, "n/x")), (BEN, assign(2.0, 11.0, "n")), (ANN, assign(3.0, 12.0, "n/y"))
    )

    assert (1.0, None, 3.0) == (value_of(projection, "n/x"), projection.at("n"), value_of(projection, "n/y"))


def test_beginning_a_series_anew_leaves_other_kinds_alone() -> None:
    projection = projection_of(
        (ANN, Define(1, "x", False, 1.0)),
        (BEN, Strings("x", ["a"], [0], [2.0], True, 2.0)),
    )

    assert {"float_series", "string_series"} == {state.kind for state in projection.states()}


def test_tags_are_cleared_then_removed_then_added() -> None:
    projection = projection_of(
        (ANN, Tags("sys/tags", ["a", "b", "a"], [], False, 1.0)),
        (BEN, Tags("sys/tags", ["c"], ["a", "none"], False, 2.0)),
    )
    assert ["b", "c"] == tags_of(projection)

    projection.apply(ANN, [Tags("sys/tags", ["d", b"\xed\xa0\x80"], ["d"], True, 3.0)])
    assert ["d", b"\xed\xa0\x80"] == tags_of(projection)


def tags_of(projection: Projection, path: str = "sys/tags") -> list[str | bytes]:
    state = projection.at(path)
    assert state is not None
    return state.tags


def test_texts_wait_in_order_of_arrival_and_fresh_ones_replace_them() -> None:
    projection = projection_of(
        (ANN, Strings("log", ["a", "b"], [5, 1], [1.0, 2.0], False, 1.0)),
        (BEN, Strings("log", ["c"], [0.5], [3.0], False, 2.0)),
    )
    assert {ANN: [(5, 1.0, "a"), (1, 2.0, "b")], BEN: [(0.5, 3.0, "c")]} == state_at(projection, "log").texts

    projection.apply(ANN, [Strings("log", ["d"], [0], [4.0], True, 3.0)])
    assert {ANN: [(0, 4.0, "d")]} == state_at(projection, "log").texts


def state_at(projection: Projection, path: str) -> FieldState:
    state = projection.at(path)
    assert state is not None
    return state


def test_writers_are_described_by_what_they_say() -> None:
    projection = projection_of((ANN, Dropped(3, 1, 5.0)), (ANN, Dropped(4, 0, 6.0)), (ANN, End("failed", 7.0)))
    writer = projection.writers[ANN]

    assert ("failed", 7, 1, 7.0) == (writer.state, writer.dropped_points, writer.dropped_ops, writer.at)
    assert projection.writers[BEN].state is None


@pytest.mark.parametrize(("step", "expected"), [(4, 1.0), (5, 2.0), (6, 2.0)])
def test_last_point_is_the_one_with_the_largest_step_and_of_equal_ones_the_later(step: int, expected: float) -> None:
    series = Series()
    series.add(1, 1, 1.0, 1.0, 1.0, 5, 1.0, 100)
    series.add(1, 0, 0.0, 0.0, 0.0, step, 2.0, 50)

    assert (2, 1, 1.0, 1.0) == (series.count, series.finite, series.minimum, series.maximum)
    assert expected == series.last_value


def test_definition_inherited_behind_one_that_began_anew_means_the_new_series() -> None:
    """The child says it a moment later, so that readers take the two in this order."""
    frames = [(ANN, Define(1, "loss", False, 1.0)), (ANN, Define(2, "loss", True, 4.0))]
    inherited = (BEN, Define(2, "loss", False, math.nextafter(4.0, 5.0)))
    projection = projection_of(*sorted([inherited, *frames], key=lambda frame: frame[1].at))

    assert projection.at("loss") is projection.owner_of(BEN, 2) is projection.owner_of(ANN, 2)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf]), max_size=20), max_size=6),
    st.sampled_from([0.0, 1e9]),
)
def test_variance_of_groups_is_that_of_the_whole(groups: list[list[float]], far: float) -> None:
    """However the points fall into groups, and however far from zero they lie."""
    series = Series()
    for group in groups:
        finite = np.array([value + far for value in group if math.isfinite(value)])
        spread = float(np.square(finite - finite.mean()).sum()) if len(finite) else 0.0
        series.add(len(group), len(finite), 0.0, 0.0, float(finite.sum()), 0, None, 0, spread)

    whole = [value + far for group in groups for value in group if math.isfinite(value)]
    if whole:
        assert float(np.var(whole)) == pytest.approx(series.variance, rel=1e-6, abs=1e-3)
        assert float(np.mean(whole)) == pytest.approx(series.mean)
    else:
        assert (None, None) == (series.mean, series.variance)


def test_variance_of_an_index_that_does_not_say_stays_unknown() -> None:
    series = Series(count=2, finite=2, total=3.0, spread=None)
    series.add(1, 1, 1.0, 1.0, 1.0, 5, 1.0, 100, 0.0)

    assert (3, None) == (series.finite, series.variance)


LATE: dict[str, tuple[list[Op], list[Op]]] = {
    "value": ([assign(1.0, 10.0)], [assign(2.0, 20.0)]),
    "deletion": ([assign(1.0, 10.0)], [Delete("x", 20.0)]),
    "tag removed": ([Tags("t", ["a"], [], False, 10.0)], [Tags("t", [], ["a"], False, 20.0)]),
    "tags cleared": ([Tags("t", ["a"], [], False, 10.0)], [Tags("t", ["b"], [], True, 20.0)]),
    "chart axis": ([Configure("m", 0.0, 1.0, "a", 10.0)], [Configure("m", 5.0, 6.0, "b", 20.0)]),
    "member": ([Members("f", {"n": "old"}, [], False, 10.0)], [Members("f", {"n": "new"}, [], False, 20.0)]),
    "folder removed": ([Members("f", {"d/n": "old"}, [], False, 10.0)], [Members("f", {}, ["d"], False, 20.0)]),
}


@pytest.mark.parametrize("name", LATE)
def test_older_ops_that_arrive_late_change_nothing_that_was_written_later(name: str) -> None:
    older, newer = [[(writer, op) for op in ops] for writer, ops in zip((ANN, BEN), LATE[name], strict=True)]
    in_time, late = projection_of(*older, *newer), projection_of(*newer, *older)

    def shown(projection: Projection) -> list[object]:
        return [(state.path, state.value, state.tags, state.config, state.members) for state in projection.states()]

    assert shown(in_time) == shown(late)


def test_adding_tags_one_by_one_is_linear() -> None:
    """20,000 took a minute, as each op copied all tags."""
    projection = Projection()
    began = time.process_time()
    projection.apply(ANN, [Tags("t", [f"tag-{i}"], [], False, float(i)) for i in range(20_000)])

    assert time.process_time() - began < 5
    assert 20_000 == len(tags_of(projection, "t"))


NAMES_OF_SERIES = st.sampled_from(["a", "a/b", "a/b/c", "b", "b/c", "x/1", "x/2", "y"])


@settings(max_examples=60, deadline=None)
@given(
    before=st.lists(st.tuples(NAMES_OF_SERIES, st.sampled_from(["float", POINTS, "delete"])), max_size=4),
    paths=st.lists(NAMES_OF_SERIES, max_size=5),
    is_fresh=st.booleans(),
    first=st.sampled_from([1, 1, 1, 7]),
    at=st.sampled_from([10.0, 10.0, -1.0]),
)
def test_many_definitions_of_one_frame_mean_the_same_as_one_by_one(
    before: list[tuple[str, str]], paths: list[str], is_fresh: bool, first: int, at: float
) -> None:
    """They are looked at together where all of them are new; a frame of a forked child is older than its writer."""
    fillers = [f"many/{number}" for number in range(16)]
    ops = [Define(first + number, path, is_fresh and path == "y", at) for number, path in enumerate([*paths, *fillers])]
    found = []
    for frames in ([ops], [[op] for op in ops]):
        projection = projection_of()
        for number, (path, kind) in enumerate(before, 1):
            made: Op = Assign(path, kind, 1.0, number)
            if kind != FLOAT:
                made = Delete(path, number) if kind == "delete" else Define(number, path, False, number)
            projection.apply(BEN, [made])
        for frame in frames:
            projection.apply(ANN, frame)
        states = {(each.path, each.kind): (each.at, each.writer, each.spans()) for each in projection.states()}
        numbers = [
            (number, each.path, id(each) in projection.touched)
            for number, each in projection.known_series(projection.writers[ANN])
        ]
        found.append((states, numbers, projection.writers[ANN].at, projection.hidden().keys(), projection.kinds()))

    assert found[1] == found[0]
