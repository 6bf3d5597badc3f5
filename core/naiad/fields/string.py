"""Texts."""

from __future__ import annotations

from typing import Any

from naiad import convert, scalars
from naiad.errors import LimitWarning, warn_once
from naiad.fields.atom import Atom
from naiad.ops import Plain

LONGEST = 16_384  # characters, with limits="neptune"


class String(Atom[str]):
    """A text of at most 16 MiB. With `limits="neptune"` it is cut to 16,384 characters, as Neptune does."""

    kind = "string"

    def plain(self, value: object) -> Plain:
        """Return the text as it is stored: half surrogate pairs have no UTF-8, so such a text is kept as bytes."""
        text: Any = convert.into(self.kind, self.path, value)
        return scalars.pack_text(self._within_limits(text))

    @classmethod
    def read(cls, plain: Plain) -> str:
        """Return the stored text."""
        return scalars.unpack_text(plain)  # type: ignore[arg-type]  # what `plain` returned

    def _within_limits(self, text: str) -> str:
        if not self.session.has_limits or len(text) <= LONGEST:
            return text
        warn_once(
            (self.session.key, self.path),
            f'"{self.path}" was cut to {LONGEST:,} characters, because the run has limits="neptune".',
            LimitWarning,
        )
        return text[:LONGEST]
