"""The git program asked about real repositories, healthy and not."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest

from naiad import clock
from naiad.capture.git import FOREIGN, LARGEST_PATCH, Git, find_repository

AUTHOR = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@x.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@x.org",
    "GIT_COMMITTER_DATE": "2024-02-03T04:05:06+02:00",
    "GIT_CONFIG_GLOBAL": os.devnull,
}


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env={**os.environ, **AUTHOR}, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit on the branch `work`."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "work")
    (folder / "train.py").write_text("print(1)\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "First\n\nWith a body")
    return folder


def asked(folder: Path, seconds: float = 20) -> Git:
    return Git(folder, clock.monotonic() + seconds)


def test_commit_is_told_with_all_its_facts(repository: Path) -> None:
    git(repository, "remote", "add", "origin", "https://ada:secret@x.org/r.git")
    git(repository, "remote", "add", "mine", "git@x.org:r.git")
    found = asked(repository).commit()

    assert git(repository, "rev-parse", "HEAD") == found.commit_id
    assert ("First\n\nWith a body", "Ada", "ada@x.org") == (
        (found.message or "").strip(),
        found.author_name,
        found.author_email,
    )
    assert datetime(2024, 2, 3, 2, 5, 6, tzinfo=timezone.utc) == found.commit_date
    assert ("work", False) == (found.branch, found.is_dirty)
    assert ("https://x.org/r.git", "git@x.org:r.git") == found.remotes


@pytest.mark.parametrize("change", ["edited", "staged", "untracked"])
def test_any_change_makes_it_dirty(repository: Path, change: str) -> None:
    (repository / ("new.py" if change == "untracked" else "train.py")).write_text("print(2)\n")
    if change == "staged":
        git(repository, "add", ".")

    assert asked(repository).commit().is_dirty


def test_without_a_branch_the_head_is_detached(repository: Path) -> None:
    git(repository, "checkout", "-q", "--detach")

    assert "Detached HEAD" == asked(repository).commit().branch


def test_the_patch_restores_what_was_changed(repository: Path) -> None:
    (repository / "train.py").write_text("print('ü')\n")
    patch, is_cut, _ = asked(repository).patch()
    git(repository, "checkout", "-q", ".")
    subprocess.run(["git", "apply"], cwd=repository, input=patch, check=True)

    assert not is_cut
    assert "print('ü')\n" == (repository / "train.py").read_text()


def test_without_changes_the_patch_is_empty(repository: Path) -> None:
    assert (b"", False, []) == asked(repository).patch()


def test_a_huge_patch_is_cut_at_a_line(repository: Path) -> None:
    (repository / "train.py").write_text("x" * 99 + "\n")
    with (repository / "train.py").open("w") as file:
        file.writelines(f"{i:099}\n" for i in range(250_000))
    patch, is_cut, _ = asked(repository).patch()

    assert is_cut
    assert LARGEST_PATCH - 200 < len(patch) <= LARGEST_PATCH + 1
    assert patch.endswith(b"\n")


def test_upstream_is_the_tracked_commit_if_it_is_another(repository: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    git(tmp_path, "clone", "-q", str(repository), str(copy))
    first = git(copy, "rev-parse", "HEAD")
    assert asked(copy).upstream() is None

    git(copy, "commit", "-q", "--allow-empty", "-m", "Second")
    assert first == asked(copy).upstream()


def test_upstream_of_an_untracked_branch_is_the_latest_commit_others_know(repository: Path, tmp_path: Path) -> None:
    git(repository, "commit", "-q", "--allow-empty", "-m", "Second")
    copy = tmp_path / "copy"
    git(tmp_path, "clone", "-q", str(repository), str(copy))
    known = git(copy, "rev-parse", "HEAD")
    git(copy, "checkout", "-q", "--no-track", "-b", "mine")
    git(copy, "commit", "-q", "--allow-empty", "-m", "Third")

    assert known == asked(copy).upstream()


def test_a_repository_is_found_from_within(repository: Path, tmp_path: Path) -> None:
    (repository / "deep" / "er").mkdir(parents=True)

    assert repository == find_repository(repository / "deep" / "er" / "train.py")
    assert find_repository(tmp_path / "elsewhere") != repository


@pytest.mark.parametrize("damage", ["empty .git", "no commit", "object gone"])
def test_a_broken_repository_has_no_answer(repository: Path, damage: str) -> None:
    if damage == "empty .git":
        subprocess.run(["rm", "-rf", repository / ".git"], check=True)
        (repository / ".git").mkdir()
    elif damage == "no commit":
        git(repository, "update-ref", "-d", "HEAD")
    else:
        subprocess.run(["rm", "-rf", repository / ".git" / "objects"], check=True)

    with pytest.raises(ValueError, match="has no answer"):
        asked(repository).commit()


def test_nothing_that_a_repository_configures_is_run(repository: Path) -> None:
    program = repository / "program"
    program.write_text("#!/bin/sh\ntouch ran\n")
    program.chmod(0o755)
    git(repository, "config", "core.fsmonitor", str(program))
    git(repository, "config", "diff.external", str(program))
    git(repository, "config", "diff.text.textconv", str(program))
    (repository / ".gitattributes").write_text("*.py diff=text\n")
    (repository / "train.py").write_text("print(2)\n")
    found = asked(repository)
    found.commit()
    found.patch()

    assert not (repository / "ran").exists()


def test_a_question_ends_when_the_time_is_up(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = repository.parent / "bin"
    slow.mkdir()
    (slow / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (slow / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow}:{os.environ['PATH']}")
    began = time.monotonic()

    with pytest.raises(TimeoutError):
        asked(repository, 0.3).commit()
    assert 10 > time.monotonic() - began


def test_a_slow_look_for_changes_costs_only_itself(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "train.py").write_text("print(2)\n")
    slow = repository.parent / "bin"
    slow.mkdir()
    real = shutil.which("git")
    (slow / "git").write_text(f'#!/bin/sh\ncase " $* " in *" status "*) exec sleep 60;; esac\nexec {real} "$@"\n')
    (slow / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow}:{os.environ['PATH']}")
    monkeypatch.setattr("naiad.capture.git.STATUS_SECONDS", 0.3)
    found = asked(repository)

    assert ("work", None) == ((commit := found.commit()).branch, commit.is_dirty)
    assert b"+print(2)" in found.patch()[0]


def test_within_a_hook_of_another_repository_it_is_still_ones_own(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = git(repository, "rev-parse", "HEAD")
    other = tmp_path / "other"
    git(tmp_path, "clone", "-q", str(repository), str(other))
    git(other, "commit", "-q", "--allow-empty", "-m", "Second")
    for name, value in {"GIT_DIR": ".git", "GIT_INDEX_FILE": ".git/index", "GIT_WORK_TREE": "."}.items():
        monkeypatch.setenv(name, str(other / value))
    (other / "train.py").write_text("print(2)\n")

    assert (expected, False) == ((found := asked(repository).commit()).commit_id, found.is_dirty)


def test_every_variable_that_means_one_repository_is_dropped(repository: Path) -> None:
    assert set(git(repository, "rev-parse", "--local-env-vars").split()) <= set(FOREIGN)


def test_answers_are_given_again_for_a_short_time_only_if_that_is_wanted(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runs of a search begin within milliseconds of each other, and need no git command each."""
    first = Git(repository, clock.monotonic() + 60, reuse_seconds=5).commit()
    monkeypatch.setenv("PATH", "")

    again = Git(repository, clock.monotonic() + 60, reuse_seconds=5).commit()

    assert first == again
    with pytest.raises(FileNotFoundError):
        Git(repository, clock.monotonic() + 60).commit()
