"""What the nodes do."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd


def double(raw: pd.DataFrame, factor: float, options: dict[str, Any]) -> pd.DataFrame:
    return raw * factor


def total(numbers: pd.DataFrame) -> dict[str, float]:
    return {"sum": float(numbers["a"].sum()), "rows": len(numbers)}


def curve(numbers: pd.DataFrame) -> list[float]:
    return [float(value) for value in numbers["a"]]


def model(numbers: pd.DataFrame) -> dict[str, float]:
    return {"mean": float(numbers["a"].mean())}


message = "the node has failed"


def raises(numbers: pd.DataFrame) -> None:
    raise ZeroDivisionError(message)


def pieces(numbers: pd.DataFrame) -> Iterator[pd.DataFrame]:
    for start in range(len(numbers)):
        yield numbers[start : start + 1]


def scores() -> dict[str, float]:
    return {"acc": 0.5, "acc/top": 0.75}


def takes_run(run: Any) -> str:
    if run is None:
        return "no run"
    run["from_node"] = 42
    return "a run"


def part(number: int, run: Any) -> int:
    for step in range(20):
        run[f"parts/{number}"].append(float(step))
        run["all"].append(100.0 * number + step, step=step)
    return os.getpid()


def gather(*pids: int) -> int:
    return len(set(pids))


def accuracy() -> float:
    return 1


def compare(accuracy: float) -> float:
    return accuracy / 2


def waits(place: str, run: Any) -> None:
    """Tell the test that the node runs, and wait for it to do something about that."""
    run["loss"].append(0.5)
    Path(place).write_text(json.dumps({"pid": os.getpid()}))
    time.sleep(60)


def exits() -> None:
    sys.exit(3)


def nothing(before: int) -> int:
    return before + 1


def dies(number: int) -> int:
    os.kill(os.getpid(), 9)
    return number
