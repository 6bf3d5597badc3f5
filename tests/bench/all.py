"""Every benchmark of this folder, one after the other, as one table.

    python tests/bench/all.py [--quick]

Takes some minutes. Each runs in an interpreter of its own. `bench_codec.py` prints a table of another form and is run
alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from figures import Figure, print_table

NAMES = (
    "append",
    "load",
    "write",
    "fold",
    "series",
    "read",
    "small_runs",
    "import",
    "catalog",
    "tables",
    "files",
    "sklearn",
    "keras",
    "lightning",
    "kedro",
    "frameworks",
    "capture",
    "server",
    "top",
)


def figures_of(name: str, options: list[str]) -> list[Figure]:
    """What one benchmark measures."""
    script = Path(__file__).with_name(f"bench_{name}.py")
    print(f"{script.name} ...", file=sys.stderr)
    done = subprocess.run([sys.executable, script, "--json", *options], check=True, stdout=subprocess.PIPE, text=True)
    return [Figure(**each) for each in json.loads(done.stdout)]


if __name__ == "__main__":
    print_table([figure for name in NAMES for figure in figures_of(name, sys.argv[1:])])
