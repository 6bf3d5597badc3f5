"""All pipelines, by the names the tests give to a session."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from tiny import nodes


def register_pipelines() -> dict[str, Pipeline]:
    first = node(nodes.double, ["raw", "params:factor", "params:options"], "numbers", name="double")
    results = [
        node(nodes.total, "numbers", "totals", name="total"),
        node(nodes.curve, "numbers", "curve", name="curve"),
        node(nodes.model, "numbers", "model", name="model"),
    ]
    parts = [node(nodes.part, [f"params:n{k}", "naiad_run"], f"part{k}", name=f"part{k}") for k in range(4)]
    return {
        "__default__": pipeline([first, *results]),
        "failing": pipeline([first, node(nodes.raises, "numbers", None, name="raises")]),
        "handler": pipeline([node(nodes.takes_run, "neptune_run", "seen", name="takes_run")]),
        "wide": pipeline([*parts, node(nodes.gather, [f"part{k}" for k in range(4)], "processes", name="gather")]),
        "metrics": pipeline(
            [
                node(nodes.accuracy, None, "accuracy", name="accuracy"),
                node(nodes.compare, "accuracy", "half", name="compare"),
            ]
        ),
        "waiting": pipeline([node(nodes.waits, ["params:place", "naiad_run"], None, name="waits")]),
        "exiting": pipeline([node(nodes.exits, None, "never", name="exits")]),
        "dying": pipeline([node(nodes.dies, "params:n1", "never", name="dies")]),
        "twins": pipeline(
            [
                node(nodes.accuracy, None, "left"),
                node(nodes.accuracy, None, "right"),
                node(nodes.nothing, "left", "more", name="nothing"),
            ]
        ),
        "pieces": pipeline([first, node(nodes.pieces, "numbers", "chunks", name="pieces")]),
        "scores": pipeline([node(nodes.scores, None, "scores", name="scores")]),
        "spaces": pipeline([pipeline([node(nodes.accuracy, None, "x", name="make")], namespace=n) for n in ("a", "b")]),
        "missing": pipeline([node(nodes.total, "missing", "totals", name="total")]),
    }
