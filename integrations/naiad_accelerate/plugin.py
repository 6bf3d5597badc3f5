"""The hooks and the mapping of the integration. Nothing here imports Accelerate."""

from __future__ import annotations

from naiad.hookspecs import hookimpl
from naiad.integration import TROUBLE, Integration, Row

INTEGRATION = Integration(
    name="accelerate",
    framework="Accelerate 1",
    packages={"accelerate": "accelerate"},
    versions=">=1,<2",
    extra="accelerate",
    adapter="naiad_accelerate.tracker:NaiadTracker",
    rows=(
        Row(
            "start",
            "source_code/integrations/accelerate",
            "string",
            "assign",
            "the version of Accelerate, on the run itself",
        ),
        Row(
            "init_trackers",
            "{base}/parameters/{name:path}",
            "atom",
            "assign",
            "`config=` of `init_trackers`, in place of that of an earlier training",
            when="config",
        ),
        Row(
            "log",
            "{base}/{metric:path}",
            "float_series",
            "append",
            "numbers of `accelerator.log`; dicts make namespaces",
        ),
        Row("log", "{base}/{name:path}", "string_series", "append", "texts of `accelerator.log`", when="text"),
        Row("log_images", "{base}/{name:path}", "file_series", "append", "images; tables of `log_table`", when="files"),
        *TROUBLE,
    ),
)


@hookimpl
def naiad_integration() -> Integration:
    """Connect Accelerate."""
    return INTEGRATION
