"""The source of a program: script and files, commit, uncommitted changes, and installed packages."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from naiad import clock
from naiad.background import Loggable
from naiad.capture.git import LARGEST_BINARY, LARGEST_PATCH, REUSE_SECONDS, Git, find_repository
from naiad.capture.requirements import requirements
from naiad.capture.wanted import Wanted, is_interactive
from naiad.errors import NaiadError, NaiadWarning, warn_once
from naiad.file import File
from naiad.places import script, working_directory

SECONDS = 10.0
"""How long all of it may take while the program runs; what is not found by then is left out."""
QUICK_SECONDS = 0.01
"""Less is not worth a thread."""
_quick_until: dict[tuple[object, ...], float] = {}


class SourceCode:
    """The source code of one run. Paths are relative to the folder in which the run was opened."""

    def __init__(self, run: Loggable, wanted: Wanted) -> None:
        self._run = run
        self._wanted = wanted
        self._folder = str(working_directory())
        self._script = _script()
        self._git: Git | None = None
        self.is_abandoned = False
        self.doing = "source_code"
        self._key = (self._folder, self._script, wanted.source_files, wanted.repository, wanted.dependencies)

    def is_quick(self) -> bool:
        """Whether another run has captured the same a moment ago in next to no time, and git need not be run again.

        A search over parameters opens a run every few milliseconds.
        """
        return clock.monotonic() < _quick_until.get(self._key, 0.0)

    def capture(self) -> None:
        """Look at everything and log it, one after the other."""
        began = clock.monotonic()
        self._take({"source_code/files": self._files, "source_code/requirements": self._requirements})
        until = began + REUSE_SECONDS if clock.monotonic() - began < QUICK_SECONDS else 0.0
        self._take({"source_code/git": self._repository})
        if not self.is_abandoned:
            _quick_until[self._key] = until if self._git is None else min(until, self._git.fresh_until)

    def _take(self, steps: dict[str, Callable[[], None]]) -> None:
        # Each by itself: a repository that is broken must not cost the list of packages.
        for self.doing, step in steps.items():
            try:
                step()
            except (OSError, ValueError, NaiadError, NaiadWarning) as error:
                self._say(error)

    def abandon(self) -> None:
        """The run ends: log nothing any more."""
        self.is_abandoned = True
        if self._git is not None:
            self._git.stop()

    def _say(self, error: Exception) -> None:
        self._warn(f"{self.doing} of {self._run!r} was not captured: {error}")

    def _warn(self, message: str) -> None:
        with suppress(NaiadWarning):  # where warnings are errors, they still must not end this thread
            if not self.is_abandoned:
                warn_once((self._run.get_url(), self.doing), message)

    def _log(self, path: str, value: object) -> None:
        if not self.is_abandoned:
            self._run[f"source_code/{path}"] = value

    # Files

    def _files(self) -> None:
        if not self._wanted.has_script:
            return
        globs = [os.path.join(self._folder, glob) for glob in self._wanted.source_files or ()]
        if self._script is not None:
            if self._wanted.source_files is None:
                globs = [self._script]
            self._log("entrypoint", _entrypoint(self._script, globs))
        if globs and not self.is_abandoned:
            self._run["source_code/files"].upload_files(globs)

    def _requirements(self) -> None:
        given = self._wanted.dependencies
        if given == "infer":
            self._log("requirements", File.from_content(requirements()))
        elif given is not None:
            self._log("requirements", File(os.path.join(self._folder, given)))

    # The repository

    def _repository(self) -> None:
        if self._wanted.repository is None:
            return
        place = os.path.join(self._folder, self._wanted.repository)
        folder = find_repository(place)
        if folder is None:
            return
        git = self._git = Git(folder, clock.monotonic() + SECONDS, reuse_seconds=REUSE_SECONDS)
        try:
            commit = git.commit()
        except FileNotFoundError:
            return  # there is no git program, which is no fault
        except ValueError:
            self._warn(f"The commit of {self._run!r} was not captured. {git.complaint()}")
            return
        self._log("git", commit)
        self._patch(git, "diff", "HEAD")
        self.doing = "source_code/upstream_diff"
        upstream = git.upstream()
        if upstream is not None:
            self._patch(git, f"upstream_diff_{upstream}", upstream)

    def _patch(self, git: Git, name: str, commit: str) -> None:
        self.doing = f"source_code/{name}"
        patch = git.patch(commit)
        if patch.is_cut:
            self._warn(f"{self.doing} of {self._run!r} was cut: it is larger than {LARGEST_PATCH >> 20} MiB.")
        elif patch.left_out:
            self._warn(
                f"{self.doing} of {self._run!r} leaves out binary files of more than {LARGEST_BINARY >> 20} MiB: "
                f"{', '.join(patch.left_out[:5])}."
            )
        notes = "".join(f"# left out: {name}\n" for name in patch.left_out)  # git apply passes over it
        if patch.text or notes:
            content = notes.encode("utf-8", "surrogateescape") + patch.text
            self._log(name, File.from_content(content, extension="patch"))


def _script() -> str | None:
    """Return the file that was started, if it was one; in a notebook that would be the notebook's own program."""
    found = None if is_interactive() else script()
    return None if found is None else str(found)


def _entrypoint(script: str, files: list[str]) -> str:
    """Return the script relative to the folder that holds all files.

    >>> _entrypoint("/work/src/train.py", ["/work/src/*.py", "/work/data"])
    'src/train.py'
    """
    folders = [*_folders(files)]
    if not folders:
        return os.path.basename(script)
    return os.path.relpath(script, os.path.commonpath(folders))


def _folders(globs: list[str]) -> Iterator[str]:
    for glob in globs:
        parts = Path(glob).parts
        plain = [*parts[: next((i for i, part in enumerate(parts) if set(part) & set("*?[")), len(parts))]]
        yield os.path.join(*plain) if len(plain) < len(parts) or os.path.isdir(glob) else os.path.dirname(glob)
