"""Moments."""

from __future__ import annotations

from datetime import datetime

from naiad import convert, scalars
from naiad.fields.atom import Atom
from naiad.ops import Plain


class Datetime(Atom[datetime]):
    """A moment, kept to the microsecond and fetched in UTC. What is given without a time zone is local time."""

    kind = "datetime"

    def plain(self, value: object) -> Plain:
        """Return the moment as it is stored: microseconds since 1970 UTC."""
        moment = convert.into(self.kind, self.path, value)
        assert isinstance(moment, datetime)
        return scalars.microseconds(moment)

    @classmethod
    def read(cls, plain: Plain) -> datetime:
        """Return the stored moment."""
        return scalars.from_microseconds(plain)  # type: ignore[arg-type]  # what `plain` returned
