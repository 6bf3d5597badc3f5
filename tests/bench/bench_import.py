"""What naiad adds to the start of a program, each time in a fresh interpreter.

    python tests/bench/bench_import.py [--quick] [--json]

"import naiad" is CPU time of the child over that of a bare interpreter, measured in the same round. Because the names
of naiad are fetched when they are first used, the figure with `init_run` looked up is the honest one beside it. The
whole script imports, logs a point, stops and exits; that one is wall time, as a user waits for it.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

from figures import WALL, Figure, folder, in_turns, main

BARE = "pass"
IMPORT = "import naiad"
LOOKED_UP = "import naiad; naiad.init_run"
SCRIPT = "import naiad; run = naiad.init_run(); run['loss'].append(0.5); run.stop()"
PLUGINS = "import naiad.plugins; naiad.plugins.installed()"
MODULES = "import naiad, sys; naiad.init_run; print(len(sys.modules))"


def child(code: str, place: Path) -> tuple[float, float]:
    """CPU and wall seconds of an interpreter that runs the code in a folder."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), WALL()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=place, env=environment())
    wall, after = WALL() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def environment() -> dict[str, str]:
    """This one without what would point naiad elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("NAIAD_", "NEPTUNE_"))}


def modules(place: Path) -> float:
    """How many modules are loaded once `init_run` has been looked up."""
    return float(subprocess.check_output([sys.executable, "-c", MODULES], cwd=place, env=environment(), text=True))


def measure(quick: bool) -> list[Figure]:
    """All figures of this file."""
    with folder() as place:
        child(SCRIPT, place)
        codes = {"bare": BARE, "import": IMPORT, "looked up": LOOKED_UP, "script": SCRIPT, "numpy": "import numpy"}
        codes["plugins"] = PLUGINS
        found = in_turns(
            1 if quick else 15, {name: lambda code=code: child(code, place) for name, code in codes.items()}
        )
        loaded = modules(place)
    cpu = {name: [pair[0] * 1e3 for pair in pairs] for name, pairs in found.items()}
    over = {name: [ours - bare for ours, bare in zip(values, cpu["bare"], strict=True)] for name, values in cpu.items()}
    wall = {name: [pair[1] for pair in pairs] for name, pairs in found.items()}
    bare, numpy = {"the interpreter alone": cpu["bare"]}, {"import numpy, over the interpreter": over["numpy"]}
    return [
        Figure("import naiad, CPU over the interpreter", "ms", over["import"], "<= 40", bare | numpy),
        Figure(
            "import naiad; naiad.init_run, CPU over the interpreter", "ms", over["looked up"], "<= 40", bare | numpy
        ),
        Figure("all plugins loaded, CPU over the interpreter", "ms", over["plugins"], "", bare | numpy),
        Figure("modules loaded then", "", [loaded]),
        Figure("script: import, a point, stop, exit", "s", wall["script"], "<= 0.15", {"python -c pass": wall["bare"]}),
    ]


if __name__ == "__main__":
    main(measure)
