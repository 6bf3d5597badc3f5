"""The graph of a forward pass as automatic differentiation keeps it, drawn by graphviz."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from naiad.errors import MissingPackage, NaiadValueError

MOST_NODES = 2_000
"""Graphviz takes seconds for so many, and minutes for some times as many; training waits for it."""
LONGEST = 60.0
"""Seconds that graphviz may take."""


def is_differentiable(output: Any) -> bool:
    """Whether the output of a forward pass has a graph; in evaluation it has none."""
    return any(each.grad_fn is not None for each in _tensors(output))


def png(output: Any, parameters: Mapping[str, torch.Tensor]) -> bytes:
    """Draw the graph that leads from the parameters to the output.

    Raises:
        MissingPackage: the program `dot` of graphviz is not installed.
        NaiadValueError: the graph is too large to be looked at.
    """
    if shutil.which("dot") is None:
        raise MissingPackage("the diagram needs graphviz, whose program `dot` is not installed", package="graphviz")
    text = dot(output, parameters)
    done = subprocess.run(["dot", "-Tpng"], input=text.encode(), capture_output=True, check=True, timeout=LONGEST)
    return done.stdout


def dot(output: Any, parameters: Mapping[str, torch.Tensor]) -> str:
    """Return the graph in the language of graphviz: operations as ellipses, parameters as boxes."""
    names = {id(tensor): f"{name} {tuple(tensor.shape)}" for name, tensor in parameters.items()}
    ends = [each.grad_fn for each in _tensors(output) if each.grad_fn is not None]
    numbers: dict[Any, int] = {}
    lines = ["digraph {", "rankdir=LR"]
    # With a list instead of recursion: the graph of a deep net is deeper than Python's stack.
    while ends:
        node = ends.pop()
        if node in numbers:
            continue
        numbers[node] = len(numbers)
        if len(numbers) > MOST_NODES:
            raise NaiadValueError(f"its graph has more than {MOST_NODES:,} nodes, too many to draw.")
        ends += _before(node)
    for node, number in numbers.items():
        # Only the nodes that accumulate gradients have one: they are the parameters.
        variable = getattr(node, "variable", None)
        label = node.name().removesuffix("0") if variable is None else names.get(id(variable), "tensor")
        lines.append(f"n{number} [label={json.dumps(label)}{'' if variable is None else ', shape=box'}]")
        lines += [f"n{numbers[each]} -> n{number}" for each in _before(node)]
    return "\n".join([*lines, "}"])


def _before(node: Any) -> list[Any]:
    return [each for each, _ in node.next_functions if each is not None]


def _tensors(output: Any) -> Iterator[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, Mapping | list | tuple):
        inner: Iterable[Any] = output.values() if isinstance(output, Mapping) else output
        for each in inner:
            yield from _tensors(each)
