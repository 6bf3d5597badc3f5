"""The callback that `scipy.optimize.minimize` is given: it translates, and never raises into a minimization."""

from collections.abc import Callable, Mapping
from typing import Any

from naiad.guard import Attempt, Place
from naiad.names import Names, replace
from naiad_scipy.plugin import INTEGRATION

with INTEGRATION.needed_by("NaiadCallback"):
    from scipy.optimize import OptimizeResult


class NaiadCallback:
    """Logs a minimization to a run, or a namespace of one; the run is never stopped.

    >>> callback = NaiadCallback(run)
    >>> callback.end(minimize(function, start, callback=callback))
    """

    def __init__(
        self, run: Place, base_namespace: str = "minimize", watch: Callable[[Any], Mapping[str, float]] | None = None
    ) -> None:
        self._base = run[base_namespace] if base_namespace else run
        self._names = Names(self._base)
        self._watch = watch
        self._step = 0

    def __call__(self, intermediate_result: OptimizeResult) -> None:
        """Log the state after an iteration; SciPy finds this by the name of its argument."""
        with Attempt("NaiadCallback", self._base, "log an iteration"):
            watched = self._watch(intermediate_result.x) if self._watch else {}
            values = {"fun": float(intermediate_result.fun), **watched}
            self._names.append({f"values/{name}": value for name, value in values.items()}, step=self._step)
        self._step += 1

    def end(self, result: OptimizeResult) -> None:
        """Log how the minimization ended."""
        with Attempt("NaiadCallback", self._base, "log the result"):
            facts = {"success": bool(result.success), "message": str(result.message), "fun": float(result.fun)}
            replace(self._base["result"], facts)
