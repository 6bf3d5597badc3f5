"""Rows of an index: a projection makes the state of a field when that field is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from naiad.kinds import POINTS
from naiad.storage.local.index.projection import Projection, Row
from naiad.storage.local.index.rows import (
    FieldRow,
    field_row,
    field_state,
    odd_paths,
    possibly_deleted,
    summed_rows,
    writer_row,
    writer_state,
)
from naiad.storage.local.index.states import DELETED, Deletions, FieldState
from naiad.storage.results import Damage


def row_of(number: int, path: str, kind: str = "float", value: float | None = 0.5) -> FieldRow:
    return field_row(FieldState(path, kind, number, writer="w", at=1.0, value=value))


def projection_of(*rows: FieldRow) -> Projection:
    def made(some: Sequence[Row], damages: list[Damage]) -> dict[int, FieldState]:
        damages += [Damage("run.db", "malformed", row[1]) for row in some if not row[3]]
        return {row[0]: field_state(*row[:4], []) for row in some if row[3]}

    return Projection({row.path: row for row in rows}, made)


def test_state_is_made_of_the_field_that_is_asked_for_and_of_no_other() -> None:
    projection = projection_of(row_of(1, "a/x"), row_of(2, "a/y"), row_of(3, "b"))
    state = projection.at("a/y")

    assert state is not None
    assert 0.5 == state.value
    assert {2: state} == projection.made
    assert state is projection.at("a/y")


def test_rows_of_series_are_read_as_their_aspects() -> None:
    state = FieldState("loss", POINTS, 1, writer="w", at=1.0)
    state.add_points("w", 2, 2, 0.5, 1.5, 2.0, 1, 1.5, 7, spread=0.5)
    series, empty, other = field_row(state), row_of(2, "val", POINTS, None), row_of(3, "lr")

    assert ({"loss": [1.5, 0.5, 1.5, 1.0, 0.25], "val": None}, [other]) == summed_rows([series, empty, other])


@pytest.mark.parametrize("kind", [POINTS, "float"])
def test_rows_that_are_damaged_or_twice_are_not_read_as_aspects(kind: str) -> None:
    value = None if kind == POINTS else 0.5
    whole = row_of(1, "x", kind, value)

    assert summed_rows([whole, whole._replace(path="y")]) is None
    assert summed_rows([whole._replace(crc=whole.crc ^ 1)]) is None
    assert kind != POINTS or summed_rows([whole, row_of(2, "x", kind, value)]) is None


def test_kinds_need_no_states_and_keep_the_order_of_the_index() -> None:
    projection = projection_of(row_of(1, "b"), row_of(2, "a/x"), row_of(3, "a/y", "int", 1))
    projection.at("a/x")

    assert [("b", "float"), ("a/x", "float"), ("a/y", "int")] == [*projection.kinds().items()]
    assert [2] == [*projection.made]


def test_fields_below_a_namespace_are_made_without_the_others() -> None:
    projection = projection_of(row_of(1, "a/x"), row_of(2, "a/y"), row_of(3, "b"))

    assert ["a/x", "a/y"] == [*projection.visible("a/")]
    assert [1, 2] == [*projection.made]


def test_number_of_a_writer_means_the_one_state_of_its_path() -> None:
    projection = projection_of(row_of(7, "x", POINTS, None), row_of(9, "y", POINTS, None))
    projection.writer("w").fields += [9, None, 7]

    assert projection.at("x") is projection.owner_of("w", 3)
    assert projection.owner_of("w", 2) is None
    assert projection.owner_of("w", 1) is projection.at("y")


def test_numbers_are_written_as_they_are_in_the_index_now() -> None:
    projection = projection_of(row_of(7, "x", POINTS, None), row_of(9, "y", POINTS, None))
    writer = projection.writer("w")
    writer.fields += [9, None, 7]
    moved = projection.at("x")
    assert moved is not None
    moved.id = 12
    row = writer_row(writer, projection.made)

    assert [9, None, 12] == writer_state("w", row["facts"], row["fields"]).fields


def test_field_whose_row_no_release_writes_is_left_out_and_reported_once_it_is_asked_for() -> None:
    projection = projection_of(row_of(1, "good"), row_of(2, "bad")._replace(facts=b""))

    assert [] == projection.damages
    assert projection.at("bad") is None
    assert ["bad"] == [damage.path for damage in projection.damages]
    assert {"good": "float"} == projection.kinds()


def test_conflict_between_rows_is_decided_without_asking_for_them_first() -> None:
    older = field_row(FieldState("a", "float", 1, writer="w", at=1.0, value=1.0, defined_at=1.0))
    younger = field_row(FieldState("a/b", "float", 2, writer="v", at=2.0, value=2.0, defined_at=2.0))
    projection = projection_of(younger, older)

    assert {"a": "float"} == projection.kinds()
    assert projection.at("a/b") is None


def test_rows_of_deleted_series_are_told_from_others_without_decoding_them() -> None:
    dead = FieldState("x", POINTS, 1, retired_at=5.0, retired_by="w")
    grave = FieldState("x", DELETED, 2, deletions=Deletions())
    empty = FieldState("x", POINTS, 3, writer="w", at=1.0)

    assert [1, 2] == [row.id for row in possibly_deleted(map(field_row, (dead, grave, empty)))]


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", ".", "a/..", "../a", "a/./b", "a\nb", "a\x00", "a" * 1025])
def test_odd_path_is_found_among_others(path: str) -> None:
    assert {path} == odd_paths(["a/b", path, "c d", "é/…"])


def test_paths_of_any_script_are_in_order() -> None:
    assert set() == odd_paths(["a", "a.b/..c", "ä/☃", "日本/語", "with space/x"])
    assert set() == odd_paths([])
