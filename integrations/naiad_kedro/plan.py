"""The plan of an execution: which datasets of the catalog are of interest, and when their files are logged."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from kedro.io import DatasetError, MemoryDataset, SharedMemoryDataset

from naiad_kedro.marks import Mark
from naiad_kedro.run_dataset import RunDataset


@dataclass(frozen=True)
class Plan:
    """Datasets by their names in the catalog."""

    datasets: dict[str, Any]
    """Those of the pipeline that are kept somewhere or marked, and marked ones that no node knows."""
    early: dict[str, Any]
    """Those that are there before the pipeline runs."""
    late: dict[str, Any]
    """Those whose files the pipeline makes under another name, as `model` makes that of `model@naiad`."""

    @classmethod
    def of(cls, pipeline: Any, catalog: Any, marked: Iterable[str]) -> Plan:
        """Return the plan for the datasets of a catalog.

        Raises:
            InvalidArgument: a mark has an unknown value.
        """
        used = pipeline.datasets()
        # A name with braces is a pattern of the catalog, and no dataset.
        beside = kept(catalog, (name for name in marked if name not in used and "{" not in name))
        inner = kept(catalog, sorted(used))
        # Looked at for its error alone: a mark that nothing uses is checked too.
        for name, dataset in (inner | beside).items():
            Mark.of(name, dataset)
        # `model@naiad` and `model` are one file by two entries, of which the pipeline makes the other one.
        made = {_plain(name) for name in pipeline.all_outputs()}
        late = {name: dataset for name, dataset in beside.items() if _plain(name) in made}
        read = {name: dataset for name, dataset in inner.items() if name in pipeline.inputs()}
        early = {name: dataset for name, dataset in (read | beside).items() if name not in late}
        return cls(inner | beside, early, late)


def kept(catalog: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return datasets, less those that only hold data while the pipeline runs and are not marked.

    Datasets that cannot be created are left out, because Kedro reports them itself.
    """
    found = {}
    for name in names:
        with suppress(DatasetError):
            dataset = catalog.get(name)
            if dataset is not None and not _is_passing(name, dataset):
                found[name] = dataset
    return found


def _is_passing(name: str, dataset: Any) -> bool:
    if isinstance(dataset, MemoryDataset | SharedMemoryDataset):
        return Mark.of(name, dataset) is None
    return isinstance(dataset, RunDataset)


def _plain(name: str) -> str:
    """Return a dataset's name without the transcoding suffix: "iris" for "iris@pandas"."""
    return name.partition("@")[0]
