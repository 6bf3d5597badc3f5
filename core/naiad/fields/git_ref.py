"""The commit that a program ran from."""

from __future__ import annotations

import json
from datetime import datetime

from msgspec.structs import asdict

from naiad.errors import FieldConflict, NaiadTypeError, shown
from naiad.fields.base import Field, current
from naiad.gitref import GitRef as GitRefValue
from naiad.ops import Assign
from naiad.refs import read_facts
from naiad.storage.base import Change


class GitRef(Field):
    """The git repository at the start of a run. It is written at `source_code/git`."""

    kind = GitRefValue.kind

    def assign(self, value: object, *, wait: bool = False) -> None:
        """Replace the stored facts."""
        self.write(wait, self.plan_assign, value)

    @current
    def fetch(self) -> GitRefValue:
        """Return the state."""
        kind, text = self.session.reader.atom(self.path)
        if kind != self.kind:
            raise FieldConflict(f'"{self.path}" is now of kind {kind}.', path=self.path)
        return read_facts(str(text), GitRefValue)

    @classmethod
    def summary(cls, stored: str) -> str:
        """Return commit and branch of the stored facts."""
        commit = read_facts(stored, GitRefValue)
        return f"{commit.commit_id or ''}  {commit.branch or ''}".strip()

    def content(self) -> GitRefValue:
        """Return the stored facts, for a copy of them."""
        return self.fetch()

    def plan_assign(self, value: object) -> Change:
        """Check a new state, and return the change."""
        if not isinstance(value, GitRefValue):
            raise NaiadTypeError(
                f'"{self.path}" is a GitRef and cannot hold {shown(value)}.', path=self.path, value=value
            )
        text = json.dumps(asdict(value), default=_written)
        return self.change(Assign(self.path, self.kind, text))


def _written(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
