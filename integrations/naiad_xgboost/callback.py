"""The callback that logs training and cross-validation of XGBoost to a run. It never raises into training."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from naiad import __version__
from naiad.errors import InvalidArgument, shown
from naiad.file import File
from naiad.guard import Attempt, Place, place
from naiad.names import Names, replace
from naiad.types import Float
from naiad_xgboost.plugin import INTEGRATION

with INTEGRATION.needed_by("NaiadCallback"):
    import xgboost

Log = Mapping[str, Mapping[str, list[Any]]]


class NaiadCallback(xgboost.callback.TrainingCallback):
    """Logs `xgboost.train`, `xgboost.cv` and the scikit-learn estimators to a run or to a namespace of one.

    The run is never stopped. Training that continues from an earlier model (`xgb_model=`) continues its curves. In
    distributed training only rank 0 logs.

    Args:
        run: the run, or a handler of a namespace in it.
        base_namespace: the namespace to log to, below `run`; "" for `run` itself.
        log_model: upload the booster after training.
        log_importance: log the gain of each feature after training, and a chart if matplotlib is installed.
        max_num_features: the number of features in the chart; all of them if None.
        log_tree: the numbers of the trees to upload as text.

    Raises:
        MissingPackage: XGBoost is not installed.
        NaiadTypeError: `run` is neither a container nor a handler.
        InvalidArgument: `log_tree` contains something other than numbers from 0.

    >>> xgboost.train(parameters, data, evals=[(data, "train")], callbacks=[NaiadCallback(run)])
    """

    def __init__(
        self,
        run: Place,
        base_namespace: str = "training",
        log_model: bool = True,
        log_importance: bool = True,
        max_num_features: int | None = None,
        log_tree: Iterable[int] | None = None,
    ) -> None:
        super().__init__()
        self._base = place("NaiadCallback", run, base_namespace)
        self._attempt = partial(Attempt, "NaiadCallback", self._base)
        self._names = Names(self._base)
        self._has_model = log_model
        self._has_importance = log_importance
        self._most = max_num_features
        self._trees = _checked(log_tree)

    def before_training(self, model: Any) -> Any:
        """Log the configuration of the booster."""
        if _logs_here():
            with self._attempt("log the settings of the training"):
                self._base.get_root_object()["source_code/integrations/neptune-xgboost"] = __version__
                self._base["status"] = "running"
            with self._attempt("log the booster's configuration"):
                replace(self._base["booster_config"], _typed(json.loads(_first(model).save_config())))
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: Log) -> bool:
        """Log the metrics of an iteration; training is never stopped by this."""
        if _logs_here():
            step = epoch
            with self._attempt("log an iteration"):
                booster = _first(model)
                step = booster.num_boosted_rounds() - 1  # `epoch` starts at 0 again where training is continued
                self._base["epoch"].append(step, step=step)
                rate = _learning_rate(json.loads(booster.save_config()))
                if rate is not None:
                    self._base["learning_rate"].append(rate, step=step)
            for name, value in _latest(evals_log):
                with self._attempt(f"log {name}"):
                    self._names.append({name: value}, step=step)
        return False

    def after_training(self, model: Any) -> Any:
        """Log the best iteration, the importance of features and the model."""
        if _logs_here():
            booster = model if isinstance(model, xgboost.Booster) else None  # cross-validation makes several
            if booster is not None:
                self._describe(booster)
            with self._attempt("log the end of the training"):
                self._base["status"] = "done"
        return model

    def _describe(self, booster: xgboost.Booster) -> None:
        with self._attempt("log the best iteration"):
            if booster.attr("best_score") is not None:
                self._base["early_stopping/best_score"] = Float(float(booster.best_score))
                self._base["early_stopping/best_iteration"] = int(booster.best_iteration)
        if self._has_importance:
            with self._attempt("log the importance of features"):
                self._log_importance(booster)
        for number in self._trees:
            with self._attempt(f"log tree {number}"):
                text = booster.get_dump(with_stats=True)[number]
                self._base[f"trees/{number}"].upload(File.from_content(text, extension="txt"))
        if self._has_model:
            with self._attempt("upload the model"):
                raw = bytes(booster.save_raw(raw_format="ubj"))
                self._base["pickled_model"].upload(File.from_content(raw, extension="ubj"))

    def _log_importance(self, booster: xgboost.Booster) -> None:
        scores = booster.get_score(importance_type="gain")
        for feature, score in scores.items():
            value = score[0] if isinstance(score, list) else score  # linear boosters give one for each class
            self._names.put(f"importance/{feature}", Float(float(value)))
        if scores and importlib.util.find_spec("matplotlib") is not None:
            from matplotlib.figure import Figure

            axes = Figure(figsize=(8, 6), layout="constrained").subplots()
            xgboost.plot_importance(booster, ax=axes, importance_type="gain", max_num_features=self._most)
            self._base["plots/importance"].upload(File.as_image(axes.figure))


NeptuneCallback = NaiadCallback
"""The same class, by the name that Neptune's users know."""


def _checked(log_tree: Iterable[int] | None) -> list[int]:
    numbers: list[Any] = list(log_tree or ())
    # A negative number would count from the end, and be logged under a name that no tree has.
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise InvalidArgument(f"log_tree= takes the numbers of trees from 0, not {shown(log_tree)}.")
    return numbers


def _logs_here() -> bool:
    """Whether this process logs: other ranks of a distributed training have the same metrics."""
    return bool(xgboost.collective.get_rank() == 0)


def _first(model: Any) -> xgboost.Booster:
    """Return the booster; of a cross-validation that of the first fold, since the settings of all are the same."""
    return model if isinstance(model, xgboost.Booster) else model.cvfolds[0].bst


def _typed(config: Any) -> Any:
    """Return a configuration whose numbers, which XGBoost writes as text, are numbers that a query can compare.

    >>> _typed({"max_depth": "6", "eta": "3e-1", "updater": "grow_colmaker"})
    {'max_depth': 6, 'eta': 0.3, 'updater': 'grow_colmaker'}
    """
    if isinstance(config, Mapping):
        return {name: _typed(value) for name, value in config.items()}
    if isinstance(config, str):
        # int first: float would take each of them, and depths would be 6.0.
        for number in (int, float):
            try:
                return number(config)
            except ValueError:
                pass
    return config


def _latest(evals_log: Log) -> Iterable[tuple[str, float]]:
    """Yield path and value of the last entry of each metric; of a cross-validation its mean and deviation."""
    for data, metrics in evals_log.items():
        for metric, values in metrics.items():
            # Only cross-validation gives pairs: mean and deviation over the folds.
            if isinstance(values[-1], tuple):
                yield f"{data}/{metric}/mean", float(values[-1][0])
                yield f"{data}/{metric}/std", float(values[-1][1])
            else:
                yield f"{data}/{metric}", float(values[-1])


def _learning_rate(config: Any) -> float | None:
    """Return the learning rate that stands somewhere in a booster's configuration.

    >>> _learning_rate({"learner": {"gradient_booster": {"tree_train_param": {"eta": "0.3"}}}})
    0.3
    """
    if not isinstance(config, Mapping):
        return None
    # Releases and boosters differ in the name, and in where it stands.
    for name in ("learning_rate", "eta"):
        if isinstance(config.get(name), str):
            return float(config[name])
    found = (_learning_rate(each) for each in config.values())
    return next((rate for rate in found if rate is not None), None)
