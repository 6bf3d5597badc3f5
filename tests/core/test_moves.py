"""Runs in another project, and runs that nothing may delete; also where a process dies in the middle."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import naiad
from naiad import management, trash
from naiad.cli import main
from naiad.errors import BeingWritten, ContainerProtected, InvalidArgument, NaiadTypeError, NameTaken, RunNotFound
from naiad.storage.local.gc import collect
from naiad.storage.local.store import Store
from naiad.types import File

QUIET: dict[str, Any] = {"git_ref": False, "source_files": [], "capture_hardware_metrics": False}
KILLED_MOVE = """
import os, sys
from naiad import moves
from naiad.storage.local.store import Store

root, left = sys.argv[1], int(sys.argv[2])
done = 0

def step(event, arguments):
    global done
    is_change = event in ("os.link", "os.rename", "os.remove") or (
        event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    )
    if is_change and str(arguments[0]).startswith(root):
        if done == left:
            os.kill(os.getpid(), 9)
        done += 1

store = Store.locate(root)
store.catalog().summaries()
sys.addaudithook(step)
moves.move(store, ["P-1"], "archive")
print(done)
"""


@pytest.fixture
def place(store: Path) -> Store:
    return Store.locate(store)


def begin(store: Path, **given: Any) -> naiad.Run:
    return naiad.init_run(store=store, **{"project": "p", **QUIET, **given})


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def ids(place: Store, project: str) -> list[str]:
    return sorted(row.id for row in place.catalog().summaries(project, is_trashed=None))


def test_moved_run_has_a_new_id_and_is_found_by_both(store: Path, place: Store) -> None:
    with begin(store, custom_run_id="job", tags=["t"]) as run:
        run["loss"].extend([0.5, 0.25])
    begin(store, project="archive").stop()

    done = call("move", "P-1", "--to", "archive")
    again = call("move", "P-1", "--to", "archive")

    assert ("P-1\tARCHIVE-2\n", "ARCHIVE-2\tARCHIVE-2\n") == (done.stdout, again.stdout)
    assert ([], ["ARCHIVE-1", "ARCHIVE-2"]) == (ids(place, "p"), ids(place, "archive"))
    for name in ("P-1", "ARCHIVE-2", place.find("P-1").uid):
        with begin(store, with_id=name, mode="read-only", project=None) as found:
            assert ("ARCHIVE-2", "archive") == (found.id, found["sys/project"].fetch())
            assert [0.5, 0.25] == found["loss"].fetch_values()["value"].tolist()
    for project in ("p", "archive"):
        with begin(store, project=project, custom_run_id="job") as resumed:
            assert "ARCHIVE-2" == resumed.id
    verified = call("verify")
    assert (0, "") == (verified.exit_code, verified.stdout)  # its former id is no damage
    with begin(store) as new:
        assert "P-2" == new.id  # an id is never given twice


def test_moved_twice_it_is_found_by_all_its_ids_also_after_a_copy(store: Path, place: Store, tmp_path: Path) -> None:
    begin(store).stop()
    assert {"P-1": "Q-1"} == management.move_runs("p", "P-1", "q", store=store)
    assert {"Q-1": "R-1"} == management.move_runs("q", ["P-1"], "r", store=store)
    call("copy", "P-1", "--to", str(tmp_path / "other"))

    for where in (place, Store.locate(tmp_path / "other")):
        assert 1 == len({where.find(name).uid for name in ("P-1", "Q-1", "R-1")})
        assert ["R-1"] == ids(where, "r")


def test_children_follow_their_parent_or_name_its_new_id(store: Path, place: Store) -> None:
    with begin(store) as parent, begin(store, parent=parent), begin(store, parent=parent):
        pass
    management.move_runs("p", "P-1", "q", store=store)
    parents = {row.id: row.parent for row in place.catalog().summaries()}
    assert {"Q-1": None, "P-2": "Q-1", "P-3": "Q-1"} == parents

    management.move_runs("q", "Q-1", "r", children=True, store=store)

    assert {"R-1": None, "R-2": "R-1", "R-3": "R-1"} == {row.id: row.parent for row in place.catalog().summaries()}


def test_move_that_cannot_be_is_refused_and_changes_nothing(store: Path, place: Store) -> None:
    begin(store, custom_run_id="job").stop()
    begin(store, project="q", custom_run_id="job").stop()
    model = naiad.init_model(project="p", key="CNN", store=store)
    model.stop()
    with pytest.raises(NameTaken, match="custom_run_id='job': Q-1"):
        management.move_runs("p", "P-1", "q", store=store)
    with pytest.raises(InvalidArgument, match="only runs can be moved"):
        management.move_runs("p", model.id, "q", store=store)
    with pytest.raises(RunNotFound):
        management.move_runs("p", "P-7", "q", store=store)
    with begin(store) as running, pytest.raises(BeingWritten, match="cannot be moved"):
        management.move_runs("p", running.id, "q", store=store)

    assert (["P-1", "P-2"], ["Q-1"]) == (ids(place, "p"), ids(place, "q"))


def test_purge_of_a_moved_run_frees_its_custom_id_everywhere(store: Path, place: Store) -> None:
    begin(store, custom_run_id="job").stop()
    management.move_runs("p", "P-1", "q", store=store)
    call("trash", "P-1")
    assert 0 == call("purge", "--yes").exit_code

    for project in ("p", "q"):
        with begin(store, project=project, custom_run_id="job") as new:
            assert new.id.startswith(project.upper())
    assert (["P-2"], ["Q-2"]) == (ids(place, "p"), ids(place, "q"))


def killed_move(store: Path, step: int) -> subprocess.CompletedProcess[str]:
    """Move P-1, dying before a change of the disk; with -1 all are made and counted."""
    with begin(store, custom_run_id="job") as run:
        run["loss"].extend([0.5, 0.25])
        begin(store, parent=run).stop()
    command = [sys.executable, "-c", KILLED_MOVE, str(store), str(step)]
    return subprocess.run(command, check=False, timeout=100, stdout=subprocess.PIPE, text=True)


def test_move_killed_anywhere_has_happened_or_not_and_can_be_finished(tmp_path: Path) -> None:
    """At five of its changes of the disk, spread from the first to the last."""
    count = int(killed_move(tmp_path / "whole" / ".naiad", -1).stdout)
    assert count > 8
    for step in sorted({round(number * (count - 1) / 4) for number in range(5)}):
        store = tmp_path / str(step) / ".naiad"
        assert -signal.SIGKILL == killed_move(store, step).returncode
        place = Store.locate(store)
        uid = place.find("P-1").uid

        own = [row for row in place.catalog().summaries(is_trashed=None) if row.uid == uid]
        assert [("P-1", "p")] == [(row.id, row.project) for row in own] or ("archive" == own[0].project)
        assert uid == place.find("P-1").uid == place.find(own[0].id).uid
        assert uid == (place.find_custom("p", "job") or own[0]).uid
        [(_old, new)] = [*management.move_runs(own[0].project, own[0].id, "archive", store=store).items()]
        assert ([new], ["P-2"]) == (ids(place, "archive"), ids(place, "p"))
        assert uid == place.find("P-1").uid == place.find(new).uid
        found = place.find_custom("archive", "job")
        assert uid == (found and found.uid)
        assert [new] == [row.parent for row in place.catalog().summaries("p")]
        with begin(store, with_id=new, mode="read-only", project=None) as read:
            assert ("finished", [0.5, 0.25]) == (
                read["sys/state"].fetch(),
                read["loss"].fetch_values()["value"].tolist(),
            )


def test_protected_run_is_refused_by_everything_that_deletes_until_it_is_lifted(store: Path, place: Store) -> None:
    with begin(store) as run:
        run["weights"].upload(File.from_content(b"x" * 5000))
        run.protect()
        run["after"] = 1
    with begin(store):
        pass
    refusals = [
        call("trash", "P-2", run.id),
        call("purge", run.id, "--yes"),
    ]
    with pytest.raises(ContainerProtected, match="naiad protect P-1 --off"):
        management.trash_objects("p", ["P-2", "P-1"], store=store)
    with pytest.raises(ContainerProtected):
        management.delete_project("p", store=store)
    with pytest.raises(ContainerProtected):
        place.delete([("P-2", place.find("P-2")), ("P-1", run._run)])

    assert [1, 1] == [result.exit_code for result in refusals]
    assert "Run P-1 is protected, so it is not put into the trash." in refusals[0].stderr
    assert ["P-1", "P-2"] == ids(place, "p")
    assert [] == list(trash.in_trash(place))
    assert [] == collect(place.layout, grace=-1.0)
    with begin(store, with_id="P-1") as again:
        assert (b"x" * 5000, 1) == (again["weights"].fetch_content(), again["after"].fetch())
        again.protect(False)
    management.trash_objects("p", ["P-1", "P-2"], store=store)
    management.clear_trash("p", store=store)
    assert [] == ids(place, "p")


def test_run_protected_in_the_trash_survives_the_purge(store: Path, place: Store) -> None:
    for _ in range(2):
        begin(store).stop()
    management.trash_objects("p", ["P-1", "P-2"], store=store)
    assert 0 == call("protect", "P-1").exit_code

    with pytest.raises(ContainerProtected):
        management.clear_trash("p", store=store)
    assert ["P-1", "P-2"] == ids(place, "p")
    management.protect_objects("p", "P-1", False, store=store)
    management.clear_trash("p", store=store)
    assert [] == ids(place, "p")


def test_models_and_versions_can_be_protected(store: Path, place: Store) -> None:
    with naiad.init_model(project="p", key="CNN", store=store) as model:
        version = naiad.init_model_version(model="P-CNN", project="p", store=store)
        version.protect()
        version.stop()
    trash.move(place, trash.find(place, ["P-CNN"]))

    with pytest.raises(ContainerProtected, match="Model version P-CNN-1 is protected"):
        trash.delete(place, trash.find(place, ["P-CNN"]))
    assert place.exists(model._run)


def test_protect_takes_a_truth_value(store: Path) -> None:
    with begin(store) as run, pytest.raises(NaiadTypeError, match="True or False, not 'no'"):
        run.protect("no")  # type: ignore[arg-type]  # a user's mistake
