"""The hooks and the mapping of the integration. Nothing here imports Hydra."""

from __future__ import annotations

from naiad.hookspecs import hookimpl
from naiad.integration import TROUBLE, Integration, Row

INTEGRATION = Integration(
    name="hydra",
    framework="Hydra 1",
    packages={"hydra": "hydra-core"},
    versions=">=1.3,<2",
    extra="hydra",
    adapter="naiad_hydra.callback:NaiadCallback",
    rows=(
        Row(
            "on_job_start",
            "source_code/integrations/hydra",
            "string",
            "assign",
            "the version of Hydra, on the run itself",
        ),
        Row("on_job_start", "{base}/hydra/job/name", "string", "assign", "the name of the job"),
        Row(
            "on_job_start",
            "{base}/hydra/overrides",
            "string",
            "assign",
            "the overrides on the command line",
            "overrides",
        ),
        Row("on_job_start", "{base}/hydra/job/num", "int", "assign", "the number of the job in its sweep", "sweep"),
        Row("on_job_start", "{base}/hydra/output_dir", "string", "assign", "the folder of the job", "job"),
        Row("on_job_start", "{base}/hydra/config", "file", "upload", "the configuration of the job, as YAML", "job"),
        Row("on_job_start", "{base}/config/{name:path}", "atom", "assign", "the configuration of the job", "job"),
        Row("on_job_end", "{base}/hydra/status", "string", "assign", "`COMPLETED` or `FAILED`", "job"),
        Row("on_job_end", "{base}/hydra/return_value", "float", "assign", "a number that the job returns", "returned"),
        Row("on_multirun_start", "{base}/hydra/sweep_dir", "string", "assign", "the folder of the sweep", "group"),
        TROUBLE[0],
    ),
)


@hookimpl
def naiad_integration() -> Integration:
    """Connect Hydra."""
    return INTEGRATION
