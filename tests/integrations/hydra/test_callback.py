"""The callback of Hydra: real applications in processes of their own, sweeps and failures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import naiad
from naiad.testing.mapping import check_mapping
from naiad_hydra.plugin import INTEGRATION

pytest.importorskip("hydra", reason='Hydra is not installed: pip install "naiad[hydra]"')

CONFIG = """
lr: 0.1
model:
  width: 8
hydra:
  job:
    chdir: true
  callbacks:
    naiad:
      _target_: naiad_hydra.NaiadCallback
      project: p
      tags: [tiny]
"""
APP = """
import os
import hydra
from naiad_hydra import current_run

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(config):
    current_run()["train/loss"].append(config.lr)
    current_run()["process"] = os.getpid()
    if config.lr > 1:
        raise RuntimeError("boom")
    return config.lr * 2

if __name__ == "__main__":
    for _ in range(int(os.environ.get("SWEEPS", "1"))):
        main()
    print(os.getpid())
"""
BY_HAND = {"train/loss", "process"}


@pytest.fixture
def app(store: Path, tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "app.py").write_text(APP)
    return tmp_path / "app.py"


def execute(app: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, app, *overrides]
    environment = {**os.environ, "NAIAD_QUIET": "1"}
    return subprocess.run(command, cwd=app.parent, env=environment, capture_output=True, text=True, check=False)


def test_a_job_has_a_run(app: Path) -> None:
    done = execute(app, "lr=0.2")

    assert (0, "") == (done.returncode, done.stderr)
    with naiad.init_run(with_id="P-1", mode="read-only") as run:
        check_mapping(INTEGRATION, run, when={"overrides", "job", "returned"}, besides=BY_HAND)
        assert {"lr": 0.2, "model": {"width": 8}} == run["config"].fetch()
        assert ("lr=0.2", "COMPLETED", 0.4) == tuple(
            run[f"hydra/{name}"].fetch() for name in ("overrides", "status", "return_value")
        )
        assert ("finished", "app", {"tiny"}) == tuple(run[f"sys/{name}"].fetch() for name in ("state", "name", "tags"))


def test_the_jobs_of_a_sweep_are_children_of_its_run(app: Path) -> None:
    done = execute(app, "--multirun", "lr=0.1,0.2")

    assert (0, "") == (done.returncode, done.stderr)
    with naiad.init_run(with_id="P-1", mode="read-only") as sweep:
        check_mapping(INTEGRATION, sweep, when={"overrides", "group"})
        assert "app (sweep)" == sweep["sys/name"].fetch()
        assert ["P-2", "P-3"] == sorted(child.id for child in sweep.children())
    with naiad.init_run(with_id="P-3", mode="read-only") as run:
        check_mapping(INTEGRATION, run, when={"overrides", "job", "returned", "sweep"}, besides=BY_HAND)
        assert (0.2, 1, "P-1") == (run["config/lr"].fetch(), run["hydra/job/num"].fetch(), run["sys/parent"].fetch())


def test_jobs_in_other_processes_are_children_of_the_sweep(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launcher that pickles the callback; its processes outlive a sweep and serve the next."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="pip install hydra-joblib-launcher")
    monkeypatch.setenv("SWEEPS", "2")

    done = execute(app, "--multirun", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "lr=0.1,0.2,0.3")

    assert 0 == done.returncode, done.stderr
    with naiad.init_project("p", mode="read-only") as project:
        table = project.fetch_runs_table(columns=["sys/state", "sys/parent", "process", "config/lr"]).to_pandas()
    jobs = table[table["sys/parent"].notna()]
    assert (8, {"finished"}) == (len(table), {*table["sys/state"]})
    assert [[0.1, 0.2, 0.3]] * 2 == [sorted(each["config/lr"]) for _, each in jobs.groupby("sys/parent")]
    assert int(done.stdout.split()[-1]) not in {*jobs["process"]}


def test_a_single_job_continues_its_run(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAIAD_CUSTOM_RUN_ID", "job-17")

    assert [0, 1, 0] == [execute(app, f"lr={lr}").returncode for lr in (0.1, 2, 0.2)]

    with naiad.init_run(with_id="P-1", mode="read-only") as run:
        assert [0.1, 2.0, 0.2] == run["train/loss"].fetch_values()["value"].tolist()
        assert (0.2, "COMPLETED") == (run["config/lr"].fetch(), run["hydra/status"].fetch())
        assert "finished" == run["sys/state"].fetch()


def test_a_failing_job_leaves_a_failed_run(app: Path) -> None:
    done = execute(app, "lr=2")

    assert (1, True) == (done.returncode, "boom" in done.stderr)
    with naiad.init_run(with_id="P-1", mode="read-only") as run:
        assert ("failed", "FAILED") == (run["sys/state"].fetch(), run["hydra/status"].fetch())


def test_an_argument_that_no_run_has_ends_the_application(app: Path) -> None:
    done = execute(app, "+hydra.callbacks.naiad.tag=a")

    assert 1 == done.returncode
    assert "tag" in done.stderr
