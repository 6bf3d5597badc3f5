"""Folders of Neptune's client, written by hand for tests, and their import."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import naiad
from naiad.importers import Report, RunReport, import_runs

UUID = "07477900-8541-4b44-98f6-be6ff4fd871d"
OTHER = "11111111-2222-3333-4444-555555555555"
NAIAD = [sys.executable, "-c", "from naiad.cli import main; main()"]
START = 1_700_000_000.0


def op(type: str, path: str, **facts: Any) -> dict[str, Any]:
    return {"type": type, "path": path.split("/"), **facts}


def floats(path: str, *values: float, step: float | None = None, ts: float = START) -> dict[str, Any]:
    points = [{"value": value, "step": step, "ts": ts + number} for number, value in enumerate(values)]
    return op("LogFloats", path, values=points)


def lines(ops: Iterable[Mapping[str, Any]], first: int = 1, end: str = "\n", at: float = START) -> str:
    records = ({"obj": each, "version": number, "at": at + number} for number, each in enumerate(ops, first))
    return "".join(json.dumps(record) + end for record in records)


def queue(
    root: Path,
    ops: Sequence[Mapping[str, Any]],
    *,
    mode: str = "offline",
    kind: str = "run",
    uuid: str = UUID,
    name: str = "732__hgbbd9n2",
    ack: int = 0,
    created: str = "2023-11-14T22:13:20+00:00",
    end: str = "\n",
    at: float = START,
) -> Path:
    folder = root / ".neptune" / mode / f"{kind}__{uuid}__{name}"
    (folder / "upload_path").mkdir(parents=True)
    (folder / "data-1.log").write_text(lines(ops, end=end, at=at))
    (folder / "last_put_version").write_text(str(len(ops)))
    (folder / "last_ack_version").write_text(str(ack) if ack else "")
    facts = {"mode": mode, "containerId": uuid, "containerType": kind, "structureVersion": 3, "createdAt": created}
    (folder / "metadata.json").write_text(json.dumps(facts))
    return folder


def imported(path: Path, store: Path, **options: Any) -> Report:
    return import_runs("neptune-offline", path, store=store, **options)


def only(report: Report) -> RunReport:
    [run] = report.runs
    return run


def opened(store: Path, run: RunReport) -> naiad.Run:
    return naiad.init_run(with_id=run.id, store=store, mode="read-only")
