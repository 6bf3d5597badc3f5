"""The path of somebody who has never seen naiad: from nothing to the curves of two runs in one picture.

    python tests/bench/bench_stranger.py

It does as the README says, in an empty clone: the first of its two commands, the quickstart once more with another
learning rate, and the two runs compared. The goal is 60 s with packages in pip's cache, which a first call fills.
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
GOAL_SECONDS = 60.0
RATE = '"eta0": 0.01'
OTHER_RATE = '"eta0": 0.1'


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the first minute of a new user.")
    parser.add_argument("--show", action="store_true", help="print what each step prints")
    is_shown = parser.parse_args().show

    (command,) = re.findall(r"^python3 -m venv .*quickstart\.py$", (ROOT / "README.md").read_text(), re.MULTILINE)
    with tempfile.TemporaryDirectory() as parent:
        clone = Path(parent, "naiad")
        again = f"sed '{_substitution()}' examples/quickstart.py > again.py && .venv/bin/python again.py"
        steps = {
            "clone": f"git clone --quiet {ROOT} {clone}",
            "README's first command": command,
            "the same with another learning rate": again,
            "curves of both in one picture": ".venv/bin/naiad plot DIGITS-1 DIGITS-2 train/loss",
            "what differs between them": ".venv/bin/naiad compare DIGITS-1 DIGITS-2",
        }
        total = 0.0
        for name, step in steps.items():
            started = time.perf_counter()
            done = subprocess.run(
                step, shell=True, cwd=clone if clone.exists() else parent, check=True, capture_output=True, text=True
            )
            seconds = time.perf_counter() - started
            total += seconds
            print(f"{seconds:7.1f} s  {name}")
            if is_shown:
                print(done.stdout + done.stderr)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"{total:7.1f} s  in all, {used.ru_utime + used.ru_stime:.1f} s of CPU; the goal is {GOAL_SECONDS:.0f} s")


def _substitution() -> str:
    source = (ROOT / "examples" / "quickstart.py").read_text(encoding="utf-8")
    if RATE not in source:
        raise SystemExit(f"examples/quickstart.py no longer has {RATE}; name the new parameter in {__file__}.")
    return f"s/{RATE}/{OTHER_RATE}/"


if __name__ == "__main__":
    main()
