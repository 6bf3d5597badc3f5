"""The alert: one event of a run, as plain data for those who deliver it."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import asdict

Target: TypeAlias = str | tuple[str, ...]
"""Where alerts go: an address such as `https://...`, or a command as its words."""


class Alert(Struct, frozen=True):
    """One event of one run."""

    event: str
    """`failed`, `killed`, `nan` or `stalled`."""
    text: str
    """A sentence about it, for people."""
    id: str
    uid: str
    project: str
    name: str
    store: str
    time: float
    """Seconds since 1970 UTC when it was noticed."""
    key: str = ""
    """The same whenever this alert is sent again, because a process died while it was sent."""
    path: str | None = None
    """The series that it is about."""
    step: float | None = None
    value: str | None = None
    """The value that is not finite, as text, because JSON has none."""

    def document(self) -> dict[str, object]:
        """Return its facts for JSON. `text` is where chat services look for the message."""
        return {name: value for name, value in asdict(self).items() if value is not None}
