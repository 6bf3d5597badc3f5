"""The state of a run."""

from __future__ import annotations

from naiad import html
from naiad.fields.base import Field


class RunState(Field):
    """The state of the run: running, finished, failed, terminated, killed or unknown. naiad derives it."""

    kind = "run_state"
    remedy = "naiad keeps the state of a run itself."

    def fetch(self) -> str:
        """Return the state."""
        return self.read(self.session.reader.value(self.path))

    def drawn(self) -> list[str]:
        """Return the state."""
        return [html.text(self.fetch())]

    def content(self) -> str:
        """Return the state, for a copy of it as text."""
        return self.fetch()

    @classmethod
    def read(cls, plain: object) -> str:
        """Return the state as text."""
        return str(plain)
