"""Runs whose files are whole by every checksum and hold what no release of naiad writes.

A store with one good run and hundreds of hostile ones is listed, verified, queried and shown. No command ends with a
traceback or takes gigabytes of memory, each hostile run is one line, and the good run is there as always. A few run
with every suite; all of them, with repairs and resumed runs:

    python -m pytest tests/crash/test_hostile.py -m slow
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sqlite3
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard

import naiad
from naiad.ids import new_uid
from naiad.storage.local.index.columns import BYTES, FLOATS, INTEGERS, Column, join_block
from naiad.storage.local.journal.frames import encode_frame, file_header
from naiad.storage.local.journal.segment import with_header
from naiad.storage.local.journal.sums import ENTRY, Entry

WRITER = "77-0123456789"
MEMORY = 3 << 30
"""Bytes of address space that a command may take: what it needs for good runs, and a reserve below gigabytes."""

pack = msgspec.msgpack.encode
Raw = msgspec.Raw
FEW = 60

OPS: list[list[Any]] = [
    ["open", WRITER, 1, "host", "boot", 1, "owner", 1.7e9],
    ["end", "finished", 1.7e9],
    ["define", 1, "loss", False, 1.7e9],
    ["assign", "n", "int", 5, 1.7e9],
    ["assign", "sys/creation_time", "datetime", 1_700_000_000_000_000, 1.7e9],
    ["assign", "sys/name", "string", "name", 1.7e9],
    ["assign", "sys/id", "string", "HOSTILE-1", 1.7e9],
    ["assign", "f", "file", '{"size": 1, "extension": "txt", "content": "YQ=="}', 1.7e9],
    ["assign", "art", "artifact", '{"hash": "a", "files": 1, "size": 1, "manifest": "{}"}', 1.7e9],
    ["configure", "loss", 0.0, 1.0, "m", 1.7e9],
    ["strings", "log", ["a", "b"], [0, 1], [1.7e9, 1.7e9], False, 1.7e9, "string_series"],
    ["strings", "hist", ['{"a": 1}'], [0], [1.7e9], False, 1.7e9, "histogram_series"],
    ["strings", "files", ['{"size": 1}'], [0], [1.7e9], True, 1.7e9, "file_series"],
    ["printed", "out", b"line\n", 0, 1.7e9],
    ["tags", "sys/tags", ["a"], ["b"], True, 1.7e9],
    ["members", "set", {"a.txt": '{"size": 1}'}, ["b"], True, 1.7e9],
    ["stored", {WRITER + ".0123456789abcdef": "0" * 64}, 1.7e9],
    ["delete", "gone", 1.7e9],
    ["dropped", 1, 2, 1.7e9],
]
"""One op of each kind as a writer makes it; one part of it at a time is replaced."""


def nested(opening: bytes, depth: int) -> bytes:
    return opening * depth + b"\xc0"


ODD: dict[str, Any] = {
    "none": None,
    "true": True,
    "minus one": -1,
    "zero": 0,
    "2**31": 2**31,
    "2**32 - 1": 2**32 - 1,
    "2**53": 2**53 + 1,
    "2**63": 2**63,
    "2**64 - 1": 2**64 - 1,
    "-2**63": -(2**63),
    "nan": float("nan"),
    "inf": float("inf"),
    "-inf": float("-inf"),
    "1e308": 1e308,
    "-1e300": -1e300,
    "1e17": 1e17,
    "empty text": "",
    "text": "text",
    "nul": "a\0b",
    "escape": "\x1b[2J\r\n\t\u202e",
    "up": "../../../../tmp/x",
    "absolute": "/etc/passwd",
    "deep path": "a/" * 400_000 + "a",
    "long text": "x" * 2_000_000,
    "sys/state": "sys/state",
    "sys/tags": "sys/tags",
    "sys/creation_time": "sys/creation_time",
    "float_series": "float_series",
    "string_set": "string_set",
    "file_set": "file_set",
    "datetime": "datetime",
    "unknown kind": "of a later release",
    "run_state": "run_state",
    "empty kind": "",
    "deep json": "[" * 100_000,
    "number json": '{"size": 1e400, "files": -1, "hash": 5, "summary": [1]}',
    "huge json": '{"size": 99999999999999999999999999, "blob": "../../x", "start": -1}',
    "not utf-8": Raw(b"\xa2\xff\xfe"),
    "surrogate": Raw(b"\xa3\xed\xa0\x80"),
    "bytes": b"\xff\xfe",
    "surrogate bytes": b"\xed\xa0\x80",
    "no bytes": b"",
    "list": [1, "a", None],
    "empty list": [],
    "list of lists": [[1], {}, [[]]],
    "list of nan": [float("nan"), float("inf")],
    "list of huge": [2**63, -(2**63)],
    "list of bytes": [b"\xff", b"\xfe"],
    "three": [0, 1, 2],
    "map": {"a": "b"},
    "odd map": {1: 2, None: [3]},
    "map to lists": {"a": [1]},
    "up map": {"../../x": "../../x", "": ""},
    "ext": Raw(b"\xd4\x05\x00"),
    "timestamp": Raw(b"\xd6\xff\x65\x00\x00\x00"),
    "far timestamp": Raw(b"\xc7\x0c\xff\x00\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff"),
    "huge ext": Raw(b"\xc9\xff\xff\xff\xff\x05"),
    "huge bytes": Raw(b"\xc6\xff\xff\xff\xff"),
    "huge text": Raw(b"\xdb\xff\xff\xff\xff"),
    "huge list": Raw(b"\xdd\xff\xff\xff\xff"),
    "huge map": Raw(b"\xdf\xff\xff\xff\xff"),
    "deep lists": Raw(nested(b"\x91", 200_000)),
    "deep maps": Raw(nested(b"\x81\xa1a", 200_000)),
    "huge lists in lists": Raw(b"\xdd\x0f\xff\xff\xff" * 1000),
    "float32 nan": Raw(b"\xca\x7f\xc0\x00\x01"),
    "reserved": Raw(b"\xc1"),
}

PLAIN = [
    name
    for name, value in ODD.items()
    if not isinstance(value, (Raw, bytes)) and "map" not in name and "bytes" not in name
]
"""Those that JSON has too."""

Files = dict[str, bytes]
Made = Files | Callable[[], Files]
"""The files of a run, or how to make them where that takes long: a few runs of a group are made of thousands."""


def journal(*frames: bytes, header: bytes | None = None) -> Files:
    """Return the files of a run without a seal: one ops file with these payloads in frames."""
    begins = [pack([["open", WRITER, 1, "host", "boot", 1, "owner", 1.7e9]]), *frames]
    data = b"".join(encode_frame(n, payload) for n, payload in enumerate(begins, 1))
    return {f"journal/{WRITER}.000001.ops": (file_header() if header is None else header) + data}


def odd_ops() -> Iterator[tuple[str, Files]]:
    """One part of one op, the tag too, replaced by each odd value."""
    for op in OPS:
        for place in range(len(op)):
            for name, value in ODD.items():
                changed = [*op[:place], value, *op[place + 1 :]]
                if place and op[0] in ("assign", "strings", "define", "tags", "members"):
                    whole = pack([changed])
                    yield f"{op[0]} {op[1]} {place} {name}, folded over", journal(pack([op]), whole)
                else:
                    yield f"{op[0]} {op[1]} {place} {name}", journal(pack([changed]))
        yield f"{op[0]} short", journal(pack([op[:1]]))
        yield f"{op[0]} long", journal(pack([[*op, 1, 2, 3]]))


def odd_payloads() -> Iterator[tuple[str, Files]]:
    """What is no list of ops."""
    for name, value in ODD.items():
        yield f"payload {name}", journal(pack(value))
        yield f"op {name}", journal(pack([value]))
    yield "payload of many ops", journal(pack([OPS[3]] * 100_000))
    yield (
        "kinds at one path",
        journal(
            pack([["assign", "a", kind, 1, 1.7e9] for kind in ("int", "float", "bool", "float", "datetime")]),
            pack(
                [
                    ["tags", "a", ["x"], [], False, 1.7e9],
                    ["strings", "a", ["x"], [1], [1.0], False, 1.7e9, "file_series"],
                ]
            ),
            pack(
                [["assign", "a/b", "int", 1, 1.7e9], ["printed", "a", b"x", 5, 1.7e9], ["define", 1, "a", True, 1.7e9]]
            ),
        ),
    )


def odd_own_fields() -> Iterator[tuple[str, Files]]:
    """Fields at the paths of naiad's own that are of another kind."""
    values = {"int": 5, "float": 0.5, "string": "x", "bool": True, "datetime": 1_700_000_000_000_000, "artifact": "{}"}
    for name in ("tags", "creation_time", "state", "name", "trashed", "id", "size", "custom_run_id"):
        path = f"sys/{name}"
        for kind, value in values.items():
            if (name, kind) != ("trashed", "bool"):  # that is its own kind, and the run is in the trash
                yield f"{path} {kind}", journal(pack([["assign", path, kind, value, 1.7e9]]))
        yield f"{path} files", journal(pack([["strings", path, ["a"], [0], [1.7e9], False, 1.7e9, "file_series"]]))
        yield f"{path} tags", journal(pack([["tags", path, ["a"], [], False, 1.7e9]]))
        yield f"{path} points", journal(pack([["define", 1, path, False, 1.7e9]]))


def odd_frames() -> Iterator[tuple[str, Files]]:
    """Frames with odd lengths and sequences, and headers of no ops file."""
    whole = encode_frame(2, pack([OPS[3]]))
    for name, length in {"none": 0, "2**30": 1 << 30, "2**31": 1 << 31, "2**32 - 1": (1 << 32) - 1}.items():
        head = struct.pack("<IIQ", length, zlib.crc32(struct.pack("<IQ", length, 2)), 2)
        files = journal()
        [place] = files
        yield f"frame of length {name}", {place: files[place] + head + whole[16:]}
    for sequence in (0, 1 << 39, (1 << 40) - 1, (1 << 64) - 1):
        payload = pack([OPS[3]])
        counts = struct.pack("<IQ", len(payload), sequence)
        head = struct.pack("<IIQ", len(payload), zlib.crc32(payload, zlib.crc32(counts)), sequence)
        files = journal()
        [place] = files
        yield f"frame {sequence}", {place: files[place] + head + payload}
    for header in (b"", b"NAIADOPS", b"NAIADOPS" + b"\xff" * 8, bytes(16), b"x" * 16, file_header(is_summed=True)):
        yield f"header {header!r}", journal(pack([OPS[3]]), header=header)
    yield "zeros", {f"journal/{WRITER}.000001.ops": file_header() + bytes(200_000)}


def record(at: int, step: bytes, value: float, time: float, fid: int) -> bytes:
    return struct.pack("<8sddII", step, value, time, fid, at)


def odd_records() -> Iterator[tuple[str, Files]]:
    """Records with odd steps, times and numbers, in a segment that is sealed by its own checksum."""
    steps = [struct.pack("<q", step) for step in (-1, 0, 2**62, -(2**63), 2**63 - 1)]
    floats = [struct.pack("<d", step) for step in (0.5, float("nan"), float("inf"), -1e308)]
    times = (0.0, -1e300, 1e300, float("nan"), float("inf"), -1.0, 9.3e15)
    numbers = (1, 0, 2, 2**31 - 1, 2**31 + 1, 2**32 - 1)
    defines = journal(pack([["define", 1, "loss", False, 1.7e9]]))
    for fid in numbers:
        for time in times:
            records = []
            for step in (*steps, *floats):
                records.append(record(64 + 32 * len(records), step, float("nan"), time, fid))
            yield f"record {fid} {time}", {**defines, f"journal/{WRITER}.000001.seg": with_header(b"".join(records))}
    whole = with_header(b"".join(record(64 + 32 * n, steps[0], 1.0, 1.7e9, 1) for n in range(100)))
    for name, end in {"2**32": 1 << 32, "2**62": 1 << 62, "2**64 - 1": (1 << 64) - 1, "1": 1}.items():
        place = f"journal/{WRITER}.000001.seg"
        yield f"segment sealed at {name}", {**defines, place: whole[:32] + struct.pack("<Q", end) + whole[40:]}
    yield "segment of another version", {**defines, place: whole[:8] + b"\xff" * 8 + whole[16:]}


def odd_sums() -> Iterator[tuple[str, Files]]:
    """Sums of ranges and sizes that no file has."""
    header = struct.pack("<8sIIB11x", b"NAIADSUM", 1, 0, 0)
    header += struct.pack("<I", zlib.crc32(header))
    whole = with_header(b"".join(record(64 + 32 * n, bytes(8), 1.0, 1.7e9, 1) for n in range(100)))
    files = journal(pack([["define", 1, "loss", False, 1.7e9]]))
    files[f"journal/{WRITER}.000001.seg"] = whole
    top = (1 << 32) - 1
    entries = {
        "a range of 4 GiB": Entry(1, 1, 64, top, 5),
        "a range from 4 GiB": Entry(1, 1, top, top, 5),
        "a range that ends before it begins": Entry(1, 1, 960, 64, 5, 0, top),
        "a range within a record": Entry(1, 1, 65, 67, 5, 0, top),
        "a file of 4 GiB": Entry(2, 1, 0, top, 0, top, top),
        "an index with all there can be": Entry(3, top, top, top, top, top, top),
        "files that are not there": Entry(1, top, 0, top, 5),
        "folded files": Entry(4, 1),
        "a sync of all": Entry(6, top),
        "an unknown entry": Entry(200, top, top, top, top, top, top),
    }
    for name, entry in entries.items():
        yield f"sums: {name}", {**files, f"journal/{WRITER}.sums": header + entry.encode()}
    many = b"".join(Entry(1, number, 0, top, 5).encode() for number in range(20_000))
    yield "sums: many files", {**files, f"journal/{WRITER}.sums": header + many}
    for version in (0, 2, top):
        other = struct.pack("<8sIIB11x", b"NAIADSUM", version, 0, 1)
        yield (
            f"sums: version {version}",
            {
                **files,
                f"journal/{WRITER}.sums": other + struct.pack("<I", zlib.crc32(other)) + bytes(ENTRY),
            },
        )


def seal_text(body: Any) -> bytes:
    """Return a seal with the crc32 that belongs to it."""
    crc = zlib.crc32(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())
    return json.dumps({**body, "crc32": crc}).encode()


def odd_seals() -> Iterator[tuple[str, Files]]:
    """Seals that are whole by their crc32 and name what is no file of a run."""
    files = journal(pack([OPS[3]]))
    [place] = files
    crcs = [zlib.crc32(files[place][at : at + 4096]) for at in range(0, len(files[place]), 4096)]
    true = {place: [len(files[place]), crcs]}
    bodies: dict[str, dict[str, Any]] = {"true": {"format": 1, "block": 4096, "files": true, "records": {}}}
    for key in ("format", "block", "files", "records"):
        for name, value in {
            **{name: value for name, value in ODD.items() if name in PLAIN},
            "list of pairs": [["a", [1, [2]]]],
            "odd file": {place: 5},
            "odd size": {place: ["a", [1]]},
            "size below 0": {place: [-5, [1]]},
            "size of 2**80": {place: [2**80, [1]]},
            "odd crc": {place: [5, ["a", None, {}]]},
            "crc of 2**80": {place: [5, [2**80, -1, 1.5]]},
            "no list": {place: [5, {"a": 1}]},
            "another file": {"../../format": [1, [0]]},
            "an absolute file": {"/etc/hostname": [1, [0]]},
            "a folder": {"journal": [1, [0]], ".": [1, [0]], "": [1, [0]]},
            "nul": {"a\0b": [1, [0]]},
            "odd counts": {place: {"a": 1, "1": "b"}},
            "counts of a list": {place: [1, 2]},
            "huge counts": {place: {"1": 2**80, str(2**80): 1, "-1": -1}},
        }.items():
            bodies[f"{key} {name}"] = {**bodies["true"], key: value}
        bodies[f"no {key}"] = {name: value for name, value in bodies["true"].items() if name != key}
    for name, body in bodies.items():
        yield f"seal: {name}", {**files, "seal.json": seal_text(body)}
    for name, text in {
        "deep": b"[" * 200_000,
        "deep files": b'{"crc32": 1, "format": 1, "files": ' + b"[" * 200_000,
        "number": b"5",
        "long number": b"9" * 5000,
        "bytes": b"\xff\xfe\x00",
        "nan": b'{"crc32": NaN}',
        "list": b"[]",
        "empty": b"",
    }.items():
        yield f"seal: text {name}", {**files, "seal.json": text}
        yield f"base: text {name}", {**files, f"journal/{WRITER}.seal": text}
    for name, body in bodies.items():
        if "file" in name or "size" in name or "crc" in name:
            yield f"base: {name}", {**files, f"journal/{WRITER}.seal": seal_text(body)}


def odd_leases() -> Iterator[tuple[str, Files]]:
    """Leases that name no process."""
    files = journal(pack([OPS[3]]))
    true = {"writer": WRITER, "pid": 1, "host": "h", "boot": "b", "pid_ns": "n", "started": "1", "inode": 1}
    for suffix in ("lease", "taken"):
        for name in true:
            for what in ("none", "minus one", "2**64 - 1", "nan", "text", "list", "map", "nul", "true"):
                text = json.dumps({**true, name: ODD[what]}).encode()
                yield f"{suffix} {name} {what}", {**files, f"journal/{WRITER}.{suffix}": text}
        for what, text in {"deep": b"[" * 100_000, "bytes": b"\xff\x00", "number": b"5", "empty": b""}.items():
            yield f"{suffix} {what}", {**files, f"journal/{WRITER}.{suffix}": text}


def odd_names() -> Iterator[tuple[str, Files]]:
    """Files and folders with other names than a writer gives."""
    [data] = journal(pack([OPS[3]])).values()
    for name in ("a.1.ops", "a." + "9" * 200 + ".ops", "a.²." + "ops", ".1.ops", "a\nb.1.ops", "-.0.seg", "é.1.ops"):
        yield f"name {name!r}", {f"journal/{name}": data}
    yield "journal is a file", {"journal": b"x"}
    yield "index is no database", {"run.db": b"x" * 5000}
    yield "index is empty", {"run.db": b""}
    yield "seal alone", {"seal.json": b"{}"}
    yield "folders for files", {"run.db/x": b"", "seal.json/x": b"", f"journal/{WRITER}.000001.ops/x": b""}


# The index


def row_crc(*columns: object) -> int:
    """The crc of a row of an index."""
    crc = 0
    for column in columns:
        data = column if isinstance(column, bytes) else str(column).encode("utf-8", "surrogatepass")
        crc = zlib.crc32(data + b"\0", crc)
    return crc


SUMMED = {
    "head": ("format", "facts"),
    "writer": ("name", "facts", "fields"),
    "position": ("file", "upto", "is_done"),
    "field": ("id", "path", "kind", "facts"),
    "chunk": ("key", "count", "pyramid", "data"),
    "pack": ("id", "first_field", "last_field", "count", "data"),
}
"""The columns of each table that its crc is over."""
OF_FACTS = (
    *("none", "true", "minus one", "2**64 - 1", "-2**63", "nan", "inf", "1e308", "text", "surrogate", "bytes"),
    *("surrogate bytes", "list", "list of lists", "three", "map", "odd map", "map to lists", "ext", "huge bytes"),
    *("huge list", "deep lists", "deep json", "deep path", "up", "float_series", "run_state", "empty list"),
)


@cache
def true_index() -> bytes:
    """The index of a folded run with a field of each kind."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAIAD_CAPTURES", "off")
        patch.setenv("NAIAD_SMALL_RUN_RECORDS", "0")
        with naiad.init_run(project="hostile", store=folder, tags=["a"]) as run:
            run["n"] = 5
            run["short"].extend([0.5, 1.5])
            run["loss"].extend([step / 3 for step in range(1000)])
            run["loss"].configure(min=0, max=1)
            run["log"].extend([f"text {i}" for i in range(50)])
            run["file"].upload(naiad.types.File.from_content("content"))
            run["gone"] = 1
            del run["gone"]
        [path] = Path(folder).glob("runs/*/run.db")
        return path.read_bytes()


@contextlib.contextmanager
def true_database() -> Iterator[tuple[Path, sqlite3.Connection]]:
    """A copy of the true index that may be changed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.db"
        path.write_bytes(true_index())
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA synchronous = OFF")  # it is read again at once
            yield path, connection


def hostile_index(table: str, where: str, **columns: object) -> Files:
    """Return the true index with other values in one row, and the crc that belongs to them."""
    with true_database() as (path, connection):
        row = dict(connection.execute(f"SELECT * FROM {table} WHERE {where} LIMIT 1").fetchone())
        key = next(iter(row))
        new = {**row, **columns}
        new["crc"] = row_crc(*(b"" if new[name] is None else new[name] for name in SUMMED[table]))
        names = ", ".join(f"{name} = ?" for name in new)
        connection.execute(f"UPDATE {table} SET {names} WHERE {key} IS ?", [*new.values(), row[key]])
        connection.commit()
        return {"run.db": path.read_bytes()}


def true_row(table: str, where: str) -> dict[str, Any]:
    with true_database() as (_path, connection):
        return dict(connection.execute(f"SELECT * FROM {table} WHERE {where} LIMIT 1").fetchone())


ROWS = [
    ("head", "id = 1"),
    ("writer", "1"),
    *(("field", f"path = '{path}'") for path in ("n", "short", "loss", "log", "file", "sys/tags")),
    ("field", "kind = ''"),  # what was deleted at a path
]


def odd_facts() -> Iterator[tuple[str, Made]]:
    """One part of the facts of one row replaced."""
    for table, where in ROWS:
        try:
            facts = msgspec.msgpack.decode(true_row(table, where)["facts"])
        except TypeError:  # this release has no row of its own for what was deleted
            continue
        for place in range(len(facts)):
            for name in OF_FACTS:
                changed = pack([*facts[:place], ODD[name], *facts[place + 1 :]])
                yield f"{table} {where} {place} {name}", partial(hostile_index, table, where, facts=changed)
        for name, data in {
            "short": pack(facts[:3]),
            "long": pack([*facts, 1, 2]),
            "map": pack({"a": 1}),
            "none": b"",
            "half": pack(facts)[:-3],
            "deep": nested(b"\x91", 100_000),
        }.items():
            yield f"{table} {where} {name}", partial(hostile_index, table, where, facts=data)


def block(kind: str, *columns: Column) -> bytes:
    return join_block(kind.encode(), columns)


def repeated(mode: int, items: int, first: int = 0, reference: int = 0) -> Column:
    """A column that takes no bytes for its items."""
    return Column(mode, 0, 0, 0, items, 0, first, reference, b"")


def text_column(data: bytes, compressor: int = 0, items: int | None = None) -> Column:
    return Column(BYTES, compressor, 1, 0, len(data) if items is None else items, len(data), 0, 0, data)


def odd_blocks() -> Iterator[tuple[str, bytes]]:
    """Blocks with a true crc that no writer makes."""
    for count in (0, 1, 2, 999, 1001, 65_536, 65_537, 1 << 20, (1 << 32) - 1):
        numbers, floats = repeated(INTEGERS, count), repeated(FLOATS, count)
        far = repeated(INTEGERS, count, 2**63 - 1, 2**62)
        yield f"points {count}", block("P", numbers, floats, numbers)
        yield f"points far {count}", block("P", far, floats, far)
        yield f"fractional points {count}", block("P", repeated(FLOATS, count, 0x7FF8000000000000), floats, numbers)
        yield f"pack {count}", block("K", numbers, numbers, numbers, floats, numbers)
        yield f"pyramid {count}", block("Y", numbers, floats, floats, floats, numbers)
        yield f"texts {count}", block("T", numbers, numbers, numbers, text_column(b"x"))
    two = repeated(INTEGERS, 2)
    for name, starts in {"outside": (0, 2**62), "below 0": (-5, 1), "far below": (-(2**63), 1)}.items():
        yield f"texts {name}", block("T", two, two, repeated(INTEGERS, 3, *starts), text_column(b"abcdef"))
    starts = repeated(INTEGERS, 3, 0, 3)
    for name, data in {"not utf-8": b"\xff\xfe\xfd\xff\xfe\xfd", "surrogates": b"\xed\xa0\x80" * 2}.items():
        yield f"texts {name}", block("T", two, two, starts, text_column(data))
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 28))
    packed = struct.pack("<I", len(bomb)) + bomb
    for items in (6, 1 << 28, (1 << 32) - 1):
        yield f"bomb of {items}", block("T", two, two, starts, text_column(packed, 1, items))
    yield "a float of two planes", block("P", two, Column(FLOATS, 0, 4, 0, 2, 3, 0, 0, b"abc"), two)
    yield "no columns", join_block(b"P", [])
    yield "no block", b""
    yield "another version", b"P\x63" + bytes(30)


def odd_rows() -> Iterator[tuple[str, Made]]:
    """Columns of rows, and blocks in them, that no fold writes."""
    columns = {
        "writer": {"name": ("", "a/b", "\0", "x" * 100_000), "fields": (b"abc", b"\xff" * 8, bytes(8 * 100_000))},
        "position": {"file": ("", "../x", "a.1.seg"), "upto": (-1, 2**62, -(2**63)), "is_done": (0, 5, -1)},
        "field": {
            "id": (0, -1, 2**62, -(2**63)),
            "path": ("", "/", "a//b", "sys/state", "sys/size", "sys/id", "x" * 100_000, "\0", "a/" * 50_000 + "a"),
            "kind": ("", "deleted", "run_state", "file_set", "string_set", "datetime", "later", "artifact", "bool"),
        },
        "head": {"format": (0, -1, 2, 2**62), "id": (2, -1)},
        "chunk": {"key": (0, -1, 2**62), "count": (0, -1, 2**62, 65_537), "pyramid": (b"", b"x", None)},
        "pack": {"id": (0, -1, 2**62), "first_field": (-1, 2**62), "last_field": (-1, 2**62), "count": (-1, 2**62)},
    }
    for table, of_table in columns.items():
        for column, values in of_table.items():
            for number, value in enumerate(values):
                yield f"{table} {column} {number}", partial(hostile_index, table, "1", **{column: value})
    for number, path in enumerate(("n", "loss", "log", "sys/tags", "file")):
        for kind in columns["field"]["kind"]:
            yield f"{path} as {kind} {number}", partial(hostile_index, "field", f"path = '{path}'", kind=kind)
    texts = true_row("field", "path = 'log'")["id"] << 24
    for name, data in odd_blocks():
        yield (
            f"chunk of points: {name}",
            partial(hostile_index, "chunk", f"key < {texts} OR key >= {texts + (1 << 24)}", data=data),
        )
        yield f"chunk of texts: {name}", partial(hostile_index, "chunk", f"key = {texts}", data=data)
        yield f"pyramid: {name}", partial(hostile_index, "chunk", "pyramid IS NOT NULL", pyramid=data)
        yield f"pack: {name}", partial(hostile_index, "pack", "1", data=data)


def odd_counts() -> Iterator[tuple[str, Files]]:
    """A head that counts to 2**53, and each page damaged beside it: rows are then looked for one by one."""
    facts = msgspec.msgpack.decode(true_row("head", "1")["facts"])
    index = hostile_index("head", "1", facts=pack([facts[0], 2**53, 2**53, *facts[3:]]))["run.db"]
    size = int.from_bytes(index[16:18], "big")
    for start in range(size, len(index), size):
        yield f"page {start // size + 1}", {"run.db": index[:start] + b"\x55" * 40 + index[start + 40 :]}


GROUPS: dict[str, Callable[[], Iterator[tuple[str, Files]] | Iterator[tuple[str, Made]]]] = {
    "ops": odd_ops,
    "payloads": odd_payloads,
    "own fields": odd_own_fields,
    "frames": odd_frames,
    "records": odd_records,
    "sums": odd_sums,
    "seals": odd_seals,
    "leases": odd_leases,
    "names": odd_names,
    "facts": odd_facts,
    "rows": odd_rows,
    "counts": odd_counts,
}


PARTS = {"ops": 64, "facts": 12, "rows": 4}
"""Into how many parts a group of many runs is divided.

Commands look at the other runs of a store too, so large parts take longer in all.
"""


def make(store: Path, group: str, count: int | None, part: int) -> dict[str, str]:
    """Put a good run and hostile ones into a store; what is wrong with each, by its uid."""
    with naiad.init_run(project="good", store=store) as run:
        run["n"] = 5
        run["loss"].append(0.5)
        run["log"].append("text")
    cases = list(GROUPS[group]())
    if count is None:
        cases = cases[part :: PARTS.get(group, 1)]
    if count is not None and len(cases) > count:
        cases = random.Random(5).sample(cases, count)
    hostile = {}
    for name, files in cases:
        uid = new_uid()
        hostile[uid] = name
        for place, data in (files() if callable(files) else files).items():
            path = store / "runs" / uid / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return hostile


LOOKS = """
import json, resource, sys, time, traceback, warnings
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
from click.testing import CliRunner
from naiad.cli import main

def do(*arguments):
    began = time.monotonic()
    done = CliRunner().invoke(main, list(arguments))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        fault = "".join(traceback.format_exception(done.exception)[-14:])[-3000:]
        print(json.dumps({"command": arguments, "fault": fault}), flush=True)
    seconds = time.monotonic() - began
    if seconds > 120:  # a busy machine needs long, and hostile bytes could take for ever
        print(json.dumps({"command": arguments, "fault": f"it took {seconds:.0f} s"}), flush=True)
    wanted = (0, 1) if len(arguments) > 1 and arguments[1] != "--json" or arguments[0] == "verify" else (0,)
    if done.exit_code not in wanted:
        fault = f"exit code {done.exit_code}: {done.output[-500:]}"
        print(json.dumps({"command": arguments, "fault": fault}), flush=True)
    return done.stdout

for line in sys.stdin:
    commands = json.loads(line)
    print(json.dumps({"said": do(*commands)}), flush=True)
print(json.dumps({"peak": int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) * 1024}))
"""


def look(store: Path, commands: list[list[str]]) -> tuple[list[dict[str, Any]], list[str], int]:
    """Give commands to one process; its faults, what each command said, and the memory it took."""
    lines = "".join(json.dumps(command) + "\n" for command in commands)
    done = subprocess.run(
        [sys.executable, "-c", LOOKS, str(MEMORY)],
        input=lines,
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
        env=os.environ | {"NAIAD_STORE": str(store)},
    )
    facts = [json.loads(line) for line in done.stdout.splitlines()]
    said = [fact["said"] for fact in facts if "said" in fact]
    faults = [fact for fact in facts if "fault" in fact]
    if done.returncode:
        command = commands[len(said)] if len(said) < len(commands) else "the end"
        faults.append({"command": command, "fault": done.stderr[-2000:] + str(done.returncode)})
    return faults, said, facts[-1].get("peak", 0) if facts else 0


LISTED = [["ls", "--json"], ["verify", "--json"], ["query", "--json", "--columns", "sys/id,n,loss,log,sys/tags"]]
SHOWN = ["show", "show --json", "verify", "files"]


def explained(faults: list[dict[str, Any]], hostile: dict[str, str]) -> Iterator[tuple[list[str], str, str]]:
    """Each command, what is wrong with its run, and what happened."""
    for fault in faults:
        command = [str(each) for each in fault["command"]]
        yield command, " ".join(hostile.get(each, "") for each in command[1:2]), fault["fault"]


def check(store: Path, group: str, count: int | None, each: list[str], part: int = 0) -> None:
    hostile = make(store, group, count, part)
    asked = [[*LISTED[0]], *LISTED[1:], ["query", "n > 1"], ["query", "--columns", "*"], ["ls"]]
    for uid in hostile:
        asked += [[name, uid, *rest] for name, *rest in map(str.split, each)]
    faults, said, peak = look(store, asked)

    problems = [f"{' '.join(command)}: {wrong}: {fault}" for command, wrong, fault in explained(faults, hostile)]
    assert [] == problems, f"{len(problems)} faults\n" + "\n".join(problems[:8])
    listed = json.loads(said[0])
    assert set(hostile) <= {row["uid"] for row in listed}
    assert "GOOD-1" in {row["id"] for row in listed if row["state"] == "finished"}
    assert len(hostile) + 1 == len(listed)
    assert "GOOD-1" not in {row["run"] for row in json.loads(said[1])}
    rows = [row for row in json.loads(said[2]) if row["sys/id"] == "GOOD-1"]
    assert [(5, 0.5, "text")] == [(row["n"], row["loss"], row["log"]) for row in rows]
    assert peak < 1 << 30


@pytest.mark.parametrize("group", GROUPS)
def test_hostile_runs_end_no_command_and_take_no_memory(group: str, store: Path) -> None:
    """Some of each group: no traceback, one line each, and the good run beside them as always."""
    check(store, group, FEW, ["show", "verify"])


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("group", "part"), [(group, part) for group in GROUPS for part in range(PARTS.get(group, 1))])
def test_every_hostile_run_ends_no_command(group: str, part: int, store: Path) -> None:
    check(store, group, None, [*SHOWN, "repair", "show", "verify"], part)
