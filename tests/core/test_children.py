"""Runs that belong to a parent: opened anywhere, found by it, summed up in its row, and what becomes of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import naiad
from naiad import management
from naiad.cli import main
from naiad.errors import InvalidArgument, NaiadTypeError, NaiadWarning, ReadOnlyWarning, RunNotFound
from naiad.importers import import_runs
from naiad.storage.local.store import Store

QUIET: dict[str, Any] = {
    "git_ref": False, "source_files": [], "capture_hardware_metrics": False, "capture_stdout": False,
    "capture_stderr": False,
}  # fmt: skip
CHILD = """
import sys, naiad
with naiad.init_run(parent=sys.argv[1], capture_hardware_metrics=False, git_ref=False, source_files=[]) as run:
    run["val/acc"].append(float(sys.argv[2]))
    print(run.id, flush=True)
    sys.stdin.readline()
"""


def begin(**given: Any) -> naiad.Run:
    return naiad.init_run(**QUIET, **given)


def search(store: Path, values: list[float], project: str = "p") -> str:
    """The id of a stopped parent whose children have these values."""
    with begin(project=project, store=store, name="search") as parent:
        for number, value in enumerate(values):
            with begin(parent=parent, name=f"trial {number}") as run:
                run["lr"] = value / 10
                run["val/acc"].extend([0.0, value])
    return parent.id


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(main, arguments)
    assert 0 == result.exit_code, result.output
    return result


def rows(*options: str) -> list[list[str]]:
    return [line.split("\t") for line in call("ls", *options).stdout.splitlines()]


@pytest.mark.parametrize("given", [lambda parent: parent, lambda parent: parent.id, lambda parent: parent._run.uid])
def test_child_names_its_parent_and_shares_its_store_and_project(
    tmp_path: Path, given: Callable[[naiad.Run], Any]
) -> None:
    store = tmp_path / "elsewhere"
    with begin(project="p", store=store) as parent:
        named = {} if given(parent) is parent else {"store": store}
        with begin(parent=given(parent), **named) as child:
            assert (parent.id, parent.id) == (child.parent, child["sys/parent"].fetch())
            assert "p" == child["sys/project"].fetch()
        assert [child.id] == [each.id for each in parent.children()]
        assert parent.parent is None
    with begin(with_id=child.id, store=store, mode="read-only") as again:
        assert parent.id == again.parent


def test_parent_may_run_in_another_process_or_have_ended(store: Path) -> None:
    """Two children begin in processes of their own while the parent runs, and one after it has stopped."""
    parent = begin(project="p", store=store)
    command = [sys.executable, "-c", CHILD, parent.id]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen([*command, str(value)], **pipes) for value in (0.25, 0.75)]
    ids = [worker.stdout.readline().strip() for worker in workers if worker.stdout]
    running = {each.id: each.state for each in parent.children()}
    parent.stop()
    for worker in workers:
        worker.communicate("\n", timeout=60)
    subprocess.run([*command, "0.5"], input="\n", text=True, check=True, timeout=60, stdout=subprocess.PIPE)

    with naiad.init_project("p", store=store, mode="read-only") as project:
        table = project.fetch_runs_table(rollup=True, columns=["val/acc"])

    assert dict.fromkeys(ids, "running") == running
    [row] = table.to_rows()
    assert (3, "3 finished") == (row["sys/children/count"].get(), row["sys/children/state"].get())
    assert 0.5 == row["sys/children/val/acc"].get()


def test_parent_from_the_environment_is_that_of_new_runs_only(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with begin(project="p", store=store) as parent, begin(project="p", store=store) as other:
        monkeypatch.setenv("NAIAD_PARENT", parent.id)
        with begin(store=store) as child:
            assert parent.id == child.parent
        other.stop()
        with begin(with_id=other.id, store=store) as resumed:
            assert resumed.parent is None


def test_parent_can_be_given_to_a_run_that_exists(store: Path) -> None:
    with begin(project="p", store=store) as first, begin(project="p", store=store) as second:
        begin(project="p", store=store, custom_run_id="job").stop()
        for parent in (first, first, second):
            with begin(project="p", store=store, custom_run_id="job", parent=parent) as child:
                assert parent.id == child.parent
        assert ([], [child.id]) == ([*first.children()], [each.id for each in second.children()])
        with begin(with_id=child.id, store=store, mode="read-only") as read, pytest.warns(ReadOnlyWarning):
            naiad.init_run(with_id=child.id, store=store, mode="read-only", parent=first).stop()
        assert second.id == read.parent if read.get_state() == "started" else True


def test_run_cannot_be_its_own_ancestor(store: Path) -> None:
    with begin(project="p", store=store) as one, begin(parent=one) as two, begin(parent=two) as three:
        one.stop()
        for parent in (one.id, three.id):
            with pytest.raises(InvalidArgument, match="cannot be the parent"):
                begin(with_id=one.id, store=store, parent=parent)
            naiad.init_run(with_id=one.id, store=store, **QUIET).stop()


def test_wrong_parents_are_refused_at_the_call(store: Path) -> None:
    begin(project="p", store=store).stop()
    before = len(Store.locate(store).catalog().summaries())
    with pytest.raises(RunNotFound, match="no run 'P-9'"):
        begin(project="p", store=store, parent="P-9")
    with pytest.raises(NaiadTypeError, match="parent= takes a run or its id, not 3"):
        begin(project="p", store=store, parent=3)

    assert before == len(Store.locate(store).catalog().summaries())


def test_debug_mode_takes_any_parent_and_needs_none(store: Path) -> None:
    with begin(mode="debug", parent="NONE-1") as run:
        assert "NONE-1" == run.parent
    assert not store.exists()


def test_table_sums_up_children_and_finds_them(store: Path) -> None:
    best = search(store, [0.5, 0.75, 1.0])
    worse = search(store, [0.25, float("nan")])
    alone = begin(project="p", store=store)
    alone["lr"] = 1
    alone.stop()

    with naiad.init_project("p", store=store, mode="read-only") as project:
        flat = project.fetch_runs_table(columns=[])
        table = project.fetch_runs_table(
            rollup=True, columns=["val/acc", "sys/children/lr:min"], sort_by="sys/children/val/acc:max"
        )
        first = project.fetch_runs_table(
            rollup=True, columns=[], sort_by="sys/children/val/acc:max", ascending=True, limit=1
        )
        wide = project.fetch_runs_table(rollup=True, columns=["sys/children/*"]).to_pandas()
        children = project.fetch_runs_table(parent=best, columns=["val/acc"], sort_by="val/acc").to_pandas()
        queried = project.fetch_runs_table(query=f'sys/parent = "{worse}"')

    assert (8, 2) == (len(flat), len(queried))
    frame = table.to_pandas().set_index("sys/id")
    assert [best, worse, alone.id] == [*frame.index]
    assert [worse] == [*first.to_pandas()["sys/id"]]
    assert [3, 2] == [*frame["sys/children/count"][:2]]
    assert np.isnan(frame["sys/children/count"][alone.id])
    assert [0.75, 0.25] == [*frame["sys/children/val/acc"][:2]]
    assert [0.05, 0.025] == pytest.approx([*frame["sys/children/lr:min"][:2]])
    [row] = [row for row in table.to_rows() if row["sys/id"].get() == best]
    assert [0.5, 1.0] == [row[f"sys/children/val/acc:{aspect}"].get() for aspect in ("min", "max")]
    assert pytest.approx(0.125 / 3) == row["sys/children/val/acc:variance"].get()
    assert {"sys/children/lr", "sys/children/val/acc", "sys/children/count", "sys/children/state"} <= {*wide.columns}
    assert [1.0, 0.75, 0.5] == [*children["val/acc"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sys/children/count > 2", "best"),
        ("sys/children/count:int = 2", "worse"),
        ("sys/children/val/acc:max >= 1", "best"),
        ("max(sys/children/val/acc) < 1", "worse"),
        ("sys/children/val/acc < 0.5 OR lr = 1", "worse alone"),
        ("NOT sys/children/count EXISTS", "alone"),
        ("sys/children/val/acc EXISTS", "best worse"),
        ("sys/children/val/acc BETWEEN 0.7 AND 0.8", "best"),
        ("sys/children/count IN (2, 3)", "best worse"),
        ('sys/children/state = "3 finished"', "best"),
        ('sys/children/state CONTAINS "finished"', "best worse"),
        ('sys/children/state MATCHES "^2"', "worse"),
        ('sys/children/count = "a"', ""),
        ('sys/children/val/acc < "2026-01-01"', ""),
    ],
)
def test_query_names_what_children_add_up_to(store: Path, query: str, expected: str) -> None:
    ids = {"best": search(store, [0.5, 0.75, 1.0]), "worse": search(store, [0.25, float("nan")])}
    with begin(project="p", store=store) as alone:
        alone["lr"] = 1
    ids["alone"] = alone.id

    with naiad.init_project("p", store=store, mode="read-only") as project:
        top = project.fetch_runs_table(query=query, rollup=True)
        flat = project.fetch_runs_table(query=f"({query}) AND NOT sys/parent EXISTS", columns=["sys/children/count"])

    wanted = {ids[name] for name in expected.split()}
    assert wanted == {row["sys/id"].get() for row in top}
    assert wanted == {row["sys/id"].get() for row in flat}
    counts = {ids["best"]: 3, ids["worse"]: 2}
    assert {name: counts.get(name) for name in wanted - {alone.id}} == {
        row["sys/id"].get(): row["sys/children/count"].get() for row in flat if row["sys/id"].get() != alone.id
    }


def test_query_of_what_no_children_have_is_warned_of(store: Path) -> None:
    search(store, [0.5])

    with (
        naiad.init_project("p", store=store, mode="read-only") as project,
        pytest.warns(NaiadWarning, match='No run has the field "sys/children/val/auc"'),
    ):
        table = project.fetch_runs_table(query="sys/children/val/auc > 0")

    assert 0 == len(table)


def test_children_of_a_deleted_or_trashed_parent_have_rows_of_their_own(store: Path) -> None:
    parent = search(store, [0.5, 1.0])
    note = call("trash", parent).stderr
    with naiad.init_project("p", store=store, mode="read-only") as project:
        trashed = project.fetch_runs_table(rollup=True, columns=["sys/parent"]).to_pandas()
        call("purge", parent, "--yes")
        deleted = project.fetch_runs_table(rollup=True, columns=["sys/parent"]).to_pandas()

    assert "2 children of them stay outside it" in note
    for frame in (trashed, deleted):
        assert {"P-2", "P-3"} == {*frame["sys/id"]}
        assert [parent, parent] == [*frame["sys/parent"]]
    assert ["P-3", "P-2"] == [row[0] for row in rows()]


def test_trash_takes_children_along_when_asked(store: Path) -> None:
    parent = search(store, [0.5])
    with begin(parent="P-2", store=store) as grandchild:
        pass

    call("trash", parent, "--children")
    assert ([], {parent, "P-2", grandchild.id}) == (rows(), {row[0] for row in rows("--trashed")})
    call("restore", parent, "--children")
    assert {parent, "P-2", grandchild.id} == {row[0] for row in rows("--all")}
    management.trash_objects("p", parent, children=True, store=store)
    assert [] == rows("--all")
    management.restore_objects("p", [parent], children=True, store=store)
    management.trash_objects("p", parent, store=store)
    assert {"P-2"} == {row[0] for row in rows()}


def test_listing_counts_children_in_the_line_of_their_parent(store: Path) -> None:
    parent = search(store, [0.5, 1.0])
    with pytest.raises(ZeroDivisionError), begin(parent=parent, store=store):
        1 / 0

    assert [[parent, "2 finished, 1 failed"]] == [[row[0], row[6]] for row in rows()]
    assert ["P-4", "P-3", "P-2"] == [row[0] for row in rows("--parent", parent)]
    assert ["P-4"] == [row[0] for row in rows("--state", "failed")]
    assert 4 == len(rows("--all"))
    [listed] = json.loads(call("ls", "--json").stdout)
    assert ({"finished": 2, "failed": 1}, None) == (listed["children"], listed["parent"])
    assert parent == json.loads(call("ls", "--json", "--parent", parent).stdout)[0]["parent"]


def test_show_sums_up_children(store: Path) -> None:
    parent = search(store, [0.5, 1.0])

    lines = [line.split("\t") for line in call("show", parent).stdout.splitlines()]
    document = json.loads(call("show", parent, "--json").stdout)

    assert {
        ("sys/children/count", "int", "2"),
        ("sys/children/state", "string", "2 finished"),
        ("sys/children/val/acc", "float", "0.75"),
    } <= {tuple(line[:3]) for line in lines}
    assert [("P-2", "trial 0", "finished"), ("P-3", "trial 1", "finished")] == [
        (each["id"], each["name"], each["state"]) for each in document["children"]
    ]


@pytest.mark.parametrize("options", [[], ["--renumber"]])
def test_copies_of_parent_and_children_belong_together(store: Path, tmp_path: Path, options: list[str]) -> None:
    """Also where the other store has runs of its own, to which they must not attach themselves."""
    parent = search(store, [0.5, 1.0])
    target = tmp_path / "other"
    if options:
        search(target, [0.1])
    call("copy", "--all", "--to", str(target), *options)

    place = Store.locate(target)
    copied = next(row for row in place.catalog().summaries() if row.uid == Store.locate(store).find(parent).uid)
    with naiad.init_project("p", store=target, mode="read-only") as project:
        frame = project.fetch_runs_table(rollup=True, columns=["val/acc"]).to_pandas().set_index("sys/id")
        named = project.fetch_runs_table(query=f'sys/parent = "{copied.id}"', columns=[]).to_pandas()
    assert (2, 0.75) == (frame["sys/children/count"][copied.id], frame["sys/children/val/acc"][copied.id])
    assert 2 == len(named)
    if options:
        assert (1, 0.1) == (frame["sys/children/count"]["P-1"], frame["sys/children/val/acc"]["P-1"])


def test_child_that_is_copied_alone_attaches_itself_to_no_other_run(store: Path, tmp_path: Path) -> None:
    search(store, [0.5])
    target = tmp_path / "other"
    with begin(project="p", store=target):
        pass
    call("copy", "P-2", "--to", str(target))

    with naiad.init_project("p", store=target, mode="read-only") as project:
        frame = project.fetch_runs_table(rollup=True, columns=[]).to_pandas()

    assert {"P-1", "P-2"} == {*frame["sys/id"]}
    assert frame["sys/children/count"].isna().all()


def test_export_and_import_keep_children_with_their_parents(store: Path, tmp_path: Path) -> None:
    """In a store where the ids are taken, which gives them other ones; importing again changes nothing."""
    search(store, [0.5, 1.0])
    with naiad.init_project("p", store=store, mode="read-only") as project:
        project.export(tmp_path / "dump")
    target = tmp_path / "other"
    begin(project="p", store=target).stop()

    report = import_runs("neptune-export", tmp_path / "dump", store=target)
    again = import_runs("neptune-export", tmp_path / "dump", store=target)

    assert report.is_whole
    assert {"unchanged"} == {run.status for run in again.runs}
    new = next(run.id for run in report.runs if run.source_id == "P-1")
    with naiad.init_project("p", store=target, mode="read-only") as project:
        frame = project.fetch_runs_table(rollup=True, columns=["val/acc"]).to_pandas().set_index("sys/id")
        children = project.fetch_runs_table(query=f'sys/parent = "{new}"', columns=[])
    assert {"P-1", new} == {*frame.index}
    assert (2, 0.75) == (frame["sys/children/count"][new], frame["sys/children/val/acc"][new])
    assert 2 == len(children)


def test_nested_runs_of_mlflow_become_children(store: Path, tmp_path: Path) -> None:
    for number, parent in enumerate(["", "a" * 32, "b" * 32]):
        uuid = "abc"[number] * 32
        folder = tmp_path / "mlruns" / "1" / uuid
        (folder / "tags").mkdir(parents=True)
        (folder / "meta.yaml").write_text(f"run_id: {uuid}\nrun_name: r{number}\nstatus: 3\nstart_time: {number}000\n")
        if parent:
            (folder / "tags" / "mlflow.parentRunId").write_text(parent)
    (tmp_path / "mlruns" / "1" / "meta.yaml").write_text("name: digits\n")

    report = import_runs("mlflow", tmp_path / "mlruns", store=store)

    assert report.is_whole
    parents = {row.name: row.parent for row in Store.locate(store).catalog().summaries()}
    assert {"r0": None, "r1": "DIGITS-1", "r2": "DIGITS-2"} == parents
