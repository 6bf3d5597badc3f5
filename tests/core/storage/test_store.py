"""The store: ids that are never given twice, projects, custom ids, and what a newer or unwritable one says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import naiad
from naiad.errors import InvalidArgument, NewerFormat, RunNotFound, StoreNotWritable
from naiad.storage.local import store as store_module
from naiad.storage.local.store import Store

TAKE_IDS = """
import sys
from naiad.storage.local.store import Store

store = Store.locate(sys.argv[1])
sys.stdin.readline()
for i in range(25):
    print(store.reserve_run("a project of many").id, flush=True)
"""

JOIN = """
import sys
import naiad

sys.stdin.readline()
run = naiad.init_run(store=sys.argv[1], project="p", custom_run_id="job-7")
run["from"].append(float(sys.argv[2]))
print(run["sys/id"].fetch(), flush=True)
run.stop()
"""


@pytest.fixture
def place(store: Path) -> Store:
    return Store.locate(store)


def in_processes(script: str, store: Path, count: int) -> list[list[str]]:
    """What each of `count` processes prints that begin at the same moment."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(store), str(i)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for i in range(count)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    printed = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [0] * count == [process.returncode for process in processes]
    return printed


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Where the store is


def test_argument_comes_before_environment_and_folder(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work" / ".naiad").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")

    assert tmp_path / "given" == Store.locate(tmp_path / "given").root
    assert tmp_path / "work" / "relative" == Store.locate("relative").root
    assert store == Store.locate().root
    monkeypatch.delenv("NAIAD_STORE")
    assert tmp_path / "work" / ".naiad" == Store.locate().root


def test_nearest_store_above_is_found_and_otherwise_one_begins_here(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NAIAD_STORE")
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert deep / ".naiad" == Store.locate().root
    assert not (deep / ".naiad").exists()

    (tmp_path / "a" / ".naiad").mkdir()
    assert tmp_path / "a" / ".naiad" == Store.locate().root
    (tmp_path / "a" / "b" / ".naiad").write_text("a file is no store")
    assert tmp_path / "a" / ".naiad" == Store.locate().root


def test_home_is_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert tmp_path / "runs" == Store.locate("~/runs").root


def test_default_project_is_set_or_the_folder_that_holds_the_store(
    place: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tmp_path.name == place.default_project()
    assert "elsewhere" == Store(Path("/data/elsewhere")).default_project()
    assert "project" == Store(Path("/.naiad")).default_project()
    monkeypatch.setenv("NEPTUNE_PROJECT", "team/old")
    assert "team/old" == place.default_project()
    monkeypatch.setenv("NAIAD_PROJECT", "team/new")
    assert "team/new" == place.default_project()


# Ids


def test_ids_are_numbered_by_project(place: Store) -> None:
    assert ["MNP-1", "MNP-2", "DIGITS-1", "MNP-3"] == [
        place.reserve_run(project).id for project in ("my-nice-project", "my-nice-project", "digits", "my-nice-project")
    ]


def test_projects_that_wish_for_the_same_key_get_different_ones(place: Store) -> None:
    projects = ["a b", "a-b", "team/a_b", "a b"]

    assert ["AB-1", "AB2-1", "AB3-1", "AB-2"] == [place.reserve_run(project).id for project in projects]
    assert {"AB": "a b", "AB2": "a-b", "AB3": "team/a_b"} == place.projects()


@pytest.mark.parametrize("project", ["", "日本語", "...", "a\r\nb", "x" * 300, "../../up", "é" * 10, "\ud800"])
def test_any_name_can_be_a_project(place: Store, project: str) -> None:
    first, second = place.reserve_run(project), place.reserve_run(project)

    assert first.id.rpartition("-")[0] == second.id.rpartition("-")[0]
    assert ("1", "2") == (first.id.rpartition("-")[2], second.id.rpartition("-")[2])
    assert [project] == list(place.projects().values())


def test_ids_are_unique_among_eight_processes_at_once(store: Path) -> None:
    """They also make the store at the same moment, which none of them may take for a damaged one."""
    printed = in_processes(TAKE_IDS, store, 8)

    assert sorted(f"APOM-{i}" for i in range(1, 201)) == sorted(one for lines in printed for one in lines)
    assert {"APOM": "a project of many"} == Store.locate(store).projects()


def test_torn_or_stale_hint_costs_only_time(place: Store) -> None:
    for _ in range(12):
        place.reserve_run("p")
    hint = place.root / "ids" / "P" / ".last"
    for content in ("1", "", "nonsense", "99"):
        hint.write_text(content)
        place.reserve_run("p")

    assert [str(i) for i in range(1, 17)] == sorted(
        (name for name in os.listdir(hint.parent) if name.isdigit()), key=int
    )


def test_stores_work_where_there_are_no_hard_links(place: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_given: object, **_options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with naiad.init_run(project="p") as run:
        run["loss"].extend([0.5] * 10_000)

    assert "P-2" == place.reserve_run("p").id
    assert 10_000 == len(naiad.init_run(with_id="P-1", mode="read-only")["loss"].fetch_values())


# Custom ids


def test_custom_id_joins_its_run_within_a_project(place: Store) -> None:
    with naiad.init_run(project="p", custom_run_id="job") as run:
        first = run["sys/id"].fetch()
        assert "job" == run["sys/custom_run_id"].fetch()
    with naiad.init_run(project="p", custom_run_id="job") as run:
        assert first == run["sys/id"].fetch()
    with naiad.init_run(project="q", custom_run_id="job") as run:
        assert first != run["sys/id"].fetch()


def test_processes_with_one_custom_id_write_one_run(store: Path) -> None:
    printed = in_processes(JOIN, store, 8)

    [found] = {tuple(lines) for lines in printed}
    [row] = Store.locate(store).catalog().summaries()
    run = naiad.init_run(with_id=found[0], mode="read-only")
    assert ("finished", "job-7", (run["sys/id"].fetch(),)) == (row.state, row.custom_run_id, found)
    assert list(range(8)) == sorted(run["from"].fetch_values()["value"])
    run.stop()


def test_custom_id_of_a_run_that_could_not_begin_is_free_again(place: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_given: object, **_more: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("naiad.storage.local.writer.Writer.open", refuse)
        with pytest.raises(OSError, match="space"):
            naiad.init_run(project="p", custom_run_id="job")
    assert [] == list(place.folders())

    with naiad.init_run(project="p", custom_run_id="job") as run:
        assert ("P-1", "job") == (run["sys/id"].fetch(), run["sys/custom_run_id"].fetch())


def test_custom_id_of_a_deleted_run_begins_it_anew(place: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "BEGIN_SECONDS", 0.05)
    with naiad.init_run(project="p", custom_run_id="job", name="first") as run:
        run["x"] = 1
    shutil.rmtree(place.find_directory("P-1").path)

    with naiad.init_run(project="p", custom_run_id="job") as run:
        assert ("P-1", "job", "Untitled") == tuple(run["sys"][key].fetch() for key in ("id", "custom_run_id", "name"))
        assert not run.exists("x")


def test_joiner_waits_for_the_process_that_is_making_the_run(place: Store) -> None:
    reserved = place.reserve_run("p", "job")
    timer = threading.Timer(0.2, lambda: place.directory(reserved.run).path.mkdir(parents=True))
    timer.start()

    joined = place.reserve_run("p", "job")
    timer.join()
    assert (reserved.run, reserved.id, False) == (joined.run, joined.id, joined.is_new)


# Finding


def test_unknown_run_names_ids_that_look_alike(place: Store) -> None:
    for _ in range(3):
        naiad.init_run(project="digits").stop()

    with pytest.raises(RunNotFound, match=r"has no run 'DIGIT-2'\. Nearby: DIGITS-2, ") as problem:
        place.find_directory("DIGIT-2")
    assert "DIGIT-2" == problem.value.run_id
    with pytest.raises(RunNotFound, match="List its runs with: naiad ls"):
        place.find_directory("something else")


@pytest.mark.parametrize("name", ["", "..", "../runs", "DIGITS-", "-1", "a/b-1", "\0", "é-1", "DIGITS-1/..", "x" * 500])
def test_what_is_no_id_is_not_found(place: Store, name: str) -> None:
    naiad.init_run(project="digits").stop()
    with pytest.raises(RunNotFound):
        place.find_directory(name)


def test_nothing_is_made_by_looking(place: Store) -> None:
    with pytest.raises(RunNotFound):
        place.find_directory("RUN-1")

    assert [] == list(place.folders())
    assert {} == place.projects()
    assert [] == place.catalog().summaries()
    assert not place.root.exists()


def test_deleted_run_is_not_found(place: Store) -> None:
    naiad.init_run(project="p").stop()
    shutil.rmtree(place.find_directory("P-1").path)

    with pytest.raises(RunNotFound):
        place.find_directory("P-1")


def test_run_copied_from_another_store_is_found_by_its_id(place: Store, tmp_path: Path) -> None:
    naiad.init_run(project="digits", store=tmp_path / "other").stop()
    source = Store.locate(tmp_path / "other").find_directory("DIGITS-1")
    naiad.init_run(project="p").stop()
    shutil.copytree(source.path, place.root / "runs" / source.uid)
    assert source.uid == place.find_directory("DIGITS-1").uid

    shutil.copytree(source.path, place.root / "runs" / "another")
    with pytest.raises(RunNotFound, match="several runs 'DIGITS-1'"):
        place.find_directory("DIGITS-1")
    assert "another" == place.find_directory("another").uid


def test_id_of_a_run_and_of_a_copied_one_means_neither(place: Store, tmp_path: Path) -> None:
    from naiad import trash

    for store in (place.root, tmp_path / "other"):
        naiad.init_run(project="p", store=store).stop()
    ours = place.find_directory("P-1")
    theirs = Store(tmp_path / "other").find_directory("P-1")
    shutil.copytree(theirs.path, place.root / "runs" / theirs.uid)

    with pytest.raises(RunNotFound, match="has several runs 'P-1'") as problem:
        trash.find(place, ["P-1"])
    assert ours.uid in str(problem.value)
    assert theirs.uid in str(problem.value)
    with pytest.raises(RunNotFound, match="has several runs 'P-1'"):
        naiad.init_run(with_id="P-1")
    assert ours == place.find_directory(ours.uid)
    shutil.rmtree(place.root / "runs" / theirs.uid)
    assert ours == place.find_directory("P-1")


def test_deleted_id_is_said_to_be_deleted_and_not_named_as_near(place: Store) -> None:
    naiad.init_run(project="p").stop()
    shutil.rmtree(place.find_directory("P-1").path)

    with pytest.raises(RunNotFound, match=r"has no run 'P-1' any more: it was deleted\.$"):
        place.find_directory("P-1")


def test_foreign_things_in_the_store_are_no_runs(place: Store) -> None:
    naiad.init_run(project="p").stop()
    (place.root / "runs" / ".hidden").mkdir()
    (place.root / "runs" / "no run!").mkdir()
    (place.root / "keys" / ".draft").write_text("x")

    assert 1 == len(list(place.folders()))
    assert {"P": "p"} == place.projects()


# Formats and refusals


def test_store_of_a_later_release_is_refused_and_not_touched(place: Store) -> None:
    naiad.init_run(project="p").stop()
    (place.root / "format").write_text("2\n")
    before = listing(place.root)

    for use in (
        naiad.init_run,
        lambda: naiad.init_run(with_id="P-1"),
        lambda: naiad.init_run(with_id="P-1", mode="read-only"),
        lambda: place.catalog().summaries(),
        place.create,
    ):
        with pytest.raises(NewerFormat, match=r"\(format 2; this release reads up to 1\)"):
            use()
    assert before == listing(place.root)


@pytest.mark.parametrize("content", ["", "one", "1.5"])
def test_store_whose_format_is_damaged_is_refused(place: Store, content: str) -> None:
    naiad.init_run(project="p").stop()
    (place.root / "format").write_text(content)

    with pytest.raises(StoreNotWritable, match="format cannot be read"):
        naiad.init_run(project="p")


def test_store_that_is_a_file_is_refused(store: Path) -> None:
    store.write_text("occupied")

    with pytest.raises(StoreNotWritable):
        naiad.init_run(project="p")
    assert "occupied" == store.read_text()


def test_store_keeps_itself_out_of_git(place: Store) -> None:
    place.create()

    assert "*\n" == (place.root / ".gitignore").read_text()
    assert "1\n" == (place.root / "format").read_text()


def test_abandoned_run_leaves_nothing(place: Store) -> None:
    reserved = place.reserve_run("p", "job")
    place.directory(reserved.run).path.mkdir(parents=True)
    other = place.reserve_run("p", "other")
    place.release(reserved)

    assert [] == list(place.folders())
    assert [other.run.uid] == [json.loads(one.read_text())["uid"] for one in (place.root / "custom").iterdir()]
    assert ["2"] == [name for name in os.listdir(place.root / "ids" / "P") if name.isdigit()]


def test_tuning_that_is_no_number_is_said(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAIAD_FOLD_RECORDS", "many")

    with pytest.raises(InvalidArgument, match="NAIAD_FOLD_RECORDS must be a number.*, not 'many'"):
        naiad.init_run(project="p")


def test_run_that_a_client_sent_is_found_before_its_registered_id_is_written(place: Store, tmp_path: Path) -> None:
    """It has the id of the folder it came from, by which the store here may mean another run."""
    own, there = (naiad.init_run(store=each, project="p", git_ref=False) for each in (place.root, tmp_path / "there"))
    own.stop()
    there.stop()
    uid = there._run.uid
    shutil.copytree(tmp_path / "there" / "runs" / uid, place.root / "runs" / uid)
    place.register.take("P-2", uid)
    place.catalog().summaries("p")

    assert "P-1" == own.id == there.id
    assert [own._run.uid, uid] == [place.find(name).uid for name in ("P-1", "P-2")]
