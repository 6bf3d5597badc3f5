"""The git program: reads the commit of a run and the uncommitted changes.

The program is run directly: importing GitPython takes longer (130 ms) than all calls together (30 ms). Nothing that a
repository configures is run, nothing in it is changed, and each question has an end.
"""

from __future__ import annotations

import math
import os
import shlex
from datetime import datetime
from pathlib import Path
from select import POLLIN, poll
from typing import TYPE_CHECKING, NamedTuple

from naiad import clock
from naiad.capture.remotes import without_secrets
from naiad.forks import holding_forks
from naiad.gitref import GitRef

if TYPE_CHECKING:
    from subprocess import Popen

LARGEST_PATCH = 16 * 1024 * 1024
MOST_BRANCHES = 50
QUIET = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
FOREIGN = (
    *("GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_CONFIG", "GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS"),
    *("GIT_DIR", "GIT_GRAFT_FILE", "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_INTERNAL_SUPER_PREFIX"),
    *("GIT_NAMESPACE", "GIT_NO_REPLACE_OBJECTS", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_REPLACE_REF_BASE"),
    *("GIT_SHALLOW_FILE", "GIT_WORK_TREE"),
)
"""What git sets for its hooks and means one repository, as `git rev-parse --local-env-vars` lists it."""
STATUS_SECONDS = 2.0
"""How long may be looked for changes, which is slow on slow disks: less than the end of a run waits for all of it."""
OPTIONS = ["-c", "core.fsmonitor=false", "-c", "core.quotePath=false", "-c", "log.showSignature=false"]
COMMIT = "--format=%H%x00%B%x00%an%x00%ae%x00%cI"
DIFF = [
    *("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--no-relative", "--no-renames", "--full-index"),
    *("--unified=3", "--inter-hunk-context=0", "-O/dev/null", "--submodule=short", "--ignore-submodules=dirty"),
]
"""The same patch whatever the user has configured, so that `git apply` takes it."""
REUSE_SECONDS = 5.0
"""How old an answer may be for another run of the same process, such as the next trial of a search."""
LARGEST_ANSWER = 1024 * 1024
_answers: dict[tuple[Path, tuple[str, ...], int, bool], tuple[float, bytes | str]] = {}
"""By repository and command: when git was run, and its output, or as a text why there is none."""
LARGEST_BINARY = 10 * 1024 * 1024
"""Bytes of a binary file whose change is still in the patch."""
MOST_BINARIES = 1000


def find_repository(place: str | os.PathLike[str]) -> Path | None:
    """Return the nearest folder at or above a place that has a `.git`, without running anything."""
    folder = os.path.abspath(place)
    while not os.path.exists(os.path.join(folder, ".git")):
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above
    return Path(folder)


class Patch(NamedTuple):
    """The difference from a commit, and the files left out of it."""

    text: bytes
    is_cut: bool
    left_out: list[str]


class Git:
    """One repository, and the time there is for asking about it.

    Raises in its methods:
        OSError: there is no git program, or the time is up.
        ValueError: git has no answer, as for a repository that is broken or has no commit.
    """

    def __init__(self, folder: Path, until: float, *, reuse_seconds: float = 0.0) -> None:
        """Begin; an answer that this process got so many seconds ago is given again, without running git."""
        self._reuse_seconds = reuse_seconds
        self._folder = folder
        self._until = until
        self._asked: Popen[bytes] | None = None
        self.fresh_until = math.inf
        """How long all answers so far are given again, by the monotonic clock."""

    def commit(self) -> GitRef:
        """Return the facts of the commit that is checked out."""
        commit_id, message, name, email, date = self._ask("log", "-1", COMMIT, "HEAD").rstrip("\n").split("\0")
        return GitRef(
            repository_path=str(self._folder),
            commit_id=commit_id,
            message=message,
            author_name=name,
            author_email=email,
            commit_date=datetime.fromisoformat(date.replace("Z", "+00:00")),
            branch=self._branch(),
            remotes=tuple(self._remotes()),
            is_dirty=self._is_dirty(),
        )

    def patch(self, commit: str = "HEAD", below: str = "") -> Patch:
        """Return the difference from a commit, for `git apply`; submodules included.

        Args:
            commit: the one to compare with; submodules are compared with the commit that is checked out in them.
            below: the folder of this repository in the outer one, with a slash at its end.
        """
        # Excluded by name before git makes the patch: a checkpoint of gigabytes would be encoded whole, only to be
        # cut.
        large = self._large_binaries(commit)
        where = [":(top)"] + [f":(top,exclude,literal){name}" for name in large]
        prefixes = f"--src-prefix=a/{below}", f"--dst-prefix=b/{below}"
        found = self._run(*DIFF, "--binary", *prefixes, commit, "--", *where, limit=LARGEST_PATCH + 1)
        left_out = [f"{below}{name} ({size:,} bytes)" for name, size in large.items()]
        for name in self._submodules():
            inner = Git(self._folder / name, self._until).patch("HEAD", f"{below}{name}/")
            found, left_out = found + inner.text, left_out + inner.left_out
        if len(found) <= LARGEST_PATCH:
            return Patch(found, False, left_out)
        # Cut at the end of a line, so that what is left reads as a patch.
        return Patch(found[:LARGEST_PATCH].rpartition(b"\n")[0] + b"\n", True, left_out)

    def complaint(self) -> str:
        """Return why git finds no commit here, and a remedy."""
        said = self._run("rev-parse", "--verify", "HEAD", limit=4096, is_complaint=True).decode("utf-8", "replace")
        if "dubious ownership" in said or "unsafe repository" in said:
            return (
                f"git rejects the repository {str(self._folder)!r}, because another user owns it (dubious ownership).\n"
                f"Allow it with: git config --global --add safe.directory {shlex.quote(str(self._folder))}"
            )
        if "not a git repository" in said:
            place = str(self._folder / ".git")
            return f"{place!r} leads to no repository.\nRemove or repair it, or leave it out with git_ref=False."
        if "single revision" in said or "unknown revision" in said:
            return (
                f"The repository {str(self._folder)!r} has no commit yet.\nMake one, or leave it out by git_ref=False."
            )
        reason = " ".join(said.split())[:200] or "it gives no answer"
        return f"git cannot read the repository {str(self._folder)!r}: {reason}"

    def _large_binaries(self, commit: str) -> dict[str, int]:
        """Return the sizes of changed binary files too large for a patch."""
        found = self._ask(*DIFF, "--numstat", "-z", commit, "--", limit=LARGEST_PATCH)
        names = [line[4:] for line in found.split("\0") if line.startswith("-\t-\t")]
        sizes = {name: max(self._size(name), self._size_in(commit, name)) for name in names[:MOST_BINARIES]}
        return {name: size for name, size in sizes.items() if size > LARGEST_BINARY}

    def _size(self, name: str) -> int:
        try:
            return os.lstat(self._folder / name).st_size
        except OSError:
            return 0

    def _size_in(self, commit: str, name: str) -> int:
        found = self._maybe("cat-file", "-s", f"{commit}:{name}")
        return int(found) if found.isdigit() else 0

    def _submodules(self) -> list[str]:
        """Return the folders of submodules that are checked out."""
        if not (self._folder / ".gitmodules").exists():
            return []
        lines = self._ask("ls-files", "--stage", "-z").split("\0")
        names = [line.partition("\t")[2] for line in lines if line.startswith("160000 ")]
        return [name for name in names if (self._folder / name / ".git").exists()]

    def upstream(self) -> str | None:
        """Return the published commit: of the tracked branch, else the latest shared with a tracked one.

        None where there is none, or where it is the commit that is checked out.
        """
        head = self._ask("rev-parse", "--verify", "HEAD").strip()
        tracked = self._maybe("rev-parse", "--verify", "--quiet", "@{upstream}^{commit}") or self._latest_shared()
        return None if tracked in ("", head) else tracked

    def stop(self) -> None:
        """Kill the running git command; from another thread."""
        if (asked := self._asked) is not None:
            asked.kill()

    def _is_dirty(self) -> bool | None:
        """Whether something was changed; None if that cannot be found out in time."""
        try:
            return bool(self._run("status", "--porcelain", limit=1, seconds=STATUS_SECONDS))
        except TimeoutError:
            return None

    def _branch(self) -> str:
        return self._maybe("symbolic-ref", "--quiet", "--short", "HEAD") or "Detached HEAD"

    def _remotes(self) -> list[str]:
        lines = self._maybe("config", "--get-regexp", r"^remote\..*\.url$").splitlines()
        return [without_secrets(line.partition(" ")[2]) for line in lines]

    def _latest_shared(self) -> str:
        names = {
            name for name in self._maybe("for-each-ref", "--format=%(upstream)", "refs/heads").splitlines() if name
        }
        latest = ""
        for name in sorted(names)[:MOST_BRANCHES]:
            shared = self._maybe("merge-base", "HEAD", name)
            # Latest by descent: `latest` is an ancestor of `shared`. The dates of commits may lie.
            if shared and (not latest or self._maybe("merge-base", latest, shared) == latest):
                latest = shared
        return latest

    def _maybe(self, *arguments: str) -> str:
        try:
            return self._ask(*arguments).strip()
        except ValueError:
            return ""

    def _ask(self, *arguments: str, limit: int = LARGEST_PATCH) -> str:
        return self._run(*arguments, limit=limit).decode("utf-8", "surrogateescape")

    def _run(
        self, *arguments: str, limit: int = LARGEST_PATCH, seconds: float = math.inf, is_complaint: bool = False
    ) -> bytes:
        """Run git and return its output; with `is_complaint` its errors too."""
        # Trials of a search open runs in a loop: of one repository they get one answer, as long as it is fresh.
        key = (self._folder, arguments, limit, is_complaint)
        now = clock.monotonic()
        at, known = _answers.get(key, (-math.inf, None))
        if now - at >= self._reuse_seconds:
            try:
                known = self._output(arguments, limit, seconds, is_complaint)
            except ValueError as error:
                known = str(error)
            for old in [each for each, (then, _answer) in tuple(_answers.items()) if now - then > REUSE_SECONDS]:
                _answers.pop(old, None)
            if len(known) <= LARGEST_ANSWER:
                at = now
                _answers[key] = at, known
        self.fresh_until = min(self.fresh_until, at + REUSE_SECONDS)
        if isinstance(known, str):
            raise ValueError(known)
        assert known is not None
        return known

    def _output(self, arguments: tuple[str, ...], limit: int, seconds: float, is_complaint: bool) -> bytes:
        with holding_forks():  # a child forked meanwhile could never import it
            from subprocess import DEVNULL, PIPE, STDOUT, Popen

        command = ["git", *OPTIONS, *arguments]
        until = min(self._until, clock.monotonic() + seconds)
        # A program that a git hook has started has that repository in its environment, and every question would be
        # about it.
        environment = {name: value for name, value in os.environ.items() if name not in FOREIGN} | QUIET
        errors = STDOUT if is_complaint else DEVNULL
        with Popen(command, cwd=self._folder, env=environment, stdin=DEVNULL, stdout=PIPE, stderr=errors) as asked:
            self._asked = asked
            found, is_whole = self._read(asked, limit, until)
            if not is_whole:
                asked.kill()
        self._asked = None
        if not is_whole and len(found) < limit:
            raise TimeoutError(f"git {arguments[0]} took too long")
        if is_whole and asked.returncode and not is_complaint:
            raise ValueError(f"git {arguments[0]} has no answer")
        return bytes(found)

    def _read(self, asked: Popen[bytes], limit: int, until: float) -> tuple[bytearray, bool]:
        """Return the output of a program, and whether it ended, was too long or too slow."""
        assert asked.stdout is not None
        output = asked.stdout.fileno()
        look = poll()
        look.register(output, POLLIN)
        found = bytearray()
        while len(found) < limit:
            if not look.poll(max(0.0, until - clock.monotonic()) * 1000):
                return found, False
            data = os.read(output, min(65536 * 4, limit - len(found)))
            if not data:
                return found, True
            found += data
        return found, False
