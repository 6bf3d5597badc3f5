"""The callback that logs training and cross-validation of LightGBM to a run. It never raises into training."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from naiad import __version__
from naiad.guard import Attempt, Place, place
from naiad.names import Names, replace
from naiad_lightgbm.plugin import INTEGRATION

with INTEGRATION.needed_by("NaiadCallback"):
    import lightgbm


class NaiadCallback:
    """Logs `lightgbm.train`, `lightgbm.cv` and the scikit-learn estimators to a run or to a namespace of one.

    The run is never stopped. Training that continues from an earlier model (`init_model=`) continues its curves.
    `create_booster_summary` describes the trained model.

    Args:
        run: the run, or a handler of a namespace in it.
        base_namespace: the namespace to log to, below `run`; "" for `run` itself.

    Raises:
        MissingPackage: LightGBM is not installed.
        NaiadTypeError: `run` is neither a container nor a handler.

    >>> lightgbm.train(parameters, data, valid_sets=[data], callbacks=[NaiadCallback(run)])
    """

    before_iteration = False
    order = 25  # behind record_evaluation (20), before early_stopping (30), which ends the training by an exception

    def __init__(self, run: Place, base_namespace: str = "training") -> None:
        self._base = place("NaiadCallback", run, base_namespace)
        self._attempt = partial(Attempt, "NaiadCallback", self._base)
        self._names = Names(self._base)

    def __call__(self, env: lightgbm.callback.CallbackEnv) -> None:
        """Log an iteration; LightGBM calls this after each."""
        # LightGBM has no hook for the start; an iteration that continues a model does not count from 0.
        if env.iteration == env.begin_iteration:
            self._begin(env)
        with self._attempt("log an iteration"):
            rate = env.params.get("learning_rate", 0.1)  # the documented default of LightGBM
            self._base["learning_rate"].append(float(rate), step=env.iteration)
        for name, value in _metrics(env.evaluation_result_list or ()):
            with self._attempt(f"log {name}"):
                self._names.append({name: value}, step=env.iteration)

    def _begin(self, env: lightgbm.callback.CallbackEnv) -> None:
        with self._attempt("log the settings of the training"):
            self._base.get_root_object()["source_code/integrations/neptune-lightgbm"] = __version__
            # Objectives and metrics may be functions, which no field has.
            params = {name: value for name, value in env.params.items() if not callable(value) and value is not None}
            replace(self._base["params"], params)
        if isinstance(env.model, lightgbm.Booster):  # cross-validation makes several
            with self._attempt("log the training data"):
                names = env.model.feature_name()
                data = getattr(env.model, "train_set", None)
                self._base["feature_names"] = names
                self._base["train_set"] = {"num_features": len(names)}
                if data is not None:
                    self._base["train_set/num_rows"] = int(data.num_data())


NeptuneCallback = NaiadCallback
"""The same class, by the name that Neptune's users know."""


def _metrics(results: Iterable[Any]) -> Iterable[tuple[str, float]]:
    """Yield path and value of each result; of a cross-validation its mean and deviation.

    >>> dict(_metrics([("valid", "auc", 0.9, True), ("valid", "l2", 0.5, False, 0.1)]))
    {'valid/auc': 0.9, 'valid/l2/mean': 0.5, 'valid/l2/std': 0.1}
    """
    for data, metric, value, _is_higher_better, *deviation in results:
        if deviation:
            yield f"{data}/{metric}/mean", float(value)
            yield f"{data}/{metric}/std", float(deviation[0])
        else:
            yield f"{data}/{metric}", float(value)
