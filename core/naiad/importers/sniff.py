"""File extensions by the first bytes of a file, for sources that have lost them."""

from __future__ import annotations

_MAGIC = (
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"\xff\xd8\xff", "jpg"),
    (0, b"GIF87a", "gif"),
    (0, b"GIF89a", "gif"),
    (0, b"BM", "bmp"),
    (0, b"II*\0", "tif"),
    (0, b"MM\0*", "tif"),
    (8, b"WEBP", "webp"),
    (8, b"WAVE", "wav"),
    (4, b"ftyp", "mp4"),
    (0, b"\x1aE\xdf\xa3", "webm"),
    (0, b"OggS", "ogg"),
    (0, b"ID3", "mp3"),
    (0, b"%PDF-", "pdf"),
    (0, b"PAR1", "parquet"),
    (0, b"\x93NUMPY", "npy"),
    (0, b"\x89HDF\r\n\x1a\n", "h5"),
    (0, b"SQLite format 3\0", "sqlite"),
    (0, b"\x1f\x8b", "gz"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"\x80\x02", "pkl"),
    (0, b"\x80\x03", "pkl"),
    (0, b"\x80\x04", "pkl"),
    (0, b"\x80\x05", "pkl"),
)
LENGTH = 512
"""Bytes that are looked at."""


def extension(head: bytes) -> str:
    """Return the extension of a file that begins with these bytes; empty if they are of no known format.

    >>> extension(b"GIF89a....")
    'gif'
    """
    for start, magic, found in _MAGIC:
        if head[start : start + len(magic)] == magic:
            return found
    # HTML and SVG have no magic number; they begin with their first tag, after blanks and perhaps an XML declaration.
    text = head.lstrip()[:100].lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "html"
    if text.startswith(b"<svg") or (text.startswith(b"<?xml") and b"<svg" in head.lower()):
        return "svg"
    return ""
