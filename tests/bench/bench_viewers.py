"""Fifty people who look at a hundred thousand runs: how long each request takes, and the memory of the server.

    python tests/bench/bench_viewers.py [--quick] [--runs N] [--viewers N] [--seconds N] [--store DIR]

The runs are entries of a real catalog without folders (tests/web/many_runs.py); the viewers ask for projects, sorted,
filtered and grouped tables, pages far down and values, with pauses of people (tests/web/viewers.py). They run in a
process of their own, on the same processors. Goals of issue 14: no request above 1 s, memory below 250 MB.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

WEB = Path(__file__).parents[1] / "web"


def peak(process: int) -> float:
    """The largest resident set of a process so far, in MB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def main() -> None:
    """Fill, serve, look, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="tiny sizes, whose numbers mean nothing")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--viewers", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--store", type=Path, help="keep the store here, and take it again")
    options = parser.parse_args()
    if options.quick:
        options.runs, options.viewers, options.seconds = 500, 3, 3
    with tempfile.TemporaryDirectory() as temporary:
        store = options.store or Path(temporary) / ".naiad"
        script = str(WEB / "many_runs.py")
        if not store.exists():
            subprocess.run([sys.executable, script, "fill", str(store), str(options.runs)], check=True)
        server = subprocess.Popen([sys.executable, script, "serve", str(store)], stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        command = [sys.executable, str(WEB / "viewers.py"), address, str(options.viewers), str(options.seconds)]
        try:
            print(f"{options.viewers} viewers, {options.runs:,} runs, {options.seconds} s", flush=True)
            subprocess.run(command, check=True)
            print(f"memory of the server, largest   {peak(server.pid):7.0f} MB   goal 250")
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(10)


if __name__ == "__main__":
    main()
