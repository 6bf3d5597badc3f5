"""The log of one fit: estimator, data, duration and outcome."""

from __future__ import annotations

import traceback
from typing import Any

import sklearn

from naiad.guard import Place
from naiad.names import apart, replace
from naiad.utils import stringify_unsupported
from naiad_sklearn.estimators import get_estimator_params
from naiad_sklearn.searches import create_search_summary, is_search


def begin(place: Place, estimator: Any, samples: Any = None) -> None:
    """Log the estimator and the start of the fit."""
    place.get_root_object()["source_code/integrations/scikit-learn"] = sklearn.__version__
    replace(place["fit/params"], apart(stringify_unsupported(get_estimator_params(estimator))))
    place["fit"] = {"estimator": type(estimator).__name__, "status": "running", **size(samples)}


def end(place: Place, estimator: Any, seconds: float) -> None:
    """Log the end of the fit, and the results of a search."""
    place["fit"] = {"status": "done", "seconds": seconds}
    if is_search(estimator):
        replace(place["search"], create_search_summary(estimator))


def fail(place: Place, error: BaseException, seconds: float) -> None:
    """Log the exception that ended the fit."""
    # Ctrl-C in a long search is a decision and no defect.
    status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
    exception = {
        "type": type(error).__name__,
        "message": str(error),
        "traceback": "".join(traceback.format_exception(error)),
    }
    place["fit"] = {"status": status, "seconds": seconds, "exception": exception}


def size(samples: Any) -> dict[str, Any]:
    """Return the numbers of samples and features, as far as they are known."""
    shape = getattr(samples, "shape", None) or ((len(samples),) if isinstance(samples, list | tuple) else ())
    return {"data": dict(zip(("samples", "features"), map(int, shape), strict=False))}
