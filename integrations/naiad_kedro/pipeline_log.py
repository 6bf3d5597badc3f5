"""The log of one execution of a pipeline: writes its nodes, datasets and end to the run.

It is plain data and crosses to worker processes as it is.
"""

from __future__ import annotations

import json
import os
import threading
import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import naiad
from naiad.errors import MissingField
from naiad.file import File
from naiad.names import Names, replace
from naiad.secrets import Secrets
from naiad.utils import stringify_unsupported
from naiad_kedro import facts
from naiad_kedro.datasets import NaiadMetricDataset
from naiad_kedro.facts import NO_SECRETS
from naiad_kedro.marks import Mark

if TYPE_CHECKING:
    from naiad.handler import Handler


@dataclass
class Saving:
    """The saving of an output of a node, in one piece or in several."""

    began: float = 0.0
    seconds: float = 0.0
    rows: int = 0


class PipelineLog:
    """Writes below one namespace of a run.

    Args:
        base: where.
        is_ours: whether the integration opened the run, and so ends it.
        secrets: values that must not be written.
    """

    def __init__(self, base: Handler, is_ours: bool, secrets: Secrets = NO_SECRETS) -> None:
        self.base = base
        self.is_ours = is_ours
        self.secrets = secrets
        self._ambiguous: frozenset[str] = frozenset()

    def begin(self, run_params: Mapping[str, Any], pipeline: Any, datasets: Mapping[str, Any]) -> None:
        """Log the pipeline, its nodes and the command.

        Args:
            run_params: the arguments of the run, as Kedro passes them.
            pipeline: the pipeline that runs.
            datasets: those of it that are kept somewhere, by name.
        """
        for name, dataset in datasets.items():
            if isinstance(dataset, NaiadMetricDataset):
                dataset.bind(name, self.base)
        # Of the whole pipeline, also where a part is run, so that a node has one path in all runs.
        self._ambiguous = facts.ambiguous_names(pipeline, run_params)
        self.base.container["source_code/integrations/kedro-neptune"] = naiad.__version__
        # A run may see several pipelines, and an error of an earlier one is none of this.
        self._replace("error", {})
        self.base.assign(
            {
                "status": "running",
                "kedro_command": facts.command(run_params, self.secrets),
                "execution_order": pipeline.describe(),
            }
        )
        self._replace("run_params", facts.run_facts(run_params, self.secrets))
        # Sorted, so that the same pipeline is the same file, which the store keeps once.
        structure = json.dumps(json.loads(pipeline.to_json()), indent=4, sort_keys=True)
        self.base["structure"].upload(File.from_content(structure, extension="json"))
        for name, dataset in datasets.items():
            self._replace(f"catalog/datasets/{name}", facts.dataset_facts(name, dataset, self.secrets))

    def keep_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Log the parameters: as Neptune did, and with each nested one by itself."""
        safe = self.secrets.hidden(parameters)
        # A parameter `a` beside `a/b` cannot have the path `a`, so names are given out here.
        names = Names(self.base)
        self._replace("catalog/parameters", {})
        for name, value in facts.plain_parameters(safe).items():
            names.put(f"catalog/parameters/{name}", value)
        self._replace("parameters", {})
        for name, value in stringify_unsupported(safe).items():
            names.put(f"parameters/{name}", value)

    def keep_files(self, datasets: Mapping[str, Any]) -> None:
        """Log those datasets that are marked as files or artifacts and are there."""
        for name, dataset in datasets.items():
            mark = Mark.of(name, dataset)
            if mark is not None and not mark.needs_data and dataset.exists():
                mark.put(self.base, dataset)

    def begin_node(self, node: Any, inputs: Mapping[str, Any]) -> None:
        """A node has its inputs and is about to run."""
        place = self._node(node)
        self.base["log"].append(f"Running {self._name(node)}")
        begun = {"status": "running", "process": os.getpid(), "thread": threading.current_thread().name}
        place.assign({**begun, "inputs": str(sorted(inputs))} if inputs else begun)
        given = {name[7:]: value for name, value in inputs.items() if name.startswith("params:")}
        if given:
            self._replace(f"nodes/{self._name(node)}/parameters", stringify_unsupported(self.secrets.hidden(given)))

    def end_node(self, node: Any, outputs: Iterable[str], seconds: float) -> None:
        """A node has returned; its outputs are not saved yet."""
        ended = {"status": "done", "execution_time": seconds}
        names = sorted(outputs)
        self._node(node).assign({**ended, "outputs": str(names)} if names else ended)
        self.base["log"].append(f"Finished {self._name(node)}")

    def go_on_node(self, node: Any, seconds: float) -> None:
        """A node that yields its outputs has yielded another piece."""
        self._node(node)["execution_time"] = seconds

    def fail_node(self, node: Any, error: BaseException, seconds: float) -> None:
        """A node has raised."""
        self._node(node).assign({"status": "failed", "execution_time": seconds})
        self.base["error"].assign({**facts.error_facts(error, self.secrets), "node": self._name(node)})
        self.base["log"].append(f"Failed {self._name(node)}")

    def loaded(self, name: str, dataset: Any, data: Any, seconds: float) -> None:
        """A dataset that is kept somewhere was loaded."""
        self.base[f"catalog/datasets/{name}"].assign({"load_seconds": seconds, **facts.size_facts(dataset, data)})

    def saved(self, name: str, dataset: Any, data: Any, saving: Saving) -> None:
        """A dataset that is kept somewhere was saved, or one more piece of it; rows and seconds are those of all."""
        sizes = facts.size_facts(dataset, data)
        saving.rows += sizes.get("rows", 0)
        # Bytes are those of the file as it is now, and are not added up.
        if "rows" in sizes:
            sizes["rows"] = saving.rows
        self.base[f"catalog/datasets/{name}"].assign({"save_seconds": saving.seconds, **sizes})

    def keep(self, name: str, dataset: Any, data: Any) -> None:
        """Log a saved dataset if it is marked."""
        mark = Mark.of(name, dataset)
        if mark is not None:
            mark.put(self.base, dataset, data)

    def end(self, seconds: float) -> None:
        """All nodes have run."""
        self.base.assign({"status": "done", "execution_time": seconds})
        self.base["log"].append("Finished pipeline")

    def fail(self, error: BaseException, seconds: float) -> None:
        """An exception has ended the pipeline; that of a node was logged with the node."""
        self._leave_nodes()
        try:
            self.base["error"].fetch()
        except MissingField:
            self.base["error"].assign(facts.error_facts(error, self.secrets))
        self.base.assign({"status": "failed", "execution_time": seconds})
        self.base["log"].append("Failed pipeline")

    def leave(self) -> None:
        """The process is about to end in the middle of the pipeline, as after Ctrl-C."""
        if self.base.container.get_state() != "started":  # the user's own, and stopped already
            return
        self._leave_nodes()
        self.base["status"] = "interrupted"
        self.base["log"].append("Interrupted pipeline")
        is_told = self.base.container["sys/failed"].fetch()  # Python itself has told the run of the exception
        self.stop(None if is_told else KeyboardInterrupt("The process ended in the middle of the pipeline."))

    def stop(self, error: BaseException | None = None) -> None:
        """End the run, if it is ours; with an exception as failed, or as terminated by Ctrl-C."""
        if self.is_ours:
            shown = None if error is None else safe(error, self.secrets)
            self.base.container.__exit__(type(shown) if shown else None, shown, None)

    def _leave_nodes(self) -> None:
        """Mark nodes that have not ended as interrupted."""
        with suppress(MissingField):
            for name, node in self.base["nodes"].fetch().items():
                if node.get("status") == "running":
                    self.base[f"nodes/{name}/status"] = "interrupted"

    def _name(self, node: Any) -> str:
        return facts.node_name(node, self._ambiguous)

    def _node(self, node: Any) -> Handler:
        return self.base[f"nodes/{self._name(node)}"]

    def _replace(self, path: str, values: Mapping[str, Any]) -> None:
        """Put a namespace in the place of the one that an earlier execution in this run may have left."""
        replace(self.base[path], values)


def safe(error: BaseException, secrets: Secrets) -> BaseException:
    """Return the exception, or a RuntimeError with the secrets in its text masked."""
    text = "".join(traceback.format_exception(error))
    hidden = secrets.text(text)
    if hidden == text:
        return error
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return type(error)()  # it says how the run ends
    return RuntimeError(f"{type(error).__name__} (secrets masked):\n{hidden}")
