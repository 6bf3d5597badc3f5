"""Marks: `metadata.naiad` of a catalog entry, which selects how a dataset is logged.

model:
  type: pickle.PickleDataset
  filepath: data/06_models/model.pkl
  metadata:
    naiad: file              # or {log: file, to: models/best}
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from naiad.errors import InvalidArgument, NaiadValueError, shown
from naiad.file import File
from naiad.names import Names
from naiad.secrets import redacted
from naiad.types import Float, as_mapping
from naiad.utils import flatten
from naiad_kedro.facts import location

if TYPE_CHECKING:
    from naiad.handler import Handler


@dataclass(frozen=True)
class Mark:
    """How a dataset is logged, and where below the base namespace.

    The word is `to`, for Kedro takes a `path` anywhere in the catalog for one of a file, and makes it absolute.
    """

    log: str
    to: str

    @classmethod
    def of(cls, name: str, dataset: Any) -> Mark | None:
        """Return the mark of a dataset, or None.

        Raises:
            InvalidArgument: the mark has an unknown value.
        """
        metadata = getattr(dataset, "metadata", None)
        wish = metadata.get("naiad") if isinstance(metadata, Mapping) else None
        if wish is None:
            return None
        wish = {"log": wish} if isinstance(wish, str) else wish
        if not isinstance(wish, Mapping) or wish.get("log") not in _PUT or not set(wish) <= {"log", "to"}:
            raise InvalidArgument(
                f'The catalog entry "{name}" has metadata.naiad: {shown(wish)}.\n'
                f"It takes one of {', '.join(_PUT)}, or {{log: one of them, to: a path}}."
            )
        return cls(wish["log"], wish.get("to") or f"{_PLACES[wish['log']]}/{name}")

    @property
    def needs_data(self) -> bool:
        """Whether logging needs the data itself rather than the saved file."""
        return self.log in ("series", "metric")

    def put(self, base: Handler, dataset: Any, data: Any = None) -> None:
        """Log a dataset that was saved, or one that the pipeline is about to read."""
        _PUT[self.log](base[self.to], dataset, data)


def is_marked(entry: object) -> bool:
    """Whether an entry of the catalog's configuration has a mark."""
    if not isinstance(entry, Mapping):
        return False
    metadata = entry.get("metadata")
    has_mark = isinstance(metadata, Mapping) and metadata.get("naiad") is not None
    return has_mark or str(entry.get("type")).startswith("naiad_kedro.")


def as_metrics(value: Any) -> Any:
    """Return numbers as Floats, so that a metric that is 1 today may be 0.9 tomorrow; a dict value by value."""
    inner = as_mapping(value)
    if inner is not None:
        return {key: as_metrics(item) for key, item in inner.items()}
    return value if isinstance(value, bool) or not isinstance(value, Integral) else Float(int(value))


def _put_file(place: Handler, dataset: Any, _data: Any) -> None:
    path = _location(dataset)
    # Through the dataset's own file system, which has its credentials.
    if "://" in path:
        with dataset._fs.open(path.partition("://")[2], "rb") as stream:
            place.upload(File.from_stream(stream, extension=PurePosixPath(path).suffix[1:]))
    else:
        place.upload(path)


def _put_artifact(place: Handler, dataset: Any, _data: Any) -> None:
    path = _location(dataset)
    if redacted(path) != path:
        raise NaiadValueError(
            f"The address {redacted(path)} contains a secret, and an artifact stores the addresses of its files.\n"
            "Put the secret into credentials.yml."
        )
    place.track_files(path)


def put_series(place: Handler, data: Any) -> None:
    """Add numbers to series as points, each to a path of its own."""
    for each, value in _apart(place, data):
        each.log(value)


def put_metrics(place: Handler, data: Any) -> None:
    """Assign numbers, each to a path of its own."""
    for each, value in _apart(place, as_metrics(data)):
        each.assign(value)


def _apart(place: Handler, data: Any) -> list[tuple[Handler, Any]]:
    """Return values with their places; of "acc" and "acc/top" only one can have its own."""
    if as_mapping(data) is None:
        return [(place, data)]
    names = Names(place)
    return [(place[names.path(name)], value) for name, value in flatten(data, "")]


def _location(dataset: Any) -> str:
    path = location(dataset)
    if path is None:
        raise NaiadValueError(f"A {type(dataset).__name__} has no file that could be logged.")
    return os.fspath(path)


_PUT: dict[str, Callable[[Handler, Any, Any], None]] = {
    "file": _put_file,
    "artifact": _put_artifact,
    "series": lambda place, _dataset, data: put_series(place, data),
    "metric": lambda place, _dataset, data: put_metrics(place, data),
}
_PLACES = {"file": "catalog/files", "artifact": "catalog/artifacts", "series": "metrics", "metric": "metrics"}
