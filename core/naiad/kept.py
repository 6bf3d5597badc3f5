"""A file as a run keeps it: what is known of it, and where its bytes are. Written as JSON wherever a file can be."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, fields, replace
from typing import Annotated, ClassVar

import msgspec

from naiad.errors import DamagedData
from naiad.value import Value

__all__ = ["KeptFile"]

Count = Annotated[int, msgspec.Meta(ge=0)]
BlobName = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{64}|[A-Za-z0-9_-]{1,64}\.[0-9a-f]{16})?\Z")]
"""A sha256, an incoming name, or nothing: never anything that could become another path."""


@dataclass(frozen=True)
class KeptFile(Value):
    """The facts of one stored file. Assigned to a path, it makes a File field there.

    Its bytes are `content` if they are few, else the blob, or `size` bytes of the blob from `start`. A blob is named by
    its sha256 or, until that is known, by the name under which it came in; `Reader.resolve` tells them apart.
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
    def of_bytes(cls, content: bytes, extension: str = "") -> KeptFile:
        """A file whose bytes travel with it."""
        return cls(len(content), extension, content=content)

    def to_text(self) -> str:
        """The JSON of it; what is not known is left out."""
        known = {each.name: getattr(self, each.name) for each in fields(self)}
        content = None if self.content is None else base64.b64encode(self.content).decode()
        return json.dumps(
            {name: value for name, value in {**known, "content": content}.items() if value not in (None, "")}
        )

    @classmethod
    def from_text(cls, text: str) -> KeptFile:
        """The file that a JSON text tells of; what a later release says besides is passed over.

        Raises:
            DamagedData: it is no such text.
        """
        try:
            known = json.loads(text)
            if not known.get("blob"):
                known.setdefault("content", "")
            return msgspec.convert(known, cls)
        except (ValueError, AttributeError, RecursionError, msgspec.ValidationError) as error:
            what = f"it tells of no stored file ({error})"
            raise DamagedData(f"An entry of a run is damaged: {what}.", file="", offset=0, what=what) from error

    def moved(self, blob: str) -> KeptFile:
        """The same file in another blob."""
        return replace(self, blob=blob)

    def digest(self) -> str:
        """Its sha256 as far as it is known: empty for a blob that is not hashed yet."""
        if self.content is not None:
            return hashlib.sha256(self.content).hexdigest()
        return self.sha256 if self.start is not None else "" if "." in self.blob else self.blob
