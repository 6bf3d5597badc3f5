import neptune
import neptune.integrations.optuna as npt_utils
import optuna

run = neptune.init_run(project="packages", name="optuna")
callback = npt_utils.NeptuneCallback(run, plots_update_freq=5, log_plot_contour=False)


def objective(trial):
    x = trial.suggest_float("x", -5, 5)
    return (x - 2) ** 2


study = optuna.create_study(direction="minimize", sampler=optuna.samplers.RandomSampler(seed=0))
study.optimize(objective, n_trials=6, callbacks=[callback])
run.stop()

again = neptune.init_run(with_id="PACKAGES-1", mode="read-only")
loaded = npt_utils.load_study_from_run(again)
assert len(loaded.trials) == 6, loaded.trials
