"""Tags."""

from __future__ import annotations

from collections.abc import Iterable

from naiad import html, scalars
from naiad.errors import FieldConflict, NaiadTypeError, shown
from naiad.fields.base import Field
from naiad.ops import Tags
from naiad.storage.base import Change
from naiad.types import StringSet as StringSetValue

TAG_PATHS = ("sys/tags", "sys/group_tags")


class StringSet(Field):
    """A set of texts. Only `sys/tags` and `sys/group_tags` are sets; both exist in every run."""

    kind = StringSetValue.kind
    remedy = "It has add(), remove(), clear() and fetch()."

    def add(self, values: object, *, wait: bool = False) -> None:
        """Add a tag or several; those that are there already stay as they are."""
        self.write(wait, self.plan_add, values)

    def remove(self, values: object, *, wait: bool = False) -> None:
        """Remove a tag or several; those that are not there are no error."""
        self.write(wait, self.plan_remove, values)

    def clear(self, *, wait: bool = False) -> None:
        """Remove all tags."""
        self.write(wait, self._plan, clear=True)

    def assign(self, value: object, *, wait: bool = False) -> None:
        """Replace all tags."""
        self.write(wait, self.plan_assign, value)

    def fetch(self) -> set[str]:
        """Return the tags."""
        try:
            return set(self.session.reader.tags(self.path))
        except FieldConflict:
            return self.session.replacement(self).fetch()  # type: ignore[no-any-return]  # whatever that one returns

    def shown(self) -> str:
        """Return the tags in order."""
        return ", ".join(sorted(self.fetch()))

    def drawn(self) -> list[str]:
        """Return the tags."""
        return [html.text(self.shown())]

    def content(self) -> StringSetValue:
        """Return the tags, for a copy of them."""
        return StringSetValue(self.fetch())

    def plan_add(self, values: object) -> Change:
        """Check tags and return the change that adds them."""
        return self._plan(add=_tags_of(self.path, values))

    def plan_remove(self, values: object) -> Change:
        """Check tags and return the change that removes them."""
        return self._plan(remove=_tags_of(self.path, values))

    def plan_assign(self, value: object) -> Change:
        """Check tags and return the change that replaces all others by them."""
        return self._plan(add=_tags_of(self.path, value), clear=True)

    def _plan(self, add: Iterable[str] = (), remove: Iterable[str] = (), clear: bool = False) -> Change:
        packed = [[scalars.pack_text(tag) for tag in tags] for tags in (add, remove)]
        return self.change(Tags(self.path, packed[0], packed[1], clear))


def _tags_of(path: str, values: object) -> list[str]:
    """Return one tag or a collection of tags as a list.

    Raises:
        NaiadTypeError: something is not a str.
    """
    given = values.values if isinstance(values, StringSetValue) else values
    found = [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    for tag in found:
        if not isinstance(tag, str):
            raise NaiadTypeError(
                f'"{path}" is a set of tags, so {shown(tag)} cannot be one.\nConvert it with str(...).',
                path=path,
            )
    # A member of a str enum is a text of its value, and an op can hold only plain texts.
    return [str.__str__(tag) for tag in found]
