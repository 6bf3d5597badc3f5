from __future__ import annotations

import pytest

from naiad.lines import LONGEST_LINE, LineRun, Lines


def texts(runs: list[LineRun]) -> list[str]:
    return [text.decode() for run in runs for _, _, text in run.points()]


def split(written: bytes, size: int = 1 << 20) -> list[str]:
    """What is kept of bytes that are written some at a time."""
    lines, found, number = Lines(), [], 0
    for start in range(0, len(written), size):
        piece = written[start : start + size]
        found += lines.feed(piece, number, 1.0)
        number += piece.count(b"\n")
    return texts(found + lines.rest())


@pytest.mark.parametrize("size", [1, 3, 1 << 20])
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
        ("größer\x08\nß日本\n", ["größe", "ß日本"]),
        ("no end of line", ["no end of line"]),
        ("", []),
        ("a\rb\x1b[2K\rc\r\nd\x08e\n", ["c", "e"]),
        ("\x1b[Ax\ny\x1b[A\rz\n\n", ["z", "y"]),
    ],
)
def test_the_last_state_of_each_line_is_kept_however_it_is_cut(written: str, expected: list[str], size: int) -> None:
    assert expected == split(written.encode(), size)


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert ["a\ufffdb", "next"] == split(b"a\xffb\nnext\n")


def test_lines_have_the_number_of_ends_before_them() -> None:
    lines = Lines()
    runs = lines.feed(b"begun", 7, 1.0) + lines.feed(b" here\nsecond\nthi", 7, 2.0) + lines.rest()

    assert [(7, 2.0, b"begun here"), (8, 2.0, b"second"), (9, 2.0, b"thi")] == [p for run in runs for p in run.points()]


def test_bars_below_each_other_are_two_rows_however_often_they_are_drawn() -> None:
    """As tqdm draws an inner bar: down a row, draw, up again."""
    lines = Lines()
    finished = lines.feed(b"\repochs 0", 0, 0.0)
    for batch in range(100):
        finished += lines.feed(b"\n\rbatch %d\x1b[A" % batch, batch, 0.1 * batch)
    finished += lines.feed(b"\repochs 1\n\n", 100, 10.0)

    assert ["epochs 1", "batch 99"] == texts(finished + lines.rest())[-2:]
    assert 4 >= len(finished)


def test_rows_that_may_be_drawn_again_are_finished_a_second_later() -> None:
    lines = Lines()
    lines.feed(b"a\nb\x1b[A\rA\nB\n", 0, 1.0)

    assert [] == lines.feed(b"", 2, 1.5)
    assert ["A", "B"] == texts(lines.feed(b"", 2, 2.5))


@pytest.mark.parametrize("begin", [b"", b"\r"])
def test_a_line_longer_than_a_text_may_be_is_kept_in_parts(begin: bytes) -> None:
    whole = "ä" * (LONGEST_LINE // 2 + 1000)
    found = split(begin + whole.encode() + b"\n", 1_000_001)

    assert whole == "".join(found)
    assert 2 == len(found)
    assert LONGEST_LINE >= max(len(text.encode()) for text in found)
