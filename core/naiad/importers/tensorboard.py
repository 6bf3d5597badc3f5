"""Event files of TensorBoard: each folder with some is a run. TensorBoard itself is not needed."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from naiad.errors import ImportRefused
from naiad.hookspecs import hookimpl
from naiad.importer import Importer, Progress, Source
from naiad.importers import sniff
from naiad.importers.columns import Columns
from naiad.kinds import ATOM_OF
from naiad.records import Content, Note, Record, Skipped, Value
from naiad.types import Histogram

NAME: Final = "tensorboard"
MARK: Final = "tfevents"
LONGEST: Final = 1 << 30
CHECKED: Final = 4096
"""Bytes of a record up to which its checksum is computed, which takes time in Python."""


@dataclass(frozen=True)
class Container:
    """One folder of event files."""

    identity: str
    name: str
    files: list[str]
    size: int
    created: float | None
    kind: str = "run"
    id: str | None = None
    project: str | None = None
    parent: str = ""
    facts: dict[str, str] = field(default_factory=dict)

    def records(self, progress: Progress) -> Iterator[Record]:
        """Read all event files."""
        yield Value("sys/name", ATOM_OF[str], self.name)
        # Each file is a part of its own: a resumed job begins another one in the same folder, and files only ever
        # grow.
        for path in self.files:
            columns = Columns(os.path.basename(path))
            for place, data in _records(path, progress):
                where = f"{path} at byte {place}"
                if isinstance(data, Note | Skipped):
                    yield data
                    continue
                try:
                    yield from _event(columns, data, where)
                except (ValueError, struct.error, IndexError, KeyError, TypeError, OverflowError) as error:
                    yield Skipped("", "", f"the event cannot be read ({error})", where=where)
                if columns.is_full:
                    yield from columns.flush()
            yield from columns.flush()


def find(path: Path, _options: Mapping[str, Any]) -> Source:
    """Return the folders with event files, at or below a folder."""
    found: dict[str, list[str]] = {}
    if path.is_file() and MARK in path.name:
        found[str(path.parent)] = [str(path)]
    # TensorBoard takes every folder with event files for a run, so that `train/` and `val/` of one job are two.
    for folder, folders, names in os.walk(path):
        folders.sort()
        events = sorted(name for name in names if MARK in name and os.path.isfile(os.path.join(folder, name)))
        if events:
            found[folder] = [os.path.join(folder, name) for name in events]
    if not found:
        raise ImportRefused(
            f"{str(path)!r} contains no data of TensorBoard: no file has {MARK!r} in its name.", path=str(path)
        )
    root = path if path.is_dir() else path.parent
    return Source([_container(root, Path(folder), files) for folder, files in found.items()])


def _container(root: Path, folder: Path, files: list[str]) -> Container:
    below = os.path.relpath(folder, root)
    name = os.path.abspath(root).rpartition(os.sep)[2] if below == "." else below
    first = os.path.basename(files[0])
    size = sum(os.stat(file).st_size for file in files)
    stamp = first.partition(f"{MARK}.")[2].partition(".")[0]  # seconds since 1970
    created = float(stamp) if stamp.isdigit() and len(stamp) < 12 else None
    return Container(f"tensorboard:{below}:{first}", name, files, size, created, facts={"logdir": str(folder)})


def _crc_table() -> list[int]:
    table = []
    for number in range(256):
        for _bit in range(8):
            number = (number >> 1) ^ (0x82F63B78 if number & 1 else 0)
        table.append(number)
    return table


_TABLE = _crc_table()


def _masked_crc(data: bytes) -> int:
    """Return the masked CRC-32C that TFRecord uses."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 255] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _records(path: str, progress: Progress) -> Iterator[tuple[int, bytes | Note | Skipped]]:
    """Yield the records of a file. A damaged length ends it, since nothing shows where the next record begins."""
    place = 0
    with open(path, "rb") as stream:
        while head := stream.read(12):
            if len(head) < 12:
                yield place, Note(f"{path} ends within a record, as files do while they are written.")
                return
            size, crc = struct.unpack("<QI", head)
            # The length has a checksum of its own, without which a damaged one would ask for gigabytes.
            if size > LONGEST or _masked_crc(head[:8]) != crc:
                yield place, Skipped("", "", "the rest of the file is damaged", where=f"{path} at byte {place}")
                return
            data = stream.read(size + 4)
            if len(data) < size + 4:
                yield place, Note(f"{path} ends within a record, as files do while they are written.")
                return
            # CRC-32C is in no module of the standard library, and each byte of it a turn of a loop: an image would
            # take longer than all of its run.
            if size <= CHECKED and _masked_crc(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
                yield place, Skipped("", "", "the record is damaged", where=f"{path} at byte {place}")
            else:
                yield place, data[:-4]
            place += 16 + size
            progress(16 + size)


def _event(columns: Any, data: bytes, where: str) -> Iterator[Record]:
    from naiad.importers import proto  # it needs NumPy

    event = proto.message(data)
    if 5 not in event:
        return
    time, step = proto.double(event, 1), proto.signed(event.get(2, [0])[-1])
    for value in proto.message(event[5][-1]).get(1, []):
        found = proto.message(value)
        tag = proto.text(found, 1)
        plugin = proto.inner(proto.inner(found, 9), 1)
        name = proto.text(plugin, 1)
        # A summary of TensorFlow 2 has a tensor, and a plugin in its metadata; one of TensorFlow 1 has a field for
        # each kind instead.
        if name == "hparams":
            yield from _hparams(plugin.get(2, [b""])[-1])
        elif 2 in found:
            columns.number(tag, struct.unpack("<f", found[2][-1])[0], step, time)
        elif 4 in found:
            image = proto.inner(found, 4).get(4, [b""])[-1]
            columns.file(tag, Content(data=image, extension=sniff.extension(image[:512])), step, time)
        elif 5 in found:
            columns.histogram(tag, _old_histogram(proto.inner(found, 5)), step, time)
        elif 6 in found:
            audio = proto.inner(found, 6).get(4, [b""])[-1]
            columns.file(tag, Content(data=audio, extension=sniff.extension(audio[:512])), step, time)
        elif 8 in found:
            yield from _tensor(columns, tag, name, proto.tensor(found[8][-1]), step, time, where)


def _tensor(columns: Any, tag: str, plugin: str, value: Any, step: int, time: float, where: str) -> Iterator[Record]:
    if plugin == "images" and isinstance(value, list):
        for image in value[2:]:  # width and height come first
            columns.file(tag, Content(data=image, extension=sniff.extension(image[:512])), step, time)
    elif plugin == "audio" and isinstance(value, list):
        for audio in value[::2]:
            columns.file(tag, Content(data=audio, extension=sniff.extension(audio[:512])), step, time)
    # Markdown of add_text, which has no kind of its own here.
    elif isinstance(value, list):
        for text in value:
            columns.text(tag, text.decode("utf-8", "replace"), step, time)
    elif plugin == "histograms" and value.ndim == 2 and value.shape[1] == 3:
        if len(value):
            columns.histogram(tag, _histogram(value), step, time)
    elif value.size == 1:
        columns.number(tag, float(value.reshape(-1)[0]), step, time)
    else:
        reason = f"tensors of the plugin {plugin!r} with {value.size:,} values are not kept"
        yield Skipped(tag, "", reason, where=where)


def _histogram(rows: Any) -> str:
    """Return a histogram of rows of left edge, right edge and count."""
    edges = [float(rows[0][0]), *(float(row[1]) for row in rows)]
    counts = [float(row[2]) for row in rows]
    return _kept(edges, counts)


def _old_histogram(found: dict[int, list[Any]]) -> str:
    from naiad.importers import proto

    limits, counts = proto.packed(found, 6, "d"), proto.packed(found, 7, "d")
    low, high = proto.double(found, 1), proto.double(found, 2)
    # The first format has some 1,500 buckets up to 1e308, of which most are empty: only those between values are a
    # histogram.
    while len(counts) > 1 and not counts[-1]:
        counts.pop(), limits.pop()
    while len(counts) > 1 and not counts[0]:
        low = max(low, limits[0])
        counts.pop(0), limits.pop(0)
    edges = [min(low, limits[0]), *limits]
    edges[-1] = min(edges[-1], high) if high > edges[-2] else edges[-1]
    return _kept(edges, counts)


def _kept(edges: list[float], counts: list[float]) -> str:
    """Return a histogram without empty bins of no width, of which TensorBoard writes some."""
    kept_edges, kept_counts = [edges[0]], []
    for edge, count in zip(edges[1:], counts, strict=True):
        if edge > kept_edges[-1]:
            kept_edges.append(edge)
            kept_counts.append(count)
        elif count:
            if kept_counts:
                kept_counts[-1] += count
            else:
                kept_edges.append(kept_edges[-1] + max(abs(kept_edges[-1]) * 1e-6, 1e-12))
                kept_counts.append(count)
    if not kept_counts:
        kept_edges, kept_counts = [edges[0], edges[0] + 1.0], [sum(counts)]
    whole = [int(each) for each in kept_counts] if all(each.is_integer() for each in kept_counts) else kept_counts
    return Histogram(kept_edges, counts=whole).to_text()


def _hparams(data: bytes) -> Iterator[Record]:
    """Yield the hyperparameters of a session."""
    from naiad.importers import proto

    for start in proto.message(data).get(3, []):
        for entry in proto.message(start).get(1, []):
            pair = proto.message(entry)
            value = _plain(proto.inner(pair, 2))
            if value is not None:
                yield Value(f"hparams/{proto.text(pair, 1)}", ATOM_OF[type(value)], value)


def _plain(value: dict[int, list[Any]]) -> Any:
    from naiad.importers import proto

    if 2 in value:
        return proto.double(value, 2)
    if 3 in value:
        return proto.text(value, 3)
    if 4 in value:
        return bool(value[4][-1])
    return json.dumps(sorted(map(str, value))) if value else None


@hookimpl
def naiad_importer() -> Importer:
    """Return the importer."""
    return Importer(NAME, "event files of TensorBoard", find, Container)
