"""Configurations of well-known shapes: what was logged is read back, and found by query on its leaves."""

from __future__ import annotations

import enum
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import pydantic
import pytest
import yaml
from omegaconf import OmegaConf

import naiad

SECTIONS = {
    "task": "detect", "mode": "train", "model": None, "data": None, "epochs": 100, "time": None, "patience": 100,
    "batch": 16, "imgsz": 640, "save": True, "save_period": -1, "cache": False, "device": None, "workers": 8,
    "project": None, "name": None, "optimizer": "auto", "classes": None, "fraction": 1.0, "freeze": [0, 1, 2],
    "lr0": 0.01, "lrf": 0.01, "momentum": 0.937, "weight_decay": 0.0005, "warmup_bias_lr": 0.1, "box": 7.5,
}  # fmt: skip
DETECTION = yaml.safe_dump(
    SECTIONS | {f"option_{number}": (None, 0.5, "text", True)[number % 4] for number in range(84)}
)

HYDRA = """
defaults: [data, model]
seed: 1234
ckpt_path: null
tags: [dev, mnist]
paths: {root: /data, logs: "${paths.root}/logs", work: "${hydra:runtime.cwd}"}
data: {_target_: src.Data, batch_size: 64, split: [55000, 5000, 10000], workers: '???'}
model: {_target_: src.Model, optimizer: {_target_: torch.optim.Adam, lr: 0.001}, compile: false, seed: "${seed}"}
trainer: {min_epochs: 1, precision: 32-true, callbacks: {early_stopping: {monitor: val/acc, patience: 100}}}
"""


class Device(enum.Enum):
    GPU = "cuda"


class Optimizer(pydantic.BaseModel):
    lr: float = 3e-4
    betas: tuple[float, float] = (0.9, 0.999)


class Settings(pydantic.BaseModel):
    optimizer: Optimizer = Optimizer()
    device: Device = Device.GPU
    data: Path = Path("/data/train")
    timeout: timedelta = timedelta(minutes=2)
    seed: int | None = None
    layers: list[int] = [64, 32]
    extra: dict[str, Any] = {"depth": 3}


def found_by(query: str) -> list[str]:
    with naiad.init_project(mode="read-only") as project:
        frame = project.fetch_runs_table(query=query, columns=["sys/id"], progress_bar=False).to_pandas()
    return [str(each) for each in frame["sys/id"]]


def test_detection_file_of_110_keys(run: naiad.Run) -> None:
    given = yaml.safe_load(DETECTION)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run["config"] = given
    run.sync()

    expected = {key: str(value) if value is None or isinstance(value, list) else value for key, value in given.items()}
    assert 110 == len(expected)
    assert expected == run["config"].fetch()
    for query in ("`config/lr0`:float = 0.01", "`config/freeze`:string CONTAINS 1", "`config/model`:string = None"):
        assert [run["sys/id"].fetch()] == found_by(query), query


def test_hydra_configuration(run: naiad.Run) -> None:
    with pytest.warns(naiad.errors.UnsupportedValueWarning, match='"config/data/workers"') as given:
        run["config"] = OmegaConf.create(HYDRA)
    run.sync()
    found = run["config"].fetch()

    assert 1 == len(given)
    assert ("/data/logs", "${hydra:runtime.cwd}", 1234) == (*list(found["paths"].values())[1:], found["model"]["seed"])
    assert ("[55000, 5000, 10000]", "None", "['dev', 'mnist']") == (
        found["data"]["split"],
        found["ckpt_path"],
        found["tags"],
    )
    for query in (
        "`config/model/optimizer/lr`:float = 0.001",
        "`config/trainer/callbacks/early_stopping/monitor`:string = val/acc",
    ):
        assert [run["sys/id"].fetch()] == found_by(query), query


def test_pydantic_settings(run: naiad.Run) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run["config"] = Settings()
    run.sync()

    assert {
        "optimizer": {"lr": 3e-4, "betas": "(0.9, 0.999)"},
        "device": "cuda",
        "data": "/data/train",
        "timeout": 120.0,
        "seed": "None",
        "layers": "[64, 32]",
        "extra": {"depth": 3},
    } == run["config"].fetch()
    for query in ("`config/device`:string = cuda", "`config/timeout`:float > 100", "`config/extra/depth`:int = 3"):
        assert [run["sys/id"].fetch()] == found_by(query), query
