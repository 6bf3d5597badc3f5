"""Pipelines are logged: what began, ended and failed, in which run, and nothing where naiad is not used."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from kedro.framework.session import KedroServiceSession
from kedro.io import DatasetError
from kedro.runner import ParallelRunner, SequentialRunner, ThreadRunner

import naiad
from naiad.errors import InvalidArgument, PluginWarning, RunNotFound
from naiad_kedro import log_to


def test_pipeline_nodes_and_times_are_logged(project: Any) -> None:
    project.run()
    found = project.read()
    values = {path: found.value(path) for path in found.kinds() if found.kinds()[path] in ("string", "float", "int")}

    assert "finished" == found.state()
    assert "done" == values["kedro/status"]
    assert {"done"} == {values[f"kedro/nodes/{name}/status"] for name in ("double", "total", "curve", "model")}
    assert "['params:factor', 'params:options', 'raw']" == values["kedro/nodes/double/inputs"]
    assert "['numbers']" == values["kedro/nodes/double/outputs"]
    assert 0 < values["kedro/nodes/double/execution_time"] < values["kedro/execution_time"]
    assert ["Running double", "Finished double"] == project.text("kedro/log")[:2]
    assert "Finished pipeline" == project.text("kedro/log")[-1]
    assert naiad.__version__ == values["source_code/integrations/kedro-neptune"]
    assert "SequentialRunner" == values["kedro/run_params/runner"]


def test_parameters_are_kept_as_neptune_did_and_nested(project: Any) -> None:
    project.run()
    found = project.read()

    assert 2.0 == found.value("kedro/catalog/parameters/factor")
    assert "{'name': 'sum', 'depth': {'limit': 3}}" == found.value("kedro/catalog/parameters/options")
    assert 3 == found.value("kedro/parameters/options/depth/limit")
    assert 2.0 == found.value("kedro/nodes/double/parameters/factor")
    assert "sum" == found.value("kedro/nodes/double/parameters/options/name")


def test_datasets_say_what_they_are_and_how_large(project: Any) -> None:
    project.run()
    found = project.read()
    base = "kedro/catalog/datasets/numbers"

    assert "CSVDataset" == found.value(f"{base}/type")
    assert str(project.path / "data/numbers.csv") == found.value(f"{base}/filepath")
    assert (3, 1) == (found.value(f"{base}/rows"), found.value(f"{base}/columns"))
    assert (project.path / "data/numbers.csv").stat().st_size == found.value(f"{base}/bytes")
    assert found.value(f"{base}/save_seconds") > 0
    assert found.value(f"{base}/load_seconds") > 0


def test_marked_values_become_metrics_and_series(project: Any) -> None:
    project.run()
    found = project.read()

    assert (12.0, 3.0) == (found.value("kedro/metrics/totals/sum"), found.value("kedro/metrics/totals/rows"))
    assert "float" == found.kinds()["kedro/metrics/totals/rows"]
    assert [2.0, 4.0, 6.0] == found.points("kedro/metrics/curve").values.tolist()


def test_mark_says_where_else(project: Any) -> None:
    project.remark("naiad: series", "naiad: {log: series, to: learning/curve}")

    project.run()

    assert [2.0, 4.0, 6.0] == project.read().points("kedro/learning/curve").values.tolist()


def test_marked_files_are_kept_or_tracked(project: Any) -> None:
    project.run()

    with project.opened() as run:
        assert b"a\n1\n2\n3\n" == content(run["kedro/catalog/files/raw@naiad"], project.path / "raw")
        assert (project.path / "data/model.pkl").read_bytes() == content(
            run["kedro/catalog/files/model"], project.path / "model"
        )
        assert 64 == len(run["kedro/catalog/artifacts/raw"].fetch_hash())


def content(handler: Any, place: Any) -> bytes:
    handler.download(str(place))
    return place.read_bytes()


def test_node_that_raises_fails_the_run(project: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        project.run("failing")
    found = project.read()

    assert "failed" == found.state()
    assert ["failed", "failed", "done"] == [
        found.value(f"kedro/{path}") for path in ("status", "nodes/raises/status", "nodes/double/status")
    ]
    assert ["ZeroDivisionError", "the node has failed", "raises"] == [
        found.value(f"kedro/error/{name}") for name in ("type", "message", "node")
    ]
    assert "in raises\n" in found.value("kedro/error/traceback")
    assert ["Failed raises", "Failed pipeline"] == project.text("kedro/log")[-2:]


def test_dataset_that_cannot_be_loaded_fails_the_run(project: Any) -> None:
    project.configure("catalog_more.yml", "missing: {type: pandas.CSVDataset, filepath: data/nowhere.csv}")

    with pytest.raises(DatasetError):
        project.run("missing")
    found = project.read()

    assert "failed" == found.state()
    assert "DatasetError" == found.value("kedro/error/type")
    assert "kedro/error/node" not in found.kinds()


def test_dataset_of_an_unknown_type_is_kedros_to_report(project: Any) -> None:
    project.configure("catalog_more.yml", "missing: {type: pandas.NoSuchDataset}")

    with pytest.raises(DatasetError, match="NoSuchDataset"):
        project.run("missing")

    assert "failed" == project.read().state()


def test_two_sessions_write_two_runs(project: Any) -> None:
    project.run("handler")
    project.run("handler", runtime_params={"factor": 3.0})

    assert [2.0, 3.0] == [project.read(number).value("kedro/parameters/factor") for number in (1, 2)]
    assert ["finished"] * 2 == [project.read(number).state() for number in (1, 2)]


def test_runs_of_one_service_at_once_are_not_confused(project: Any) -> None:
    session = KedroServiceSession.create(
        project_path=project.path, conf_source=str(project.path / "conf"), serving_mode=True
    )

    def run(number: int) -> None:
        session.run(pipeline_names=["wide"], runtime_params={"factor": number})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))

    for number in range(1, 5):
        check_wide(project, number)
    assert {0, 1, 2, 3} == {project.read(number).value("kedro/parameters/factor") for number in range(1, 5)}


def test_parameter_of_the_command_names_the_run_to_go_on_with(project: Any) -> None:
    project.configure("naiad.yml", "naiad: {with_id: '${runtime_params:run, null}'}")

    project.run("twins")
    project.run("handler", runtime_params={"run": "TINY-1"})

    assert 42 == project.read().value("kedro/from_node")
    assert "done" == project.read().value("kedro/nodes/nothing/status")
    assert 1 == len(list((project.path / ".naiad/runs").iterdir()))


def test_a_run_is_gone_on_with(project: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        project.run("failing")
    project.configure("naiad.yml", "naiad: {with_id: TINY-1}")
    project.configure("parameters.yml", "{factor: 5, options: {name: {first: 1}}}")

    project.run()
    found = project.read()

    assert "finished" == found.state()
    assert ["done", "done"] == [found.value(f"kedro/{path}") for path in ("status", "nodes/double/status")]
    assert "kedro/error/type" not in found.kinds()
    assert 1 == found.value("kedro/nodes/double/parameters/options/name/first")
    assert "kedro/parameters/options/depth/limit" not in found.kinds()
    assert "Failed pipeline" in project.text("kedro/log")
    assert [] == [path for path in found.kinds() if path.startswith("kedro/integration")]


def test_users_run_is_written_below_a_namespace_and_not_stopped(project: Any) -> None:
    with naiad.init_run(project="mine", store=project.path / ".naiad") as run, log_to(run["trial/3"]):
        with pytest.raises(ZeroDivisionError):
            project.run("failing")
        project.run("handler")
        state = run["sys/state"].fetch()
        seen = run["trial/3/kedro/from_node"].fetch()
        paths = {path.split("/")[0] for path in run._session.tree.paths()}
        run["after"] = True

    assert ("running", 42) == (state, seen)
    assert {"sys", "trial", "source_code"} == paths


def test_base_namespace_is_where_everything_goes(project: Any) -> None:
    project.configure("naiad.yml", "naiad: {base_namespace: a/b, name: nightly, tags: [x], project: other}")

    project.run("handler")
    found = naiad.init_run(with_id="OTHER-1", mode="read-only", store=project.path / ".naiad")

    assert 42 == found["a/b/from_node"].fetch()
    assert "nightly" == found["sys/name"].fetch()
    assert {"x"} == found["sys/tags"].fetch()
    assert not found.exists("kedro")
    found.stop()


@pytest.mark.parametrize("runner", [None, ThreadRunner], ids=["sequential", "threads"])
def test_nodes_of_any_runner_write_one_run(runner: Any, project: Any) -> None:
    project.run("wide", runner=runner and runner(max_workers=3))

    check_wide(project)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_worker_processes_write_one_run(context: str, project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEDRO_MP_CONTEXT", context)

    project.run("wide", runner=ParallelRunner(max_workers=2))
    check_wide(project)
    pids = {project.read().value(f"kedro/nodes/part{k}/process") for k in range(4)}

    assert len(pids) == 2


def test_datasets_loaded_and_saved_by_threads_are_timed(project: Any) -> None:
    project.run(runner=SequentialRunner(is_async=True))
    found = project.read()

    assert found.value("kedro/catalog/datasets/numbers/load_seconds") > 0
    assert found.value("kedro/catalog/datasets/numbers/save_seconds") > 0
    assert 12.0 == found.value("kedro/metrics/totals/sum")


def check_wide(project: Any, number: int = 1) -> None:
    found = project.read(number)
    points = found.points("kedro/all").values.tolist()
    assert [[float(step) for step in range(20)]] * 4 == [
        found.points(f"kedro/parts/{k}").values.tolist() for k in range(4)
    ]
    assert sorted(100.0 * k + step for k in range(4) for step in range(20)) == sorted(points)
    assert {"done"} == {found.value(f"kedro/nodes/part{k}/status") for k in range(4)}
    assert 11 == len(project.text("kedro/log", number))
    assert "finished" == found.state()
    assert [] == [path for path in found.kinds() if path.startswith("kedro/integration")]


def test_nodes_of_one_name_are_told_apart(project: Any) -> None:
    project.run("twins")
    nodes = {path.split("/")[2] for path in project.read().kinds() if path.startswith("kedro/nodes/")}

    assert 3 == len(nodes)
    assert 2 == sum(name.startswith("accuracy__") for name in nodes)


def test_project_that_does_not_use_naiad_is_left_alone(bare: Any) -> None:
    bare.run()

    assert not (bare.path / ".naiad").exists()


def test_node_that_takes_the_run_is_reason_enough(bare: Any) -> None:
    result = bare.run("handler")

    assert "a run" == result["seen"].load()
    assert 42 == bare.read().value("kedro/from_node")


def test_mark_in_the_catalog_is_reason_enough(bare: Any) -> None:
    bare.configure(
        "catalog_more.yml", "half: {type: json.JSONDataset, filepath: data/h.json, metadata: {naiad: metric}}"
    )

    bare.run("metrics")

    assert 0.5 == bare.read().value("kedro/metrics/half")


def test_disabled_project_hands_nodes_none(project: Any) -> None:
    project.configure("naiad.yml", "naiad: {enabled: false}")

    assert "no run" == project.run("handler")["seen"].load()
    assert not (project.path / ".naiad").exists()


def test_neptunes_file_is_understood(bare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bare.configure(
        "neptune.yml",
        "neptune: {project: $TINY_PROJECT, base_namespace: kedro, dependencies: '', enabled: 'true', "
        "upload_source_files: []}",
    )
    monkeypatch.setenv("TINY_PROJECT", "team/tiny")

    bare.run("twins")

    assert "team/tiny" == bare.read().value("sys/project")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("naiad: {base_namspace: x}", 'Did you mean "base_namespace"?'),
        ("project: x", 'naiad.yml must have one key, "naiad"'),
        ("naiad: {base_namespace: 3}", "takes a text, not 3"),
    ],
)
def test_mistake_in_the_file_is_told_before_anything_runs(text: str, words: str, project: Any) -> None:
    project.configure("naiad.yml", text)

    with pytest.raises(InvalidArgument, match=words):
        project.run()


def test_run_that_is_not_there_is_told_before_anything_runs(project: Any) -> None:
    project.configure("naiad.yml", "naiad: {with_id: TINY-7}")

    with pytest.raises(RunNotFound):
        project.run()

    assert not (project.path / "data/numbers.csv").exists()


def test_mistake_in_a_mark_is_told_before_anything_runs(project: Any) -> None:
    project.configure("catalog.yml", "totals: {type: json.JSONDataset, filepath: t.json, metadata: {naiad: metrics}}")
    project.configure("catalog_more.yml", "raw: {type: pandas.CSVDataset, filepath: data/raw.csv}")

    with pytest.raises(InvalidArgument, match="It takes one of file, artifact, series, metric"):
        project.run()

    assert not (project.path / ".naiad").exists()


def test_trouble_with_logging_costs_one_warning_and_is_recorded(project: Any) -> None:
    project.remark("naiad: metric", "naiad: {log: metric, to: log}")

    with pytest.warns(PluginWarning, match="after_dataset_saved"):
        project.run()

    (problem,) = project.text("kedro/integration/errors")
    assert "after_dataset_saved: naiad.errors.FieldConflict" in problem
    assert "finished" == project.read().state()
    assert "done" == project.read().value("kedro/status")


def test_store_that_cannot_be_written_costs_one_warning(project: Any) -> None:
    (project.path / ".naiad").write_text("a file where the store should be")

    with pytest.warns(PluginWarning, match="The pipeline is not logged"):
        result = project.run("handler")

    assert "no run" == result["seen"].load()


def test_catalog_with_entries_of_these_names_is_left_alone(project: Any) -> None:
    entries = ", ".join(
        f"{name}: {{type: json.JSONDataset, filepath: data/{name}.json}}" for name in ("naiad_run", "neptune_run")
    )
    project.configure("catalog_more.yml", f"{{{entries}}}")

    with pytest.warns(PluginWarning, match="entries of its own"):
        project.run("twins")

    assert not (project.path / ".naiad").exists()


def test_nothing_is_given_to_nodes_under_a_name_that_the_catalog_has(project: Any) -> None:
    (project.path / "data" / "mine.json").write_text("null")
    project.configure("catalog_more.yml", "neptune_run: {type: json.JSONDataset, filepath: data/mine.json}")

    assert "no run" == project.run("handler")["seen"].load()
    assert "done" == project.read().value("kedro/status")


def test_commit_of_the_projects_repository_is_kept(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAIAD_CAPTURES")
    git = ["git", "-C", str(project.path), "-c", "user.name=me", "-c", "user.email=me@example.org"]
    for words in (["init", "-q"], ["add", "conf"], ["commit", "-q", "-m", "Begin"]):
        subprocess.run([*git, *words], check=True)

    project.configure(
        "naiad.yml", "naiad: {capture_hardware_metrics: false, capture_stdout: false, capture_stderr: false}"
    )
    project.run("twins")

    with project.opened() as run:
        assert "Begin" == run["source_code/git"].fetch().message.strip()
        assert not run.exists("source_code/files")
