"""A worker process of an import; see `naiad.importers.pool`."""

from __future__ import annotations

import gc
import importlib
import json
import operator
import os
import sys
from dataclasses import asdict

import msgspec

from naiad.importer import Foreign
from naiad.importers.imports import Job, import_container
from naiad.storage.opening import locate

TELL_BYTES = 1 << 20
MOST_NEW = 50_000
"""Objects after which garbage is collected: some runs of a dump."""


def main() -> None:
    """Import the containers that come on standard input, one a line, until it ends."""
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else is printed must not get between the answers
    task = json.loads(sys.stdin.readline())
    module, name = task["container"]
    container = operator.attrgetter(name)(importlib.import_module(module))
    job = Job(locate(task["store"]), task["format"], task["path"], task["project"], task["is_dry"])
    # All that is loaded stays, and looking for cycles in it took a tenth of the time.
    gc.freeze()
    gc.set_threshold(MOST_NEW)
    left = 0

    def answer(**facts: object) -> None:
        output.write(json.dumps(facts).encode() + b"\n")
        output.flush()

    def tell(size: int) -> None:
        nonlocal left
        left += size
        if left >= TELL_BYTES:
            answer(progress=left)
            left = 0

    for line in sys.stdin:
        foreign: Foreign = msgspec.json.decode(line, type=container)
        report = import_container(job, foreign, tell)
        answer(progress=left)
        left = 0
        answer(report=asdict(report))


if __name__ == "__main__":
    main()
