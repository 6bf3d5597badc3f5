"""Files that operations of Neptune's client name: copies that it made, and paths of this machine."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from naiad.errors import FileError, NaiadError
from naiad.files.globs import expand
from naiad.files.names import normal
from naiad.files.tracked import TrackedFile, artifact_hash
from naiad.files.tracking import track
from naiad.importers import roots
from naiad.importers.operation_points import decoded
from naiad.importers.operations import Operation
from naiad.kinds import MEMBERS
from naiad.records import (
    Artifact,
    Content,
    Members,
    Skipped,
)
from naiad.refs import FileRef
from naiad.types import Artifact as ArtifactValue


class NamedFiles:
    """The files that operations of one container name: copies in its folders, and paths within the roots."""

    def __init__(self, home: Path, readable: Sequence[str]) -> None:
        self._home = home
        self._roots = readable

    def content(self, op: Operation) -> Content | Skipped:
        """Return the content of an upload, or the reason why there is none."""
        extension = str(op.facts.get("ext") or "")
        if op.type == "UploadFileContent":
            data = decoded(op.facts.get("file_content"))
            if data is None:
                return Skipped(op.path, FileRef.kind, "its content is not valid base64", where=op.where)
            return Content(data=data, extension=extension)
        name = op.facts.get("tmp_file_name")
        given = op.facts.get("file_path")
        if isinstance(name, str) and name:
            folder = os.path.join(op.folder.path, "upload_path")
            # Only the last part means something here: with more of it a log could lead out of the folder.
            place = os.path.join(folder, os.path.basename(name.replace("\\", "/")))
            if os.path.realpath(place) != os.path.join(os.path.realpath(folder), os.path.basename(place)):
                return Skipped(op.path, FileRef.kind, f"{name!r} leads out of the folder", where=op.where)
            missing = f"{name!r} is not in upload_path any more; the client removes its copy once it is uploaded"
        elif isinstance(given, str) and given:
            place = self._local(given)
            refused = roots.refusal(place, self._roots)
            if refused:
                return Skipped(op.path, FileRef.kind, refused, where=op.where)
            missing = f"the file {given!r} is not there any more, and the client made no copy of it"
        else:
            return Skipped(op.path, FileRef.kind, "it names no file", where=op.where)
        if not os.path.isfile(place):
            return Skipped(op.path, FileRef.kind, missing, where=op.where)
        # The time of a copy that the client made is that of the call, not of the file.
        modified = os.stat(place).st_mtime_ns if not name else None
        return Content(place, extension=extension, modified=modified)

    def members(self, path: str, steps: Sequence[Any], mark: str) -> Members:
        """Return the files of a set after its operations: verb, texts and place of each."""
        files: dict[str, Content] = {}
        missing: list[Skipped] = []
        for verb, texts, where in steps:
            if verb == "delete":
                # delete_files() of a folder removes everything below it.
                for name in map(normal, texts):
                    for known in [each for each in files if each == name or each.startswith(f"{name}/")]:
                        del files[known]
                continue
            there: list[str] = []
            for text in map(self._local, texts):
                # Before anything is listed, since even the names of a stranger's pattern are private.
                fixed = roots.fixed_part(text)
                refused = roots.refusal(fixed, self._roots, text)
                if ".." in text[len(fixed) :].split("/"):  # the client's own patterns are absolute and without
                    refused = f"{text!r} goes up again behind a wildcard, and is not read"
                if refused:
                    missing.append(Skipped(path, MEMBERS, refused, where=where))
                elif _matches(text):
                    there.append(text)
                else:
                    reason = f"{text!r} matches no file any more, and the client made no copy"
                    missing.append(Skipped(path, MEMBERS, reason, where=where))
            for each in expand(there) if there else ():
                refused = roots.refusal(each.path, self._roots)  # through a link
                if refused:
                    missing.append(Skipped(path, MEMBERS, refused, where=where))
                    continue
                modified = os.stat(each.path).st_mtime_ns
                files[each.name] = Content(each.path, modified=modified)
        named = {name: _with_extension(name, each) for name, each in files.items()}
        return Members(path, named, missing, mark)

    def artifact(self, path: str, steps: Sequence[Any], given: str, mark: str) -> Artifact:
        """Return an artifact of a given hash, or of the files that its operations track: entries and place of each."""
        tracked: dict[str, TrackedFile] = {}
        missing: list[Skipped] = []
        for entries, where in steps:
            for place, destination in _entries(entries):
                # A bucket would have to be asked, with credentials of the user who imports, at an address that the
                # log names.
                if "://" in place and not place.startswith("file://"):
                    reason = f"{place!r} is a remote location, which an import does not look at"
                    missing.append(Skipped(path, ArtifactValue.kind, reason, where=where))
                    continue
                local = self._local(unquote(place.removeprefix("file://")) if place.startswith("file://") else place)
                reason = roots.refusal(local, self._roots)
                found: list[TrackedFile] = []
                try:
                    found = [] if reason else track(local, destination, lambda _by, _of: None)
                except (FileError, NaiadError, OSError) as error:
                    reason = f"{place!r} cannot be tracked any more: {str(error).splitlines()[0]}"
                for each in found:  # tracking follows links
                    linked = roots.refusal(each.location.removeprefix("file://"), self._roots)
                    reason = reason or linked
                    tracked |= {} if linked else {each.path: each}
                if reason:
                    missing.append(Skipped(path, ArtifactValue.kind, reason, where=where))
        files = [tracked[name] for name in sorted(tracked)]
        if files:
            return Artifact(path, artifact_hash(files), files, missing, "" if missing else mark)
        return Artifact(path, given or ("" if missing else artifact_hash([])), (), missing)

    def _local(self, place: str) -> str:
        """Return a path that was relative to the program's folder."""
        if place.startswith(("/", "~")):
            return place
        return str(self._home / place)


def _entries(entries: object) -> Iterator[tuple[str, str | None]]:
    for each in entries if isinstance(entries, list) else ():
        if isinstance(each, list) and each and isinstance(each[0], str):
            yield each[0], each[1] if len(each) > 1 and isinstance(each[1], str) else None


def _matches(pattern: str) -> bool:
    return os.path.lexists(pattern) or bool(glob.glob(pattern, recursive=True))


def _with_extension(name: str, content: Content) -> Content:
    extension = os.path.splitext(name)[1][1:]
    return Content(content.path, extension=extension, modified=content.modified)
