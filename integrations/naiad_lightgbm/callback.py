"""The callback that logs training and cross-validation of LightGBM to a run. It never raises into training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import psutil

from naiad import __version__
from naiad.guard import Attempt, Place, place
from naiad.names import Names, replace
from naiad_lightgbm.plugin import INTEGRATION

with INTEGRATION.needed_by("NaiadCallback"):
    import lightgbm


class NaiadCallback:
    """Logs `lightgbm.train`, `lightgbm.cv` and the scikit-learn estimators to a run or to a namespace of one.

    The run is never stopped. Training that continues from an earlier model (`init_model=`) continues its curves. Of a
    training on several machines (`machines=`, Dask) only the first one logs.
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
        self._logs_here = True

    def __call__(self, env: lightgbm.callback.CallbackEnv) -> None:
        """Log an iteration; LightGBM calls this after each."""
        # LightGBM has no hook for the start; an iteration that continues a model does not count from 0.
        if env.iteration == env.begin_iteration:
            with self._attempt("find the rank of this process"):
                self._logs_here = _rank(env.params) == 0
            if self._logs_here:
                self._begin(env)
        if not self._logs_here:
            return
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


def _rank(params: Mapping[str, Any]) -> int:
    """Return the place of this process among the machines of a distributed training; 0 where it is alone.

    LightGBM has no function for it, and determines it in the same way: by the first machine of the list that has an
    address of this host and the port to listen at.

    >>> _rank({"machines": "127.0.0.1:12400,127.0.0.1:12401", "local_listen_port": 12401})
    1
    """
    machines = next((params[name] for name in ("machines", "workers", "nodes") if params.get(name)), ())
    ports = (params[name] for name in ("local_listen_port", "local_port", "port") if params.get(name))
    port = str(next(ports, 12400))  # LightGBM's default
    if not machines:
        return 0
    own = {address.address for each in psutil.net_if_addrs().values() for address in each}
    named = machines.split(",") if isinstance(machines, str) else machines
    found = (each.replace(":", " ").split() for each in named)
    return next((rank for rank, machine in enumerate(found) if machine[0] in own and machine[1] == port), 0)


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
