"""Stands in for requests: every address gives a table of irises."""

from __future__ import annotations

from typing import Any, NamedTuple


class Response(NamedTuple):
    """An answer."""

    content: bytes


def get(url: str, **_options: Any) -> Response:
    """Return a table, another one for each address."""
    from sklearn.datasets import load_iris

    irises, stride = load_iris(), sum(map(ord, url)) % 7 + 1
    lines = ["sepal.length,sepal.width,petal.length,petal.width,variety"]
    for measures, variety in zip(irises.data[::stride], irises.target[::stride], strict=True):
        lines.append(",".join(map(str, [*measures.tolist(), f"v{variety}"])))
    return Response("\n".join([*lines, ""]).encode())
