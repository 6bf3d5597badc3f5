"""`kedro_neptune`: naiad's integration of Kedro, under the import path of Neptune's.

Kedro finds naiad's hooks by themselves. What kedro-neptune's own entry points name is here too and adds nothing, so
that a project which has both installed makes one run.
"""

from __future__ import annotations

from importlib import import_module

import click

from naiad.as_neptune.alias import VERSION as __version__

__all__ = ["NeptuneFileDataset", "NeptuneRunDataset", "__version__", "commands", "init", "neptune_hooks"]


NeptuneFileDataset = import_module("naiad_kedro").NeptuneFileDataset  # by name: naiad itself depends on no integration
NeptuneRunDataset = import_module("naiad_kedro.run_dataset").RunDataset
init = import_module("naiad_kedro.commands").init


class NoHooks:
    """The target of kedro-neptune's entry point for hooks, which does nothing."""


neptune_hooks = NoHooks()


@click.group(name="Neptune")
def commands() -> None:
    """Experiment tracking in a folder of your own."""


@commands.group(name="neptune")
def neptune() -> None:
    """Log pipelines with naiad."""


neptune.add_command(init)
