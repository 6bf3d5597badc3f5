"""The callback that logs studies of Optuna: the study in one run, each trial in a child of it. It never raises."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from importlib import import_module
from typing import Any

from naiad import __version__, lifecycle
from naiad.errors import InvalidArgument, MissingPackage, shown
from naiad.file import File
from naiad.guard import Attempt, Place, place
from naiad.names import replace
from naiad.run import Run, init_run
from naiad.types import Float
from naiad.utils import stringify_unsupported
from naiad_optuna.plugin import INTEGRATION

with INTEGRATION.needed_by("NaiadCallback"):
    import optuna
    from optuna.distributions import distribution_to_json as to_json
    from optuna.distributions import json_to_distribution as from_json

PLOTS = (
    "contour",
    "edf",
    "intermediate_values",
    "optimization_history",
    "parallel_coordinate",
    "param_importances",
    "pareto_front",
    "slice",
)
COMPLETE = optuna.trial.TrialState.COMPLETE
FAIL = optuna.trial.TrialState.FAIL


class NaiadCallback:
    """Logs a study to a run, or to a namespace of one, and each trial to a child run of it.

    Workers of one study may be threads or processes; each process opens the same run by its `custom_run_id`, and
    creates a callback of its own. Continuing a study continues its curves. The run is never stopped.

    Args:
        run: the run of the study, or a handler of a namespace in it.
        base_namespace: the namespace to log to, below `run`; "" for `run` itself.
        trials: "runs" for a child run per trial, which `trial_run` opens in the objective; "namespaces" for namespaces
            in the run of the study, as in Neptune's callback; None for curves only.
        plots_update_freq: redraw the plots after this many trials, or "never"; `log_plots(study)` draws the last ones.
        study_update_freq: store a study that has no storage again after this many trials, or "never".
        visualization_backend: "plotly" or "matplotlib".
        plots: the plots, without `plot_`; all by default.
        target_names: a name for each objective.

    Raises:
        MissingPackage: Optuna is not installed.
        NaiadTypeError: `run` is neither a container nor a handler.
        InvalidArgument: another argument is out of range.

    >>> callback = NaiadCallback(run)
    >>> study.optimize(objective, n_trials=20, callbacks=[callback])
    """

    def __init__(
        self,
        run: Place,
        base_namespace: str = "",
        *,
        trials: str | None = "runs",
        plots_update_freq: int | str = 10,
        study_update_freq: int | str = 10,
        visualization_backend: str = "plotly",
        plots: Sequence[str] = PLOTS,
        target_names: Sequence[str] | None = None,
    ) -> None:
        self._base = place("NaiadCallback", run, base_namespace)
        self._attempt = partial(Attempt, "NaiadCallback", self._base)
        if trials not in ("runs", "namespaces", None):
            raise InvalidArgument(f'trials= takes "runs", "namespaces" or None, not {shown(trials)}.')
        if visualization_backend not in ("plotly", "matplotlib"):
            raise InvalidArgument(
                f'visualization_backend= takes "plotly" or "matplotlib", not {shown(visualization_backend)}.'
            )
        unknown = sorted(set(plots) - set(PLOTS))
        if unknown:
            raise InvalidArgument(f"plots= does not accept {', '.join(unknown)}. The plots are {', '.join(PLOTS)}.")
        self._trials = trials
        self._plots = tuple(plots)
        self._plots_every = _every("plots_update_freq", plots_update_freq)
        self._study_every = _every("study_update_freq", study_update_freq)
        self._backend = visualization_backend
        self._targets = None if target_names is None else list(target_names)
        self._open: dict[int, Run] = {}  # the runs of trials that are going on in this process
        self._lock = threading.Lock()  # one thread writes about the study at a time, or an older best one could win
        with self._attempt("log the version"):
            self._base.get_root_object()["source_code/integrations/neptune-optuna"] = __version__

    def __getstate__(self) -> dict[str, Any]:
        """Cross to another process without the trials of this one."""
        return {**vars(self), "_open": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.Lock()

    def trial_run(self, trial: Any) -> Run:
        """Open the run of a trial, to log to it in the objective; the callback stops it when the trial ends.

        >>> def objective(trial):
        ...     callback.trial_run(trial)["train/loss"].append(0.5)
        """
        if trial.number not in self._open:
            root: Any = self._base.get_root_object()
            # A frozen trial, which the callback gets, does not know its study; the callback has noted the name.
            own = f"{root['sys/id'].fetch()}-{trial.study.study_name if hasattr(trial, 'study') else self._study}"
            self._open[trial.number] = init_run(
                parent=root,
                # A custom id, so that a process which goes on with the trial finds the same run.
                custom_run_id=f"{own}-{trial.number}",
                name=f"trial {trial.number}",
                capture_stdout=False,
                capture_stderr=False,
                capture_hardware_metrics=False,
                source_files=[],
                git_ref=False,
            )
        return self._open[trial.number]

    def __call__(self, study: Any, trial: Any) -> None:
        """Log a trial that has ended; Optuna calls this."""
        self._study = study.study_name
        names = self._names(study)
        if self._trials == "runs":
            with self._attempt("log the run of a trial"):
                self._log_run(trial, names)
        # The runs of trials are apart; the study is one place for all threads.
        with self._lock:
            if self._trials == "namespaces":
                with self._attempt("log a trial"):
                    replace(self._base[f"trials/trials/{trial.number}"], _facts(trial, names, has_points=True))
            with self._attempt("log the values of a trial"):
                self._log_values(trial, names)
            with self._attempt("log the study"):
                self._log_study(study, trial)
            with self._attempt("log the best trial"):
                self._log_best(study, names)
            if self._study_every and trial.number % self._study_every == 0:
                with self._attempt("keep the study"):
                    _keep(self._base, study)
            if self._plots_every and trial.number % self._plots_every == 0:
                self.log_plots(study)

    def log_plots(self, study: Any) -> None:
        """Draw the plots of the study."""
        names = self._names(study)
        base = self._base["visualizations"]
        with self._attempt("draw the plots"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna's, of experiments and of its own choices
            vis = _visualization(self._backend)
            for plot in self._plots:
                if plot == "pareto_front" and len(names) in (2, 3):
                    self._draw(base, plot, partial(vis.plot_pareto_front, study, target_names=names))
                elif plot == "intermediate_values" and any(each.intermediate_values for each in study.trials):
                    self._draw(base, plot, partial(vis.plot_intermediate_values, study))
                elif plot not in ("pareto_front", "intermediate_values") and _is_drawable(plot, study):
                    draw = getattr(vis, f"plot_{plot}")
                    for index, name in enumerate(names):
                        target = {"target": _Value(index)} if len(names) > 1 else {}
                        place_of = base if len(names) == 1 else base[name]
                        self._draw(place_of, plot, partial(draw, study, target_name=name, **target))

    def _draw(self, base: Place, plot: str, draw: Callable[[], Any]) -> None:
        few = suppress(RuntimeError, ValueError, ZeroDivisionError)  # of plots that need more trials
        with self._attempt(f"draw {plot}"), few:
            base[f"plot_{plot}"].upload(File.as_html(_figure_of(draw())))

    def _names(self, study: Any) -> list[str]:
        count = len(study.directions)
        if self._targets is None:
            return ["objective_value"] if count == 1 else [f"objective_{index}" for index in range(count)]
        if len(self._targets) != count:
            raise InvalidArgument(
                f"target_names= has {len(self._targets)} names, but the study has {count} objectives."
            )
        return self._targets

    def _log_run(self, trial: Any, names: list[str]) -> None:
        run = self.trial_run(trial)
        try:
            replace(run["trial"], {"number": trial.number, **_facts(trial, names, has_points=False)})
            for step, value in sorted(trial.intermediate_values.items()):
                run["trial/intermediate_values"].append(value, step=step)
        # Also if logging failed: the run must not stay open, nor the trial be taken for one that is going on.
        finally:
            if trial.state == FAIL:
                lifecycle.fail(run, RuntimeError("The objective of the trial raised an exception."))
            del self._open[trial.number]
            run.stop()

    def _log_values(self, trial: Any, names: list[str]) -> None:
        if trial.values is not None:
            for name, value in zip(names, trial.values, strict=True):
                path = "trials/values" if len(names) == 1 else f"trials/values/{name}"
                self._base[path].append(float(value), step=trial.number)
        self._base["trials/params"].append(json.dumps(trial.params, default=str), step=trial.number)

    def _log_study(self, study: Any, trial: Any) -> None:
        directions = [each.name.lower() for each in study.directions]
        self._base["study/study_name"] = study.study_name
        self._base["study/direction" if len(directions) == 1 else "study/directions"] = ", ".join(directions)
        if study.user_attrs:
            replace(self._base["study/user_attrs"], stringify_unsupported(study.user_attrs))
        self._base["study/distributions"] = {name: str(each) for name, each in trial.distributions.items()}

    def _log_best(self, study: Any, names: list[str]) -> None:
        """Log the best, and look again: meanwhile another worker may have found and logged a better one."""
        written = None
        # Compared by numbers: trials are new objects at each look.
        while (best := _best_of(study)) and [each.number for each in best] != written:
            written = [each.number for each in best]
            if len(names) == 1:
                replace(self._base["best/params"], stringify_unsupported(best[0].params))
                self._base["best"] = {"value": Float(best[0].value), "number": best[0].number}
            else:
                found = {str(each.number): _facts(each, names, has_points=False) for each in best}
                replace(self._base["best/trials"], found)


class NeptuneCallback(NaiadCallback):
    """The callback with the arguments and defaults of Neptune's: trials are namespaces, plots are drawn each time."""

    def __init__(
        self,
        run: Place,
        base_namespace: str = "",
        plots_update_freq: int | str = 1,
        study_update_freq: int | str = 1,
        visualization_backend: str = "plotly",
        log_plot_contour: bool = True,
        log_plot_edf: bool = True,
        log_plot_parallel_coordinate: bool = True,
        log_plot_param_importances: bool = True,
        log_plot_pareto_front: bool = True,
        log_plot_slice: bool = True,
        log_plot_intermediate_values: bool = True,
        log_plot_optimization_history: bool = True,
        target_names: list[str] | None = None,
        log_all_trials: bool = True,
    ) -> None:
        given = {
            name.removeprefix("log_plot_"): value for name, value in locals().items() if name.startswith("log_plot_")
        }
        super().__init__(
            run,
            base_namespace,
            trials="namespaces" if log_all_trials else None,
            plots_update_freq=plots_update_freq,
            study_update_freq=study_update_freq,
            visualization_backend=visualization_backend,
            plots=[plot for plot in PLOTS if given[plot]],
            target_names=target_names,
        )


def log_study_metadata(study: Any, run: Place, base_namespace: str = "", **options: Any) -> None:
    """Log a study that has ended, with all its trials and plots.

    Args:
        study: the study.
        run: the run of the study, or a handler of a namespace in it.
        base_namespace: where all of it goes, below `run`; "" for `run` itself.
        options: arguments of `NaiadCallback`.
    """
    callback = NaiadCallback(
        run, base_namespace, **{"plots_update_freq": "never", "study_update_freq": "never", **options}
    )
    for trial in study.trials:
        if trial.state.is_finished():
            callback(study, trial)
    callback.log_plots(study)
    _keep(callback._base, study)


def load_study_from_run(run: Place, storage: Any = None) -> Any:
    """Return the study of a run: from its database, or made again from its trials if it has no storage.

    Args:
        run: the run of the study, or the namespace in it.
        storage: of the study; needed if its address is not in the run, or has a password.
    """
    # The database has more than the run: trials that are going on, and those of other callbacks.
    if run["study/storage_type"].fetch() != "InMemoryStorage":
        address = run["study/storage_url"].fetch() if storage is None else storage
        return optuna.load_study(study_name=run["study/study_name"].fetch(), storage=address)
    kept = json.loads(run["study/study"].fetch_content())
    study = optuna.create_study(study_name=kept["study_name"], directions=kept["directions"])
    for name, value in kept["user_attrs"].items():
        study.set_user_attr(name, value)
    study.add_trials([_trial_of(each) for each in kept["trials"]])
    return study


def _dumped(study: Any) -> str:
    """Return a study as JSON, which executes nothing when it is read."""
    trials = [
        {
            "state": each.state.name,
            "values": each.values,
            "params": each.params,
            "distributions": {name: to_json(one) for name, one in each.distributions.items()},
            "user_attrs": each.user_attrs,
            "intermediate_values": list(each.intermediate_values.items()),
            "times": [time and time.isoformat() for time in (each.datetime_start, each.datetime_complete)],
        }
        for each in study.get_trials(deepcopy=False)
        if each.state.is_finished()
    ]
    directions = [each.name.lower() for each in study.directions]
    kept = {"study_name": study.study_name, "directions": directions, "user_attrs": study.user_attrs, "trials": trials}
    return json.dumps(kept, default=str)


def _trial_of(kept: dict[str, Any]) -> Any:
    trial = optuna.trial.create_trial(
        state=optuna.trial.TrialState[kept["state"]],
        values=kept["values"],
        params=kept["params"],
        distributions={name: from_json(one) for name, one in kept["distributions"].items()},
        user_attrs=kept["user_attrs"],
        intermediate_values={int(step): value for step, value in kept["intermediate_values"]},
    )
    trial.datetime_start, trial.datetime_complete = (time and datetime.fromisoformat(time) for time in kept["times"])
    return trial


class _Value:
    """Takes one objective's value of a trial; a class, so that it can be compared and pickled."""

    def __init__(self, index: int) -> None:
        self._index = index

    def __call__(self, trial: Any) -> float:
        return float(trial.values[self._index])


def _facts(trial: Any, names: list[str], *, has_points: bool) -> dict[str, Any]:
    values = {} if trial.values is None else dict(zip(names, map(Float, trial.values), strict=True))
    found = {
        "state": trial.state.name,
        "params": stringify_unsupported(trial.params),
        "user_attrs": stringify_unsupported(trial.user_attrs),
        "distributions": {name: str(each) for name, each in trial.distributions.items()},
        "datetime_start": trial.datetime_start,
        "datetime_complete": trial.datetime_complete,
        "duration": None if trial.duration is None else trial.duration.total_seconds(),
        **({"value": next(iter(values.values()))} if len(values) == 1 else {"values": values} if values else {}),
    }
    if has_points:
        found["intermediate_values"] = {str(step): Float(each) for step, each in trial.intermediate_values.items()}
    return {name: value for name, value in found.items() if value is not None}


def _best_of(study: Any) -> list[Any]:
    if len(study.directions) > 1:
        return list(study.best_trials)
    with suppress(ValueError):  # no trial is complete
        return [study.best_trial]
    return []


def _keep(base: Place, study: Any) -> None:
    # A study in memory ends with its process, so that the run keeps it; of a database the address is enough.
    storage = getattr(study._storage, "_backend", study._storage)  # a cache may be around it
    base["study/storage_type"] = type(storage).__name__
    if type(storage).__name__ == "InMemoryStorage":
        base["study/study"].upload(File.from_content(_dumped(study), extension="json"))
    elif hasattr(storage, "url"):
        from sqlalchemy.engine import make_url

        base["study/storage_url"] = make_url(storage.url).render_as_string(hide_password=True)


def _is_drawable(plot: str, study: Any) -> bool:
    """Whether a plot has something to show; Optuna warns or raises for the others."""
    complete = study.get_trials(deepcopy=False, states=(COMPLETE,))
    names = {name for each in complete for name in each.params}
    # A contour needs two parameters; all plots need two trials.
    return len(complete) > 1 and len(names) > (plot == "contour")


def _visualization(backend: str) -> Any:
    vis: Any = import_module("optuna.visualization" + (".matplotlib" if backend == "matplotlib" else ""))
    if not vis.is_available():
        raise MissingPackage(f"The plots of Optuna need {backend}: pip install {backend}", package=backend)
    return vis


def _figure_of(found: Any) -> Any:
    """Return the figure; matplotlib's plots return axes, or an array of them."""
    for each in _flat(found):
        if hasattr(each, "get_figure"):
            return each.get_figure()
    return found


def _flat(found: Any) -> Iterator[Any]:
    yield from found.flat if hasattr(found, "flat") else [found]


def _every(argument: str, given: int | str) -> int:
    if given == "never":
        return 0
    if not isinstance(given, int) or given < 1:
        raise InvalidArgument(f'{argument}= takes a number of trials above 0, or "never", not {shown(given)}.')
    return given
