"""The state of the git repository that a program runs from."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import ClassVar

from msgspec import Struct, field

from naiad.places import script
from naiad.value import Value

DISABLED = "DISABLED"


def script_folder() -> str:
    """Return the folder of the running script, or the working directory."""
    found = script()
    return "." if found is None else str(found)


class GitRef(Value, Struct, frozen=True):
    """A place to look for a repository, and once it was looked at, the commit that was checked out.

    Args:
        repository_path: a file or folder in the repository; the running script by default.
    """

    kind: ClassVar[str] = "git_ref"
    DISABLED: ClassVar[str] = DISABLED
    """Given as `git_ref=`, it keeps a run from looking."""

    repository_path: str = field(default_factory=script_folder)
    commit_id: str | None = None
    message: str | None = None
    author_name: str | None = None
    author_email: str | None = None
    commit_date: datetime | None = None
    branch: str | None = None
    remotes: tuple[str, ...] = ()
    is_dirty: bool | None = None

    def resolve_path(self) -> Path:
        """Return the place to look as an absolute path, without links."""
        return Path(self.repository_path).resolve()
