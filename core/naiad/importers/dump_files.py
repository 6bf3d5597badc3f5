"""Files of a dump, which lie in a folder beside its rows: contents, archives of file sets, lists of artifacts."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from naiad.files.tracked import TrackedFile
from naiad.importers import sniff, zips
from naiad.kinds import MEMBERS
from naiad.records import (
    Artifact,
    Content,
    Members,
    Record,
    Skipped,
)
from naiad.types import Artifact as ArtifactValue


class DumpFiles:
    """The files beside a dump. No name in it leads out of their folder."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def place(self, name: str) -> str | None:
        """Return where a file of the dump is; None for a name that leads out of it."""
        if zips.is_hostile(name):
            return None
        root = os.path.realpath(self._folder)
        for place in (os.path.join(root, name), os.path.join(root, os.path.basename(root), name)):
            if os.path.lexists(place):
                found = os.path.realpath(place)
                return found if found.startswith(root + os.sep) else None
        return os.path.join(root, name)

    def content(self, path: str, kind: str, name: str, where: str, text: str | None) -> Content | Skipped:
        """Return a file with its extension, sniffed where the exporter has lost it, or the reason why there is none."""
        place = self.place(name)
        if place is None:
            return Skipped(path, kind, f"the path {name!r} leads out of the dump", where=where)
        facts = parsed(text) or {}
        if not os.path.isfile(place):
            return Skipped(path, kind, f"the file {place!r} is not in the dump", where=where)
        extension = facts.get("extension")
        if not isinstance(extension, str):
            extension = os.path.splitext(name)[1][1:] or os.path.splitext(path)[1][1:]
            if not extension:
                with open(place, "rb") as stream:
                    extension = sniff.extension(stream.read(sniff.LENGTH))
        modified = facts.get("modified")
        return Content(
            place, extension=extension, name=_text(facts.get("name")), description=_text(facts.get("description")),
            modified=modified if isinstance(modified, int) else None,
        )  # fmt: skip

    def members(self, path: str, place: str, where: str, text: str | None) -> Iterator[Record]:
        """Yield the files of a set, which lie in one archive in a folder."""
        facts = parsed(text) or {}
        times = facts.get("modified")
        modified: dict[str, Any] = times if isinstance(times, dict) else {}
        names = sorted(os.listdir(place)) if os.path.isdir(place) else []
        archives = [os.path.join(place, each) for each in names if each.endswith(".zip")]
        # No link, which may lead out of the dump, and no pipe, which would wait for its writer forever.
        archives = [each for each in archives if os.path.isfile(each) and not os.path.islink(each)]
        if os.path.isfile(place) and place.endswith(".zip"):
            archives = [place]
        if not archives:
            if facts.get("files") == 0:
                yield Members(path, {})
            else:
                yield Skipped(path, MEMBERS, f"there is no archive in {place!r}", where=where)
            return
        for archive in archives:
            with zips.opened(archive, path, MEMBERS) as (files, skipped):
                yield from skipped
                yield Members(path, {name: _dated(each, modified.get(name)) for name, each in files.items()})

    def artifact(self, path: str, place: str, where: str, text: str | None) -> Record:
        """Return an artifact, of which the exporter keeps the list of files and no content."""
        kind = ArtifactValue.kind
        facts = parsed(text) or {}
        if not os.path.isfile(place):
            return Skipped(path, kind, f"the file {place!r} is not in the dump", where=where)
        try:
            with open(place, "rb") as stream:
                entries = json.loads(stream.read())
            files = [_tracked(each) for each in entries]
            given = facts.get("hash")
            hash = given if isinstance(given, str) else neptune_hash(entries)
        # OverflowError: a size that is no integer of 64 bits.
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            return Skipped(path, kind, f"{place} is not a list of files ({error!r})", where=where)
        return Artifact(path, hash, files)


def neptune_hash(entries: Sequence[Mapping[str, Any]]) -> str:
    """Return the hash that Neptune had for an artifact: SHA-256 over path, hash, size and type of each file."""
    sha = hashlib.sha256()
    # The order is that of paths, which the client sorted before it hashed; lengths stand before texts so that none
    # can be cut elsewhere.
    for each in sorted(entries, key=lambda entry: str(entry["filePath"])):
        path, kind = str(each["filePath"]), str(each.get("type") or "")
        sha.update(b"#" + len(path).to_bytes(4, "big") + path.encode("utf-8", "surrogatepass"))
        sha.update(
            b"#" + str(each["fileHash"]).encode() + b"#" + int(each.get("size") or 0).to_bytes(8, "big", signed=True)
        )
        sha.update(b"#" + len(kind).to_bytes(4, "big") + kind.encode())
    return sha.hexdigest()


def _tracked(entry: Mapping[str, Any]) -> TrackedFile:
    facts = {each["key"]: each["value"] for each in entry.get("metadata") or ()}
    own = entry.get("naiad") or {}
    location = str(own.get("location") or facts.get("location") or facts.get("file_path") or "")
    modified = own.get("modified")
    if not isinstance(modified, int):
        modified = _nanoseconds(str(facts.get("last_modified") or ""))
    storage, size = str(entry.get("type") or ""), int(entry.get("size") or 0)
    if not 0 <= size < 1 << 63:
        raise ValueError(f"the size {size} of {entry['filePath']!r}")
    return TrackedFile(str(entry["filePath"]), str(entry["fileHash"]), size, modified, storage, location)


def _nanoseconds(text: str) -> int:
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()) * 10**9
    except ValueError:
        return 0


def parsed(text: str | None) -> dict[str, Any] | None:
    """Return the facts in a text of JSON; None if it is none."""
    if not isinstance(text, str):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _dated(content: Content, modified: object) -> Content:
    if not isinstance(modified, int):
        return content
    return Content(content.path, content.data, content.extension, content.name, content.description, modified)
