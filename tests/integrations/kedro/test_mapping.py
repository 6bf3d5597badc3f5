"""The mapping table says what the integration writes: each row is filled, and nothing else appears."""

from __future__ import annotations

from typing import Any

import pytest

from naiad.errors import PluginWarning
from naiad.testing.mapping import check_mapping
from naiad_kedro.plugin import INTEGRATION

MARKS = {"file", "artifact", "metric", "series", "table", "params"}


def test_pipeline_fills_its_rows(project: Any) -> None:
    project.run()

    check_mapping(INTEGRATION, project.read(), when=MARKS)


def test_pipeline_whose_node_raises_fills_the_rows_of_errors(project: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        project.run("failing")

    check_mapping(INTEGRATION, project.read(), when={"file", "artifact", "table", "params", "error", "node"})


def test_trouble_fills_its_row(project: Any) -> None:
    project.remark("naiad: metric", "naiad: {log: metric, to: log}")

    with pytest.warns(PluginWarning):
        project.run()

    check_mapping(INTEGRATION, project.read(), when=MARKS - {"metric"} | {"trouble"})
