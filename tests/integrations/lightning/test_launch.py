"""Names of runs that all processes of a launch find by themselves, and what ranks above 0 may know."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lightning_utilities.core.rank_zero import rank_zero_only

import naiad
from naiad_lightning import NaiadLogger
from naiad_lightning import launch as launches
from naiad_lightning.guard import SILENCE
from naiad_lightning.launch import launch, next_run, rank_of


def test_script_that_lightning_starts_again_finds_the_name() -> None:
    first: dict[str, str] = {}
    name = next_run(first)
    again = {**first, "LOCAL_RANK": "1"}

    assert str(name).startswith(f"lightning-{launch(again)}-")
    assert launch(again) != launch({**first, "LOCAL_RANK": "0"})  # a program that a training has started


def test_rank_that_somebody_else_started_knows_nothing() -> None:
    assert launch({"RANK": "2"}) is None
    assert launch({"TORCHELASTIC_RUN_ID": "none", "GROUP_WORLD_SIZE": "2"}) is None


def test_processes_of_torchrun_and_slurm_have_one_name() -> None:
    elastic = {"TORCHELASTIC_RUN_ID": "none"}
    slurm = {"SLURM_NTASKS": "2", "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "3"}

    assert launch({**elastic, "RANK": "0"}) == launch({**elastic, "RANK": "1"})
    assert f"torchrun-{os.uname().nodename}-{os.getppid()}-" in str(launch(elastic))
    assert "slurm-7-3" == launch({**slurm, "SLURM_PROCID": "1"})
    assert str(launch({**slurm, "SLURM_JOB_NAME": "bash"})).isalnum()


JOB = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "1", "SLURM_JOB_NAME": "train"}


@pytest.fixture
def name_in_job(tmp_path: Path) -> Any:
    """The name that a process of a job gives to its run; one that is done says so, or is killed."""
    program = (
        "import os; from naiad_lightning import launch; name = launch.next_run(); print(name, flush=True); "
        "launch.end(True) if os.environ['END'] == 'done' else os.kill(os.getpid(), 9)"
    )

    def start(end: str = "killed", **more: str) -> str:
        environment = {**os.environ, **JOB, "TMPDIR": str(tmp_path), "END": end, **more}
        words = [sys.executable, "-c", program]
        return subprocess.run(words, check=False, env=environment, capture_output=True, text=True, cwd=tmp_path).stdout

    return start


def test_requeued_job_of_one_task_finds_the_run_of_each_of_its_commands(name_in_job: Any) -> None:
    first = [name_in_job("done"), name_in_job("done"), name_in_job(), name_in_job(SLURM_STEP_ID="2")]
    again = [name_in_job("done", SLURM_RESTART_COUNT="1"), name_in_job("done", SLURM_RESTART_COUNT="1")]

    assert 4 == len(set(first))
    assert first[:2] == again
    assert first[3] == name_in_job(SLURM_RESTART_COUNT="1", SLURM_STEP_ID="2")


def test_equal_command_of_a_job_goes_on_with_what_was_killed_before_it(name_in_job: Any) -> None:
    assert name_in_job() == name_in_job("done") != name_in_job()


def test_other_jobs_and_interactive_ones_begin_anew(name_in_job: Any) -> None:
    names = [name_in_job(), name_in_job(SLURM_JOB_ID="8")]
    names += [name_in_job(SLURM_JOB_NAME="interactive") for _ in range(2)]

    assert 4 == len(set(names))


def test_end_of_a_training_leaves_nothing_in_the_environment(workplace: Path) -> None:
    before = dict(os.environ)
    logger = NaiadLogger()
    logger.finalize("success")

    assert before == dict(os.environ)


@pytest.mark.parametrize(("environment", "rank"), [({}, 0), ({"LOCAL_RANK": "1"}, 1), ({"SLURM_PROCID": "2"}, 2)])
def test_rank_is_what_lightning_takes_it_for(environment: dict[str, str], rank: int) -> None:
    assert rank == rank_of(environment)


def test_each_logger_of_a_process_has_its_own_name() -> None:
    assert next_run() != next_run()


def test_forked_child_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launches, "_runs", None)
    read, write = os.pipe()
    mine = str(next_run())
    if os.fork() == 0:
        os.write(write, str(next_run()).encode())
        os._exit(0)
    os.wait()

    assert mine.rpartition("-")[0] != os.read(read, 200).decode().rpartition("-")[0]


@pytest.fixture
def above(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Be rank 1 from the time it is called."""
    return lambda: monkeypatch.setattr(rank_zero_only, "rank", 1)


def test_ranks_above_know_the_run_and_write_nothing(above: Any, workplace: Path) -> None:
    logger = NaiadLogger(project="p", name="n")
    above()
    logger.log_metrics({"a": 1.0})
    logger.log_hyperparams({"a": 1.0})
    logger.log_text("t", ["x"], [["y"]])
    logger.finalize("success")
    logger.experiment["any/path"].append(1.0)

    assert ("P-1", "n") == (logger.version, logger.name)
    assert [] == list(workplace.glob("runs/*"))


def test_run_that_is_begun_later_is_the_one_that_was_named(above: Any, monkeypatch: Any) -> None:
    logger = NaiadLogger(project="p")
    above()
    named = logger.version
    monkeypatch.setattr(rank_zero_only, "rank", 0)

    assert (named, "Untitled") == (logger.run["sys/id"].fetch(), logger.name)


def test_ranks_above_know_a_run_that_exists(above: Any, run: naiad.Run) -> None:
    run["sys/name"] = "known"
    run_id = run["sys/id"].fetch()
    logger = NaiadLogger(with_id=run_id)
    above()

    assert (run_id, "known") == (logger.version, logger.name)


def test_ranks_above_know_nothing_of_a_debug_run(above: Any, workplace: Path) -> None:
    logger = NaiadLogger(mode="debug")
    above()

    assert (None, None) == (logger.version, logger.name)
    assert not workplace.exists()


def test_silence_takes_everything() -> None:
    with SILENCE["a"] as silence:
        silence["b"]["c"] = 1
        silence["b"].append(1.0, step=2)
        silence.stop()
        del silence["b"]

    for name in ("lightning.pytorch", "pytorch_lightning"):
        dummy = importlib.import_module(f"{name}.loggers.logger").DummyExperiment
        assert isinstance(SILENCE, dummy)
    assert not hasattr(SILENCE, "__array__")
    with pytest.raises(TypeError):
        iter(SILENCE)
