"""What users store never steers the terminal it is shown in."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naiad.cli.document import as_document
from naiad.cli.text import clean, clean_lines
from naiad.cli.values import number_text, opened, step_text, time_text, value_text

ANY_TEXT = st.text(st.characters(exclude_categories=[]))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain äöü 漢字 👩‍🔬", "plain äöü 漢字 👩‍🔬"),
        ("a\tb\nc\rd", r"a\tb\nc\rd"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("half \ud800", r"half \ud800"),
        ("nul\x00", r"nul\x00"),
    ],
)
def test_controls_are_shown_escaped(text: str, shown: str) -> None:
    assert shown == clean(text)


@given(ANY_TEXT)
def test_clean_text_is_one_printable_line_of_utf8(text: str) -> None:
    cleaned = clean(text)

    cleaned.encode()
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in cleaned)
    assert 1 >= len(cleaned.splitlines())


def test_lines_stay_lines() -> None:
    assert "one\ntwo\\x1b" == clean_lines("one\ntwo\x1b")


@given(st.dictionaries(ANY_TEXT, st.one_of(ANY_TEXT, st.floats(), st.integers(), st.booleans())))
@pytest.mark.parametrize("is_ascii", [False, True])
def test_documents_are_valid_json_without_controls(is_ascii: bool, values: dict[str, object]) -> None:
    text = as_document(values, is_ascii=is_ascii)

    def refuse(name: str) -> None:
        pytest.fail(f"{name} is not JSON")

    read = json.loads(text, parse_constant=refuse)
    assert text.isascii() or not is_ascii
    assert clean_lines(text) == text
    for key, value in values.items():
        if key.isprintable() and isinstance(value, int):
            assert value == read[key]


def test_documents_name_what_json_cannot_hold() -> None:
    moment = datetime(2026, 3, 5, tzinfo=timezone.utc)
    values = [float("nan"), float("inf"), -float("inf"), "\ud800", b"\xff", moment, {"b", "a"}, 2**63]

    assert (
        '["NaN", "Infinity", "-Infinity", "\ufffd", "\ufffd", "2026-03-05T00:00:00Z", ["a", "b"], 9223372036854775808]'
    ) == as_document(values, indent=None)


def test_stored_values_are_opened() -> None:
    assert datetime(1970, 1, 1, tzinfo=timezone.utc) == opened("datetime", 0)
    assert "\ud800" == opened("string", b"\xed\xa0\x80")
    assert 5 == opened("int", 5)


def test_numbers_are_shown_in_full() -> None:
    assert ["0.1", "1e-300", "NaN", "-Infinity"] == [
        number_text(number) for number in (0.1, 1e-300, float("nan"), float("-inf"))
    ]
    assert ["3", "-2", "0.5", "9007199254740993"] == [step_text(step) for step in (3.0, -2, 0.5, 2**53 + 1)]
    assert "True" == value_text(True)


def test_times_beyond_the_calendar_stay_numbers() -> None:
    assert "1970-01-01T00:00:01.500000Z" == time_text(1500)
    assert str(2**62) == time_text(2**62)
