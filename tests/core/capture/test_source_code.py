"""What a run keeps of the code that makes it: scripts are real programs, some of them in real repositories."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

import naiad
from naiad.errors import NaiadTypeError
from naiad.types import GitRef

IDENTITY = ["-c", "user.name=Ada", "-c", "user.email=ada@x.org"]


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *IDENTITY, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a script that opens a run, and some files."""
    folder = tmp_path / "project"
    (folder / "lib").mkdir(parents=True)
    (folder / "train.py").write_text(
        "import sys, naiad\n"
        "from naiad.types import GitRef\n"
        "run = naiad.init_run(custom_run_id='it', capture_hardware_metrics=False, **eval(sys.argv[1]))\n"
        "run.stop()\n"
    )
    (folder / "lib" / "model.py").write_text("x = 1\n")
    (folder / "notes.txt").write_text("notes\n")
    return folder


@pytest.fixture
def repository(project: Path) -> Path:
    git(project, "init", "-q", "-b", "work")
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "First")
    return project


def run_of(project: Path, store: Path, arguments: str = "{}", environment: dict[str, str] | None = None) -> naiad.Run:
    """Run the script and return its run."""
    full = {**os.environ, "NAIAD_CAPTURES": "on", "NAIAD_STORE": str(store), **(environment or {})}
    done = subprocess.run(
        [sys.executable, "train.py", arguments], cwd=project, env=full, check=True, capture_output=True, text=True
    )
    (folder,) = (store / "runs").iterdir()
    run = naiad.init_run(with_id=folder.name, mode="read-only")
    run.errors = done.stderr  # type: ignore[attr-defined]  # for the tests below
    return run


def files(run: naiad.Run) -> list[str]:
    return sorted(entry.name for entry in run["source_code/files"].list_fileset_files())


def test_the_script_is_kept_by_default(project: Path, store: Path) -> None:
    run = run_of(project, store)

    assert "train.py" == run["source_code/entrypoint"].fetch()
    assert ["train.py"] == files(run)
    assert not run.exists("source_code/git")
    assert "" == run.errors  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("given", "entrypoint", "kept"),
    [
        ("['**/*.py']", "train.py", ["lib/model.py", "train.py"]),
        ("'lib'", "../train.py", ["model.py"]),
        ("['train.py', 'notes.txt']", "train.py", ["notes.txt", "train.py"]),
    ],
)
def test_files_can_be_named(project: Path, store: Path, given: str, entrypoint: str, kept: list[str]) -> None:
    run = run_of(project, store, f"{{'source_files': {given}}}")
    found = sorted(path.rpartition("/")[2] for path in files_below(run))

    assert entrypoint == run["source_code/entrypoint"].fetch()
    assert sorted(path.rpartition("/")[2] for path in kept) == found


def files_below(run: naiad.Run, folder: str | None = None) -> list[str]:
    found = []
    for entry in run["source_code/files"].list_fileset_files(folder):
        path = f"{folder}/{entry.name}" if folder else entry.name
        found += files_below(run, path) if entry.file_type == "directory" else [path]
    return found


def test_an_empty_list_keeps_no_file(project: Path, store: Path) -> None:
    run = run_of(project, store, "{'source_files': []}")

    assert not run.exists("source_code/files")
    assert "train.py" == run["source_code/entrypoint"].fetch()


def test_commit_and_changes_are_kept(repository: Path, store: Path, tmp_path: Path) -> None:
    (repository / "lib" / "model.py").write_text("x = 2\n")
    run = run_of(repository, store)
    found = run["source_code/git"].fetch()
    run["source_code/diff"].download(str(tmp_path))

    assert ("work", "First", True) == (found.branch, (found.message or "").strip(), found.is_dirty)
    assert "patch" == run["source_code/diff"].fetch_extension()
    assert "+x = 2" in (tmp_path / "diff.patch").read_text()
    assert "" == run.errors  # type: ignore[attr-defined]


def test_without_changes_there_is_no_patch(repository: Path, store: Path) -> None:
    run = run_of(repository, store)

    assert not run["source_code/git"].fetch().is_dirty
    assert not run.exists("source_code/diff")


def test_what_others_do_not_have_yet_is_a_patch_named_by_their_commit(
    repository: Path, store: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    git(tmp_path, "clone", "-q", str(repository), str(copy))
    (copy / "notes.txt").write_text("more notes\n")
    git(copy, "commit", "-q", "-a", "-m", "Second")
    run = run_of(copy, store)
    (name,) = (name for name in run.get_structure()["source_code"] if name.startswith("upstream_diff_"))

    assert re.fullmatch(r"upstream_diff_[0-9a-f]{40}", name)
    assert not run.exists("source_code/diff")


@pytest.mark.parametrize("given", ["False", "GitRef.DISABLED"])
def test_git_can_be_left_out(repository: Path, store: Path, given: str) -> None:
    assert not run_of(repository, store, f"{{'git_ref': {given}}}").exists("source_code/git")


def test_another_repository_can_be_named(repository: Path, store: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "train.py").write_text((repository / "train.py").read_text())
    run = run_of(tmp_path / "elsewhere", store, f"{{'git_ref': GitRef({str(repository / 'lib')!r})}}")

    assert "work" == run["source_code/git"].fetch().branch


def test_a_broken_repository_costs_a_warning(repository: Path, store: Path) -> None:
    subprocess.run(["rm", "-rf", repository / ".git" / "objects"], check=True)
    run = run_of(repository, store)

    assert ["train.py"] == files(run)
    assert not run.exists("source_code/git")
    assert "was not captured" in run.errors  # type: ignore[attr-defined]


def test_without_a_git_program_nothing_is_said(repository: Path, store: Path) -> None:
    run = run_of(repository, store, environment={"PATH": "/nowhere"})

    assert ["train.py"] == files(run)
    assert "" == run.errors  # type: ignore[attr-defined]


def test_a_git_that_hangs_delays_neither_begin_nor_end(repository: Path, store: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "bin" / "git").chmod(0o755)
    began = time.monotonic()
    run = run_of(repository, store, environment={"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"})

    assert time.monotonic() - began < 30  # it hangs for 60 s; a busy machine takes some to start a process
    assert 1 == run.errors.count("there was no time for it")  # type: ignore[attr-defined]
    assert "finished" == run["sys/state"].fetch()


def test_a_huge_patch_is_cut_and_that_is_said(repository: Path, store: Path) -> None:
    with (repository / "notes.txt").open("w") as file:
        file.writelines(f"{i:099}\n" for i in range(200_000))
    run = run_of(repository, store)

    assert run.exists("source_code/diff")
    assert "larger than 16 MiB" in run.errors  # type: ignore[attr-defined]


@pytest.mark.parametrize(("given", "line"), [("'infer'", "naiad=="), ("'notes.txt'", "notes")])
def test_packages_are_kept_when_asked_for(project: Path, store: Path, tmp_path: Path, given: str, line: str) -> None:
    run = run_of(project, store, f"{{'dependencies': {given}}}")
    run["source_code/requirements"].download(str(tmp_path))

    assert line in (tmp_path / "requirements.txt").read_text()


def test_a_missing_file_of_packages_is_only_said(project: Path, store: Path) -> None:
    run = run_of(project, store, "{'dependencies': 'nowhere.txt'}")

    assert not run.exists("source_code/requirements")
    assert "source_code/requirements" in run.errors  # type: ignore[attr-defined]


def test_going_on_with_a_run_keeps_its_source(project: Path, store: Path) -> None:
    run_of(project, store)
    (project / "notes.txt").rename(project / "later.txt")

    assert ["train.py"] == files(run_of(project, store))
    assert "later.txt" in files(run_of(project, store, "{'source_files': ['later.txt']}"))


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    "wrong", [{"git_ref": 5}, {"git_ref": "path"}, {"source_files": [5]}, {"source_files": 5}, {"dependencies": 5}]
)
def test_arguments_of_the_wrong_type_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(NaiadTypeError, match=next(iter(wrong))):
        naiad.init_run(**wrong)


@pytest.mark.usefixtures("store")
def test_in_a_notebook_captures_are_off_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    monkeypatch.delenv("NAIAD_CAPTURES")
    # IPython is not among the packages of the tests; all that is asked of it is whether it runs
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=object))
    naiad.errors.forget_warnings()
    run = naiad.init_run(git_ref=GitRef.DISABLED, monitoring_namespace="m")
    run.stop()

    assert run.exists("m/hostname")
    assert not any(map(run.exists, ("m/stdout", "m/stderr", "source_code/entrypoint", "source_code/files")))


def test_runs_that_follow_each_other_capture_the_same_without_a_thread(store: Path, tmp_path: Path) -> None:
    code = """
    import threading, naiad
    from naiad.capture import source_code
    source_code.QUICK_SECONDS = source_code.REUSE_SECONDS = 60  # on a slow machine too
    started = []
    start = threading.Thread.start
    threading.Thread.start = lambda thread: (started.append(thread.name), start(thread))
    for _ in range(3):
        with naiad.init_run() as run:
            pass
        known = naiad.init_run(with_id=run._id, mode="read-only")
        code = sorted(known.get_structure()["source_code"]), known["source_code/entrypoint"].fetch()
        print(started.count("naiad-captures"), code)
    """
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(code))
    environment = {**os.environ, "NAIAD_CAPTURES": "on"}
    command = [sys.executable, script]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment)

    assert ["1 (['entrypoint', 'files'], 'train.py')"] * 3 == done.stdout.splitlines()
