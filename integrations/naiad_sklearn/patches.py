"""`autolog`: every fit of this process in a run, for estimators that take no callback. Opt-in, and undone by `stop`.

It replaces `fit`, `fit_predict` and `fit_transform` of classes, never anything of an estimator.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

from sklearn.base import BaseEstimator

from naiad.errors import MissingField
from naiad.guard import Attempt, Place
from naiad_sklearn import fits
from naiad_sklearn.callback import NaiadCallback
from naiad_sklearn.estimators import get_pickled_model
from naiad_sklearn.scores import get_metrics, is_model
from naiad_sklearn.watching import is_watched, unseen, unwatched

Method = Callable[..., Any]


class Data(NamedTuple):
    """The data that a fit is given."""

    samples: Any = None
    targets: Any = None
    weights: Any = None


Self = TypeVar("Self", bound="Autolog")
METHODS = ("fit", "fit_predict", "fit_transform")


def autolog(
    run: Place, *, base_namespace: str = "", log_train_metrics: bool = True, log_models: bool = False
) -> Autolog:
    """Log every fit from now on, until `stop()` or the end of the `with` block.

    A fit goes to a namespace named after the class: "SVC", then "SVC_2". Fits within fits are part of the one around
    them, and those in workers of joblib are left out; so are estimators that have a NaiadCallback.

    Args:
        run: a run, or a namespace of one.
        base_namespace: where to write, below that.
        log_train_metrics: let classifiers and regressors predict their training data, and log how well they do.
        log_models: keep the fitted estimator, pickled, if it is a classifier, regressor or KMeans.

    >>> with autolog(run):
    ...     RandomForestClassifier().fit(X, y)
    """
    return Autolog(run[base_namespace] if base_namespace else run, log_train_metrics, log_models)


class Autolog:
    """Fits that are being logged to one place; made by `autolog`."""

    def __init__(self, place: Place, log_train_metrics: bool, log_models: bool) -> None:
        self._place = place
        self._log_train_metrics = log_train_metrics
        self._log_models = log_models
        self._counts: dict[str, int] = {}
        self._naming = threading.Lock()
        with _lock:
            if not _active:
                _patch_all()
            _active.append(self)

    def stop(self) -> None:
        """Log no more fits. The last `stop` restores all classes."""
        with _lock:
            if self in _active:
                _active.remove(self)
                if not _active:
                    _restore_all()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def begin(self, estimator: Any, samples: Any) -> Place:
        """Note that a fit begins; return its place."""
        place = self._place
        with Attempt("naiad_sklearn", self._place, "log the start of a fit"):
            place = self._place[self._name(type(estimator).__name__)]
            fits.begin(place, estimator, samples)
        return place

    @unseen()
    def end(self, place: Place, estimator: Any, data: Data, seconds: float) -> None:
        """Note that it was done, and how well."""
        with Attempt("naiad_sklearn", place, "log the end of a fit"):
            fits.end(place, estimator, seconds)
        if self._log_train_metrics and data.targets is not None and _can_predict(estimator):
            with Attempt("naiad_sklearn", place, "take the training metrics"):
                found = get_metrics(estimator, data.samples, data.targets, sample_weight=data.weights)
                place["train/metrics"] = found
        if self._log_models and is_model(estimator):
            with Attempt("naiad_sklearn", place, "pickle a model"):
                place["pickled_model"].upload(get_pickled_model(estimator))

    def _name(self, name: str) -> str:
        """Return the namespace of the next fit of such an estimator: "SVC", "SVC_2", and so on.

        The first call looks up which ones the run has already, for that may mean to read it.
        """
        with self._naming:
            count = self._counts.get(name, 0) + 1
            if count == 1:
                while self._has(_numbered(name, count)):
                    count += 1
            self._counts[name] = count
        return _numbered(name, count)

    def _has(self, name: str) -> bool:
        try:
            self._place[name].sources()
        except MissingField:
            return False
        return True


def _numbered(name: str, count: int) -> str:
    return name if count == 1 else f"{name}_{count}"


_lock = threading.RLock()
_active: list[Autolog] = []
_replaced: list[tuple[type, str, Method, Method]] = []  # the class, the name, the method and what stands there now


def _patch_all() -> None:
    """Watch the methods of all estimators there are, and of those that are defined from now on."""
    for kind in _subclasses(BaseEstimator):
        _patch(kind)

    # Classes of packages that are imported later, or of the program itself, are defined after this.
    def watch(cls: type[Any], /, **kwargs: Any) -> None:
        super(BaseEstimator, cls).__init_subclass__(**kwargs)
        _patch(cls)

    BaseEstimator.__init_subclass__ = classmethod(watch)


def _restore_all() -> None:
    """Restore every method, except those that other code has replaced since."""
    del BaseEstimator.__init_subclass__
    while _replaced:
        kind, name, method, ours = _replaced.pop()
        # Another tool that patched the method after naiad keeps its patch, which calls ours; ours then does nothing.
        if vars(kind).get(name) is ours:
            setattr(kind, name, method)


def _patch(kind: type) -> None:
    for name in METHODS:
        method = vars(kind).get(name)
        # In the class itself: an inherited method is patched where it is defined, and once.
        if inspect.isfunction(method):
            ours = _watched(method)
            setattr(kind, name, ours)
            _replaced.append((kind, name, method, ours))


def _subclasses(kind: type) -> Iterator[type]:
    """Yield each class below this one, once."""
    found: dict[type, None] = dict.fromkeys(kind.__subclasses__())
    for each in list(found):
        found |= dict.fromkeys(_subclasses(each))
    return iter(found)


def _watched(method: Method) -> Method:
    """Return a method that logs the outermost fit of a thread while `autolog` is on."""

    @functools.wraps(method)
    def fit(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not _active or not is_watched():
            return method(self, *args, **kwargs)
        logs = [] if _has_callback(self) else list(_active)
        # Before the call, since the size of the data is logged with its start.
        data = _data(method, self, args, kwargs)
        # Fits within it, of a pipeline or a search, are part of this one.
        with unwatched():
            places = [log.begin(self, data.samples) for log in logs]
            began = perf_counter()
            try:
                result = method(self, *args, **kwargs)
            except BaseException as error:  # it is noted, and goes on
                for place in places:
                    with Attempt("naiad_sklearn", place, "log the end of a fit"):
                        fits.fail(place, error, perf_counter() - began)
                raise
            seconds = perf_counter() - began
            for log, place in zip(logs, places, strict=True):
                log.end(place, self, data, seconds)
        return result

    return fit


def _data(method: Method, estimator: Any, args: Any, kwargs: Any) -> Data:
    """Return the data of a fit from scikit-learn's usual argument names."""
    try:
        bound = inspect.signature(method).bind(estimator, *args, **kwargs)
    except TypeError:  # the call is wrong, and the method itself says so best
        return Data()
    given = bound.arguments
    options = {name: value for name, value in kwargs.items() if name.rpartition("__")[2] == "sample_weight"}
    weights = given.get("sample_weight", next(iter(options.values()), None))  # pipelines: svc__sample_weight
    return Data(given.get("X"), given.get("y", given.get("Y")), weights)


def _can_predict(estimator: Any) -> bool:
    return is_model(estimator) and hasattr(estimator, "predict")


def _has_callback(estimator: Any) -> bool:
    return any(isinstance(each, NaiadCallback) for each in getattr(estimator, "_skl_callbacks", ()))
