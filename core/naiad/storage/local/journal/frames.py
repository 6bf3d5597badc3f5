"""Frames: how ops lie in an ops file. One frame is one `write()`, and its ops take effect together or not at all.

Frame, little-endian: u32 length of the payload, u32 crc32 over (length, sequence, payload), u64 sequence, payload.
Sequences of a writer rise by one over all its files. A frame that fails its crc is skipped: the next true frame is
searched for and the bytes between are reported, so a flipped bit in a length can never pass for the end of the file.
"""

from __future__ import annotations

import contextlib
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from naiad import paths
from naiad.errors import NaiadPathError
from naiad.integers import LARGEST as LARGEST_INTEGER
from naiad.integers import SMALLEST
from naiad.kinds import KINDS, TEXTS
from naiad.ops import ASSIGNED, ASSIGNED_LATER, EARLIEST, LATEST, MOMENTS, Assign, Frame, Op, Strings, Tags, decode_ops
from naiad.storage.local.journal.files import JournalFile, JournalSource
from naiad.storage.local.journal.sums import FileCover
from naiad.storage.local.layout import newer_format
from naiad.storage.results import Damage

MAGIC = b"NAIADOPS"
VERSION = 1
FILE_HEADER = 16
FRAME_HEADER = 16
LARGEST = 1 << 30
LAST_SEQUENCE = 1 << 40
"""No writer gets this far, so bytes that claim a higher sequence are no frame: most wrong places show at a glance."""

_head = struct.Struct("<IIQ")
_counts = struct.Struct("<IQ")
_named = re.compile(
    rb"(?s:\xa6assign|\xa9configure|\xa7(?:strings|printed)|\xa4tags|\xa7members|\xa6delete"
    rb"|\xa6define(?:[\x00-\x7f]|\xcc.|\xcd..|\xce....))(?s:([\xa0-\xbf])|\xd9(.)|\xda(..))"
)


class Gap(NamedTuple):
    """Bytes between `start` and `end` that are no frame. At the end of a file it may be a write cut short."""

    start: int
    end: int
    is_tail: bool


def file_header(*, is_summed: bool = False) -> bytes:
    """First 16 bytes of an ops file: magic, u32 version, u32 flags: 1 where the writer has a file of sums."""
    return struct.pack("<8sII", MAGIC, VERSION, int(is_summed))


SUMMED_HEADER = file_header(is_summed=True)
"""The header of an ops file whose writer has a file of sums."""


def header_version(data: bytes) -> int:
    """The version in a file header.

    Raises:
        ValueError: these are not the first bytes of an ops file.
    """
    if len(data) < FILE_HEADER or data[:8] != MAGIC:
        raise ValueError("its header is not that of an ops file")
    version: int = struct.unpack_from("<I", data, 8)[0]
    return version


def encode_frame(sequence: int, payload: bytes) -> bytes:
    """One frame, ready for one `write()`."""
    size = len(payload)
    return _head.pack(size, zlib.crc32(payload, zlib.crc32(_counts.pack(size, sequence))), sequence) + payload


def read_frames(data: bytes, start: int = 0) -> Iterator[Frame | Gap]:
    """All frames of `data` from offset `start`, and every gap between and after them."""
    at = start
    while at < len(data):
        frame = _frame_at(data, at)
        if frame is None:
            # The length in a broken frame cannot be trusted, so the next true one is searched for.
            after = _next_frame(data, at)
            yield Gap(at, after, is_tail=after == len(data))
            at = after
        else:
            yield frame
            at = frame.end


def has_crc(data: bytes, at: int) -> bool:
    """Whether a frame with a right crc is there, whatever its payload means."""
    if at + _head.size > len(data):
        return False
    length, crc, sequence = _head.unpack_from(data, at)
    # Cut in two steps, since the length of a damaged frame may lead far beyond the data.
    payload = data[at + _head.size :][:length]
    return len(payload) == length > 0 and zlib.crc32(payload, zlib.crc32(_counts.pack(length, sequence))) == int(crc)


def paths_in(data: bytes) -> list[str]:
    """Return the paths in damaged ops, each once, as unverified hints."""
    found: dict[str, None] = {}
    for match in _named.finditer(data):
        short, one, two = match.groups()
        size = short[0] & 0x1F if short else int.from_bytes(one or two, "big")
        path = data[match.end() : match.end() + size]
        with contextlib.suppress(UnicodeDecodeError, NaiadPathError):
            # Only what is a path as it stands: in damaged bytes much looks like the begin of an op.
            if len(path) == size and paths.parse(path.decode()) == path.decode():
                found[path.decode()] = None
    return list(found)


def _frame_at(data: bytes, at: int) -> Frame | None:
    if at + _head.size > len(data):
        return None
    length, crc, sequence = _head.unpack_from(data, at)
    begin = at + _head.size
    # Cheap tests before the checksum: in damaged bytes this is tried at every offset.
    if length == 0 or length > LARGEST or begin + length > len(data) or sequence >= LAST_SEQUENCE:
        return None
    payload = data[begin : begin + length]
    if zlib.crc32(payload, zlib.crc32(_counts.pack(length, sequence))) != crc:
        return None
    try:
        ops = decode_ops(payload)
        return Frame(sequence, ops, begin + length) if are_valid(ops) else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def are_valid(ops: Iterable[Op]) -> bool:
    """Whether readers can show the values that ops write: a crc only proves that these bytes were written.

    Raises:
        UnicodeDecodeError: a text is none.
    """
    for op in ops:
        texts: Sequence[Any] = ()
        if type(op) is Assign:
            value = op.value
            # A kind that is not known is of a later release: its values are kept, and checked as far as any are.
            types = ASSIGNED.get(op.kind) or (() if op.kind in KINDS else ASSIGNED_LATER)
            if not op.kind or (value is not None and type(value) not in types) or (value is None and not types):
                return False
            if type(value) is int and not SMALLEST <= value <= LARGEST_INTEGER:
                return False
            if op.kind in MOMENTS and type(value) is int and not EARLIEST <= value < LATEST:
                return False
            texts = (value,) if type(value) is bytes else ()
        elif type(op) is Strings:
            texts = op.texts
            is_known = op.kind in TEXTS or (op.kind not in KINDS and op.kind)
            if not is_known or not len(texts) == len(op.steps) == len(op.times):
                return False
        elif type(op) is Tags:
            texts = [*op.add, *op.remove]
        for text in texts:
            if type(text) is bytes:
                text.decode("utf-8", "surrogatepass")
            elif type(text) is not str:
                return False
    return True


def _next_frame(data: bytes, at: int) -> int:
    """The start of the first true frame after a damaged one at `at`; the end of the data when none follows."""
    # The usual damage is in one payload, and then the length still leads to the next frame.
    following = _following(data, at)
    if following is not None:
        return following
    while (at := data.find(b"\0\0\0", at + 1 + 13) - 13) > 0:  # the high bytes of a sequence are always zero
        if _frame_at(data, at) is not None:
            return at
    return len(data)


def _following(data: bytes, at: int) -> int | None:
    """Where the damaged frame ends by its own length, if the frame there has the next sequence."""
    if at + _head.size > len(data):
        return None
    length, _crc, sequence = _head.unpack_from(data, at)
    after: int = at + _head.size + length
    frame = _frame_at(data, after)
    # The next sequence in particular, or a frame that lies within a payload could pass for it.
    return after if frame is not None and frame.sequence == sequence + 1 else None


def whole_frames(data: bytes) -> list[list[Op]] | None:
    """The ops of each frame of an ops file; None where anything about it is unusual.

    The same as `read_ops` of a sealed file without damage, in half the time: a catalog reads very many.
    """
    if data[:12] != SUMMED_HEADER[:12]:
        return None
    at, size, last = FILE_HEADER, len(data), None
    payloads = []
    while at < size:
        if at + FRAME_HEADER > size:
            return None
        length, crc, sequence = _head.unpack_from(data, at)
        at += FRAME_HEADER
        payload = data[at : at + length]
        # Of a damaged length there are fewer bytes, or their crc differs.
        if zlib.crc32(payload, zlib.crc32(_counts.pack(length, sequence))) != crc or len(payload) != length:
            return None
        if not 0 < length <= LARGEST or sequence >= LAST_SEQUENCE or (last is not None and sequence != last + 1):
            return None
        payloads.append(payload)
        last = sequence
        at += length
    try:
        frames = [*map(decode_ops, payloads)]
        return frames if are_valid(chain.from_iterable(frames)) else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def read_ops(
    file: JournalSource,
    start: int,
    *,
    is_sealed: bool = False,
    is_header_damaged: bool = False,
    cover: FileCover | None = None,
) -> tuple[list[Frame], int, list[Damage]]:
    """Read the frames from byte `start`; return them with the next position and the damage.

    Bytes at the end that are no frame are a write cut short, or one that is just happening: they are left for later,
    unless the file was sealed, for nothing follows then, or its sums cover more frames: `cover`. A header that
    is damaged by the seal is not parsed for a version, and one of a file that was read before, `start` is not 0, may be
    damaged. A frame that is there twice counts once.

    Raises:
        FileNotFoundError: it was folded meanwhile.
        NewerFormat: a later release wrote it.
    """
    with file.open() as stream:
        data = stream.read()
    found: list[Frame] = []
    damages: list[Damage] = []
    if not is_header_damaged:
        _check_header(data, file, [] if start else damages, cover)
    start = upto = max(start, FILE_HEADER)
    known = 0 if cover is None else cover.size
    for item in read_frames(data, start):
        if isinstance(item, Frame):
            found.append(item)
        elif item.is_tail and not is_sealed and item.start >= known:
            break
        else:
            damages += gap_damages(file, item, data)
        upto = item.end
    sequences = [*map(attrgetter("sequence"), found)]
    once = found
    # Nearly always the next frame has the next number; only else are the gaps and repeats looked for.
    if found and sequences != [*range(sequences[0], sequences[0] + len(found))]:
        damages += _missing_sequences(file, found)
        once = _once(found)
    # Sums say how much was written: only with them a file that was cut at the end of a frame shows that it was.
    if len(data) < known:
        damages.append(Damage(file.place, f"it has {len(data)} bytes where {known} were written", offset=len(data)))
    elif cover is not None and found and upto >= known and sequences[-1] < cover.sequence:
        damages.append(Damage(file.place, f"its last {cover.sequence - sequences[-1]} frames are missing"))
    return once, upto, damages


def _once(found: list[Frame]) -> list[Frame]:
    """Yield the frames without repeated ones."""
    last, once = -1, []
    for frame in found:
        # A writer whose disk failed writes its file again; a copy of both by hand leaves the frames twice.
        if frame.sequence > last:
            last = frame.sequence
            once.append(frame)
    return once


def gap_damages(file: JournalSource, gap: Gap, data: bytes) -> list[Damage]:
    """One damage for each field that lost bytes seem to be about, or one that names none."""
    what = f"{gap.end - gap.start} bytes are not ops"
    named: list[str | None] = [*paths_in(data[gap.start : gap.end])]
    return [Damage(file.place, what, path, gap.start) for path in named or [None]]


def tail_gap(file: JournalFile, start: int) -> Gap | None:
    """The bytes at the end of an ops file that are no frame, if there are any."""
    last = None
    for item in read_frames(file.path.read_bytes(), max(start, FILE_HEADER)):
        last = item
    return last if isinstance(last, Gap) else None


def _check_header(data: bytes, file: JournalSource, damages: list[Damage], cover: FileCover | None) -> None:
    """Note a damaged header and go on: the frames behind it carry their own crc.

    A writer of sums writes this version, so with them another one is damage.
    """
    if cover is not None and len(data) >= FILE_HEADER and data[:12] != file_header()[:12]:
        damages.append(Damage(file.place, "its header is not that of an ops file", offset=0))
        return
    try:
        version = header_version(data)
    except ValueError as error:
        if data.strip(b"\0") and not file_header().startswith(data):  # else it is being made, or a power cut took it
            damages.append(Damage(file.place, str(error), offset=0))
    else:
        if version > VERSION:
            raise newer_format(version, VERSION, file)


def _missing_sequences(file: JournalSource, found: list[Frame]) -> list[Damage]:
    damages = []
    for one, two in pairwise(found):
        if two.sequence != one.sequence + 1:
            missing = two.sequence - one.sequence - 1
            what = f"{missing} frames are missing" if missing > 0 else "frames are there that were written before"
            damages.append(Damage(file.place, what, offset=one.end))
    return damages
