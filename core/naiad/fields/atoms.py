"""Fields that hold one plain value: assigning replaces it, fetching returns it, and it can be copied."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, TypeVar

from naiad import convert, html, scalars, types
from naiad.errors import LimitWarning, NaiadError, warn_once
from naiad.fields.base import Field
from naiad.ops import Assign, Plain
from naiad.storage.base import Change, RunWriter

T = TypeVar("T")
LONGEST = 16_384  # characters, with limits="neptune"


class Atom(Field, Generic[T]):
    """One value. Later values must fit the kind that the first value chose, without loss."""

    remedy = "Replace its value with run[{path!r}] = ..., or append to another path."

    def assign(self, value: object, *, wait: bool = False) -> None:
        """Replace the value.

        Raises:
            NaiadTypeError, NaiadValueError: this kind cannot hold the value without losing something.
        """
        self.write(wait, self.plan_assign, value)

    def fetch(self) -> T:
        """Return the value. If another process has put a field of another kind here, that one answers."""
        kind, plain = self.session.reader.atom(self.path)
        if kind != self.kind:
            return self.session.replacement(self).fetch()  # type: ignore[no-any-return]  # whatever that one returns
        return self.read(plain)

    def copy(self, path: str, *, wait: bool = False) -> None:
        """Store the value at another path of the same run too."""
        self.session.copy(self, path, wait)

    def content(self) -> T:
        """Return the value, which another field of this kind accepts."""
        return self.fetch()

    def drawn(self) -> list[str]:
        """Return the value."""
        return [html.grid((), [(self.fetch(),)])]

    def plan_assign(self, value: object) -> Change:
        """Check a value and return the change that stores it."""
        return self.change(Assign(self.path, self.kind, self.plain(value)))

    def plain(self, value: object) -> Plain:
        """Return a value in the form that is stored."""
        return convert.into(self.kind, self.path, value)  # type: ignore[return-value]  # kinds that override: Datetime

    @classmethod
    def read(cls, plain: Plain) -> T:
        """Return a stored value as the user gave it."""
        return plain  # type: ignore[return-value]  # what `plain` returned


class Boolean(Atom[bool]):
    """True or False; also 0, 1 and NumPy's booleans. Nothing else is taken for one of them."""

    kind = types.Boolean.kind


class Integer(Atom[int]):
    """A whole number of at most 64 bits. 3.0 and "7" are taken for one, 1.5 is not."""

    kind = types.Integer.kind


class Float(Atom[float]):
    """A floating-point number, kept bit for bit, NaN and the infinities included."""

    kind = types.Float.kind


class String(Atom[str]):
    """A text of at most 16 MiB. With `limits="neptune"` it is cut to 16,384 characters, as Neptune does.

    An assigned None is the text "None" too, with a mark: another value of any kind may take its place.
    """

    kind = types.String.kind
    _holds_none: bool | None = None  # None: this process has not written it

    def forget(self) -> None:
        """Drop the remembered value."""
        super().forget()
        self._holds_none = None

    def holds_none(self) -> bool:
        """Whether the value is an assigned None."""
        if self._holds_none is None:
            try:
                return self.session.look(lambda reader: reader.atom(self.path)) == (self.kind, scalars.NONE)
            except (NaiadError, OSError):  # what cannot be read is not replaced
                return False
        return self._holds_none

    def content(self) -> str | None:  # type: ignore[override]  # what this field accepts
        """Return the text, or None if that was assigned."""
        return None if self.holds_none() else self.fetch()

    def applied(self, change: Change, writer: RunWriter) -> None:  # noqa: ARG002 (a text needs no writer)
        """Remember whether the value is an assigned None."""
        for op in change.ops:
            self._holds_none = isinstance(op, Assign) and op.value == scalars.NONE

    def plain(self, value: object) -> Plain:
        """Return the text as it is stored: half surrogate pairs have no UTF-8, so such a text is kept as bytes."""
        if value is None or (isinstance(value, types.StringifyValue) and value.value is None):
            return scalars.NONE
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


class Datetime(Atom[datetime]):
    """A moment, kept to the microsecond and fetched in UTC. A time without a time zone is local time."""

    kind = types.Datetime.kind

    def plain(self, value: object) -> Plain:
        """Return the moment as it is stored: microseconds since 1970 UTC."""
        moment = convert.into(self.kind, self.path, value)
        assert isinstance(moment, datetime)
        return scalars.microseconds(moment)

    @classmethod
    def read(cls, plain: Plain) -> datetime:
        """Return the stored moment."""
        return scalars.from_microseconds(plain)  # type: ignore[arg-type]  # what `plain` returned
