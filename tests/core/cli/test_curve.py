"""Drawing is pure: numbers in, lines out."""

from __future__ import annotations

import math

import pytest

from naiad.cli.curve import MARKS, Curve, draw, plain_lines

NAN = math.nan


def curve(*values: float, name: str = "loss", steps: list[float] | None = None) -> Curve:
    """A curve whose points stand for one value each."""
    return Curve(name, steps or [float(step) for step in range(len(values))], values, values, values)


def drawing(*curves: Curve, width: int = 24, height: int = 9, marks: str = "") -> list[str]:
    return plain_lines(draw(curves, width, height, marks=marks))


def marked_columns(lines: list[str], mark: str = "*") -> list[int]:
    """The columns of the chart in which a mark is."""
    rows = [line.partition("|")[2] for line in lines if "|" in line]
    return sorted({column for row in rows for column, found in enumerate(row) if found == mark})


def test_rising_line_goes_from_the_lower_left_to_the_upper_right() -> None:
    assert [
        "2 |                **",
        "  |             ***",
        "  |           **",
        "1 |        ***",
        "  |     ***",
        "  |  ***",
        "0 |**",
        "  +------------------",
        "   0                2",
        "* loss",
    ] == drawing(curve(0, 1, 2), width=21, height=10, marks=MARKS)


def test_braille_has_eight_dots_a_cell() -> None:
    assert [
        "  1 ┤      ⢀⡠⠔⠊",
        "0.5 ┤   ⢀⠤⠒⠁",
        "  0 ┤⡠⠔⠊⠁",
        "    └──────────",
        "     0        1",
        "━━ loss",
    ] == drawing(curve(0, 1), width=15, height=6)


def test_nan_and_infinities_are_gaps() -> None:
    whole = marked_columns(drawing(curve(1, 1, 1, 1, 1), marks=MARKS))
    gapped = marked_columns(drawing(curve(1, 1, NAN, 1, 1), marks=MARKS))
    infinite = marked_columns(drawing(curve(1, 1, math.inf, 1, 1), marks=MARKS))

    assert list(range(21)) == whole
    assert [column for column in whole if not 5 < column < 15] == gapped == infinite


def test_bar_shows_the_extremes_that_a_point_stands_for() -> None:
    lines = drawing(Curve("loss", [0, 1, 2], [0, 4, 8], [5, 5, 5], [10, 6, 8]), height=14, marks=MARKS)

    first = [line.partition("|")[2][:1] for line in lines if "|" in line]
    assert ["*"] * 11 == first


def test_several_curves_share_the_axes_and_have_a_legend() -> None:
    lines = drawing(curve(0, 0, name="low"), curve(9, 9, name="high"), marks=MARKS)

    assert ["* low", "+ high"] == lines[-2:]
    assert lines[0].startswith("  9 |++++")
    assert lines[4].startswith("  0 |****")


def test_pieces_name_the_curve_they_belong_to() -> None:
    top, *_, legend = draw([curve(0, 0), curve(9, 9)], 24, 9)

    assert [None, 1] == [piece.curve for piece in top]
    assert [1, None] == [piece.curve for piece in legend]


def test_marks_repeat_when_there_are_more_curves() -> None:
    lines = drawing(*(curve(number) for number in range(len(MARKS) + 1)), marks=MARKS, height=30)

    assert "* loss" == lines[-1]


@pytest.mark.parametrize(
    "values",
    [
        [],
        [NAN],
        [1.5],
        [0.0, -0.0],
        [1e308, -1e308, 5e-324],
        [5e-324, 0.0],
        [1.0000000000000002, 1.0],
    ],
    ids=str,
)
@pytest.mark.parametrize("marks", ["", MARKS], ids=["braille", "ascii"])
def test_odd_ranges_are_drawn_in_the_size_asked_for(values: list[float], marks: str) -> None:
    lines = drawing(curve(*values), width=60, height=12, marks=marks)

    assert 12 == len(lines)
    assert 60 >= max(map(len, lines))


def test_huge_steps_and_equal_steps_are_drawn() -> None:
    lines = drawing(curve(1, 2, 3, steps=[-(2**62), 5, 5]), width=60, marks=MARKS)

    assert f"{-(2**62)}" in lines[-2]
    assert lines[-2].endswith(" 5")


def test_close_numbers_get_labels_that_differ() -> None:
    lines = drawing(curve(1.00000001, 1.00000003), width=40)

    assert ["1.00000003", "1.00000002", "1.00000001"] == [line.split()[0] for line in lines if "┤" in line]


def test_single_value_has_one_label() -> None:
    lines = drawing(curve(3.25, 3.25))

    assert ["3.25"] == [line.split()[0] for line in lines if "┤" in line]


@pytest.mark.parametrize("size", [(1, 1), (20, 6), (500, 200)])
def test_any_size_is_drawn(size: tuple[int, int]) -> None:
    lines = drawing(curve(0, 5, 2), width=size[0], height=size[1])

    assert max(6, size[1]) == len(lines)
    assert max(15, size[0]) == max(map(len, lines[:-2]))


def test_ascii_drawing_is_ascii() -> None:
    assert all(line.isascii() for line in drawing(curve(0, 1), curve(1, 0), marks=MARKS))
