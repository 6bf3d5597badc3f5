from __future__ import annotations

from typing import Any

import pytest

from naiad.capture.rows import Rows


def texts(rows: Any) -> list[str]:
    return [text for _, text in rows]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("a\nb\n", ["a", "b"]),
        ("\n\n", ["", ""]),
        ("one\r\ntwo\r\n", ["one", "two"]),
        ("\r10%\r20%\r100%\n", ["100%"]),
        ("\r100%\r    \rdone\n", ["done"]),
        ("1/3\x08\x08\x082/3\x08\x08\x083/3\n", ["3/3"]),
        ("busy\x1b[2K\rready\n", ["ready"]),
        ("\x1b[32mgreen\x1b[0m\n", ["\x1b[32mgreen\x1b[0m"]),
        ("no end of line", ["no end of line"]),
        ("", []),
    ],
)
def test_what_a_line_shows_last_is_kept(written: str, expected: list[str]) -> None:
    rows = Rows()

    assert expected == texts(rows.feed(written, 1.0) + rows.rest())


@pytest.mark.parametrize("written", ["a\rb\x1b[2K\rc\r\nd\x08e\n", "\x1b[Ax\ny\x1b[A\rz\n\n"])
def test_it_does_not_matter_how_text_is_cut(written: str) -> None:
    whole, cut = Rows(), Rows()
    by_letter = [row for letter in written for row in cut.feed(letter, 1.0)]

    assert texts(whole.feed(written, 1.0) + whole.rest()) == texts(by_letter + cut.rest())


def test_bars_below_each_other_are_two_rows_however_often_they_are_drawn() -> None:
    """As tqdm draws an inner bar: down a row, draw, up again."""
    rows = Rows()
    finished = rows.feed("\repochs 0", 0.0)
    for batch in range(100):
        finished += rows.feed(f"\n\rbatch {batch}\x1b[A", 0.1 * batch)
    finished += rows.feed("\repochs 1\n\n", 10.0)

    assert [("epochs 1"), ("batch 99")] == texts(finished + rows.rest())[-2:]
    assert 4 >= len(finished)


def test_rows_that_may_be_drawn_again_are_due_a_second_later() -> None:
    rows = Rows()
    rows.feed("a\nb\x1b[A\rA\nB\n", 1.0)

    assert [] == rows.due(1.5)
    assert ["A", "B"] == texts(rows.due(2.5))


def test_a_row_without_end_is_cut_and_nothing_of_it_lost() -> None:
    rows = Rows()
    found = rows.feed("x" * (3 << 20), 1.0) + rows.rest()

    assert 3 << 20 == sum(map(len, texts(found)))
    assert 1 << 20 >= max(map(len, texts(found)))
