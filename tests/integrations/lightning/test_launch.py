"""Names of runs that all processes of a launch find by themselves, and what ranks above 0 may know."""

from __future__ import annotations

import os
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
    name = launch(first)
    again = {**first, "LOCAL_RANK": "1"}

    assert name == launch(again)
    assert name != launch({**first, "LOCAL_RANK": "0"})  # a program that a training has started


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

    assert not hasattr(SILENCE, "__array__")
    with pytest.raises(TypeError):
        iter(SILENCE)
