"""Facts of an estimator: its parameters, its attributes and its pickle. Nothing here changes it."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.cluster import KMeans

from naiad.errors import NaiadTypeError, NaiadWarning, shown
from naiad.types import File

T = TypeVar("T")


def get_estimator_params(estimator: Any) -> dict[str, Any]:
    """Return the parameters of an estimator, those of estimators in it too.

    Many of them are no values of fields: `run["params"] = stringify_unsupported(get_estimator_params(model))`.
    """
    require(estimator, "get_estimator_params", "an estimator", _is_estimator)
    return dict(estimator.get_params())


def get_pickled_model(estimator: Any) -> File:
    """Return a regressor, classifier or KMeans, pickled; callbacks that are set on it are left out."""
    require(estimator, "get_pickled_model", "a regressor, classifier or KMeans", _is_model)
    return File.as_pickle(without_callbacks(estimator))


def describe_estimator(estimator: Any) -> dict[str, Any]:
    """Return facts of an estimator besides its parameters and pickle.

    The diagram is the one that notebooks show. Names of classes and features are known once it is fitted; they are
    lists in JSON, in the order in which scores and importances count them.
    """
    found: dict[str, Any] = {"class": type(estimator).__name__}
    diagram = found_or_warned("The diagram", lambda: File.from_content(_diagram(estimator), extension="html"))
    if diagram is not None:
        found["html"] = diagram
    for name, attribute in (("classes", "classes_"), ("features", "feature_names_in_")):
        names = getattr(estimator, attribute, None)
        if names is not None:
            found[name] = json.dumps(
                [each.tolist() if hasattr(each, "tolist") else each for each in names], default=str
            )
    return found


def without_callbacks(estimator: T) -> T:
    """Return the estimator, or a shallow copy without its callbacks."""
    # A callback holds the run, which neither a pickle nor a copy should take along.
    if not hasattr(estimator, "_skl_callbacks"):
        return estimator
    bare: T = copy.copy(estimator).set_callbacks()  # type: ignore[attr-defined]  # who has callbacks has it
    return bare


def unfitted(estimator: T, **parameters: Any) -> T:
    """Return a new estimator with the same parameters and others, to be fitted without being watched."""
    fresh: T = clone(without_callbacks(estimator)).set_params(**parameters)
    return fresh


def found_or_warned(title: str, make: Callable[[], T]) -> T | None:
    """Return the result of calling foreign code, or None with a warning if it fails."""
    try:
        return make()
    except Exception as problem:  # noqa: BLE001 (estimators are foreign code, and this is the guard around them)
        why = f"{type(problem).__name__}: {problem}".partition("\n")[0]
        warnings.warn(f"{title} was left out. {why[:200]}", NaiadWarning, stacklevel=4)
        return None


def targets(values: Any) -> Any:
    """Return targets or predictions as an array; a frame of one column has one dimension.

    >>> targets([[1], [0]]), targets(np.array(["a", "b"], dtype=object)).dtype.kind
    (array([1, 0]), 'U')
    """
    array = np.asarray(values.toarray() if hasattr(values, "toarray") else values)
    # A frame with one column means one output, and metrics take two dimensions for several.
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.dtype == object:  # as frames hold texts and numbers that may be missing
        with suppress(ValueError):  # items of several lengths
            plain = np.array(array.tolist())
            array = plain if plain.tolist() == array.tolist() else array
    return array


def require(estimator: object, who: str, what: str, is_one: Callable[[Any], bool]) -> None:
    """Raise if a function does not accept the estimator.

    Raises:
        NaiadTypeError: it is something else.
    """
    if not is_one(estimator):
        raise NaiadTypeError(f"{who} takes {what} of scikit-learn, not {shown(estimator)}.", value=estimator)


def _is_estimator(subject: object) -> bool:
    return isinstance(subject, BaseEstimator)


def _is_model(subject: object) -> bool:
    return isinstance(subject, BaseEstimator) and bool(
        is_classifier(subject) or is_regressor(subject) or isinstance(subject, KMeans)
    )


def _diagram(estimator: Any) -> str:
    from sklearn.utils import estimator_html_repr  # loads templates that only this needs

    return str(estimator_html_repr(estimator))
