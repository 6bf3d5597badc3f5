"""The base of fields that hold one value: assigning replaces it, fetching returns it, and it can be copied."""

from __future__ import annotations

from typing import Generic, TypeVar

from naiad import convert, html
from naiad.fields.base import Field
from naiad.ops import Assign, Plain
from naiad.storage.base import Change

T = TypeVar("T")


class Atom(Field, Generic[T]):
    """One value. What comes later must fit the kind that the first value chose, without losing anything."""

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
