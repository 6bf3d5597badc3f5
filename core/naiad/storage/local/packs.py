"""Packs: many small files taken in as one, so that ten thousand of them cost a few files and one sync each.

A pack is content like any other: it comes in, is settled and becomes a blob. A file in it is a slice of it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from msgspec import Struct

from naiad.disk import Report, nothing, write_all
from naiad.storage.local.blobs import INLINE, Blobs, Incoming, damaged

SMALL = 16 * 1024
"""What is smaller shares a file with others."""

LARGEST_PACK = 8 * 1024 * 1024


class Slice(Struct, frozen=True):
    """Content inside a pack: `size` bytes from `start`. `pack` is an incoming name, later the sha256 of the blob."""

    pack: str
    start: int
    size: int
    sha256: str


Taken = bytes | Incoming | Slice


def take_all(
    blobs: Blobs, sources: Iterable[str | os.PathLike[str]], writer: str, report: Report = nothing
) -> list[Taken]:
    """Copy the current content of these files, in order.

    If all small ones together are few bytes, these are returned instead.

    Raises:
        FileNotFound, UnsupportedFile, UnreadableFile: one is no file that can be read; nothing was taken in.
        OSError: the disk reports an error; nothing was taken in.
    """
    taken: list[Taken] = []
    small: list[int] = []
    size = 0
    try:
        for source in sources:
            content = blobs.take(source, writer, report, few=SMALL)
            taken.append(content)
            if isinstance(content, bytes):
                small.append(len(taken) - 1)
                size += len(content)
                report(len(content))
            if size > LARGEST_PACK:
                _pack(blobs, taken, small, writer)
                small, size = [], 0
        # Fewer bytes than that travel in ops, so no pack is made for them.
        if size >= INLINE:
            _pack(blobs, taken, small, writer)
    except BaseException:  # only to clean up: whatever it is goes on
        for name in {name for content in taken if (name := _incoming_name(content))}:
            with contextlib.suppress(OSError):
                blobs.release(name)
        raise
    return taken


def _pack(blobs: Blobs, taken: list[Taken], small: list[int], writer: str) -> None:
    """Move the contents at these places into one incoming file."""
    import hashlib  # late: it loads OpenSSL

    with blobs.create(writer) as (name, fd):
        start = 0
        for place in small:
            content = taken[place]
            assert isinstance(content, bytes)
            write_all(fd, content, start)
            taken[place] = Slice(name, start, len(content), hashlib.sha256(content).hexdigest())
            start += len(content)


def _incoming_name(content: Taken) -> str:
    if isinstance(content, Slice):
        return content.pack
    return content.name if isinstance(content, Incoming) else ""


def read_slice(blobs: Blobs, part: Slice) -> bytes:
    """The content of one file in a pack, checked; the rest of the pack is not read.

    Raises:
        DamagedData: it is missing, or its bytes differ from those stored.
    """
    import hashlib  # late: it loads OpenSSL

    with blobs.open(part.pack) as stream:
        stream.seek(part.start)
        content = stream.read(part.size)
    if hashlib.sha256(content).hexdigest() != part.sha256:
        raise damaged(str(blobs.path(part.pack)), "it is not the content that was stored", part.start)
    return content
