"""The configuration of LightningCLI, kept with the run that it led to."""

from __future__ import annotations

from typing import Any

from naiad_lightning.bases import classes
from naiad_lightning.logger import NaiadLogger


class NaiadConfigCallback(*classes("cli", "SaveConfigCallback")):  # type: ignore[misc]  # as for the logger
    """Log the whole configuration: `LightningCLI(..., save_config_callback=NaiadConfigCallback)`.

    It goes to "<prefix>/config" as a file, for running the same again, and to "<prefix>/hyperparams/config" value by
    value, for comparing runs.
    """

    def __init__(self, *args: Any, save_to_log_dir: bool = False, **options: Any) -> None:
        super().__init__(*args, save_to_log_dir=save_to_log_dir, **options)

    def save_config(self, trainer: Any, pl_module: Any, stage: str) -> None:  # noqa: ARG002 (Lightning's hook)
        """Write it, on rank 0."""
        text = self.parser.dump(self.config, skip_none=False)
        for logger in trainer.loggers:
            if isinstance(logger, NaiadLogger):
                logger.log_config(text)
                logger.log_hyperparams({"config": self.config.as_dict()})
