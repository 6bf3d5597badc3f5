"""The hooks and the mapping of the integration. Nothing here imports Kedro."""

from __future__ import annotations

from naiad.hookspecs import hookimpl
from naiad.integration import Integration, Row


def _row(event: str, path: str, kind: str, meaning: str, *, when: str = "") -> Row:
    """Return a row of the table; the verb follows from the kind."""
    verbs = {"file": "upload", "artifact": "track_files", "string_series": "append", "float_series": "append"}
    return Row(event, path, kind, verbs.get(kind, "assign"), meaning, when)


_PIPELINE = "before_pipeline_run"
_SAVED = "after_dataset_saved"

INTEGRATION = Integration(
    name="kedro",
    framework="Kedro 1",
    packages={"kedro": "kedro"},
    versions=">=1,<2",
    extra="kedro",
    adapter="naiad_kedro.hooks:NaiadHooks",
    base="kedro",
    rows=(
        _row(_PIPELINE, "source_code/integrations/kedro-neptune", "string", "the version, on the run itself"),
        _row(_PIPELINE, "{base}/kedro_command", "string", "the command that started the pipeline"),
        _row(_PIPELINE, "{base}/run_params/{name:path}", "atom", "the arguments of the pipeline's run"),
        _row(_PIPELINE, "{base}/structure", "file", "the pipeline, as JSON"),
        _row(_PIPELINE, "{base}/execution_order", "string", "the nodes in their order"),
        _row(_PIPELINE, "{base}/status", "string", "`running`, then `done`, `failed` or `interrupted`"),
        _row("after_pipeline_run", "{base}/execution_time", "float", "of the pipeline, in seconds"),
        _row(_PIPELINE, "{base}/log", "string_series", "starts and ends of nodes and pipeline"),
        _row(_PIPELINE, "{base}/parameters/{name:path}", "atom", "the parameters, nested ones by themselves"),
        _row(
            _PIPELINE, "{base}/catalog/parameters/{name}", "atom", "the parameters as Neptune kept them: dicts as text"
        ),
        _row(_PIPELINE, "{base}/catalog/datasets/{dataset}/{fact:path}", "atom", "type, path and options of a dataset"),
        _row("before_node_run", "{base}/catalog/datasets/{dataset}/load_seconds", "float", "the last loading"),
        _row(_SAVED, "{base}/catalog/datasets/{dataset}/save_seconds", "float", "the last saving"),
        _row(_SAVED, "{base}/catalog/datasets/{dataset}/rows", "int", "of a table, when loaded or saved", when="table"),
        _row(_SAVED, "{base}/catalog/datasets/{dataset}/columns", "int", "likewise", when="table"),
        _row(_SAVED, "{base}/catalog/datasets/{dataset}/bytes", "int", "of a local file, when loaded or saved"),
        _row(_SAVED, "{base}/catalog/files/{dataset}", "file", "the file of a dataset", when="file"),
        _row(_SAVED, "{base}/catalog/artifacts/{dataset}", "artifact", "a file or folder by its hash", when="artifact"),
        _row(_SAVED, "{base}/metrics/{name:path}", "atom", "a number, or those of a dict", when="metric"),
        _row(_SAVED, "{base}/metrics/{name:path}", "float_series", "the same, a point each time", when="series"),
        _row("before_node_run", "{base}/nodes/{node}/status", "string", "`running`, then as for the pipeline"),
        _row("before_node_run", "{base}/nodes/{node}/process", "int", "the id of the process that ran it"),
        _row("before_node_run", "{base}/nodes/{node}/thread", "string", "the name of the thread that ran it"),
        _row("before_node_run", "{base}/nodes/{node}/inputs", "string", "the names of its inputs"),
        _row("after_node_run", "{base}/nodes/{node}/outputs", "string", "the names of its outputs"),
        _row(
            "before_node_run",
            "{base}/nodes/{node}/parameters/{name:path}",
            "atom",
            "the parameters among its inputs",
            when="params",
        ),
        _row("after_node_run", "{base}/nodes/{node}/execution_time", "float", "in seconds"),
        _row("on_pipeline_error", "{base}/error/type", "string", "of the exception", when="error"),
        _row("on_pipeline_error", "{base}/error/message", "string", "its text", when="error"),
        _row("on_pipeline_error", "{base}/error/traceback", "string", "where it came from", when="error"),
        _row("on_node_error", "{base}/error/node", "string", "the node that raised it", when="error and node"),
        _row(
            "any",
            "{base}/integration/renamed/{path:path}",
            "string",
            "the original name of a value whose own path is taken: `lr/decay` beside `lr`",
            when="taken names",
        ),
        _row(
            "any",
            "{base}/metrics/{name}/integration/renamed/{path:path}",
            "string",
            "likewise, of the metrics in a dict",
            when="taken names",
        ),
        _row("any", "{base}/integration/errors", "string_series", "errors of logging", when="trouble"),
    ),
)


@hookimpl
def naiad_integration() -> Integration:
    """Connect Kedro."""
    return INTEGRATION
