"""References to stored files and artifact versions: facts and place of the content, as JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Annotated, ClassVar, TypeVar

import msgspec

from naiad.errors import DamagedData
from naiad.value import Value

T = TypeVar("T")

Count = Annotated[int, msgspec.Meta(ge=0)]
BlobName = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{64}|[A-Za-z0-9_-]{1,64}\.[0-9a-f]{16})?\Z")]
"""A sha256, an incoming name, or nothing: never anything that could become another path."""


class FileRef(Value, msgspec.Struct, frozen=True):
    """The facts of one stored file. Assigned to a path, it makes a File field there.

    Its bytes are `content` if they are few, else the blob, or `size` bytes of the blob from `start`. A blob is named by
    its sha256 or, until that is computed, by the name under which it came in; `Reader.resolve` maps one to the other.
    """

    kind: ClassVar[str] = "file"
    size: Count
    extension: str = ""
    content: bytes | None = None
    blob: BlobName = ""
    start: Count | None = None
    sha256: str = ""  # of a slice; that of a whole blob is its name
    name: str | None = None
    description: str | None = None
    modified: int | None = None  # nanoseconds since 1970 UTC

    @classmethod
    def of_bytes(cls, content: bytes, extension: str = "") -> FileRef:
        """A file whose bytes travel with it."""
        return cls(len(content), extension, content=content)

    def to_text(self) -> str:
        """Return the reference as JSON, without unknown facts."""
        known = msgspec.structs.asdict(self)
        content = None if self.content is None else base64.b64encode(self.content).decode()
        return json.dumps(
            {name: value for name, value in {**known, "content": content}.items() if value not in (None, "")}
        )

    @classmethod
    def from_text(cls, text: str) -> FileRef:
        """Parse a reference from JSON.

        Raises:
            DamagedData: it is no such text.
        """
        file = read_facts(text, cls)
        # An empty file has no blob, and "" is left out of the JSON.
        return file if file.blob or file.content is not None else msgspec.structs.replace(file, content=b"")

    def summary(self) -> str:
        """Its extension and size, for a person."""
        return f"{self.extension or 'file'}, {size_text(self.size)}"

    def moved(self, blob: str) -> FileRef:
        """The same file in another blob."""
        return msgspec.structs.replace(self, blob=blob)

    def digest(self) -> str:
        """Its sha256 as far as it is known: empty for a blob that is not hashed yet."""
        if self.content is not None:
            import hashlib  # late: it loads OpenSSL

            return hashlib.sha256(self.content).hexdigest()
        return self.sha256 if self.start is not None else "" if "." in self.blob else self.blob


def incoming(files: Iterable[FileRef]) -> list[str]:
    """Return the names of ingested content of files, as far as it is not yet known by its sha256."""
    return list(dict.fromkeys(file.blob for file in files if "." in file.blob))


class ArtifactRef(msgspec.Struct, frozen=True):
    """A reference to one version of an artifact. The facts of its files are in a stored file, `manifest`."""

    hash: str
    files: Count
    size: Count
    manifest: str
    content: str = ""
    """The hash of paths and content alone; empty of a version that an earlier release wrote."""

    def to_text(self) -> str:
        """The JSON of it."""
        return json.dumps(msgspec.structs.asdict(self))

    @classmethod
    def from_text(cls, text: str) -> ArtifactRef:
        """Parse a version from JSON.

        Raises:
            DamagedData: it is no such text.
        """
        return read_facts(text, cls)


def files_text(files: int, size: int) -> str:
    """Return how many files there are and their size together, for a person."""
    return f"{'1 file' if files == 1 else f'{files:,} files'}, {size_text(size)}"


def size_text(size: int) -> str:
    """Return a number of bytes for a person.

    >>> size_text(999), size_text(3_000_000)
    ('999 B', '3.0 MB')
    """
    number = float(size)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000 or unit == "TB":
            break
        number /= 1000
    return f"{size} B" if unit == "B" else f"{number:.1f} {unit}"


def read_facts(text: str | bytes, made_of: type[T]) -> T:
    """Parse JSON from a store with every value checked; members of later releases are ignored.

    Raises:
        DamagedData: it describes something else.
    """
    try:
        return msgspec.convert(json.loads(text), made_of)
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        what = f"it is not a {getattr(made_of, '__name__', made_of)} ({error})"
        raise DamagedData(f"An entry of a run is damaged: {what}.", file="", offset=0, what=what) from error
