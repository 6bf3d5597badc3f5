"""Datasets for the catalog: a file that is logged, a metric that lives in the run, a tracked dataset of any type."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import fsspec  # type: ignore[import-untyped]  # it ships no types
from kedro.io import AbstractDataset, DatasetError
from kedro.io.core import Version, get_filepath_str, get_protocol_and_path

from naiad.errors import MissingField
from naiad.fields.series import Series
from naiad.names import RENAMED
from naiad.tree import nested
from naiad_kedro.marks import put_metrics, put_series

if TYPE_CHECKING:
    from naiad.handler import Handler


class NaiadFileDataset(AbstractDataset[Any, bytes]):
    """A dataset of the bytes of a file, which is uploaded to the run.

    Inputs of the pipeline are uploaded when it begins, other files when they were saved.

    To log the file of another dataset, add an entry of that name with "@naiad" at its end:

        iris:
          type: pandas.CSVDataset
          filepath: data/01_raw/iris.csv

        iris@naiad:
          type: naiad_kedro.NaiadFileDataset
          filepath: data/01_raw/iris.csv

    Args:
        filepath: where the file is, with a protocol such as `s3://` if it is not local.
        credentials: for the file system.
        fs_args: more arguments of the file system.
        metadata: `naiad: {log: file, to: ...}` logs the file elsewhere than in `catalog/files/<name>`.
    """

    def __init__(
        self,
        filepath: str,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._protocol, path = get_protocol_and_path(filepath)
        self._filepath = PurePosixPath(path)
        self._fs = fsspec.filesystem(self._protocol, **(credentials or {}), **(fs_args or {}))
        self.metadata = {"naiad": "file", **(metadata or {})}

    def load(self) -> bytes:
        """Return the content of the file."""
        with self._fs.open(get_filepath_str(self._filepath, self._protocol), "rb") as stream:
            content: bytes = stream.read()
        return content

    def save(self, data: str | bytes) -> None:
        """Write the file; a text as UTF-8."""
        path = get_filepath_str(self._filepath, self._protocol)
        self._fs.makedirs(os.path.dirname(path), exist_ok=True)
        with self._fs.open(path, "wb") as stream:
            stream.write(data.encode() if isinstance(data, str) else data)

    def _exists(self) -> bool:
        return bool(self._fs.exists(get_filepath_str(self._filepath, self._protocol)))

    def _describe(self) -> dict[str, Any]:
        extension = self._filepath.suffix[1:]
        return {"extension": extension, "filepath": str(self._filepath), "protocol": self._protocol}


NeptuneFileDataset = NaiadFileDataset
"""Neptune's name for it."""


class NaiadMetricDataset(AbstractDataset[Any, Any]):
    """A number, a dict of numbers or a curve that is kept in the run itself and can be read back from there.

        accuracy:
          type: naiad_kedro.NaiadMetricDataset

    Without naiad (`enabled: false`) it stays in memory.

    Args:
        to: the path below the base namespace; `metrics/<name of the entry>` by default.
        series: add a point each time, instead of replacing the value; the last one is loaded.
        history: take and return a whole curve, as a dict of values by their steps. A list has the steps 0, 1, ...;
            saving again adds to the curve.
        metadata: of no concern to naiad.
    """

    def __init__(
        self,
        to: str | None = None,
        series: bool = False,
        history: bool = False,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        if series and history:
            raise DatasetError("A metric dataset takes series: true or history: true, not both.")
        self._to = to
        self._is_series = series
        self._is_history = history
        self._place: Handler | None = None
        self._value: Any = None
        self.metadata = metadata

    def bind(self, name: str, base: Handler) -> None:
        """Set the name of the entry and the namespace to log to, when a pipeline begins."""
        self._place = base[self._to or f"metrics/{name}"]

    def load(self) -> Any:
        """Return the value, or the last of a series."""
        if not self._exists():
            raise DatasetError("No metric was saved yet.")
        if self._place is None:
            return self._value
        if self._is_history:
            field = self._place.sources().get("")
            if not isinstance(field, Series):
                raise DatasetError(f"{self._place!r} is not a curve.")
            steps, values, *_ = field.columns()
            return {_whole(step): value for step, value in zip(steps.tolist(), values.tolist(), strict=True)}
        # The notes of renamed values are naiad's own, and no part of what was saved.
        fields = [each for each in self._place.sources().items() if not each[0].startswith(f"{RENAMED}/")]
        found = {rest: field.fetch_last() if self._is_series else field.fetch() for rest, field in fields}
        # A single number is at the path itself; a dict has its numbers below.
        return found[""] if "" in found else nested(found)

    def save(self, data: Any) -> None:
        """Log the value."""
        if self._is_history:
            data = dict(data.items() if isinstance(data, Mapping) else enumerate(data))
        if self._place is None:
            self._value = {**(self._value or {}), **data} if self._is_history else data
        elif self._is_history:
            self._place.extend(list(data.values()), steps=list(data))
        elif self._is_series:
            put_series(self._place, data)
        else:
            put_metrics(self._place, data)

    def _exists(self) -> bool:
        if self._place is None:
            return self._value is not None
        try:
            return bool(self._place.sources())
        except MissingField:
            return False

    def _describe(self) -> dict[str, Any]:
        return {"to": self._to, "series": self._is_series, "history": self._is_history}


class NaiadArtifactDataset(AbstractDataset[Any, Any]):
    """Any other dataset, whose file or folder is tracked by its hash instead of being copied.

        companies:
          type: naiad_kedro.NaiadArtifactDataset
          dataset:
            type: pandas.CSVDataset
            filepath: data/01_raw/companies.csv

    Args:
        dataset: the entry of the other dataset.
        version: given by Kedro for `versioned: true`, which stands beside `type`, not in the other entry.
        metadata: `naiad: {log: artifact, to: ...}` logs it elsewhere than in `catalog/artifacts/<name>`.
    """

    def __init__(
        self,
        dataset: AbstractDataset[Any, Any] | dict[str, Any],
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._dataset = dataset if isinstance(dataset, AbstractDataset) else _made(dataset, version)
        self.metadata = {"naiad": "artifact", **(metadata or {})}

    def load(self) -> Any:
        """Load through the other dataset."""
        return self._dataset.load()

    def save(self, data: Any) -> None:
        """Save through the other dataset."""
        self._dataset.save(data)

    def _exists(self) -> bool:
        return bool(self._dataset.exists())

    def _release(self) -> None:
        self._dataset.release()

    def _describe(self) -> dict[str, Any]:
        described = self._dataset._describe()
        inner: Mapping[str, Any] = described if isinstance(described, Mapping) else {}
        return {"dataset": type(self._dataset).__name__, **inner}


def _whole(step: float) -> float | int:
    return int(step) if step.is_integer() else step


def _made(entry: dict[str, Any], version: Version | None) -> AbstractDataset[Any, Any]:
    if version is None:
        return AbstractDataset.from_config("dataset", entry)
    return AbstractDataset.from_config("dataset", {**entry, "versioned": True}, version.load, version.save)
