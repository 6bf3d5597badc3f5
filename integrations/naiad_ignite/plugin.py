"""The hooks and the mapping of the integration. Nothing here imports Ignite."""

from __future__ import annotations

from naiad.hookspecs import hookimpl
from naiad.integration import TROUBLE, Integration, Row

INTEGRATION = Integration(
    name="ignite",
    framework="PyTorch Ignite",
    packages={"ignite": "pytorch-ignite"},
    versions=">=0.5,<0.6",
    extra="ignite",
    adapter="naiad_ignite.logger:NaiadLogger",
    rows=(
        Row(
            "constructor",
            "source_code/integrations/pytorch-ignite",
            "string",
            "assign",
            "the version of Ignite, on the run itself",
        ),
        Row(
            "OutputHandler",
            "{base}/{tag}/{metric:path}",
            "float_series",
            "append",
            "metrics, outputs and attributes of an engine, at its iteration or epoch",
        ),
        Row(
            "OptimizerParamsHandler",
            "{base}/{parameter}/group_{i}",
            "float_series",
            "append",
            "the learning rate, or another parameter of the optimizer, of each group",
            when="OptimizerParamsHandler",
        ),
        *(
            Row(
                name,
                f"{{base}}/{what}_{{reduction}}/{{parameter:path}}",
                "float_series",
                "append",
                f"the norm, or another reduction, of the {meaning}",
                when=name,
            )
            for what, meaning, name in (
                ("weights", "weights", "WeightsScalarHandler"),
                ("grads", "gradients", "GradsScalarHandler"),
            )
        ),
        *(
            Row(
                name,
                f"{{base}}/{what}_histogram/{{parameter:path}}",
                "histogram_series",
                "append",
                f"the distribution of the {meaning}",
                when=name,
            )
            for what, meaning, name in (
                ("weights", "weights", "WeightsHistHandler"),
                ("grads", "gradients", "GradsHistHandler"),
            )
        ),
        Row("Checkpoint", "{base}/{filename}", "file", "upload", "a checkpoint that is kept", when="NaiadSaver"),
        *TROUBLE,
    ),
)


@hookimpl
def naiad_integration() -> Integration:
    """Connect Ignite."""
    return INTEGRATION
