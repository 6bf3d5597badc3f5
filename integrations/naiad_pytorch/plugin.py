"""The hooks and the mapping of the integration. Nothing here imports PyTorch."""

from __future__ import annotations

from naiad.hookspecs import hookimpl
from naiad.integration import TROUBLE, Integration, Row

INTEGRATION = Integration(
    name="pytorch",
    framework="PyTorch 2",
    packages={"torch": "torch"},
    versions=">=2.2,<3",
    extra="pytorch",
    adapter="naiad_pytorch.logger:NaiadLogger",
    base="training",
    rows=(
        Row(
            "constructor",
            "source_code/integrations/neptune-pytorch",
            "string",
            "assign",
            "the version of naiad, on the run itself",
        ),
        Row("constructor", "{base}/model/summary", "string", "assign", "the modules of the model", when="log_summary"),
        Row(
            "constructor",
            "{base}/model/num_parameters",
            "int",
            "assign",
            "the number of parameters",
            when="log_summary",
        ),
        Row(
            "constructor",
            "{base}/model/num_trainable_parameters",
            "int",
            "assign",
            "the number of parameters that have gradients",
            when="log_summary",
        ),
        Row(
            "forward",
            "{base}/model/visualization",
            "file",
            "upload",
            "the graph of the first forward pass, as PNG; needs graphviz",
            when="log_model_diagram",
        ),
        Row(
            "step",
            "{base}/learning_rate/{optimizer}/{group}",
            "float_series",
            "append",
            "the learning rate of each group of parameters; steps count those of the optimizer",
            when="log_learning_rate",
        ),
        *(
            row
            for what in ("gradients", "parameters")
            for row in (
                Row(
                    "step",
                    f"{{base}}/plots/{what}/{{parameter:path}}",
                    "float_series",
                    "append",
                    f"the norm of the {what}",
                    when=f"log_{what}",
                ),
                Row(
                    "step",
                    f"{{base}}/histograms/{what}/{{parameter:path}}",
                    "histogram_series",
                    "append",
                    f"the distribution of the {what}",
                    when=f"log_{what} and bins",
                ),
            )
        ),
        Row(
            "log_checkpoint",
            "{base}/model/checkpoints/{name}",
            "file",
            "upload",
            "the state of the model; checkpoint_1.pt, checkpoint_2.pt and so on without a name",
            when="log_checkpoint",
        ),
        Row("log_model", "{base}/model/{name}", "file", "upload", "the state of the model", when="log_model"),
        *TROUBLE,
    ),
)


@hookimpl
def naiad_integration() -> Integration:
    """Connect PyTorch."""
    return INTEGRATION
