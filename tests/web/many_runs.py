"""A store whose catalog has 100,000 runs, and a server of it: for looking at very many runs.

    python tests/web/many_runs.py fill FOLDER COUNT
    python tests/web/many_runs.py serve FOLDER        # prints the address, as `naiad ui` does

The runs are entries of a real catalog without folders, since making folders takes an hour.
"""

from __future__ import annotations

import os
import random
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from naiad.storage.local import catalog as catalog_module
from naiad.storage.local.store import Store
from naiad.storage.sql.values import LIST, Entry, Stamp, put

FIELDS = 20
OPTIMIZERS = ("adam", "sgd", "lion")
STATES = ("finished", "failed", "killed")


def fill(place: Path, count: int) -> None:
    """Put runs into the catalog."""
    store = Store(place)
    store.create()
    (place / "runs").mkdir()
    os.utime(place / "runs", (1, 1))
    catalog = store.catalog()
    chance = random.Random(0)
    for start in range(0, count, 10_000):
        with catalog._transaction(is_writing=True) as connection:
            put(connection, list(entries(chance, start, min(count, start + 10_000))))
    with catalog._transaction(is_writing=True) as connection:
        connection.run(LIST, listed=catalog._listed())


def entries(chance: random.Random, start: int, stop: int) -> Iterator[Entry]:
    """The facts of some runs."""
    for n in range(start, stop):
        cells: dict[tuple[str, str], object] = {(f"m/{field}", "float"): chance.random() for field in range(FIELDS)}
        state = chance.choice(STATES)
        cells |= {
            ("sys/id", "string"): f"B-{n}", ("sys/name", "string"): f"trial {n % 977}",
            ("sys/creation_time", "datetime"): 10**15 + n * 10**6, ("sys/state", "run_state"): state,
            ("sys/owner", "string"): "me", ("sys/trashed", "bool"): n % 50 == 0, ("sys/size", "float"): 1e4,
            ("sys/tags", "string_set"): [f"group-{n % 10}", *(["best"] if n % 100 == 0 else [])],
            ("params/lr", "float"): (0.1, 0.03, 0.01, 0.003)[n % 4], ("params/optimizer", "string"): OPTIMIZERS[n % 3],
            ("train/loss", "float_series"): [chance.random(), chance.random(), 2.0, 1.0, 0.1],
        }  # fmt: skip
        yield Entry(f"{n:032x}", "runs", f"B-{n}", "bench", state, 10**15 + n * 10**6, Stamp("", "sealed"), cells)


def serve(place: Path) -> None:
    """Serve it, without a look at the folders that are not there."""
    from naiad_web.serving import serve as serve_store

    catalog_module._looked[place] = float("inf")
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # as `naiad ui` makes it
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    port = listener.getsockname()[1]

    def started(token: str) -> None:
        print(f"http://127.0.0.1:{port}/#token={token}", flush=True)

    serve_store(Store(place), listener, frozenset({"127.0.0.1"}), started, is_editable=False, is_new=False)


if __name__ == "__main__":
    folder = Path(sys.argv[2]).absolute()
    if sys.argv[1] == "fill":
        fill(folder, int(sys.argv[3]))
    else:
        serve(folder)
