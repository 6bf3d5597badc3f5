"""Figures of this machine, of a made-up container, and of cards that nobody has here."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import naiad
from naiad.capture.cgroups import cgroup
from naiad.capture.gpus import Gpus
from naiad.capture.hardware import UNITS, Hardware, unit_of
from naiad.errors import MissingField

GB = 2**30


def test_figures_of_this_machine_are_possible_ones() -> None:
    hardware = Hardware()
    time.sleep(0.2)
    found = hardware.read()

    assert {"cpu", "memory", "process_cpu", "process_memory", "network_received", "network_sent"} <= found.keys()
    assert all(math.isfinite(value) and value >= 0 for value in found.values())
    assert 100 >= found["cpu"]
    assert 0.01 < found["process_memory"] < found["memory"] + 100
    assert found.keys() <= UNITS.keys() | {name for name in found if name.startswith("gpu")}


def test_processes_below_this_one_count_as_its_own() -> None:
    hardware = Hardware()
    code = "x = b'x' * (200 << 20)\nwhile True: pass"
    child = subprocess.Popen(["sh", "-c", f'{sys.executable} -c "{code}" & wait'])
    before = hardware.read()["process_memory"]
    try:
        time.sleep(1)
        found = hardware.read()
    finally:
        subprocess.run(["sh", "-c", f"kill -9 $(cat /proc/{child.pid}/task/{child.pid}/children)"], check=True)
        child.wait()

    assert found["process_memory"] > before + 0.15
    assert found["process_cpu"] > 2


@pytest.mark.parametrize("version", [1, 2])
def test_in_a_container_its_limits_are_the_whole(tmp_path: Path, version: int) -> None:
    own, root = tmp_path / "cgroup", tmp_path / "fs"
    if version == 2:
        own.write_text("0::/job/step\n")
        folders = dict.fromkeys(("memory", "cpu"), root / "job")
        (root / "job" / "step").mkdir(parents=True)
        texts = {"memory.max": 8 * GB, "memory.current": 3 * GB, "cpu.max": "150000 100000"}
        texts |= {"cpu.stat": "usage_usec 2500000\nuser_usec 1"}
    else:
        own.write_text("4:memory:/job\n3:cpu,cpuacct:/job\n")
        folders = {"memory": root / "memory" / "job", "cpu": root / "cpu" / "job"}
        texts = {"memory.limit_in_bytes": 8 * GB, "memory.usage_in_bytes": 3 * GB, "cpu.cfs_quota_us": 150000}
        texts |= {"cpu.cfs_period_us": 100000, "cpuacct.usage": 2_500_000_000}
    texts["memory.stat"] = f"anon 5\ninactive_file {GB}"
    for name, text in texts.items():
        folder = folders[name[: 6 if name.startswith("memory") else 3]]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{text}\n")
    group = cgroup(root, own)

    assert (2 * GB, 2.5, 1.5) == (group.memory_used(), group.cpu_seconds(), group.processors)


def test_without_limits_there_is_no_container(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("0::/\n")
    (tmp_path / "fs").mkdir()
    (tmp_path / "fs" / "memory.max").write_text("max\n")
    group = cgroup(tmp_path / "fs", own)

    assert (None, None) == (group.memory_used(), group.cpu_seconds())


class NVMLError(Exception):
    """As the real one, raised by a card for what it cannot say."""


def cards(count: int, **broken: Any) -> ModuleType:
    """Return a stand-in for nvidia-ml-py, since the tests run where there is no card."""
    module = ModuleType("pynvml")

    def power(card: int) -> int:
        if card in broken.get("without_power", ()):
            raise NVMLError
        return 70_000 + card

    def initialise() -> None:
        if broken.get("no_driver"):
            raise NVMLError

    vars(module).update(
        NVMLError=NVMLError,
        nvmlInit=initialise,
        nvmlDeviceGetCount=lambda: count,
        nvmlDeviceGetHandleByIndex=lambda place: place,
        nvmlDeviceGetUtilizationRates=lambda card: SimpleNamespace(gpu=50 + card, memory=1),
        nvmlDeviceGetMemoryInfo=lambda card: SimpleNamespace(total=80 * GB, used=(2 + card) * GB, free=0),
        nvmlDeviceGetPowerUsage=power,
    )
    return module


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (cards(1), {"gpu": 50.0, "gpu_memory": 2.0, "gpu_power": 70.0}),
        (
            cards(2, without_power=[1]),
            {"gpu_0": 50.0, "gpu_1": 51.0, "gpu_memory_0": 2.0, "gpu_memory_1": 3.0, "gpu_power_0": 70.0},
        ),
        (cards(1, no_driver=True), {}),
        (cards(0), {}),
    ],
    ids=["one", "two, one without power", "no driver", "none"],
)
def test_cards_say_what_they_can(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, expected: dict[str, float]
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", module)

    assert expected == Gpus().read()


def test_without_the_package_there_are_no_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)

    assert {} == Gpus().read()


def _points(run: naiad.Run, path: str) -> int:
    """How many there are; another thread may have made the field and not written it yet."""
    try:
        return len(run[path].fetch_values())
    except MissingField:
        return 0


@pytest.mark.usefixtures("store")
def test_a_run_keeps_figures_with_their_units(monkeypatch: pytest.MonkeyPatch, wait_until: Any) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", cards(2))
    monkeypatch.setenv("NAIAD_HARDWARE_SECONDS", "0.1")
    with naiad.init_run(capture_hardware_metrics=True, monitoring_namespace="m") as run:
        wait_until(lambda: _points(run, "m/gpu_power_1") and _points(run, "m/memory") > 2)

        assert 51.0 == run["m/gpu_1"].fetch_last()
        assert "GB" == run.get_structure()["m"]["memory"].session.reader.config("m/memory")[2]
        assert {"hostname", "pid", "tid"} <= run["m"].fetch().keys()


@pytest.mark.parametrize(("name", "unit"), [("gpu_12", "%"), ("gpu_power_0", "W"), ("cpu", "%")])
def test_every_figure_has_a_unit(name: str, unit: str) -> None:
    assert unit == unit_of(name)
