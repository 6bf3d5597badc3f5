"""The callback of Optuna: real studies, workers in threads and processes, pruned and failed trials, trouble."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import naiad
from naiad import Run
from naiad.errors import InvalidArgument, NaiadTypeError, PluginWarning
from naiad.testing.mapping import check_mapping
from naiad_optuna.plugin import INTEGRATION

optuna = pytest.importorskip("optuna", reason='Optuna is not installed: pip install "naiad[optuna]"')
naiad_optuna = pytest.importorskip("naiad_optuna")
NaiadCallback = naiad_optuna.NaiadCallback

optuna.logging.set_verbosity(optuna.logging.ERROR)
STUDY = {"study", "one objective", "study_update_freq", "memory"}


def objective(trial: Any) -> float:
    x = trial.suggest_float("x", -5, 5)
    return (x - 2) ** 2 + trial.suggest_int("n", 0, 3)


def study_of(**options: Any) -> Any:
    return optuna.create_study(**{"sampler": optuna.samplers.RandomSampler(seed=7), **options})


def children_of(run: Run) -> list[Run]:
    """The runs of the trials, the first one first."""
    return [
        naiad.init_run(with_id=each.id, mode="read-only") for each in sorted(run.children(), key=lambda one: one.id)
    ]


def test_a_study_fills_the_rows_and_its_trials_are_children(run: Run) -> None:
    study = study_of(study_name="search")
    study.set_user_attr("team", "a")
    callback = NaiadCallback(run, plots_update_freq=2)

    def reporting(trial: Any) -> float:
        callback.trial_run(trial)["train/loss"].append(0.5)
        trial.set_user_attr("seed", 7)
        for step in range(3):
            trial.report(1.0 / (step + 1), step)
        return objective(trial)

    study.optimize(reporting, n_trials=3, callbacks=[callback])

    check_mapping(INTEGRATION, run, when=STUDY | {"user_attrs", "plots"})
    assert study.best_value == run["best/value"].fetch()
    assert study.best_params == run["best/params"].fetch()
    assert [each.value for each in study.trials] == run["trials/values"].fetch_values()["value"].tolist()
    trials = children_of(run)
    assert ["trial 0", "trial 1", "trial 2"] == [each["sys/name"].fetch() for each in trials]
    for child, trial in zip(trials, study.trials, strict=True):
        when = {"trial run", "user_attrs", "value", "report"}
        check_mapping(INTEGRATION, child, when=when, besides={"train/loss"})
        assert trial.value == child["trial/value"].fetch()
        assert [0, 1, 2] == child["trial/intermediate_values"].fetch_values()["step"].tolist()
        assert ("COMPLETE", "finished") == (child["trial/state"].fetch(), child["sys/state"].fetch())


def test_trials_may_be_namespaces(run: Run) -> None:
    study = study_of()

    study.optimize(
        objective, n_trials=3, callbacks=[NaiadCallback(run["a"], trials="namespaces", plots_update_freq="never")]
    )

    check_mapping(INTEGRATION, run, base="a", when=STUDY | {"trials=namespaces"})
    assert study.trials[2].params == run["a/trials/trials/2/params"].fetch()
    assert [] == list(run.children())


def test_several_objectives(run: Run) -> None:
    study = study_of(directions=["minimize", "maximize"])
    callback = NaiadCallback(run, plots_update_freq=3, target_names=["loss", "size"], visualization_backend="plotly")

    study.optimize(lambda trial: (objective(trial), trial.params["x"]), n_trials=4, callbacks=[callback])

    check_mapping(INTEGRATION, run, when={"study", "several objectives", "study_update_freq", "memory", "plots"})
    best = {str(each.number) for each in study.best_trials}
    assert best == run.get_structure()["best"]["trials"].keys()
    assert run.exists("visualizations/plot_pareto_front")
    assert study.trials[0].values[1] == children_of(run)[0]["trial/values/size"].fetch()


def test_pruned_and_failed_trials_are_kept(run: Run) -> None:
    def troubled(trial: Any) -> float:
        if trial.number == 1:
            trial.report(9.0, 0)
            raise optuna.TrialPruned
        if trial.number == 2:
            raise ValueError("boom")
        return objective(trial)

    study_of().optimize(troubled, n_trials=4, catch=[ValueError], callbacks=[NaiadCallback(run)])

    found = [(each["trial/state"].fetch(), each["sys/state"].fetch()) for each in children_of(run)]
    assert [("COMPLETE", "finished"), ("PRUNED", "finished"), ("FAIL", "failed"), ("COMPLETE", "finished")] == found
    assert {0, 3} <= set(run["trials/values"].fetch_values()["step"])


def test_an_exception_that_ends_the_study_fails_its_run(store: Path) -> None:
    def boom(trial: Any) -> float:
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"), naiad.init_run(project="p") as run:
        study_of().optimize(boom, n_trials=2, callbacks=[NaiadCallback(run)])

    assert "failed" == naiad.init_run(with_id="P-1", mode="read-only")["sys/state"].fetch()


def test_four_threads_of_one_study_lose_nothing(run: Run) -> None:
    study = study_of()

    study.optimize(objective, n_trials=12, n_jobs=4, callbacks=[NaiadCallback(run, plots_update_freq="never")])

    assert set(range(12)) == {each["trial/number"].fetch() for each in children_of(run)}
    assert list(range(12)) == run["trials/values"].fetch_values()["step"].tolist()
    assert (study.best_value, study.best_trial.number) == (run["best/value"].fetch(), run["best/number"].fetch())


WORKER = """
import sys
import naiad, optuna
from naiad_optuna import NaiadCallback
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.load_study(study_name="search", storage=JournalStorage(JournalFileBackend(sys.argv[1])))
with naiad.init_run(project="p", custom_run_id="search") as run:
    callback = NaiadCallback(run, plots_update_freq="never")
    study.optimize(lambda trial: (trial.suggest_float("x", -5, 5) - 2) ** 2, n_trials=5, callbacks=[callback])
"""


@pytest.mark.filterwarnings("ignore:.*experimental")
def test_four_processes_of_one_study_lose_nothing(store: Path, tmp_path: Path) -> None:
    """One parent, each trial a child of it, all values in one curve, and the best of all."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    journal = str(tmp_path / "journal.log")
    study = optuna.create_study(study_name="search", storage=JournalStorage(JournalFileBackend(journal)))
    command = [sys.executable, "-W", "ignore", "-c", WORKER, journal]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    problems = [worker.communicate()[1] for worker in workers]

    assert ["", "", "", ""] == problems
    # Not by P-1: processes that begin it at once take a number each, and all but one give theirs back.
    with naiad.init_run(project="p", custom_run_id="search", mode="read-only") as run:
        trials = children_of(run)
        assert set(range(20)) == {each["trial/number"].fetch() for each in trials}
        assert 20 == len(trials)
        values = run["trials/values"].fetch_values()
        assert {each.number: each.value for each in study.trials} == dict(
            zip(values["step"], values["value"], strict=True)
        )
        assert (study.best_value, study.best_trial.number) == (run["best/value"].fetch(), run["best/number"].fetch())
    with naiad.init_project("p", mode="read-only") as project:
        assert 21 == len(project.fetch_runs_table().to_pandas())


def test_a_study_is_loaded_again_and_gone_on_with(store: Path) -> None:
    with naiad.init_run(custom_run_id="same") as run:
        study = study_of(study_name="search")
        study.optimize(objective, n_trials=3, callbacks=[NaiadCallback(run, study_update_freq=1)])

    with naiad.init_run(custom_run_id="same") as run:
        loaded = naiad_optuna.load_study_from_run(run)
        assert [(each.params, each.value) for each in study.trials] == [
            (one.params, one.value) for one in loaded.trials
        ]
        loaded.optimize(objective, n_trials=2, callbacks=[NaiadCallback(run)])
        assert [0, 1, 2, 3, 4] == run["trials/values"].fetch_values()["step"].tolist()
        assert 5 == len(list(run.children()))


def test_a_study_in_a_database_is_loaded_by_its_address(run: Run, tmp_path: Path) -> None:
    study = study_of(study_name="search", storage=f"sqlite:///{tmp_path}/study.db")
    study.optimize(objective, n_trials=1, callbacks=[NaiadCallback(run, trials=None)])

    assert 1 == len(naiad_optuna.load_study_from_run(run).trials)
    check_mapping(INTEGRATION, run, when={"study", "one objective", "study_update_freq", "database"})


def test_a_study_that_has_ended_can_be_logged(run: Run) -> None:
    study = study_of()
    study.optimize(objective, n_trials=3)

    naiad_optuna.log_study_metadata(study, run, plots=["slice"], visualization_backend="matplotlib")

    assert 3 == len(children_of(run))
    assert ["plot_slice"] == list(run.get_structure()["visualizations"])


def test_neptunes_callback_keeps_its_arguments_and_paths(run: Run) -> None:
    study = study_of()

    study.optimize(
        objective, n_trials=2, callbacks=[naiad_optuna.NeptuneCallback(run, log_plot_contour=False, log_plot_edf=False)]
    )

    check_mapping(INTEGRATION, run, when=STUDY | {"trials=namespaces", "plots"})
    assert not {"plot_contour", "plot_edf"} & run.get_structure()["visualizations"].keys()


def test_trouble_of_logging_does_not_reach_the_study(run: Run) -> None:
    run["best"] = "taken"
    study = study_of()

    with pytest.warns(PluginWarning, match="could not log the best trial"):
        study.optimize(objective, n_trials=2, callbacks=[NaiadCallback(run)])

    assert [0, 1] == run["trials/values"].fetch_values()["step"].tolist()


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"run": "RUN-1"}, NaiadTypeError),
        ({"trials": "all"}, InvalidArgument),
        ({"plots_update_freq": 0}, InvalidArgument),
        ({"plots": ["pie"]}, InvalidArgument),
        ({"visualization_backend": "ascii"}, InvalidArgument),
    ],
)
def test_mistakes_raise_where_they_are_made(run: Run, given: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        NaiadCallback(**{"run": run, **given})
