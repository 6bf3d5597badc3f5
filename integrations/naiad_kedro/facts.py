"""Facts: plain values that describe Kedro's objects. Nothing here writes or reads a run."""

from __future__ import annotations

import os
import re
import shlex
import sys
import traceback
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from kedro.framework.project import pipelines
from kedro.io.core import AbstractVersionedDataset

from naiad.secrets import Secrets
from naiad.utils import stringify_unsupported

NO_SECRETS = Secrets()
"""Where none are known by themselves; those that can be told by where they stand are hidden all the same."""
_OPTIONS = {  # of `kedro run`, by the names that the arguments of a session have
    "pipeline_names": "--pipelines",
    "namespaces": "--namespaces",
    "tags": "--tags",
    "node_names": "--nodes",
    "from_nodes": "--from-nodes",
    "to_nodes": "--to-nodes",
    "from_inputs": "--from-inputs",
    "to_outputs": "--to-outputs",
    "load_versions": "--load-versions",
    "runtime_params": "--params",
}
_OBJECT = re.compile(r"<(?:[\w.]+\.)?(\w+) object at 0x[0-9a-f]+>")


def command(run_params: Mapping[str, Any], secrets: Secrets = NO_SECRETS) -> str:
    """Return the command that started the pipeline, or an equivalent `kedro run`."""
    # A session in a notebook or a program has no command; then one is made that does the same.
    if Path(sys.argv[0]).name == "kedro":
        return shlex.join(["kedro", *map(secrets.text, sys.argv[1:])])
    words = ["kedro", "run"]
    runner = _runner(run_params)
    if runner != "SequentialRunner":
        words.append(f"--runner={runner}")
    for name, option in _OPTIONS.items():
        given = run_params.get(name)
        if given:
            words.append(f"{option}={_joined(given, '=' if name == 'runtime_params' else ':')}")
    return shlex.join(map(secrets.text, words))


def run_facts(run_params: Mapping[str, Any], secrets: Secrets = NO_SECRETS) -> dict[str, Any]:
    """Return the arguments of a pipeline's run as values that fields accept."""
    facts: dict[str, Any] = stringify_unsupported(secrets.hidden({**run_params, "runner": _runner(run_params)}))
    return facts


def ambiguous_names(pipeline: Any, run_params: Mapping[str, Any]) -> frozenset[str]:
    """Return the short names that several nodes of the whole pipeline share, also if only a part of it is run."""
    nodes = {node.name: node for node in pipeline.nodes}
    for name in run_params.get("pipeline_names") or ["__default__"]:
        with suppress(KeyError):  # a pipeline that is run without a project
            nodes |= {node.name: node for node in pipelines[name].nodes}
    counts = Counter(node.short_name for node in nodes.values())
    return frozenset(name for name, count in counts.items() if count > 1)


def node_name(node: Any, ambiguous: frozenset[str]) -> str:
    """Return the short name of a node; where several nodes share it, the full one."""
    name: str = node.short_name
    return node.name if name in ambiguous else name


def plain_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as Neptune kept them: numbers and texts as they are, anything else as text."""
    return {name: value if isinstance(value, int | float | str) else str(value) for name, value in parameters.items()}


def dataset_facts(name: str, dataset: Any, secrets: Secrets = NO_SECRETS) -> dict[str, Any]:
    """Return the description of a dataset without secrets."""
    described = dataset._describe()
    own = secrets.hidden(described) if isinstance(described, Mapping) else {}
    facts: dict[str, Any] = stringify_unsupported({"type": type(dataset).__name__, "name": name, **own})
    return facts


def size_facts(dataset: Any, data: object) -> dict[str, int]:
    """Return the size of data: rows and columns of a table, bytes of a file."""
    shape = getattr(data, "shape", None)
    sizes = dict(zip(("rows", "columns"), shape, strict=False)) if isinstance(shape, tuple) else {}
    place = location(dataset)
    if place is not None and os.path.isfile(place):
        sizes["bytes"] = os.path.getsize(place)
    return sizes


def location(dataset: Any) -> str | None:
    """Return the path or URL where a dataset keeps its data, or None if it has no such place.

    Kedro has no public way for this; its datasets agree on `_filepath`, `_path` and `_protocol`.
    """
    inner = getattr(dataset, "_dataset", None)  # of a dataset around another one
    if inner is not None and not isinstance(inner, str | dict | type):
        return location(inner)
    # The path of the version, since that without it is a folder of all versions.
    if isinstance(dataset, AbstractVersionedDataset):
        path = str(dataset._get_load_path())
    else:
        found = getattr(dataset, "_filepath", None) or getattr(dataset, "_path", None)
        if not isinstance(found, str | os.PathLike):
            return None
        path = os.fspath(found)
    protocol = getattr(dataset, "_protocol", "file") or "file"
    return path if protocol in ("file", "local") or "://" in path else f"{protocol}://{path}"


def error_facts(error: BaseException, secrets: Secrets = NO_SECRETS) -> dict[str, str]:
    """Return the description of an exception without secrets."""
    return {
        "type": type(error).__name__,
        "message": secrets.text(str(error)),
        "traceback": secrets.text("".join(traceback.format_exception(error))),
    }


def _runner(run_params: Mapping[str, Any]) -> str:
    """Return the class of the runner; a session gives the text of the object, with its address."""
    text = str(run_params.get("runner"))
    found = _OBJECT.fullmatch(text)
    return found[1] if found else "SequentialRunner" if text == "None" else text


def _joined(given: Any, between: str) -> str:
    pairs = [f"{key}{between}{value}" for key, value in given.items()] if isinstance(given, Mapping) else given
    return pairs if isinstance(pairs, str) else ",".join(map(str, pairs))
