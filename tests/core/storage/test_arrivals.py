"""A group of pieces: which of them continue their files, and what a receiver learns from that."""

from __future__ import annotations

import zlib

import pytest

from naiad.container_kinds import RUN, RunId
from naiad.slots import RECORD
from naiad.storage.local.journal.arrivals import HEADERS, Group
from naiad.storage.receiving import Piece, Position, Received, Registered, Sealing

HERE, GONE = RunId("here", RUN), RunId("gone", RUN)
SEG, OPS = "w.1.seg", "w.1.ops"
FIRST = HEADERS["seg"]
DATA = bytes(range(RECORD)) * 2


def settled(*pieces: Piece, known: Position | None = None, sealings: tuple[Sealing, ...] = ()) -> Group:
    group = Group(pieces, sealings)
    group.settle(lambda run: ({} if known is None else {SEG: known}) if run == HERE else None)
    return group


def piece(start: int = FIRST, data: bytes = DATA, run: RunId = HERE, **claims: str) -> Piece:
    return Piece(run, SEG, start, data, {path.replace("_", "/"): text for path, text in claims.items()})


def test_pieces_that_follow_each_other_are_taken() -> None:
    """The second one continues the first, though neither was stored yet."""
    group = settled(piece(), piece(FIRST + len(DATA)))

    assert {(HERE, SEG): Position(FIRST + 2 * len(DATA), zlib.crc32(DATA + DATA), False)} == group.changed
    assert {HERE: 2 * len(DATA)} == group.grown
    assert 4 == group.accepted([], frozenset()).points


@pytest.mark.parametrize("start", [FIRST, FIRST + 2 * len(DATA)], ids=["repeat", "gap"])
def test_repeat_and_piece_behind_a_gap_change_nothing(start: int) -> None:
    """The answer says how far the file is, from where the client goes on."""
    known = Position(FIRST + len(DATA), zlib.crc32(DATA), False)
    group = settled(piece(start), known=known)

    assert {} == group.changed
    assert {(HERE, SEG): Received(known.upto, False)} == group.accepted([], frozenset()).files


def test_file_that_is_whole_is_sealed_and_takes_no_more() -> None:
    """A later piece is another content of the same file."""
    end = FIRST + len(DATA)
    group = settled(piece(), sealings=(Sealing(HERE, SEG, end, zlib.crc32(DATA)),))
    late = settled(piece(end), known=group.changed[HERE, SEG])

    assert group.changed[HERE, SEG].is_sealed
    assert {(HERE, SEG)} == late.mismatched


def test_end_of_other_bytes_is_a_mismatch() -> None:
    """As many bytes as the client has, and not the same."""
    group = settled(piece(), sealings=(Sealing(HERE, SEG, FIRST + len(DATA), 1),))

    assert {(HERE, SEG)} == group.mismatched


def test_nothing_of_a_run_that_is_not_here_is_taken() -> None:
    """Neither its pieces nor the end of a file that would be empty, which another replica may have deleted."""
    group = settled(piece(run=GONE), sealings=(Sealing(GONE, OPS, HEADERS["ops"], 0),))

    assert ([], {}, set()) == (group.taken, group.changed, group.mismatched)
    assert {} == group.accepted([], frozenset()).files
    assert {GONE} == group.runs


def test_writer_lives_only_while_its_client_says_so() -> None:
    """Bytes alone prove nothing: they may have waited since its end."""
    group = Group([piece()], (), {(HERE, "other"): True})
    group.settle(lambda _run: {})

    assert {(HERE, "w"): False, (HERE, "other"): True} == group.signs


@pytest.mark.parametrize(("given", "claimed"), [("A-1", set()), ("A-2", {HERE})])
def test_run_is_claimed_whose_client_gives_it_another_id(given: str, claimed: set[RunId]) -> None:
    """The fold then writes the id of the store in its place."""
    group = settled(piece(sys_id=given))

    assert claimed == group.claimed(lambda _uid: Registered(HERE, "A-1", "a"))
