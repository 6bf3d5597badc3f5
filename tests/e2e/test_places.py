"""Where programs run: changed, missing and Hydra-like folders, workers that import their script again, source code."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import naiad
from naiad.errors import FileWarning, InvalidArgument, OriginalChanged
from naiad.secrets import masked
from naiad.types import File

GIT = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@x", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@x"}


def program(folder: Path, code: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.py").write_text(textwrap.dedent(code), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NAIAD_", "GIT_"))}
    done = subprocess.run(
        [sys.executable, str(folder / "train.py"), *arguments],
        cwd=cwd or folder,
        env=environment | GIT | {"HOME": str(folder), "NAIAD_HARDWARE_SECONDS": "60"},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert 0 == done.returncode, done.stderr
    return done


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, env=os.environ | GIT)


def repository(folder: Path) -> Path:
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "a.txt").write_text("a\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return folder


def stores(folder: Path) -> list[str]:
    return sorted(str(found.relative_to(folder)) for found in folder.rglob(".naiad"))


JOB = "import os, sys\nos.chdir(sys.argv[1])\nimport naiad\nnaiad.init_run(project='p').stop()\n"


@pytest.mark.parametrize("has_git", [False, True])
def test_jobs_that_change_their_folder_share_a_store(tmp_path: Path, has_git: bool) -> None:
    project = repository(tmp_path / "project") if has_git else tmp_path / "project"
    for job in ("1", "2"):
        (project / "outputs" / job).mkdir(parents=True)
        program(project if not has_git else project / "src", JOB, str(project / "outputs" / job))

    assert [".naiad"] == stores(project)
    with naiad.init_run(with_id="P-2", store=project / ".naiad", mode="read-only") as run:
        assert "finished" == run["sys/state"].fetch()


def test_folder_that_is_not_below_the_script_has_a_store_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    program(tmp_path / "lib", "import naiad\nnaiad.init_run(project='p').stop()\n", cwd=tmp_path / "work")

    assert ["work/.naiad"] == stores(tmp_path)


def test_working_directory_that_is_gone(tmp_path: Path) -> None:
    code = """
        import os, naiad, shutil
        os.mkdir("gone"); os.chdir("gone"); os.rmdir(os.getcwd())
        run = naiad.init_run(project="p")
        run["x"] = 1
        run["files"].upload_files([__file__])
        run.stop()
    """
    program(tmp_path / "w", code)

    assert [".naiad"] == stores(tmp_path / "w")


def test_source_and_facts_of_a_script_that_changed_its_folder(tmp_path: Path) -> None:
    repo = repository(tmp_path / "repo")
    (tmp_path / "out").mkdir()
    code = JOB.replace("naiad.init_run(project='p').stop()", "naiad.init_run(project='p', store='s').stop()")
    program(repo, code, str(tmp_path / "out"), "--token=abc", "--lr", "0.1")
    with naiad.init_run(with_id="P-1", store=tmp_path / "out" / "s", mode="read-only") as run:
        found = run["source_code"].fetch()
        [place] = run.get_structure()["monitoring"]
        facts = run["monitoring"][place].fetch()

        assert "train.py" == found["entrypoint"]
        assert "git" in run.get_structure()["source_code"]
        assert f"{repo}/train.py {tmp_path}/out '--token=***' --lr 0.1" == facts["argv"]
        assert (sys.version.split()[0], str(tmp_path / "out")) == (facts["python"], facts["working_directory"])


def test_options_that_hold_secrets() -> None:
    given = [
        "x",
        "--api-key",
        "abc",
        "--apiKey=1",
        "-p",
        "2",
        "--db-password",
        "--next",
        "hf_token=abc",
        "--max-tokens=5",
    ]

    expected = ["x", "--api-key", "***", "--apiKey=***", "-p", "2", "--db-password", "--next", "hf_token=***"]
    assert [*expected, "--max-tokens=5"] == masked(given)


PATCHED = """
    import naiad
    run = naiad.init_run(project='p', store=r'{}')
    run.wait()
    assert run.exists('source_code/diff')
    run.stop()
"""


def test_patch_restores_binary_files_and_submodules_and_names_large_ones(tmp_path: Path) -> None:
    inner = repository(tmp_path / "inner")
    repo = repository(tmp_path / "repo")
    (repo / "w.bin").write_bytes(bytes(range(256)))
    (repo / "large.bin").write_bytes(b"\0")
    git(repo, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "sub")
    git(repo, "config", "diff.noprefix", "true")
    git(repo, "config", "diff.context", "0")
    git(repo, "add", ".")
    git(repo, "commit", "-qm", "more")
    (repo / "w.bin").write_bytes(bytes(range(255, -1, -1)))
    (repo / "large.bin").write_bytes(os.urandom(11 << 20))
    (repo / "sub" / "a.txt").write_text("changed\n")
    store = tmp_path / "store"
    (tmp_path / "x").mkdir()
    done = program(
        tmp_path / "x", PATCHED.format(store).replace("store=", f"git_ref=naiad.types.GitRef(r'{repo}'), store=")
    )
    with naiad.init_run(with_id="P-1", store=store, mode="read-only") as run:
        run["source_code/diff"].download(tmp_path / "d.patch")

    assert "large.bin (11,534,336 bytes)" in done.stderr
    assert (tmp_path / "d.patch").read_bytes().startswith(b"# left out: large.bin (11,534,336 bytes)\n")
    git(repo, "checkout", "-q", "w.bin")
    git(repo / "sub", "checkout", "-q", "a.txt")
    git(repo, "apply", str(tmp_path / "d.patch"))
    assert bytes(range(255, -1, -1)) == (repo / "w.bin").read_bytes()
    assert "changed\n" == (repo / "sub" / "a.txt").read_text()


OPENED = "import naiad\nrun = naiad.init_run(project='p', store='s')\nrun.stop()\n"


def test_repositories_that_git_refuses_are_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "-q")
    assert "has no commit yet" in program(tmp_path / "empty", OPENED).stderr
    (tmp_path / "broken" / "below").mkdir(parents=True)
    (tmp_path / "broken" / ".git").write_text("gitdir: /nowhere\n")
    said = program(tmp_path / "broken" / "below", OPENED).stderr
    assert f"{tmp_path}/broken/.git' leads to no repository" in said
    if os.geteuid() == 0:
        repo = repository(tmp_path / "theirs")
        subprocess.run(["chown", "-R", "12345", str(repo)], check=True)
        assert f"safe.directory {repo}" in program(repo, OPENED).stderr


WORKERS = """
    import multiprocessing, naiad
    first = naiad.init_run(project="p", store="s")
    others = [naiad.init_run(project="p", store="s") for _ in range(2)]
    first["x"].append(1.0)
    def work(number):
        first["seen"].append(number)
        return others[1]["sys/id"].fetch()
    if __name__ == "__main__":
        with multiprocessing.get_context("{}").Pool(2) as pool:
            assert set(pool.map(work, range(4))) == {{"P-3"}}
        first.stop()
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_workers_join_the_runs_of_the_script(tmp_path: Path, method: str) -> None:
    program(tmp_path / "w", WORKERS.format(method))
    project = naiad.init_project("p", store=tmp_path / "w" / "s", mode="read-only")
    frame = project.fetch_runs_table(columns=["sys/id", "sys/state"], progress_bar=False).to_pandas()
    with naiad.init_run(with_id="P-1", store=tmp_path / "w" / "s", mode="read-only") as run:
        assert [0.0, 1.0, 2.0, 3.0] == sorted(run["seen"].fetch_values()["value"])

    assert {"P-1", "P-2", "P-3"} == set(frame["sys/id"])


# Files


def test_file_that_is_empty_at_the_call_warns(run: naiad.Run, tmp_path: Path) -> None:
    (tmp_path / "a.json").touch()
    with pytest.warns(FileWarning, match=r"a\.json' is empty at the moment"):
        run["a"].upload(tmp_path / "a.json")
    run["b"].upload(File.from_content(""))


def test_slash_means_a_folder_and_files_of_other_fields_are_not_replaced(run: naiad.Run, tmp_path: Path) -> None:
    run["a/model"].upload(File.from_content("a", extension="bin"))
    run["b/model"].upload(File.from_content("b", extension="bin"))
    folder = f"{tmp_path}/new/results/"

    assert tmp_path / "new/results/model.bin" == run["a/model"].download(folder)
    run["a/model"].download(folder)
    with pytest.raises(InvalidArgument, match='because the file "a/model" was saved there'):
        run["b/model"].download(folder)
    assert "a" == (tmp_path / "new/results/model.bin").read_text()
    assert "b" == run["b/model"].download(tmp_path / "new/results/b.bin").read_text()


def test_artifact_goes_on_past_changed_and_missing_files(run: naiad.Run, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for number in range(6):
        (data / f"{number}.txt").write_text(str(number))
    run["data"].track_files(str(data))
    (data / "1.txt").write_text("changed")
    (data / "4.txt").unlink()
    with pytest.raises(OriginalChanged, match=r"2 of 6 files are not what was tracked: '1.txt', '4.txt'"):
        run["data"].download(tmp_path / "out")

    assert ["0.txt", "2.txt", "3.txt", "5.txt"] == sorted(path.name for path in (tmp_path / "out").iterdir())


def test_figure_that_cannot_be_drawn_says_why(run: naiad.Run) -> None:
    plt = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed")
    figure, axes = plt.subplots()
    axes.set_title(r"$\notacommand{x}$")
    with pytest.warns(naiad.errors.PluginWarning), pytest.raises(TypeError, match="failed: .*notacommand"):
        run["figure"].upload(figure)
