"""Parts of the relay in states that no program brings about when asked: cut marks, a program that does not listen."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naiad.capture import relay
from naiad.capture.relay import ASK, DATA, ENTER, HEADER, LEAVE, LEFT_OUT, Stream, Telling, mark

NONCE = "0123456789abcdef"
BEGIN = mark(NONCE)
NAME = b"x" * relay.ID_BYTES
PIECES = [b"a", b"\n", b"\x1b", b"\x1b_naiad:", BEGIN[:-1], b"\xff", b"text"]


@pytest.fixture
def told() -> Iterator[tuple[Telling, int]]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    telling = Telling(writing)
    yield telling, reading
    os.close(reading)
    if telling.descriptor >= 0:
        os.close(writing)


def messages(data: bytes) -> list[tuple[int, int, bytes]]:
    found = []
    while data:
        number, what, _, size = HEADER.unpack_from(data)
        found.append((number, what, data[HEADER.size : HEADER.size + size]))
        data = data[HEADER.size + size :]
    return found


@given(st.lists(st.sampled_from(PIECES), max_size=20), st.lists(st.integers(1, 40), max_size=20))
def test_marks_vanish_and_everything_else_passes_however_it_is_cut(pieces: list[bytes], cuts: list[int]) -> None:
    plain = b"".join(pieces)
    written = b"".join(piece + BEGIN + ASK + NAME for piece in pieces)
    reading, writing = os.pipe()
    telling = Telling(writing)
    with tempfile.TemporaryFile() as target:
        stream = Stream(1, os.dup(writing), target.fileno(), BEGIN, set())
        for cut in [*cuts, len(written)]:
            stream.take(written[:cut], telling)
            written = written[cut:]
        stream.give_up_holding(telling)
        target.seek(0)
        passed = target.read()
    said = messages(os.read(reading, 65536)) if pieces else []
    for descriptor in (reading, writing, stream.source):
        os.close(descriptor)

    assert plain == passed
    assert plain == b"".join(content for _, what, content in said if what == DATA)
    assert len(pieces) == sum(what == relay.ANSWER for _, what, _ in said)


def test_a_stream_waits_until_what_was_written_before_has_passed(told: tuple[Telling, int], tmp_path: object) -> None:
    telling, _ = told
    passed: set[bytes] = set()
    with tempfile.TemporaryFile() as target:
        one, two = (Stream(number, telling.descriptor, target.fileno(), BEGIN, passed) for number in (1, 2))
        two.take(BEGIN + ENTER + NAME + b"second", telling)
        assert not two.can_go_on(one)
        one.take(b"first " + BEGIN + LEAVE + NAME, telling)
        assert two.can_go_on(one)
        two.go_on(telling)
        target.seek(0)

        assert b"first second" == target.read()


def test_a_program_that_does_not_listen_holds_nothing_up(
    told: tuple[Telling, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "BACKLOG", 200_000)
    telling, reading = told
    for _ in range(100):
        telling.say(1, DATA, b"x" * 10_000)
    kept = b""
    while telling.waiting:
        kept += os.read(reading, 1 << 20)
        telling.go_on()
    telling.say(1, DATA, b"again")
    found = messages(kept + os.read(reading, 1 << 20))
    left_out = [int(content) for _, what, content in found if what == LEFT_OUT]

    assert 1_000_005 == sum(left_out) + sum(len(content) for _, what, content in found if what == DATA)
    assert 1 == len(left_out)
    assert (1, DATA, b"again") == found[-1]


def test_a_program_that_is_gone_is_told_nothing_more(told: tuple[Telling, int]) -> None:
    telling, reading = told
    os.dup2(os.open(os.devnull, os.O_RDONLY), reading)
    for _ in range(3):
        telling.say(2, DATA, b"x")

    assert -1 == telling.descriptor
