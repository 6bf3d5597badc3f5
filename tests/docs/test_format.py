"""core/FORMAT.md describes the bytes: a reader written from that page alone, without naiad, finds what was logged."""

from __future__ import annotations

import base64
import json
import math
import os
import sqlite3
import struct
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import zstandard

import naiad
from naiad import Run
from naiad.types import File

FLOAT_STEP = 1 << 31
BLOBS = "(blobs)"  # no path: where content that came in is


def crc_of(*columns: object) -> int:
    crc = 0
    for column in columns:
        data = column if isinstance(column, bytes) else str(column).encode()
        crc = zlib.crc32(b"\0", zlib.crc32(data, crc))
    return crc


def frames(data: bytes) -> list[list[Any]]:
    assert (b"NAIADOPS", 1) == struct.unpack_from("<8sI", data)
    at, ops = 16, []
    while at < len(data):
        length, crc, sequence = struct.unpack_from("<IIQ", data, at)
        payload = data[at + 16 : at + 16 + length]
        assert crc == zlib.crc32(payload, zlib.crc32(struct.pack("<IQ", length, sequence)))
        ops += msgspec.msgpack.decode(payload)
        at += 16 + length
    return ops


def records(data: bytes) -> list[tuple[int, float, float, float]]:
    """(fid, step, value, seconds) of every committed record."""
    assert (b"NAIADSEG", 1, 32) == struct.unpack_from("<8sII", data)
    found = []
    for at in range(64, len(data) - 31, 32):
        raw, value, seconds, fid, commit = struct.unpack_from("<8sddII", data, at)
        if commit == at:
            step = struct.unpack("<d" if fid & FLOAT_STEP else "<q", raw)[0]
            found.append((fid & ~FLOAT_STEP, step, value, seconds))
    return found


def column(data: bytes, descriptor: tuple[int, ...], stored: bytes) -> Any:
    mode, compressor, width, _flags, items, _length, first, reference = descriptor
    count = max(items - 1, 0) if mode == 1 else items
    planes, at = [], 4 * width if compressor else 0
    for i in range(width):
        size = struct.unpack_from("<I", stored, 4 * i)[0] if compressor else count
        plane = stored[at : at + size]
        at += size
        if size < count:
            unpack = zstandard.ZstdDecompressor().decompressobj().decompress if compressor == 1 else zlib.decompress
            plane = unpack(plane)
        planes.append(np.frombuffer(plane, np.uint8))
    raw = np.stack(planes, axis=1).tobytes() if width else b""
    if mode == 3:
        return raw
    if mode == 2:
        if width == 0:
            return [struct.unpack("<d", struct.pack("<q", first))[0]] * items
        return np.frombuffer(raw, f"<f{width}").astype(float).tolist()
    residuals = np.frombuffer(raw, f"<u{width}").tolist() if width else [0] * count
    values = [first][:items]
    for residual in residuals:
        total = (values[-1] + reference + residual) % 2**64
        values.append(total - 2**64 if total >= 2**63 else total)
    return values


def block(data: bytes) -> list[Any]:
    _kind, version, columns, _zero, crc = struct.unpack_from("<sBBBI", data)
    assert 1 == version
    assert crc == zlib.crc32(data[8:], zlib.crc32(data[:4]))
    at, found = 8 + 28 * columns, []
    for i in range(columns):
        descriptor = struct.unpack_from("<BBBBIIqq", data, 8 + 28 * i)
        found.append(column(data, descriptor, data[at : at + descriptor[5]]))
        at += descriptor[5]
    assert len(data) == at
    return found


def read_journal(run: Path) -> dict[str, Any]:
    """A short run: everything is in the journal."""
    paths: dict[int, str] = {}
    found: dict[str, Any] = {}
    for file in sorted((run / "journal").glob("*.ops")):
        for op in frames(file.read_bytes()):
            if op[0] == "assign":
                found[op[1]] = op[3]
            elif op[0] == "define":
                paths[op[1]] = op[2]
            elif op[0] == "strings":
                found.setdefault(op[1], []).extend(op[2])
            elif op[0] == "members":
                found.setdefault(op[1], {}).update(op[2])
            elif op[0] == "stored":
                found.setdefault(BLOBS, {}).update(op[1])
    for file in sorted((run / "journal").glob("*.seg")):
        for fid, step, value, _seconds in records(file.read_bytes()):
            found.setdefault(paths[fid], []).append((step, value))
    return found


def read_index(run: Path) -> dict[str, Any]:
    """A long one: everything is in the index."""
    db = sqlite3.connect(f"file:{run / 'run.db'}?mode=ro", uri=True)
    found: dict[str, Any] = {BLOBS: {}}
    for (facts,) in db.execute("SELECT facts FROM writer"):
        found[BLOBS] |= msgspec.msgpack.decode(facts)[10]
    for number, path, kind, facts, crc in db.execute("SELECT id, path, kind, facts, crc FROM field"):
        assert crc == crc_of(number, path, kind, facts)
        value, *rest = msgspec.msgpack.decode(facts)
        found[path] = rest[17] if kind == "file_set" else value
        span = (number << 24, (number + 1) << 24)
        for _key, data in db.execute("SELECT key, data FROM chunk WHERE key >= ? AND key < ? ORDER BY key", span):
            columns = block(data)
            if kind == "float_series":
                found[path] = (found[path] or []) + list(zip(columns[0], columns[1], strict=True))
            else:
                starts, blob = columns[2], columns[3]
                texts = [blob[a:b].decode() for a, b in pairwise(starts)]
                found[path] = (found[path] or []) + texts
        sql = "SELECT data FROM pack WHERE first_field <= ? AND last_field >= ? ORDER BY id"
        for (data,) in db.execute(sql, (number, number)):
            ids, starts, steps, values, _times = block(data)
            if number in ids:
                a, b = starts[ids.index(number)], starts[ids.index(number) + 1]
                found[path] = (found[path] or []) + list(zip(steps[a:b], values[a:b], strict=True))
    return found


def file_bytes(run: Path, found: dict[str, Any], text: str) -> bytes:
    """The bytes of a stored file."""
    file = json.loads(text)
    if "blob" not in file:
        return base64.b64decode(file.get("content", ""))
    name = found[BLOBS].get(file["blob"]) or file["blob"]
    folder = run.parent.parent / "blobs"
    data = (folder / ("incoming" if "." in name else name[:2]) / name).read_bytes()
    start = file.get("start", 0)
    return data[start : start + file["size"]]


@pytest.mark.parametrize("count", [5, 140_000])
def test_a_reader_written_from_the_format_page_finds_what_was_logged(store: Path, count: int) -> None:
    large = os.urandom(100_000)
    with naiad.init_run() as run:
        run["lr"], run["epochs"], run["name"], run["ok"] = 0.1, 2**40, "näiad \U0001f30a", True
        run["loss"].extend([math.sin(i) for i in range(count)], steps=range(count))
        run["half"].extend([1.0, math.inf, -0.0], steps=[0.5, 1.5, 2.0])
        run["notes"].extend([f"line {i}" for i in range(min(count, 100))])
        run["file"].upload(File.from_content(large))
        run["files"].extend([File.from_content(b""), File.from_content(b"few"), File.from_content(large)])
        run["set"].upload_files(sorted(map(str, members(store.parent / "members"))))
        place = folder_of(run)
    is_folded = (place / "run.db").exists()

    found = (read_index if is_folded else read_journal)(place)

    assert (count > 1000) == is_folded
    assert (0.1, 2**40, "näiad \U0001f30a", True) == tuple(found[name] for name in ("lr", "epochs", "name", "ok"))
    assert [(i, math.sin(i)) for i in range(count)] == found["loss"]
    assert [(0.5, 1.0), (1.5, math.inf), (2.0, -0.0)] == found["half"]
    assert [f"line {i}" for i in range(min(count, 100))] == found["notes"]
    assert large == file_bytes(place, found, found["file"])
    assert [b"", b"few", large] == [file_bytes(place, found, text) for text in found["files"]]
    assert {f"{i}.bin": bytes([i]) * 1000 for i in range(9)} == {
        name: file_bytes(place, found, text) for name, text in found["set"].items()
    }


def members(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    for i in range(9):
        path = folder / f"{i}.bin"
        path.write_bytes(bytes([i]) * 1000)
        yield path


def test_the_seal_names_every_file_with_size_and_crc_as_the_page_says(run: Run) -> None:
    run["a"] = 1
    place = folder_of(run)
    run.stop()

    seal = json.loads((place / "seal.json").read_text())

    crc = seal.pop("crc32")
    assert crc == zlib.crc32(json.dumps(seal, sort_keys=True, separators=(",", ":")).encode())
    for name, (size, crcs) in seal["files"].items():
        data = (place / name).read_bytes()
        assert (len(data), [zlib.crc32(data[at : at + 4096]) for at in range(0, len(data), 4096)]) == (size, crcs)


def folder_of(run: Run) -> Path:
    return Path(run.get_url().removeprefix("file://"))
