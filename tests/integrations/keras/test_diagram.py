"""The diagram of a model, which pydot and graphviz draw; without them there is a warning."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from naiad import Run
from naiad.errors import PluginWarning
from naiad_keras import NaiadCallback

CAN_DRAW = bool(shutil.which("dot") and find_spec("pydot"))
Fit = Callable[..., Any]


@pytest.mark.skipif(not CAN_DRAW, reason="pydot or the program dot of graphviz is not installed")
def test_diagram_is_an_image_of_all_layers(run: Run, model: Any, fit: Fit) -> None:
    fit(model, NaiadCallback(run, log_model_diagram=True), epochs=1)

    assert "png" == run["training/model/visualization"].fetch_extension()
    width, height = Image.open(BytesIO(run["training/model/visualization"].fetch_content())).size
    assert height > width / 2 > 50


def test_diagram_without_graphviz_costs_a_warning(
    run: Run, model: Any, fit: Fit, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.warns(PluginWarning, match="could not log model/visualization: ImportError"):
        fit(model, NaiadCallback(run, log_model_diagram=True), epochs=1)

    assert "done" == run["training/status"].fetch()
    assert not run.exists("training/model/visualization")
