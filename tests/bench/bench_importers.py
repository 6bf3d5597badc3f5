"""How fast runs come in: a log of Neptune's client, and a dump in the form of its exporter.

    .venv/bin/python tests/bench/bench_importers.py [RUNS]

The goals: a log of 5 MB with 20,000 appends in 1 s; a dump of 1,000 runs, each with 100 fields and 10 series of 1,000
points, at 0.5 M points a second on two cores within 1 GiB.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from naiad.export.dump import sanitized
from naiad.export.parquet import schema as parquet_schema
from naiad.importers import import_runs

UUID = "07477900-8541-4b44-98f6-be6ff4fd871d"
POINTS, SERIES, FIELDS = 1_000, 10, 100


def write_log(root: Path) -> Path:
    folder = root / ".neptune" / "offline" / f"run__{UUID}__1__abcdefgh"
    folder.mkdir(parents=True)
    ops = [
        ("LogFloats", [f"loss{n % 5}"], {"values": [{"value": n / 3, "step": n // 5, "ts": 1.7e9 + n}]})
        for n in range(20_000)
    ]
    ops += [
        ("LogFloats", [f"more{n}"], {"values": [{"value": m / 7, "step": m, "ts": 1.7e9 + m} for m in range(1_000)]})
        for n in range(20)
    ]
    ops += [("AssignFloat", ["p", f"k{n % 500}"], {"value": n / 3}) for n in range(5_000)]
    records = [
        {"obj": {"type": kind, "path": path, **facts}, "version": number, "at": 1.7e9 + number}
        for number, (kind, path, facts) in enumerate(ops, 1)
    ]
    (folder / "data-1.log").write_text("".join(json.dumps(record) + "\n" for record in records))
    return root


def write_dump(root: Path, runs: int) -> Path:
    names = parquet_schema(pa).names[:14]
    schema = pa.schema([parquet_schema(pa).field(name) for name in names])
    folder = root / "data" / sanitized("ws/bench")
    folder.mkdir(parents=True)
    steps = pa.array([Decimal(step) for step in range(POINTS)], pa.decimal128(18, 6))
    times = pa.array(1_700_000_000_000 + 1000 * np.arange(POINTS)).cast(pa.timestamp("ms", "UTC"))
    for run in range(runs):
        name = f"BENCH-{run + 1}"
        facts = [{"attribute_path": f"p/k{n}", "attribute_type": "float", "float_value": n / 3} for n in range(FIELDS)]
        common = {"project_id": "ws/bench", "run_id": name}
        with pq.ParquetWriter(folder / f"{sanitized(name)}_part_0.parquet", schema) as writer:
            writer.write_table(pa.Table.from_pylist([common | fact for fact in facts], schema))
            for series in range(SERIES):
                columns = {
                    **{key: pa.array([text] * POINTS) for key, text in common.items()},
                    "attribute_path": pa.array([f"m/s{series}"] * POINTS),
                    "attribute_type": pa.array(["float_series"] * POINTS),
                    "step": steps,
                    "timestamp": times,
                    "float_value": pa.array(np.random.default_rng(run).normal(size=POINTS)),
                }
                whole = [columns.get(each.name, pa.nulls(POINTS, each.type)) for each in schema]
                writer.write_table(pa.table(whole, schema=schema))
    return root


def measured(format: str, source: Path, store: Path) -> float:
    start = time.perf_counter()
    report = import_runs(format, source, store=store)
    assert report.is_whole
    return time.perf_counter() - start


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        write_log(root / "log")
        print(f"log of 20,000 appends: {measured('neptune-offline', root / 'log', root / 'a'):.2f} s")
        write_dump(root / "dump", runs)
        taken = measured("neptune-export", root / "dump", root / "b")
        print(f"dump of {runs:,} runs: {taken:.1f} s, {runs * SERIES * POINTS / taken / 1e6:.2f} M points/s")
    for title, who in (("this process", resource.RUSAGE_SELF), ("the largest worker", resource.RUSAGE_CHILDREN)):
        print(f"memory of {title}: {resource.getrusage(who).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
