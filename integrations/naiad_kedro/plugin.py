"""What naiad asks about this integration: hooks only. Nothing here imports Kedro."""

from __future__ import annotations

from naiad.hookspecs import hookimpl
from naiad.mapping import Integration, Row

__all__ = ["INTEGRATION", "naiad_integration"]

INTEGRATION = Integration(
    name="kedro",
    framework="Kedro 1",
    packages={"kedro": "kedro"},
    versions=">=1,<2",
    extra="kedro",
    adapter="naiad_kedro.hooks:NaiadHooks",
    base="kedro",
    rows=(
        Row(
            "before_pipeline_run",
            "source_code/integrations/kedro-neptune",
            "string",
            "assign",
            "the version, on the run itself",
        ),
        Row("before_pipeline_run", "{base}/kedro_command", "string", "assign", "the command that started the pipeline"),
        Row(
            "before_pipeline_run",
            "{base}/run_params/{name:path}",
            "atom",
            "assign",
            "the arguments of the pipeline's run",
        ),
        Row(
            "before_pipeline_run",
            "{base}/catalog/datasets/{dataset}/{fact:path}",
            "atom",
            "assign",
            "type, path and options of a dataset",
        ),
        Row(
            "after_dataset_saved",
            "{base}/catalog/files/{dataset}",
            "file",
            "upload",
            "the file of a NaiadFileDataset",
            when="file_dataset",
        ),
        Row("before_pipeline_run", "{base}/catalog/parameters/{name:path}", "atom", "assign", "the parameters"),
        Row("before_pipeline_run", "{base}/structure", "file", "upload", "the pipeline, as JSON"),
        Row("before_pipeline_run", "{base}/execution_order", "string", "assign", "the nodes in their order"),
        Row("before_node_run", "{base}/log", "string_series", "append", "what began and ended"),
        Row("before_node_run", "{base}/nodes/{node}/status", "string", "assign", "`running`, `done` or `failed`"),
        Row("before_node_run", "{base}/nodes/{node}/inputs", "string", "assign", "the names of its inputs"),
        Row("before_node_run", "{base}/nodes/{node}/outputs", "string", "assign", "the names of its outputs"),
        Row(
            "before_node_run",
            "{base}/nodes/{node}/parameters/{name:path}",
            "atom",
            "assign",
            "the parameters among its inputs",
            when="params",
        ),
        Row("after_node_run", "{base}/nodes/{node}/execution_time", "float", "assign", "in seconds"),
    ),
)


@hookimpl
def naiad_integration() -> Integration:
    """Connect Kedro."""
    return INTEGRATION
