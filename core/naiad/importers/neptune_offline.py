"""The folders that Neptune's client leaves behind: `.neptune/offline`, `async` and `sync`.

Each folder is the queue of one process for one container: operations as JSON, in files `data-N.log`. All folders of a
container are replayed together, ordered by time. The log is read twice: the first time to see which operations count in
the end, since later ones clear, delete and replace; the second time to yield those.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from naiad.errors import ImportRefused, NaiadError
from naiad.hookspecs import hookimpl
from naiad.importer import Importer, Progress, Source
from naiad.importers import roots
from naiad.importers.operation_files import NamedFiles
from naiad.importers.operations import LOG, Folder, first_time, logs_of
from naiad.importers.replay import Replay, State
from naiad.records import (
    Record,
    Skipped,
)

NAME: Final = "neptune-offline"
KINDS_OF: Final = ("run", "project", "model_version", "model")
DEEPEST = 8
"""Folders below the one that is named; the client makes three."""
_FOLDER = re.compile(
    r"(?:(?P<kind>run|project|model_version|model)__)?(?P<uuid>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})(?:__|\Z)"
)


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
        replay = self._replay(self._elsewhere)
        replay.look()
        yield from replay.yielded(progress)

    def _replay(self, elsewhere: Callable[[str], Mapping[str, State]]) -> Replay:
        files = NamedFiles(_home(Path(self.folders[0].path)), self.roots)
        return Replay(self.uuid, self.folders, files, elsewhere)

    def _elsewhere(self, uuid: str) -> Mapping[str, State]:
        """Return the fields of another container of the same source, for an operation that copies one of them."""
        try:
            containers = find(Path(self.root), {}).containers
        except NaiadError:
            return {}
        for each in containers:
            if isinstance(each, Container) and each.uuid == uuid.lower() and each.uuid != self.uuid:
                replay = each._replay(lambda _uuid: {})  # a copy of a copy ends here
                replay.look()
                return replay.values()
        return {}


def find(path: Path, options: Mapping[str, Any]) -> Source:
    """Return the containers of a `.neptune` folder, or of any part of it."""
    # The folder of the program is named more often than `.neptune` itself, and may hold a million other files.
    root = path / ".neptune" if (path / ".neptune").is_dir() else path
    found: dict[str, list[Folder]] = {}
    facts: dict[str, dict[str, Any]] = {}
    problems: list[Skipped] = []
    for folder in _queues(root):
        meta, problem = _metadata(folder)
        if problem:
            problems.append(problem)
        named = _named(folder)
        # Before 1.x metadata.json may be missing: kind and id stand in the name of the folder then, and the oldest
        # names have the id alone.
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
            f"{str(path)!r} contains no data of Neptune's client: there is no folder with a file data-*.log.\n"
            "Name the folder .neptune, or a folder below it.",
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
    # Without metadata the first operation is the nearest to the creation.
    if created is None:
        created = next((at for at in map(first_time, ordered) if at is not None), None)
    size = sum(os.stat(log).st_size for each in folders for _number, log in logs_of(each.path))
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
        if any(LOG.match(name) for name in names) or {"metadata.json", "last_put_version"} <= names:
            yield folder
        elif depth < DEEPEST:
            waiting += [(Path(each.path), depth + 1) for each in listed if each.is_dir(follow_symlinks=False)]


def _metadata(folder: Path) -> tuple[dict[str, Any], Skipped | None]:
    place = folder / "metadata.json"
    if not place.is_file():
        return {}, None
    try:
        found = json.loads(place.read_bytes())
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


@hookimpl
def naiad_importer() -> Importer:
    """Return the importer."""
    return Importer(
        NAME, "folders of Neptune's client (.neptune)", find, Container, roots.OPTIONS, repeated=roots.REPEATED
    )
