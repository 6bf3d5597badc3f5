"""The folders that Neptune's client leaves behind: `.neptune/offline`, `async` and `sync`.

Each folder is the queue of one process for one container: operations as JSON, in files `data-N.log`. All folders of a
container are replayed together, ordered by time. The log is read twice: the first time to see which operations count in
the end, since later ones clear, delete and replace; the second time to yield those.
"""

from __future__ import annotations

import base64
import binascii
import heapq
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import unquote

import msgspec

from naiad.errors import FileError, ImportRefused, NaiadError
from naiad.files.globs import expand
from naiad.files.names import normal
from naiad.files.tracked import TrackedFile, artifact_hash
from naiad.files.tracking import track
from naiad.hookspecs import hookimpl
from naiad.importer import Importer, Progress, Source
from naiad.importers import roots, sniff
from naiad.kinds import ATOM_OF, LINES, MEMBERS, POINTS, TAGS
from naiad.ops import Plain
from naiad.records import (
    Artifact,
    Axis,
    Content,
    Files,
    Members,
    Note,
    Points,
    Record,
    Skipped,
    Tags,
    Texts,
    Upload,
    Value,
)
from naiad.refs import FileRef
from naiad.types import Artifact as ArtifactValue
from naiad.types import FileSeries

NAME: Final = "neptune-offline"
KINDS_OF: Final = ("run", "project", "model_version", "model")
DEEPEST = 8
"""Folders below the one that is named; the client makes three."""
MOST_BUFFERED = 50_000
"""Points that wait to be yielded together."""
MOST_BYTES = 8 << 20
"""Bytes of texts and images that wait."""
_FOLDER = re.compile(
    r"(?:(?P<kind>run|project|model_version|model)__)?(?P<uuid>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})(?:__|\Z)"
)
_LOG = re.compile(r"data-([0-9]+)\.log\Z")
_DECODER = json.JSONDecoder()

ATOMS: Final = {
    "AssignFloat": ATOM_OF[float],
    "AssignInt": ATOM_OF[int],
    "AssignBool": ATOM_OF[bool],
    "AssignString": ATOM_OF[str],
    "AssignDatetime": ATOM_OF[datetime],
}
LOGS: Final = {"LogFloats": POINTS, "LogStrings": LINES, "LogImages": FileSeries.kind}
CLEARS: Final = {"ClearFloatLog": POINTS, "ClearStringLog": LINES, "ClearImageLog": FileSeries.kind}
COPIED: Final = {
    "Float": ATOM_OF[float],
    "Integer": ATOM_OF[int],
    "Boolean": ATOM_OF[bool],
    "String": ATOM_OF[str],
    "Datetime": ATOM_OF[datetime],
}


@dataclass(frozen=True)
class Folder:
    """The queue of one process."""

    path: str
    name: str
    """Names it among the folders of its container."""
    created: float | None = None


@dataclass(frozen=True)
class Container:
    """One container, with the folders of all processes that wrote it."""

    identity: str
    kind: str
    uuid: str
    folders: list[Folder]
    created: float | None
    size: int
    facts: dict[str, str | int | float | bool | None]
    root: str
    roots: list[str]
    """Where files that an operation names may be read."""
    id: str | None = None
    project: str | None = None
    parent: str = ""

    def records(self, progress: Progress) -> Iterator[Record]:
        """Replay the folders."""
        replay = _Replay(self)
        replay.look()
        yield from replay.yielded(progress)


def find(path: Path, options: Mapping[str, Any]) -> Source:
    """Return the containers of a `.neptune` folder, or of any part of it."""
    root = path / ".neptune" if (path / ".neptune").is_dir() else path
    found: dict[str, list[Folder]] = {}
    facts: dict[str, dict[str, Any]] = {}
    problems: list[Skipped] = []
    for folder in _queues(root):
        meta, problem = _metadata(folder)
        if problem:
            problems.append(problem)
        named = _named(folder)
        kind = meta.get("containerType") or (named[0] if named else None) or "run"
        uuid = meta.get("containerId") or (named[1] if named else None)
        if not isinstance(uuid, str) or kind not in KINDS_OF:
            where = str(folder)
            reason = "neither metadata.json nor the name of the folder says which container it is of"
            problems.append(Skipped("", "", reason, where=where))
            continue
        identity = f"neptune:{kind}:{uuid.lower()}"
        found.setdefault(identity, []).append(Folder(str(folder), folder.name, _moment(meta.get("createdAt"))))
        facts.setdefault(identity, {}).update({key: value for key, value in meta.items() if key not in facts[identity]})
    if not found and not problems:
        raise ImportRefused(
            f"{str(path)!r} holds no data of Neptune's client: there is no folder with a data-*.log in it.\n"
            "Name the folder .neptune, or one below it.",
            path=str(path),
        )
    readable = roots.of(_home(root), options)
    containers = [_container(identity, folders, facts[identity], root, readable) for identity, folders in found.items()]
    return Source(sorted(containers, key=lambda each: (each.created or 0.0, each.identity)), problems)


def _home(place: Path) -> Path:
    """Return the folder of the program: that with `.neptune` in it, where the client makes it by default."""
    parts = place.absolute().parts
    if ".neptune" in parts:
        return Path(*parts[: len(parts) - 1 - parts[::-1].index(".neptune")])
    return place


def _container(
    identity: str, folders: list[Folder], meta: Mapping[str, Any], root: Path, readable: list[str]
) -> Container:
    kind, uuid = identity.split(":")[1:]
    ordered = sorted(folders, key=lambda each: (each.created or 0.0, each.name))
    created = min((each.created for each in folders if each.created is not None), default=None)
    if created is None:
        created = next((at for at in map(_first_time, ordered) if at is not None), None)
    size = sum(os.stat(log).st_size for each in folders for _number, log in _logs(each.path))
    facts: dict[str, Any] = {
        f"client/{name}": value for name, value in meta.items() if isinstance(value, str | int | float | bool)
    }
    facts["folders"] = len(folders)
    return Container(identity, kind, uuid, ordered, created, 2 * size, facts, str(root), readable)


def _queues(root: Path) -> Iterator[Path]:
    """Yield the folders that hold a queue, at or below a folder; links are not followed."""
    waiting = [(root, 0)]
    while waiting:
        folder, depth = waiting.pop(0)
        try:
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda each: each.name)
        except (NotADirectoryError, PermissionError, FileNotFoundError):
            continue
        names = {each.name for each in listed}
        if any(_LOG.match(name) for name in names) or {"metadata.json", "last_put_version"} <= names:
            yield folder
        elif depth < DEEPEST:
            waiting += [(Path(each.path), depth + 1) for each in listed if each.is_dir(follow_symlinks=False)]


def _metadata(folder: Path) -> tuple[dict[str, Any], Skipped | None]:
    place = folder / "metadata.json"
    try:
        found = json.loads(place.read_bytes())
    except FileNotFoundError:
        return {}, None
    except (OSError, ValueError, RecursionError) as error:
        return {}, Skipped("", "", f"metadata.json cannot be read: {error}", is_loss=False, where=str(place))
    return (found, None) if isinstance(found, dict) else ({}, None)


def _named(folder: Path) -> tuple[str | None, str] | None:
    """Return kind and uuid that the name of a folder, or of the one above an `exec-*`, has."""
    for name in (folder.name, folder.parent.name):
        found = _FOLDER.match(name)
        if found:
            return found["kind"], found["uuid"]
    return None


def _moment(text: object) -> float | None:
    try:
        moment = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def _logs(folder: str) -> list[tuple[int, str]]:
    """Return the logs of a folder by the version of their first operation."""
    found = [(int(match[1]), os.path.join(folder, name)) for name in os.listdir(folder) if (match := _LOG.match(name))]
    return sorted((number, path) for number, path in found if os.path.isfile(path) and not os.path.islink(path))


def _first_time(folder: Folder) -> float | None:
    for each in _operations(folder, int):
        if isinstance(each, Operation):
            return each.at
    return None


# The log


class Operation(NamedTuple):
    """One operation of a log. A tuple, since a log has very many."""

    folder: Folder
    type: str
    path: str
    facts: Mapping[str, Any]
    version: int
    at: float
    where: str


Read: TypeAlias = "Operation | Skipped | Note"


def _operations(folder: Folder, progress: Progress) -> Iterator[Read]:
    """Yield the operations of a folder in order, and the gaps between them."""
    logs = _logs(folder.path)
    acknowledged = _number(folder, "last_ack_version") or 0
    expected = 1
    at = folder.created or 0.0
    for number, (_first, path) in enumerate(logs):
        for where, found, is_last in _parsed(path, progress):
            if isinstance(found, str):
                if is_last and number == len(logs) - 1:
                    yield Note(f"{where}: the last record is torn, because its process ended while it wrote it.")
                else:
                    yield Skipped("", "", found, where=where)
                    expected = -1  # how many records that was is not known
                continue
            each = _operation(folder, found, at, where)
            if isinstance(each, Skipped):
                yield each
                continue
            if each.version > expected > 0:
                yield _gap(folder, expected, each.version - 1, acknowledged)
            expected, at = each.version + 1, each.at
            yield each
    put = _number(folder, "last_put_version")
    if put is not None and put >= expected > 0:
        yield _gap(folder, expected, put, acknowledged)


def _gap(folder: Folder, first: int, last: int, acknowledged: int) -> Skipped:
    why = "the client deletes logs once Neptune has received them" if last <= acknowledged else "they were not written"
    count = last - first + 1
    what = f"operation {first} is" if count == 1 else f"operations {first} to {last} are"
    return Skipped("", "", f"{what} missing: {why}", count, where=folder.path)


def _number(folder: Folder, name: str) -> int | None:
    try:
        return int(Path(folder.path, name).read_text(encoding="ascii", errors="replace").strip() or 0)
    except (OSError, ValueError):
        return None


def _parsed(path: str, progress: Progress) -> Iterator[tuple[str, Any, bool]]:
    """Yield place and content of each record of a file, the reason where it is damaged, and whether the file ends."""
    offset = 0
    with open(path, "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        for line in stream:
            where = f"{path} at byte {offset}"
            offset += len(line)
            progress(len(line))
            try:
                yield where, msgspec.json.decode(line), False
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                yield from _slowly(path, line, offset - len(line), offset >= size)


def _slowly(path: str, line: bytes, start: int, is_end: bool) -> Iterator[tuple[str, Any, bool]]:
    """Parse a line that is not one record: several without newlines, one with a bare NaN, or a damaged one."""
    text = line.decode("utf-8", "replace")
    place = 0
    while True:
        begin = text.find("{", place)
        if begin < 0:
            rest = text[place:].strip()
            if rest:
                yield f"{path} at byte {start + place}", f"these bytes are no record: {rest[:40]!r}", is_end
            return
        where = f"{path} at byte {start + len(text[:begin].encode())}"
        if text[place:begin].strip():
            yield where, f"bytes before this record are damaged: {text[place:begin].strip()[:40]!r}", False
        try:
            found, place = _DECODER.raw_decode(text, begin)
            yield where, found, False
        except (ValueError, RecursionError):
            after = text.find('{"obj"', begin + 1)
            if after < 0:
                yield where, "the record is damaged", is_end
                return
            yield where, "the record is damaged", False
            place = after


def _operation(folder: Folder, found: Any, at: float, where: str) -> Operation | Skipped:
    try:
        facts = found["obj"]
        path = "/".join(map(str, facts["path"]))
        moment = found.get("at")
        moment = float(moment) if isinstance(moment, int | float) and math.isfinite(moment) else at
        return Operation(folder, str(facts["type"]), path, facts, int(found["version"]), moment, where)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        return Skipped("", "", f"the record is no operation of Neptune's client ({error!r})", where=where)


# Replaying


@dataclass
class _State:
    """The state of one path after the operations so far."""

    kind: str
    since: int = 0
    """The order of the operation that begins what counts: earlier points were cleared."""
    value: Plain = None
    is_newer: bool = True
    steps: list[Any] = field(default_factory=list)
    """Of a file set: the operations since it was reset. Of an artifact: the entries to track."""
    texts: dict[str, None] = field(default_factory=dict)
    where: str = ""


def _mark(state: _State) -> str:
    """Return the identity of the operations that make a file set or an artifact."""
    return " ".join(map(repr, [state.value, *(step[:-1] for step in state.steps)]))


class _Replay:
    """The replay of one container."""

    def __init__(self, container: Container, is_copied: bool = False) -> None:
        self._container = container
        self._is_copied = is_copied
        self._states: dict[str, _State] = {}
        self._axes: dict[str, Axis] = {}
        self._refused: dict[int, str] = {}  # orders of operations that do not fit the field at their path
        self._acknowledged = {each.name: _number(each, "last_ack_version") or 0 for each in container.folders}

    def values(self) -> Mapping[str, _State]:
        """Return the state of each path at the end."""
        return self._states

    def _ordered(self, progress: Progress) -> Iterator[tuple[int, Read]]:
        """Yield the operations of all folders by their time, numbered."""
        logs = [_operations(each, progress) for each in self._container.folders]
        if len(logs) == 1:
            yield from enumerate(logs[0], 1)
        else:
            timed = heapq.merge(*map(_timed, logs), key=lambda each: each[0])
            yield from ((order, each) for order, (_at, each) in enumerate(timed, 1))

    # First reading

    def look(self) -> None:
        """Read all operations, and keep the final state of each path."""
        for order, each in self._ordered(int):
            if isinstance(each, Operation):
                self._look_at(order, each)

    def _look_at(self, order: int, op: Operation) -> None:
        name = op.type
        if name in LOGS:
            self._at(order, op, LOGS[name])
        elif name in ATOMS:
            self._set(order, op, ATOMS[name], op.facts.get("value"))
        elif name in CLEARS:
            state = self._at(order, op, CLEARS[name])
            if state is not None:
                state.since = order
        elif name == "DeleteAttribute":
            self._states.pop(op.path, None)
            self._axes.pop(op.path, None)
        elif name == "ConfigFloatSeries":
            if self._at(order, op, POINTS) is not None:
                low, high, unit = (op.facts.get(key) for key in ("min", "max", "unit"))
                self._axes[op.path] = Axis(op.path, _real(low), _real(high), None if unit is None else str(unit))
        elif name in ("AddStrings", "RemoveStrings", "ClearStringSet"):
            self._look_at_texts(order, op)
        elif name in ("UploadFile", "UploadFileContent"):
            state = self._at(order, op, FileRef.kind)
            if state is not None:
                state.since, state.is_newer = order, self._is_newer(op)
        elif name in ("UploadFileSet", "DeleteFiles"):
            self._look_at_files(order, op)
        elif name in ("AssignArtifact", "TrackFilesToArtifact", "ClearArtifact"):
            self._look_at_artifact(order, op)
        elif name == "CopyAttribute":
            self._copy(order, op)
        else:
            self._refused[order] = f"{name!r} is no operation that this release knows"

    def _at(self, order: int, op: Operation, kind: str) -> _State | None:
        """Return the state of a path that is of this kind, a new one if there is none."""
        state = self._states.get(op.path)
        if state is None:
            state = self._states[op.path] = _State(kind, order, where=op.where)
        elif state.kind != kind:
            self._refused[order] = f"{op.type} does not fit the field at its path"
            return None
        return state

    def _set(self, order: int, op: Operation, kind: str, value: Any) -> None:
        plain = _plain(kind, value)
        if plain is None:
            self._refused[order] = f"{op.type} has the value {value!r:.60}"
            return
        state = self._states.get(op.path)
        if state is not None and state.kind not in ATOMS.values():
            self._refused[order] = f"{op.type} does not fit the field at its path"
            return
        self._states[op.path] = _State(kind, order, plain, self._is_newer(op), where=op.where)

    def _is_newer(self, op: Operation) -> bool:
        return op.version > self._acknowledged[op.folder.name]

    def _look_at_texts(self, order: int, op: Operation) -> None:
        state = self._at(order, op, TAGS)
        if state is None:
            return
        if op.type == "ClearStringSet":
            state.texts.clear()
            return
        for text in _texts(op.facts.get("values")):
            if op.type == "AddStrings":
                state.texts[text] = None
            else:
                state.texts.pop(text, None)

    def _look_at_files(self, order: int, op: Operation) -> None:
        state = self._at(order, op, MEMBERS)
        if state is None:
            return
        if op.type == "DeleteFiles":
            state.steps.append(("delete", _texts(op.facts.get("file_paths")), op.where))
            return
        if str(op.facts.get("reset")) == "True":  # the client writes the text of a bool
            state.steps.clear()
        state.steps.append(("add", _texts(op.facts.get("file_globs")), op.where))

    def _look_at_artifact(self, order: int, op: Operation) -> None:
        state = self._at(order, op, ArtifactValue.kind)
        if state is None:
            return
        if op.type == "TrackFilesToArtifact":
            state.steps.append((op.facts.get("entries"), op.where))
            return
        state.steps.clear()
        state.value = str(op.facts.get("hash")) if op.type == "AssignArtifact" else ""

    def _copy(self, order: int, op: Operation) -> None:
        source = "/".join(map(str, op.facts.get("source_path") or ()))
        kind = COPIED.get(str(op.facts.get("source_attr_name")))
        state = None
        if op.facts.get("container_id") == self._container.uuid:
            state = self._states.get(source)
        else:
            state = self._elsewhere(str(op.facts.get("container_id"))).get(source)
        if kind is None or state is None or state.kind != kind:
            self._refused[order] = (
                f"the field that it copies, {source!r} of {op.facts.get('container_id')}, is not there"
            )
            return
        self._states[op.path] = _State(kind, order, state.value, self._is_newer(op), where=op.where)

    def _elsewhere(self, uuid: str) -> Mapping[str, _State]:
        """Return the fields of another container of the same source."""
        if self._is_copied:  # a copy of a copy ends here
            return {}
        try:
            containers = find(Path(self._container.root), {}).containers
        except NaiadError:
            return {}
        for each in containers:
            if isinstance(each, Container) and each.uuid == uuid.lower() and each.uuid != self._container.uuid:
                replay = _Replay(each, is_copied=True)
                replay.look()
                return replay.values()
        return {}

    # Second reading

    def yielded(self, progress: Progress) -> Iterator[Record]:
        """Read the operations again, and yield those that count."""
        buffer = _Buffer()
        for path, state in self._states.items():
            if state.kind in (POINTS, LINES, FileSeries.kind):  # also one without points
                yield from _empty(path, state.kind, self._container.folders[0].name)
        for order, each in self._ordered(progress):
            if isinstance(each, Skipped | Note):
                yield each
            elif order in self._refused:
                kind = LOGS.get(each.type) or ATOMS.get(each.type, "")
                count = len(each.facts.get("values") or ()) if each.type in LOGS else 1
                yield Skipped(each.path, kind, self._refused[order], count, where=each.where)
            elif each.type in LOGS:
                known = self._states.get(each.path)
                if known is not None and known.kind == LOGS[each.type] and order >= known.since:
                    yield from buffer.add(each)
                    if buffer.is_full:
                        yield from buffer.flush()
            elif each.type in ("UploadFile", "UploadFileContent"):
                known = self._states.get(each.path)
                if known is not None and known.kind == FileRef.kind and order == known.since:
                    mark = f"{each.folder.name} {each.version}"
                    yield Upload(each.path, self._content(each), known.is_newer, mark)
        yield from buffer.flush()
        yield from self._axes.values()
        for path, state in self._states.items():
            yield from self._single(path, state)

    def _single(self, path: str, state: _State) -> Iterator[Record]:
        if state.kind in ATOMS.values():
            yield Value(path, state.kind, state.value, state.is_newer)
        elif state.kind == TAGS:
            yield Tags(path, list(state.texts))
        elif state.kind == MEMBERS:
            yield from self._members(path, state)
        elif state.kind == ArtifactValue.kind:
            yield from self._artifact(path, state)

    def _content(self, op: Operation) -> Content | Skipped:
        extension = str(op.facts.get("ext") or "")
        if op.type == "UploadFileContent":
            data = _decoded(op.facts.get("file_content"))
            if data is None:
                return Skipped(op.path, FileRef.kind, "its content is no base64", where=op.where)
            return Content(data=data, extension=extension)
        name = op.facts.get("tmp_file_name")
        given = op.facts.get("file_path")
        if isinstance(name, str) and name:
            folder = os.path.join(op.folder.path, "upload_path")
            place = os.path.join(folder, os.path.basename(name.replace("\\", "/")))
            if os.path.realpath(place) != os.path.join(os.path.realpath(folder), os.path.basename(place)):
                return Skipped(op.path, FileRef.kind, f"{name!r} leads out of the folder", where=op.where)
            missing = f"{name!r} is not in upload_path any more; the client removes its copy once it is uploaded"
        elif isinstance(given, str) and given:
            place = self._local(given)
            refused = roots.refusal(place, self._container.roots)
            if refused:
                return Skipped(op.path, FileRef.kind, refused, where=op.where)
            missing = f"the file {given!r} is not there any more, and the client made no copy of it"
        else:
            return Skipped(op.path, FileRef.kind, "it names no file", where=op.where)
        if not os.path.isfile(place):
            return Skipped(op.path, FileRef.kind, missing, where=op.where)
        modified = os.stat(place).st_mtime_ns if not name else None
        return Content(place, extension=extension, modified=modified)

    def _members(self, path: str, state: _State) -> Iterator[Record]:
        files: dict[str, Content] = {}
        missing: list[Skipped] = []
        for verb, texts, where in state.steps:
            if verb == "delete":
                for name in map(normal, texts):
                    for known in [each for each in files if each == name or each.startswith(f"{name}/")]:
                        del files[known]
                continue
            there: list[str] = []
            for text in map(self._local, texts):
                # Before anything is listed, since even the names of a stranger's pattern are private.
                refused = roots.refusal(roots.fixed_part(text), self._container.roots, text)
                if refused:
                    missing.append(Skipped(path, MEMBERS, refused, where=where))
                elif _matches(text):
                    there.append(text)
                else:
                    reason = f"{text!r} matches no file any more, and the client made no copy"
                    missing.append(Skipped(path, MEMBERS, reason, where=where))
            for each in expand(there) if there else ():
                refused = roots.refusal(each.path, self._container.roots)  # through a link, or by .. behind a wildcard
                if refused:
                    missing.append(Skipped(path, MEMBERS, refused, where=where))
                    continue
                modified = os.stat(each.path).st_mtime_ns
                files[each.name] = Content(each.path, modified=modified)
        named = {name: _with_extension(name, each) for name, each in files.items()}
        yield Members(path, named, missing, _mark(state))

    def _artifact(self, path: str, state: _State) -> Iterator[Record]:
        tracked: dict[str, TrackedFile] = {}
        missing: list[Skipped] = []
        for entries, where in state.steps:
            for place, destination in _entries(entries):
                if "://" in place and not place.startswith("file://"):
                    reason = f"{place!r} is a remote location, which an import does not look at"
                    missing.append(Skipped(path, ArtifactValue.kind, reason, where=where))
                    continue
                local = self._local(unquote(place.removeprefix("file://")) if place.startswith("file://") else place)
                reason = roots.refusal(local, self._container.roots)
                found: list[TrackedFile] = []
                try:
                    found = [] if reason else track(local, destination, lambda _by, _of: None)
                except (FileError, NaiadError, OSError) as error:
                    reason = f"{place!r} cannot be tracked any more: {str(error).splitlines()[0]}"
                for each in found:  # tracking follows links
                    linked = roots.refusal(each.location.removeprefix("file://"), self._container.roots)
                    reason = reason or linked
                    tracked |= {} if linked else {each.path: each}
                if reason:
                    missing.append(Skipped(path, ArtifactValue.kind, reason, where=where))
        files = [tracked[name] for name in sorted(tracked)]
        if files:
            yield Artifact(path, artifact_hash(files), files, missing, "" if missing else _mark(state))
        elif state.value:
            yield Artifact(path, str(state.value), (), missing)
        else:
            yield Artifact(path, "" if missing else artifact_hash([]), (), missing)

    def _local(self, place: str) -> str:
        """Return a path that was relative to the program's folder."""
        if place.startswith(("/", "~")):
            return place
        return str(_home(Path(self._container.folders[0].path)) / place)


def _timed(reads: Iterator[Read]) -> Iterator[tuple[float, Read]]:
    """Yield operations with a time that never goes back within a folder."""
    at = -math.inf
    for each in reads:
        at = max(at, each.at) if isinstance(each, Operation) else at
        yield at, each


class _Buffer:
    """Points of many small operations, to be yielded together."""

    def __init__(self) -> None:
        self._columns: dict[tuple[str, str, str], tuple[list[Any], list[Any], list[Any]]] = {}
        self._points = 0
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether enough waits."""
        return self._points >= MOST_BUFFERED or self._bytes >= MOST_BYTES

    def add(self, op: Operation) -> Iterator[Skipped]:
        """Take the points of an operation; yield those that cannot be taken."""
        kind = LOGS[op.type]
        items = op.facts.get("values")
        if not isinstance(items, list):
            yield Skipped(op.path, kind, "it has no values", where=op.where)
            return
        columns = self._columns.get((op.path, kind, op.folder.name))
        if columns is None:
            columns = self._columns[op.path, kind, op.folder.name] = ([], [], [])
        values, steps, times = columns
        take = _TAKE[kind]
        for item in items:
            try:
                value = take(item["value"])
                step = item.get("step")
                time = item.get("ts")
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
                yield Skipped(op.path, kind, f"a point cannot be read ({error})", where=op.where)
                continue
            values.append(value)
            steps.append(step if isinstance(step, int | float) else None)
            times.append(time if isinstance(time, int | float) else op.at)
            self._points += 1
            if kind != POINTS:
                self._bytes += len(value) if isinstance(value, str) else len(value.data)

    def flush(self) -> Iterator[Record]:
        """Yield everything that waits."""
        for (path, kind, part), (values, steps, times) in self._columns.items():
            bad = sum(1 for step in steps if step is not None and not math.isfinite(step))
            if bad:
                yield Note(f'"{path}": {bad:,} steps were no numbers (NaN), and these points are numbered.')
            if kind == POINTS:
                yield Points(path, values, steps, times, part)
            elif kind == LINES:
                yield Texts(path, kind, values, steps, times, part)
            else:
                yield Files(path, values, steps, times, part)
        self._columns.clear()
        self._points = self._bytes = 0


def _empty(path: str, kind: str, part: str) -> Iterator[Record]:
    if kind == POINTS:
        yield Points(path, [], [], [], part)
    elif kind == LINES:
        yield Texts(path, kind, [], [], [], part)
    else:
        yield Files(path, [], [], [], part)


def _image(value: Any) -> Content:
    """Return an image of a series; old clients wrote its base64 alone.

    Raises:
        ValueError: it has no content.
    """
    facts = {"data": value} if isinstance(value, str) else value
    if not facts.get("data"):
        raise ValueError("the client stored no content, as it did with images of more than 32 MiB")
    data = _decoded(facts["data"])
    if data is None:
        raise ValueError("its content is no base64")
    name, description = facts.get("name"), facts.get("description")
    return Content(
        data=data,
        extension=sniff.extension(data[: sniff.LENGTH]),
        name=None if name is None else str(name),
        description=None if description is None else str(description),
    )


def _number_of(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"the value {value!r:.40} is no number")
    return float(value)


def _text_of(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"the value {value!r:.40} is no text")
    return value


_TAKE: Final[dict[str, Callable[[Any], Any]]] = {POINTS: _number_of, LINES: _text_of, FileSeries.kind: _image}


def _plain(kind: str, value: Any) -> Plain:
    """Return the value of an atom as it is stored; None if it is of another type."""
    if kind == ATOM_OF[float] and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return None
    if kind == ATOM_OF[int] and isinstance(value, int) and not isinstance(value, bool):
        return value if -(1 << 63) <= value < 1 << 63 else None
    if kind == ATOM_OF[bool] and isinstance(value, bool):
        return value
    if kind == ATOM_OF[str] and isinstance(value, str):
        return value
    if kind == ATOM_OF[datetime] and isinstance(value, int | float) and not isinstance(value, bool):
        return round(value * 1000) if math.isfinite(value) and abs(value) < 2.5e14 else None
    return None


def _real(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _texts(values: object) -> list[str]:
    return [each for each in values if isinstance(each, str)] if isinstance(values, list) else []


def _entries(entries: object) -> Iterator[tuple[str, str | None]]:
    for each in entries if isinstance(entries, list) else ():
        if isinstance(each, list) and each and isinstance(each[0], str):
            yield each[0], each[1] if len(each) > 1 and isinstance(each[1], str) else None


def _matches(pattern: str) -> bool:
    import glob

    return os.path.lexists(pattern) or bool(glob.glob(pattern, recursive=True))


def _with_extension(name: str, content: Content) -> Content:
    extension = os.path.splitext(name)[1][1:]
    return Content(content.path, extension=extension, modified=content.modified)


def _decoded(text: object) -> bytes | None:
    if not isinstance(text, str):
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


@hookimpl
def naiad_importer() -> Importer:
    """Return the importer."""
    return Importer(
        NAME, "folders of Neptune's client (.neptune)", find, Container, roots.OPTIONS, repeated=roots.REPEATED
    )
