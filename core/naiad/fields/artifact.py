"""Artifacts: names, locations and hashes of files, without their content."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec.structs import astuple

from naiad import html, progress
from naiad.errors import ArtifactNotFound, FieldConflict, NaiadTypeError, shown
from naiad.fields.base import Field, current
from naiad.fields.file import kept, take
from naiad.file import File as FileValue
from naiad.files import tracking
from naiad.files.tracked import ArtifactFileData, TrackedFile, artifact_hash, content_hash
from naiad.ops import Assign
from naiad.refs import ArtifactRef, files_text, incoming, read_facts, size_text
from naiad.storage.base import Change, RunReader, RunWriter
from naiad.types import Artifact as ArtifactValue
from naiad.typing import ProgressBarType

Manifest = list[tuple[str, str, int, int, str, str]]
"""The fields of a `TrackedFile`, of each file."""


class Artifact(Field):
    """A version of a data set, a model or other files, by the hash of their facts."""

    kind = ArtifactValue.kind
    _planned: Sequence[TrackedFile] = ()  # those of the change that was planned last
    _written: Sequence[TrackedFile] = ()  # those of the change that this process wrote last
    remedy = "It has track_files(), assign(), download() and the fetches. Use another path for anything else."

    def assign(self, value: object, *, wait: bool = False) -> None:
        """Replace the version by one that was fetched from another field."""
        self.write(wait, self.plan_assign, value)

    def track_files(
        self,
        path: str | os.PathLike[str],
        *,
        destination: str | None = None,
        wait: bool = False,
        progress_bar: ProgressBarType | None = None,
    ) -> None:
        """Add files; see `Handler.track_files`."""
        self.write(wait, self.plan_track, track(path, destination, progress_bar))

    def forget(self) -> None:
        """Begin anew: nothing is tracked."""
        super().forget()
        self._written = ()

    @current
    def fetch(self) -> ArtifactValue:
        """Return the version, to be assigned to another field or compared with another version."""
        version = self._version()
        return ArtifactValue(version.hash, tuple(self._files(version)))

    @current
    def fetch_hash(self) -> str:
        """Return the hash: SHA-256 in hex."""
        return self._version().hash

    @current
    def fetch_files_list(self) -> list[ArtifactFileData]:
        """Return the facts of each file, in the order of their paths."""
        return [file.as_data() for file in self._files(self._version())]

    @current
    def download(
        self, destination: str | os.PathLike[str] | None = None, progress_bar: ProgressBarType | None = None
    ) -> None:
        """Copy the files from where they were tracked, each checked against its hash.

        Args:
            destination: a folder, which is made if need be; the working directory if None.
            progress_bar: False for none, or a class of your own.

        Raises:
            OriginalMissing, OriginalChanged: a file differs from the tracked one.
        """
        files = self._files(self._version())
        folder = Path.cwd() if destination is None else Path(os.path.expanduser(os.fsdecode(destination)))
        with progress.showing(progress_bar, f"Downloading {self.path}", sum(file.size for file in files)) as report:
            tracking.download(files, folder, lambda by, _total: report(by))

    def shown(self) -> str:
        """Return hashes, number and size of the files."""
        return self.summary(self._version().to_text())

    def drawn(self) -> list[str]:
        """Return the hashes, and the files with their sizes."""
        rows = [(file.path, size_text(file.size)) for file in self._files(self._version())]
        return [html.text(self.shown()), html.grid(("path", "size"), rows)]

    @classmethod
    def summary(cls, stored: str) -> str:
        """Return hash, number of files, size and the hash of the content of a stored version."""
        version = ArtifactRef.from_text(stored)
        content = f"  content {version.content}" if version.content else ""
        return f"{version.hash}  {files_text(version.files, version.size)}{content}"

    def content(self) -> ArtifactValue:
        """Return the version, for a copy of it."""
        return self.fetch()

    def plan_assign(self, value: object) -> Change:
        """Check a version that shall replace this one, and return the change."""
        if not isinstance(value, ArtifactValue):
            raise NaiadTypeError(
                f'"{self.path}" is an Artifact and cannot hold {shown(value)}.\n'
                "Assign the result of fetch() of another artifact, or use track_files().",
                path=self.path,
                value=value,
            )
        if value.files is not None:
            return self._plan(value.files)
        return self._plan([] if value.hash is None else self._known(value.hash))

    def plan_track(self, files: Iterable[TrackedFile]) -> Change:
        """Return the change that adds tracked files to those that are there; of one path the newer one counts."""
        old = [] if self.is_new else self._files_now()
        # Sorted by path, since the hash is taken over the files in their order and must not depend on that of the
        # calls.
        merged = {file.path: file for file in old} | {file.path: file for file in files}
        return self._plan([merged[path] for path in sorted(merged)])

    def _plan(self, files: Iterable[TrackedFile]) -> Change:
        facts = [astuple(file) for file in files]
        manifest = take(self.session, FileValue(content=json.dumps(facts).encode(), extension="json"))
        digest = artifact_hash(TrackedFile(*each) for each in facts)
        self._planned = [TrackedFile(*each) for each in facts]
        same = content_hash(self._planned)
        size = sum(file.size for file in self._planned)
        text = ArtifactRef(digest, len(facts), size, manifest.to_text(), same).to_text()
        return self.change(Assign(self.path, self.kind, text), content=incoming([manifest]))

    def applied(self, change: Change, writer: RunWriter) -> None:  # noqa: ARG002 (a change holds no list of files)
        """Remember the files, since no reader sees them before the disk takes them."""
        self.is_new = False
        self._written = self._planned

    def _known(self, digest: str) -> list[TrackedFile]:
        """The files of a version that some field of the same container has."""
        reader = self.session.reader
        for path, kind in reader.kinds().items():
            if kind == self.kind:
                version = ArtifactRef.from_text(str(reader.value(path)))
                if version.hash == digest:
                    return self._files(version)
        raise ArtifactNotFound(
            f'"{self.path}" cannot become version {digest}, because no artifact of this run has that version.\n'
            "Assign the result of fetch() of the other field.",
            path=self.path,
        )

    def _files_now(self) -> Sequence[TrackedFile]:
        """Return the files of the version; those last written, while they wait for the disk."""
        # While the disk takes nothing, the version is not readable, and files that are tracked now must be added to
        # it all the same.
        if self._written and self.session.writer.is_degraded:
            return self._written
        return self._files(self._version())

    def _version(self) -> ArtifactRef:
        kind, text = self.session.reader.atom(self.path)
        if kind != self.kind:
            raise FieldConflict(f'"{self.path}" is now of kind {kind}.', path=self.path)
        return ArtifactRef.from_text(str(text))

    def _files(self, version: ArtifactRef) -> list[TrackedFile]:
        return _manifest(self.session.reader, version)


def tracked_files(reader: RunReader, path: str) -> list[TrackedFile]:
    """The files of the artifact at a path."""
    return _manifest(reader, ArtifactRef.from_text(str(reader.value(path))))


def _manifest(reader: RunReader, version: ArtifactRef) -> list[TrackedFile]:
    facts = read_facts(reader.read_file(kept(version.manifest)), Manifest)
    return [TrackedFile(*each) for each in facts]


def track(
    path: str | os.PathLike[str], destination: str | None = None, progress_bar: ProgressBarType | None = None
) -> list[TrackedFile]:
    """Look at the files at a location, with a progress bar if there is much to hash."""
    with progress.showing(progress_bar, f"Hashing {os.fspath(path)}") as report:
        return tracking.track(path, destination, report)
