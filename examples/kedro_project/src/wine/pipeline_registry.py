"""The pipeline."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from wine import nodes


def register_pipelines() -> dict[str, Pipeline]:
    whole = pipeline(
        [
            node(nodes.fetch, None, "wines", name="fetch"),
            node(nodes.split, ["wines", "params:split"], ["train", "test"], name="split"),
            node(nodes.fit, ["train", "params:model.strength", "params:model.iterations"], "model", name="fit"),
            node(nodes.score, ["model", "test"], "scores", name="score"),
        ]
    )
    return {"__default__": whole}
