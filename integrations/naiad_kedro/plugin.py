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
        _row("after_pipeline_run", "{base}/execution_time", "float", "the duration of the pipeline, in seconds"),
        _row(_PIPELINE, "{base}/log", "string_series", "starts and ends of the nodes and the pipeline"),
        _row(
            _PIPELINE, "{base}/parameters/{name:path}", "atom", "the parameters, each nested one as a field of its own"
        ),
        _row(_PIPELINE, "{base}/catalog/parameters/{name}", "atom", "the parameters as in Neptune: dicts as text"),
        _row(_PIPELINE, "{base}/catalog/datasets/{dataset}/{fact:path}", "atom", "type, path and options of a dataset"),
        _row(
            "before_node_run",
            "{base}/catalog/datasets/{dataset}/load_seconds",
            "float",
            "the duration of the last load, in seconds",
        ),
        _row(
            _SAVED,
            "{base}/catalog/datasets/{dataset}/save_seconds",
            "float",
            "the duration of the last save, in seconds",
        ),
        _row(
            _SAVED,
            "{base}/catalog/datasets/{dataset}/rows",
            "int",
            "the number of rows of a table, when loaded or saved",
            when="table",
        ),
        _row(_SAVED, "{base}/catalog/datasets/{dataset}/columns", "int", "the number of columns", when="table"),
        _row(
            _SAVED, "{base}/catalog/datasets/{dataset}/bytes", "int", "the size of a local file, when loaded or saved"
        ),
        _row(_SAVED, "{base}/catalog/files/{dataset}", "file", "the file of a dataset", when="file"),
        _row(_SAVED, "{base}/catalog/artifacts/{dataset}", "artifact", "a file or folder by its hash", when="artifact"),
        _row(_SAVED, "{base}/metrics/{name:path}", "atom", "a number, or the numbers of a dict", when="metric"),
        _row(
            _SAVED,
            "{base}/metrics/{name:path}",
            "float_series",
            "the same as a series, with one point per save",
            when="series",
        ),
        _row(
            "before_node_run",
            "{base}/nodes/{node}/status",
            "string",
            "`running`, then `done`, `failed` or `interrupted`",
        ),
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
        _row("after_node_run", "{base}/nodes/{node}/execution_time", "float", "the duration of the node, in seconds"),
        _row("on_pipeline_error", "{base}/error/type", "string", "the class of the exception", when="error"),
        _row("on_pipeline_error", "{base}/error/message", "string", "the message of the exception", when="error"),
        _row("on_pipeline_error", "{base}/error/traceback", "string", "the traceback of the exception", when="error"),
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
            "the same for the metrics in a dict",
            when="taken names",
        ),
        _row(
            "any", "{base}/integration/errors", "string_series", "errors of logging, with their reasons", when="trouble"
        ),
    ),
)


@hookimpl
def naiad_integration() -> Integration:
    """Connect Kedro."""
    return INTEGRATION
