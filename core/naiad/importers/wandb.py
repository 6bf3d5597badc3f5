"""Offline runs of W&B: a log of records, `run-*.wandb`, and files beside. W&B itself is not needed."""

from __future__ import annotations

import json
import math
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from naiad.errors import ImportRefused
from naiad.gitref import GitRef
from naiad.hookspecs import hookimpl
from naiad.importer import Importer, Progress, Source
from naiad.importers import roots, zips
from naiad.importers.columns import Columns
from naiad.kinds import ATOM_OF, MEMBERS
from naiad.records import Commit, Content, Members, Note, Record, Skipped, Tags, Value
from naiad.types import FileSeries, Histogram

NAME: Final = "wandb"
UNREADABLE: Final = (ValueError, struct.error, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
HEAD: Final = b":W&B"
BLOCK: Final = 32_768
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
HISTORY, SUMMARY, CONFIG, STATS, ARTIFACT, OUTPUT, RUN, EXIT = 2, 3, 5, 7, 8, 13, 17, 18
FACTS: Final = 200
"""Records in which the facts of the run are looked for."""


@dataclass(frozen=True)
class Container:
    """One offline run."""

    identity: str
    path: str
    project: str | None
    created: float | None
    size: int
    facts: dict[str, str] = field(default_factory=dict)
    kind: str = "run"
    id: str | None = None
    parent: str = ""
    roots: list[str] = field(default_factory=list)
    """Where files that the log names may be read."""

    def records(self, progress: Progress) -> Iterator[Record]:
        """Read the log, and then the files beside it."""
        reading = _Reading(self.path, self.roots)
        for where, data in _log(self.path, progress):
            if isinstance(data, Note | Skipped):
                yield data
                continue
            try:
                yield from reading.record(data, where)
            except (
                ValueError,
                struct.error,
                KeyError,
                TypeError,
                AttributeError,
                OverflowError,
                RecursionError,
            ) as error:
                yield Skipped("", "", f"the record cannot be read ({error})", where=where)
        yield from reading.end()


def find(path: Path, options: Mapping[str, Any]) -> Source:
    """Return the offline runs at or below a folder."""
    from naiad.importers.wandb_artifacts import staging  # late: NumPy, which a plugin does not load

    files = [path] if path.is_file() else sorted(filter(Path.is_file, path.rglob("run-*.wandb")))
    own = path.parent if path.is_file() else path
    readable = [*roots.of(own, options), os.path.realpath(staging())]
    containers: list[Container] = []
    problems: list[Skipped] = []
    for file in files:
        if file.is_symlink() or any(parent.is_symlink() for parent in file.parents if parent.is_relative_to(path)):
            continue  # wandb/latest-run leads to one of the others
        found = _container(file)
        if isinstance(found, Skipped):
            problems.append(found)
        else:
            containers.append(replace(found, roots=readable))
    if not containers and not problems:
        raise ImportRefused(
            f"{str(path)!r} contains no offline run of W&B: there is no file run-*.wandb.", path=str(path)
        )
    return Source(containers, problems)


def _container(path: Path) -> Container | Skipped:
    from naiad.importers import proto  # it needs NumPy

    for number, (_where, data) in enumerate(_log(str(path), int)):
        # The head itself is wrong, and nothing behind it can be read.
        if isinstance(data, Skipped) and number == 0:
            return data
        if number > FACTS:
            break
        if isinstance(data, bytes):
            try:
                record = proto.message(data)
                if RUN not in record:
                    continue
                run = proto.inner(record, RUN)
            except ValueError:
                continue
            name, entity, project = (proto.text(run, key) for key in (1, 2, 3))
            start = proto.inner(run, 17)
            created = proto.signed(start.get(1, [0])[-1]) + proto.signed(start.get(2, [0])[-1]) / 1e9
            facts = {"run_id": name, "entity": entity, "host": proto.text(run, 13)}
            known = {key: value for key, value in facts.items() if value}
            identity = f"wandb:{entity}/{project}/{name}"
            return Container(identity, str(path), project or None, created or None, os.stat(path).st_size, known)
    return Skipped("", "", "the log has no record of a run", where=str(path))


def _log(path: str, progress: Progress) -> Iterator[tuple[str, bytes | Note | Skipped]]:
    """Yield the records of a log in the form of LevelDB."""
    with open(path, "rb") as stream:
        head = stream.read(7)
        if len(head) < 7 or head[:4] != HEAD or struct.unpack("<H", head[4:6])[0] != 0xBEE1:
            yield path, Skipped("", "", "the file is not a log of W&B", where=path)
            return
        place, parts = 7, b""
        while True:
            left = BLOCK - place % BLOCK
            # LevelDB fills the end of a block in which no header has room.
            if left < 7:
                stream.read(left)
                place += left
                continue
            start, chunk = place, stream.read(7)
            where = f"{path} at byte {start}"
            if len(chunk) < 7:
                if chunk or parts:
                    yield where, Note(f"{path} ends within a record, as files do while they are written.")
                return
            crc, size, kind = struct.unpack("<IHB", chunk)
            data = stream.read(size)
            place += 7 + len(data)
            progress(7 + len(data))
            # Zeros are space that the file system has given before the data came.
            if len(data) < size or (not kind and not crc):
                yield where, Note(f"{path} ends within a record, as files do while they are written.")
                return
            # The sum is over kind and data, as in LevelDB, but plain and not masked.
            if zlib.crc32(data, zlib.crc32(bytes([kind]))) != crc:
                yield where, Skipped("", "", "a block of the log is damaged", where=where)
                parts = b""
                rest = BLOCK - place % BLOCK
                stream.read(rest)  # the next block begins anew
                place += rest
                continue
            # A record that is longer than what is left of a block goes on in the next ones.
            parts = data if kind in (FULL, FIRST) else parts + data
            if kind in (FULL, LAST):
                yield where, parts
                parts = b""


class _Reading:
    """The records of one run, while they are read."""

    def __init__(self, path: str, readable: list[str]) -> None:
        self._readable = readable
        self._artifacts: dict[str, list[str]] = {}
        self._folder = os.path.join(os.path.dirname(path), "files")
        self._columns = Columns()
        self._values: dict[str, Any] = {}
        self._media: set[str] = set()
        self._has_failed = False

    def record(self, data: bytes, where: str) -> Iterator[Record]:
        """Take one record."""
        from naiad.importers import proto

        record = proto.message(data)
        for number, content in ((key, values[-1]) for key, values in record.items()):
            if number == RUN:
                yield from self._run(proto.message(content))
            elif number == CONFIG:
                self._config(proto.message(content))
            elif number == HISTORY:
                yield from self._history(proto.message(content), where)
            elif number == SUMMARY:
                self._summary(proto.message(content))
            elif number == STATS:
                self._stats(proto.message(content))
            elif number == OUTPUT:
                found = proto.message(content)
                name = "stdout" if found.get(1, [0])[-1] == 1 else "stderr"
                text = proto.text(found, 3)
                if text:
                    self._columns.text(f"monitoring/{name}", text, None, _time(found.get(2, [b""])[-1]))
            elif number == ARTIFACT:
                from naiad.importers import wandb_artifacts

                yield from wandb_artifacts.records(content, self._artifacts, self._readable, where)
            elif number == EXIT:
                self._has_failed = bool(proto.message(content).get(1, [0])[-1])
        if self._columns.is_full:
            yield from self._columns.flush()

    def _run(self, run: dict[int, list[Any]]) -> Iterator[Record]:
        from naiad.importers import proto

        for path, key in (("sys/name", 8), ("sys/description", 9), ("sys/hostname", 13), ("group", 6), ("job_type", 7)):
            if proto.text(run, key):
                self._values[path] = proto.text(run, key)
        tags = [each.decode("utf-8", "replace") for each in run.get(10, []) if isinstance(each, bytes)]
        if tags:
            yield Tags("sys/tags", tags)
        for config in run.get(4, []):
            self._config(proto.message(config))
        git = proto.inner(run, 21)
        if git:
            remotes = (proto.text(git, 1),) if proto.text(git, 1) else ()
            yield Commit("source_code/git", GitRef(repository_path="", commit_id=proto.text(git, 2), remotes=remotes))

    def _config(self, config: dict[int, list[Any]]) -> None:
        for path, value in _items(config.get(1, [])):
            # W&B's own notes about its version and its settings.
            if path.split("/")[0] != "_wandb":
                self._flatten(f"config/{path}", value)

    def _summary(self, summary: dict[int, list[Any]]) -> None:
        for path, value in _items(summary.get(1, [])):
            if not path.startswith("_"):
                self._flatten(f"summary/{path}", value)

    def _flatten(self, path: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for key, item in value.items():
                self._flatten(f"{path}/{key}", item)
        else:
            self._values[path] = value if isinstance(value, bool | int | float | str) else json.dumps(value)

    def _stats(self, stats: dict[int, list[Any]]) -> None:
        time = _time(stats.get(2, [b""])[-1])
        for path, value in _items(stats.get(3, [])):
            if isinstance(value, int | float) and not isinstance(value, bool):
                self._columns.number(f"monitoring/{path}", float(value), None, time)

    def _history(self, history: dict[int, list[Any]], where: str) -> Iterator[Record]:
        from naiad.importers import proto

        found = dict(_items(history.get(1, [])))
        step = found.pop("_step", None)
        # The record has the step in a member of its own too.
        if not isinstance(step, int | float):
            step = proto.signed(proto.inner(history, 2).get(1, [0])[-1])
        time = found.pop("_timestamp", None)
        time = float(time) if isinstance(time, int | float) else math.nan
        for path, value in _gathered(found).items():
            if not path.startswith("_"):
                yield from self._point(path, value, step, time, where)

    def _point(self, path: str, value: Any, step: Any, time: float, where: str) -> Iterator[Record]:
        columns = self._columns
        number = _number(value)
        if number is not None:
            columns.number(path, number, step, time)
        elif isinstance(value, str):
            columns.text(path, value, step, time)
        elif isinstance(value, dict) and value.get("_type") == "histogram":
            try:
                columns.histogram(path, _histogram(value), step, time)
            except (ValueError, KeyError, TypeError) as error:
                yield Skipped(path, "", f"the histogram cannot be kept: {error}", where=where)
        # One medium, whose file lies beside the log.
        elif isinstance(value, dict) and isinstance(value.get("path"), str):
            content = self._file(value["path"], value.get("caption"))
            if content is None:
                reason = f"the file {value['path']!r} is not there"
                yield Skipped(path, FileSeries.kind, reason, where=where)
            else:
                columns.file(path, content, step, time)
        # Several media of one step, as of a list of images.
        elif isinstance(value, dict) and isinstance(value.get("filenames"), list):
            given = value.get("captions")
            captions: list[Any] = given if isinstance(given, list) else []
            for place, name in enumerate(value["filenames"]):
                content = self._file(str(name), captions[place] if place < len(captions) else None)
                if content is None:
                    yield Skipped(path, FileSeries.kind, f"the file {name!r} is not there", where=where)
                else:
                    columns.file(path, content, step, time)
        elif isinstance(value, dict) and value:
            for key, item in value.items():
                yield from self._point(f"{path}/{key}", item, step, time, where)
        else:
            columns.text(path, json.dumps(value), step, time)

    def _file(self, name: str, caption: object) -> Content | None:
        place = os.path.join(self._folder, name)
        root = os.path.realpath(self._folder) + os.sep
        # The name comes out of the log, and may lead anywhere.
        if zips.is_hostile(name) or not os.path.realpath(place).startswith(root) or not os.path.isfile(place):
            return None
        self._media.add(os.path.realpath(place))
        title = caption if isinstance(caption, str) else None
        return Content(place, extension=os.path.splitext(name)[1][1:], description=title)

    def end(self) -> Iterator[Record]:
        """Yield the last values, and the files that no series has."""
        yield from self._columns.flush()
        for path, value in self._values.items():
            kind = ATOM_OF[type(value)]
            # JSON has integers of any size, and a field 64 bits of them.
            if isinstance(value, int) and not isinstance(value, bool) and not -(1 << 63) <= value < 1 << 63:
                kind, value = ATOM_OF[str], str(value)
            yield Value(path, kind, value)
        yield Value("sys/failed", ATOM_OF[bool], self._has_failed)
        files: dict[str, Content] = {}
        for folder, folders, names in os.walk(self._folder):
            folders.sort()
            for name in sorted(names):
                place = os.path.join(folder, name)
                if os.path.islink(place):
                    yield Skipped("files", MEMBERS, "it is a link", is_loss=False, where=place)
                elif os.path.realpath(place) not in self._media:
                    modified = os.stat(place).st_mtime_ns
                    extension = os.path.splitext(name)[1][1:]
                    files[os.path.relpath(place, self._folder)] = Content(place, extension=extension, modified=modified)
        if files:
            yield Members("files", files)


def _items(items: list[bytes]) -> Iterator[tuple[str, Any]]:
    """Yield key and value of items; a nested key becomes a path."""
    from naiad.importers import proto

    for each in items:
        found = proto.message(each)
        nested = [part.decode("utf-8", "replace") for part in found.get(2, []) if isinstance(part, bytes)]
        key = "/".join(nested) if nested else proto.text(found, 1)
        yield key, _value(found)


def _value(found: dict[int, list[Any]]) -> Any:
    """Return the value of an item: one of its typed members, else JSON."""
    from naiad.importers import proto

    if 4 in found:
        return bool(found[4][-1])
    if 5 in found:
        return proto.signed(found[5][-1])
    if 6 in found:
        return proto.double(found, 6)
    if 7 in found:
        return proto.text(found, 7)
    text = proto.text(found, 16) or proto.text(found, 8)
    try:
        return json.loads(text or "null")
    except (ValueError, RecursionError):
        return text


def _gathered(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a step, with media put together whose parts have keys of their own."""
    gathered: dict[str, Any] = {}
    for key, value in found.items():
        for separator in ("/", "."):
            base, _, part = key.rpartition(separator)
            # A flattened dict: only the part `_type` says that the others belong together.
            if base and f"{base}{separator}_type" in found:
                gathered.setdefault(base, {})[part] = value
                break
        else:
            gathered[key] = value
    return gathered


def _number(value: object) -> float | None:
    if isinstance(value, bool | int | float):
        try:
            return float(value)
        except OverflowError:
            return None
    return (
        {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}.get(value) if isinstance(value, str) else None
    )


def _histogram(value: Mapping[str, Any]) -> str:
    counts = value["values"]
    if "bins" in value:
        edges = value["bins"]
    else:
        packed = value["packedBins"]
        edges = [packed["min"] + packed["size"] * place for place in range(packed["count"] + 1)]
    whole = [int(each) for each in counts] if all(float(each).is_integer() for each in counts) else counts
    return Histogram(edges, counts=whole).to_text()


def _time(data: object) -> float:
    from naiad.importers import proto

    if not isinstance(data, bytes) or not data:
        return math.nan
    found = proto.message(data)
    return proto.signed(found.get(1, [0])[-1]) + proto.signed(found.get(2, [0])[-1]) / 1e9


@hookimpl
def naiad_importer() -> Importer:
    """Return the importer."""
    title = "offline runs of W&B (wandb/offline-run-*)"
    return Importer(NAME, title, find, Container, roots.OPTIONS, repeated=roots.REPEATED)
