"""The examples of Neptune's field types reference, for the types that are here, as ported programs have them."""

from __future__ import annotations

import argparse
from datetime import datetime, timedelta
from pathlib import Path

import pandas
import pytest

import naiad as neptune
from naiad.exceptions import (
    InactiveRunException,
    MetadataInconsistency,
    MissingFieldException,
    NeedExistingRunForReadOnlyMode,
    NeptuneException,
    NeptuneRunResumeAndCustomIdCollision,
    TypeDoesNotSupportAttributeException,
)
from naiad.handler import Handler
from naiad.utils import stringify_unsupported

pytestmark = pytest.mark.usefixtures("store")


def reopened(run: neptune.Run) -> neptune.Run:
    name = run["sys/id"].fetch()
    run.stop()
    return neptune.init_run(with_id=name, mode="read-only")


def test_simple_types() -> None:
    run = neptune.init_run()
    run["field_name"] = 0.5
    run["params/lr"] = 0.8
    run["params/lr"].assign(0.8)
    run["params/max_epochs"] = 10
    run["params/use_preprocessing"] = True
    run["params/optimizer"] = "Adam"
    run["train/end"] = end = datetime.now()
    run["dataset/creation_date"] = datetime.fromisoformat("1998-11-01")

    run = reopened(run)

    assert (0.5, 0.8, 10) == (run["field_name"].fetch(), run["params/lr"].fetch(), run["params/max_epochs"].fetch())
    assert run["params/use_preprocessing"].fetch() is True
    assert "Adam" == run["params/optimizer"].fetch()
    assert abs(run["train/end"].fetch() - end.astimezone()) < timedelta(milliseconds=1)
    assert datetime(1998, 11, 1).astimezone() == run["dataset/creation_date"].fetch()
    run.stop()


def test_float_series() -> None:
    run = neptune.init_run()
    for epoch in range(4):
        run["train/loss"].append(0.43 * epoch)
        run["train/acc"].append(value=epoch, step=epoch * 10, timestamp=1657275690.087 + epoch)
    run["train"].append({"acc": 0.9, "loss": 0.1})

    run = reopened(run)
    frame = run["train/loss"].fetch_values()

    assert ["step", "value", "timestamp"] == list(frame.columns)
    assert [0.0, 1.0, 2.0, 3.0, 4.0] == frame["step"].tolist()
    assert [0.0, 0.43, 0.86, 1.29, 0.1] == pytest.approx(frame["value"].tolist())
    assert 0.1 == run["train/loss"].fetch_last()
    assert [0, 10, 20, 30, 31] == run["train/acc"].fetch_values(include_timestamp=False)["step"].tolist()
    run.stop()


def test_series_from_a_csv_file(tmp_path: Path) -> None:
    (tmp_path / "time_series.csv").write_text("value,timestamp\n1,1657275690\n2.5,1657275691\n3,1657275692\n")
    df = pandas.read_csv(tmp_path / "time_series.csv")
    ys = df["value"]
    ts = df["timestamp"]

    run = neptune.init_run()
    run["data/example_series"].extend(ys, timestamps=ts)
    run = reopened(run)
    frame = run["data/example_series"].fetch_values(progress_bar=True)

    assert ys.tolist() == frame["value"].tolist()
    assert [datetime.fromtimestamp(t) for t in ts] == frame["timestamp"].tolist()
    run.stop()


def test_string_series() -> None:
    run = neptune.init_run()
    for epoch in range(3):
        run["train/tokens"].append(f"token {epoch}")
    run = reopened(run)

    assert "token 2" == run["train/tokens"].fetch_last()
    assert 3 == len(run["train/tokens"].fetch_values())
    run.stop()


def test_string_set() -> None:
    run = neptune.init_run(tags=["first"])
    run["sys/tags"].add(["maskRCNN", "finetune"])
    run["sys/tags"].remove("finetune")
    run["sys/group_tags"].add("group")

    assert {"first", "maskRCNN"} == run["sys/tags"].fetch()
    run["sys/tags"].clear()
    run["sys/group_tags"].clear()
    assert set() == run["sys/tags"].fetch() == run["sys/group_tags"].fetch()
    run.stop()


def test_handler_becomes_a_field() -> None:
    run = neptune.init_run()
    handler_object = run["train/batch/acc"]

    assert isinstance(handler_object, Handler)
    assert not run.exists("train/batch/acc")
    handler_object.append(0.5)
    assert run.exists("train/batch/acc")
    run.stop()


def test_namespace_handler() -> None:
    run = neptune.init_run()
    params_ns = run["params"]
    params_ns["max_epochs"] = 20
    params_ns["batch_size"] = 32
    train_ns = run["train"]
    train_ns["params/learning_rate"] = 0.3
    run["parameters/learning_rate"] = 0.1

    assert {"max_epochs": 20, "batch_size": 32} == run["params"].fetch()
    assert run.exists("parameters/learning_rate")
    assert '<Namespace field at "parameters">' == repr(run["parameters"])
    run["model/params"] = {"max_epochs": 20, "optimizer": "Adam"}
    model_ns = run["model"]
    model_ns["params"] = {"dropout": 0.2}
    assert {"max_epochs": 20, "optimizer": "Adam", "dropout": 0.2} == run["model/params"].fetch()
    eval_ns = run["eval"]
    for epoch in range(20):
        eval_ns["acc"].append(epoch / 20)
    assert 20 == len(eval_ns["acc"].fetch_values())
    run.stop()


def test_get_root_object() -> None:
    run = neptune.init_run()
    run["workflow/pretraining/params"] = {"a": 1}
    pretraining = run["workflow/pretraining"]

    with pytest.raises(AttributeError):
        pretraining.stop()
    pretraining_run = pretraining.get_root_object()
    pretraining_run.stop()
    assert "stopped" == run.get_state()


def test_arguments_of_a_script() -> None:
    run = neptune.init_run()
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    run["args"] = parser.parse_args([])
    run["config"] = stringify_unsupported({"layers": [1, 2], "lr": 0.1})
    run["expanded"] = stringify_unsupported({"layers": [1, 2]}, expand=True)

    assert {"lr": 0.1} == run["args"].fetch()
    assert {"layers": "[1, 2]", "lr": 0.1} == run["config"].fetch()
    assert {"layers": {"0": 1, "1": 2}} == run["expanded"].fetch()
    run.stop()


def test_errors_have_neptunes_names() -> None:
    run = neptune.init_run()
    run["a"] = 1

    with pytest.raises(TypeDoesNotSupportAttributeException):
        run["a"].append(1)
    with pytest.raises(MissingFieldException):
        run["b"].fetch()
    with pytest.raises(MetadataInconsistency):
        run["a/b"] = 1
    with pytest.raises(MetadataInconsistency):
        run.pop("b")
    with pytest.raises(NeedExistingRunForReadOnlyMode):
        neptune.init_run(mode="read-only")
    with pytest.raises(NeptuneRunResumeAndCustomIdCollision):
        neptune.init_run(with_id="A-1", custom_run_id="b")
    with pytest.raises(NeptuneException):
        run["a"] = "text"
    run.stop()
    with pytest.raises(InactiveRunException):
        run["a"].fetch()


def test_structure_has_neptunes_attribute_classes() -> None:
    from naiad import attributes

    run = neptune.init_run()
    run["a/b"].append(0.5)
    structure = run.get_structure()

    assert isinstance(structure["a"]["b"], attributes.FloatSeries)
    assert isinstance(run.get_attribute("sys/tags"), attributes.StringSet)
    run.stop()


def test_init_functions_are_the_classes() -> None:
    assert neptune.Run is neptune.init_run
    assert neptune.Project is neptune.init_project
    with pytest.raises(TypeError, match=r"Run\(\) got an unexpected keyword argument"):
        neptune.init_run(unknown=1)
