"""An untidy project: nested parameters, marks, a run that fails, is rewound and gone on with; stored as a whole."""

from __future__ import annotations

from typing import Any

import pytest

NODES = ("double", "total", "curve", "model", "raises")
EXPECTED: dict[str, str] = {
    **dict.fromkeys(("status", "execution_order", "kedro_command"), "string"),
    "structure": "file",
    "execution_time": "float",
    "log": "string_series",
    "catalog/artifacts/raw": "artifact",
    "catalog/files/model": "file",
    "catalog/files/raw@naiad": "file",
    "metrics/curve": "float_series",
    "metrics/totals/rows": "float",
    "metrics/totals/sum": "float",
    "parameters/factor": "int",
    "parameters/lr": "int",
    "parameters/lr_decay": "float",
    "parameters/options/depth/limit": "int",
    "parameters/options/layers": "string",
    "parameters/options/none": "string",
    "parameters/run": "string",
    "parameters/rewind": "int",
    "catalog/parameters/factor": "int",
    "catalog/parameters/lr": "int",
    "catalog/parameters/lr_decay": "float",
    "catalog/parameters/options": "string",
    "catalog/parameters/run": "string",
    "catalog/parameters/rewind": "int",
    "integration/renamed/parameters/lr_decay": "string",
    "integration/renamed/catalog/parameters/lr_decay": "string",
    "nodes/double/parameters/factor": "int",
    "nodes/double/parameters/options/depth/limit": "int",
    "nodes/double/parameters/options/layers": "string",
    "nodes/double/parameters/options/none": "string",
    **{f"nodes/{node}/{fact}": "string" for node in NODES for fact in ("status", "thread", "inputs")},
    **{f"nodes/{node}/outputs": "string" for node in NODES if node != "raises"},
    **{f"nodes/{node}/process": "int" for node in NODES},
    **{f"nodes/{node}/execution_time": "float" for node in NODES},
}


def test_failing_run_that_is_rewound_and_gone_on_with_is_stored_as_a_whole(project: Any) -> None:
    project.configure(
        "naiad.yml", "naiad: {with_id: '${runtime_params:run, null}', rewind_to: '${runtime_params:rewind, null}'}"
    )
    project.configure(
        "parameters.yml",
        "{factor: 2.0, options: {layers: [64, 32], none: null, depth: {limit: 3}}, lr: 1, lr/decay: 0.5}",
    )
    with pytest.raises(ZeroDivisionError):
        project.run("failing")
    assert "ZeroDivisionError" == project.read().value("kedro/error/type")
    project.run(runtime_params={"run": "TINY-1", "factor": 3, "rewind": 0})

    run = project.read()
    found = {path[6:]: kind for path, kind in run.kinds().items() if path.startswith("kedro/")}
    assert EXPECTED == {
        path: kind for path, kind in found.items() if not path.startswith(("run_params/", "catalog/data"))
    }
    datasets = {path.split("/")[2] for path in found if path.startswith("catalog/datasets/")}
    assert {"curve", "model", "numbers", "raw", "raw@naiad", "totals"} == datasets
    statuses = {name: run.value(f"kedro/nodes/{name}/status") for name in NODES}
    assert {**dict.fromkeys(NODES, "done"), "raises": "failed"} == statuses
    assert ("done", 3, 0.5) == tuple(
        run.value(f"kedro/{path}") for path in ("status", "parameters/factor", "parameters/lr_decay")
    )
    assert "parameters/lr/decay" == run.value("kedro/integration/renamed/parameters/lr_decay")
    assert [1, "Finished pipeline"] == _ends(project.text("kedro/log"))  # the end of the first is hidden


def _ends(log: list[str]) -> list[object]:
    ends = [text for text in log if "pipeline" in text]
    return [len(ends), *ends]
