"""Tracked files: the facts of each file of an artifact, their common hash, and comparing two versions.

An artifact never holds content, only these facts and where the original lies. A driver finds them; see the hook
`naiad_artifact_driver`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from msgspec import Struct

Progress = Callable[[int, int], object]
"""Told how many more bytes are done, and how many there are in all."""

EARLIEST, LATEST = -62_135_510_400.0, 253_402_214_400.0  # years 1 to 9999, less a day for the sake of time zones
HASH_RULE = b"naiad artifact 1"
CONTENT_RULE = b"naiad artifact content 1"
CONTENT_FACTS = ("path", "content")


class TrackedFile(Struct, frozen=True):
    """The six facts that make the hash of an artifact, for one file."""

    path: str
    """Where it is in the artifact."""
    content: str
    """Hash of its content: SHA-256 in hex, or what the storage has for that, such as the ETag of S3."""
    size: int
    modified: int
    """When it was last changed, in nanoseconds since 1970 UTC; 0 where the storage does not tell."""
    storage: str
    """`Local`, `S3`, `GCS`, else the scheme."""
    location: str
    """Where the original lies: `file:///data/a.csv`, `s3://bucket/a.csv`. Nothing in it is percent-encoded."""

    def as_data(self) -> ArtifactFileData:
        """As `fetch_files_list()` shows it."""
        metadata = {"file_path": self.location, "last_modified": self._local_time()}
        if self.storage != "Local":
            metadata["location"] = self.location  # the name that Neptune's client had for it
        return ArtifactFileData(self.path, self.content, self.storage, metadata, self.size)

    def _local_time(self) -> str:
        moment = datetime.fromtimestamp(shown_seconds(self.modified) // 1)  # local time, as Neptune showed it
        return moment.strftime("%Y-%m-%d %H:%M:%S")


class ArtifactFileData(Struct, frozen=True):
    """One file of an artifact. `metadata` has `file_path` (where the original lies) and `last_modified` (local)."""

    file_path: str
    file_hash: str
    type: str
    metadata: Mapping[str, str]
    size: int | None = None
    """Bytes."""


def shown_seconds(nanoseconds: int) -> float:
    """A file's time in seconds since 1970, clamped to the range of datetime.

    >>> shown_seconds(1_500_000_000), shown_seconds(10**21)
    (1.5, 253402214400.0)
    """
    return min(max(nanoseconds / 1e9, EARLIEST), LATEST)


class ArtifactDriver(ABC):
    """Driver of one storage: lists and downloads its files."""

    @abstractmethod
    def track(self, location: str, progress: Progress) -> list[TrackedFile]:
        """The files at a location now. Paths are relative to a folder; a single file has its own name.

        Raises:
            EmptyLocation: there is no file.
            FileError: the storage cannot be read.
        """

    @abstractmethod
    def fetch(self, file: TrackedFile, target: Path, report: Callable[[int], object]) -> None:
        """Make `target` a copy of the original, whole or not at all.

        Raises:
            OriginalMissing: it is gone.
            OriginalChanged: it has other content than when it was tracked.
            FileError: the storage cannot be read.
        """


def artifact_hash(files: Iterable[TrackedFile]) -> str:
    """SHA-256 in hex over the facts of all files; it changes with any of them and with nothing else.

    The digest is of `naiad artifact 1`, then, for each file in the order of the UTF-8 bytes of its path, the six facts
    in the order of `TrackedFile`: each as its length in 8 bytes, big-endian, and its bytes (texts in UTF-8 with
    surrogates passed through, numbers in decimal).
    """
    return _digest(HASH_RULE, files, FACTS)


def content_hash(files: Iterable[TrackedFile]) -> str:
    """SHA-256 in hex over path and content of all files.

    The digest is of `naiad artifact content 1`, then, for each file in the order of the UTF-8 bytes of its path, path
    and content as in `artifact_hash`.
    """
    return _digest(CONTENT_RULE, files, CONTENT_FACTS)


def _digest(rule: bytes, files: Iterable[TrackedFile], facts: Sequence[str]) -> str:
    import hashlib  # late: it loads OpenSSL

    sha = hashlib.sha256(rule)
    for file in sorted(files, key=lambda file: _bytes(file.path)):
        for name in facts:
            # Each with its length: without it "ab" + "c" and "a" + "bc" would have one hash.
            data = _bytes(getattr(file, name))
            sha.update(len(data).to_bytes(8, "big") + data)
    return sha.hexdigest()


def _bytes(fact: str | int) -> bytes:
    return str(fact).encode("utf-8", "surrogatepass")


FACTS = ("path", "content", "size", "modified", "storage", "location")


class Change(Struct, frozen=True):
    """A file that is in both versions and not the same."""

    old: TrackedFile
    new: TrackedFile

    @property
    def facts(self) -> tuple[str, ...]:
        """Which facts differ; without `content` the file was only touched or moved."""
        return tuple(name for name in FACTS if getattr(self.old, name) != getattr(self.new, name))


class Changes(Struct, frozen=True):
    """How one version of an artifact became another; each list in the order of paths. All empty: the hashes agree."""

    added: list[TrackedFile]
    removed: list[TrackedFile]
    changed: list[Change]

    @property
    def is_content_same(self) -> bool:
        """Whether at most times and places of files differ."""
        is_changed = any(name in each.facts for each in self.changed for name in CONTENT_FACTS)
        return not (self.added or self.removed or is_changed)


def diff(old: Iterable[TrackedFile], new: Iterable[TrackedFile]) -> Changes:
    """Compare two versions of an artifact, file by file."""
    before = {file.path: file for file in old}
    after = {file.path: file for file in new}
    return Changes(
        added=[after[path] for path in sorted(after.keys() - before.keys())],
        removed=[before[path] for path in sorted(before.keys() - after.keys())],
        changed=[
            Change(before[path], after[path])
            for path in sorted(before.keys() & after.keys())
            if before[path] != after[path]
        ],
    )
