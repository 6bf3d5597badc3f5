"""`kedro naiad`: commands in a Kedro project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from kedro.framework.project import settings

from naiad_kedro.config import FILES
from naiad_kedro.plugin import INTEGRATION

TEMPLATE = """\
# How naiad logs the pipelines of this project. Every argument of naiad.init_run can stand here as well.
naiad:
  enabled: true
  project: {project}
  base_namespace: {base}
  upload_source_files:
  - {code}
  - {conf}
  dependencies: {dependencies}
"""


@click.group(name="naiad")
def commands() -> None:
    """Experiment tracking in a folder of your own."""


@commands.group(name="naiad")
def group() -> None:
    """Log pipelines with naiad."""


@group.command()
@click.option("--project", default="", help="The project of the runs; by default the name of this folder.")
@click.option("--base-namespace", default=INTEGRATION.base, show_default=True, help="The namespace to log to.")
@click.option("--config", default="base", show_default=True, help="The folder in conf/ for naiad.yml.")
@click.option("--dependencies", default="", help='A requirements file to store, or "infer".')
@click.pass_obj
def init(metadata: Any, project: str, base_namespace: str, config: str, dependencies: str) -> None:
    """Enable logging in this Kedro project by writing naiad.yml."""
    folder = Path(metadata.project_path) / settings.CONF_SOURCE / config
    for name in FILES:
        # Also a `neptune.yml`, which counts as the configuration: a second file beside it would be ignored.
        for known in sorted(folder.glob(f"{name}.y*ml")):
            click.echo(f"{known} already exists; it was not changed.")
            return
    file = folder / "naiad.yml"
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "project": project,
        "base": base_namespace,
        "code": f"{Path(metadata.source_dir).relative_to(metadata.project_path)}/**/*.py",
        "conf": f"{settings.CONF_SOURCE}/{config}/*.yml",
        "dependencies": dependencies,
    }
    text = TEMPLATE.format(**{name: _quoted(text) for name, text in texts.items()})
    file.write_text(text, encoding="utf-8")
    click.echo(f"Created {file}. The next `kedro run` is logged; `naiad ls` lists the runs.")


def _quoted(text: str) -> str:
    """Return a text as a quoted YAML scalar."""
    return "'" + text.replace("'", "''") + "'"
