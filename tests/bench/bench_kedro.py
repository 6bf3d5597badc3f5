"""A Kedro pipeline of many nodes that do nothing: what logging each of them costs.

    python tests/bench/bench_kedro.py [--quick] [--json]

CPU time of a node, from runs of a long pipeline less runs of one of a single node, in sessions of
one process. Floor: the same with the plugin disabled in Kedro's settings, so that no hook is called. Kedro's own
logging is off, which would print three lines a node and hide what is measured.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path

from figures import Figure, folder, in_turns, main, seconds

os.environ["DO_NOT_TRACK"] = "1"
warnings.filterwarnings("ignore", "register_new_resolver", UserWarning)  # Kedro calls what OmegaConf has renamed

REGISTRY = """
from kedro.pipeline import node, pipeline

def same(value):
    return value

def chain(count):
    return pipeline([node(same, f"d{k}" if k else "params:start", f"d{k + 1}", name=f"n{k}") for k in range(count)])

def register_pipelines():
    return {"long": chain(COUNT), "short": chain(1), "__default__": chain(1)}
"""
PYPROJECT = '[tool.kedro]\npackage_name = "many"\nproject_name = "Many"\nkedro_init_version = "1.0.0"\n'


def make(place: Path, count: int) -> None:
    """Write the code of the project, and two configurations: one that uses naiad and one that does not."""
    files = {
        "pyproject.toml": PYPROJECT,
        "src/many/__init__.py": "",
        "src/many/settings.py": "",
        "src/many/pipeline_registry.py": REGISTRY.replace("COUNT", str(count)),
    }
    for name in ("used", "unused"):
        files |= {f"{name}/base/catalog.yml": "{}", f"{name}/base/parameters.yml": "start: 1", f"{name}/local/x": ""}
    files["used/base/naiad.yml"] = "naiad: {project: bench}"
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)


def node_seconds(place: Path, conf: str, count: int, disabled: tuple[str, ...] = ()) -> float:
    """How long a node takes, in microseconds."""
    from kedro.framework.project import settings
    from kedro.framework.session import KedroSession

    settings.set("DISABLE_HOOKS_FOR_PLUGINS", disabled)

    def run(pipeline: str) -> None:
        with KedroSession.create(place, conf_source=str(place / conf)) as session:
            session.run(pipeline_names=[pipeline])

    return (seconds(lambda: run("long")) - seconds(lambda: run("short"))) / (count - 1) * 1e6


def measure(quick: bool) -> list[Figure]:
    """All figures of this file."""
    logging.disable(logging.CRITICAL)
    from kedro.framework.startup import bootstrap_project

    count, repeats = (3, 1) if quick else (300, 7)
    with folder() as place:
        make(place, count)
        os.environ["NAIAD_STORE"] = str(place / "store")
        bootstrap_project(place)
        node_seconds(place, "used", count)
        found = in_turns(
            repeats,
            {
                "used": lambda: node_seconds(place, "used", count),
                "unused": lambda: node_seconds(place, "unused", count),
                "disabled": lambda: node_seconds(place, "unused", count, ("naiad",)),
            },
        )
        sys.path.remove(str(place.resolve() / "src"))
    floors = {"with the plugin disabled": found["disabled"]}
    return [
        Figure("a node of a Kedro pipeline, logged", "us", found["used"], floors=floors),
        Figure("a node where naiad is not used", "us", found["unused"], floors=floors),
    ]


if __name__ == "__main__":
    main(measure)
