"""Descriptions of a model, made without changing it: values and files for one path each."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras

from naiad.file import File
from naiad.utils import stringify_unsupported


def optimizer_config(model: Any) -> Mapping[str, Any]:
    """Return the options of the optimizer; a schedule of the learning rate is a namespace among them."""
    config: Mapping[str, Any] = stringify_unsupported(model.optimizer.get_config())
    return config


def compile_config(model: Any) -> Mapping[str, Any]:
    """Return the arguments of `compile()` except the optimizer, which is described separately."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*includes a `lambda`", UserWarning)  # of who would load it again
        given = model.get_compile_config()
    config = {option: value for option, value in given.items() if option != "optimizer"}
    described: Mapping[str, Any] = stringify_unsupported(config)
    return described


def learning_rate(model: Any) -> float:
    """Return the learning rate of this moment, which is a variable, or a tensor where a schedule computes it."""
    return float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))


def summary(model: Any) -> File:
    """Return the table that `model.summary()` prints."""
    lines: list[str] = []
    model.summary(print_fn=lambda line, *_, **__: lines.append(line))  # older releases call it for each line
    return File.from_content("\n".join(lines))


def architecture(model: Any) -> File:
    """Return the architecture as JSON for `keras.models.model_from_json`, without weights."""
    return File.from_content(model.to_json(), extension="json")


def diagram(model: Any) -> File:
    """Draw the layers of a model; needs pydot and graphviz."""
    with TemporaryDirectory(prefix="naiad-") as folder:
        file = Path(folder, "model.png")
        keras.utils.plot_model(model, str(file), show_shapes=True, show_layer_names=True)
        return File.from_content(file.read_bytes(), extension="png")


def saved(model: Any) -> File:
    """Return the whole model as `keras.saving.load_model` reads it."""
    with TemporaryDirectory(prefix="naiad-") as folder:
        file = Path(folder, "model.keras")
        model.save(file)
        return File.from_content(file.read_bytes(), extension="keras")
