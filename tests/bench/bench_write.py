"""What writing costs beyond one append: metrics of a training step, many tags, and the bytes that folds write.

    python tests/bench/bench_write.py [--quick] [--json]

The step is one of a real model, so that its metrics meet the caches as training leaves them. Beside it: the CSV logger
of Lightning for the same metrics, and floors with the arguments of `append`: methods that do nothing, that add to a
list, and that do the least which survives `kill -9`, that is count a slot, read the clock and pack a record into a
mapping. Each of the last three steps alone is new code to the caches there: with nothing else one record took 4 to
5 us, and five took 8 to 12, on the machine on which five appends took 9 to 14. So no append of five values reaches 4 us
there; the ratio to that floor is the figure to look at.

Tags are added one by one: ten times as many may take ten times as long. Bytes are those of all writing calls of a run
of numbers until it has stopped, over the size of what is kept. Records of the journal, 32 bytes a point, go to a
mapping and are not among them.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from figures import Figure, folder, main, seconds

import naiad
from naiad.slots import RECORD, SEGMENT_HEADER, pack_int

OFF: dict[str, object] = {
    **dict.fromkeys(
        ("capture_stdout", "capture_stderr", "capture_traceback", "capture_hardware_metrics", "git_ref"), False
    ),
    "source_files": [],
}
BLOCK = 40
"""Steps of torch in which one way of logging is measured before the next one."""
NAMES = ("loss", "accuracy", "grad_norm", "lr", "epoch")


class Listed:
    """The floor of an append: a method that takes its arguments and adds them to a list."""

    def __init__(self) -> None:
        self.points: list[tuple[object, ...]] = []

    def append(self, value, *, step=None, timestamp=None, wait=False, name=None, description=None):
        """One point."""
        self.points.append((value, step, time.time()))

    def append_all(self, values, *, step=None, timestamp=None, wait=False, name=None, description=None):
        """A point for each key."""
        points, now = self.points, time.time()
        for key, value in values.items():
            points.append((key, value, step, now))


class Bare:
    """The floor of what survives `kill -9`: methods that pack records into a mapped file."""

    __slots__ = ("slot",)

    def __init__(self, path: Path, records: int) -> None:
        """Allocate the file, and touch all of it."""
        with path.open("w+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, SEGMENT_HEADER + RECORD * records)
            page = mmap.mmap(stream.fileno(), 0)
        page[:] = bytes(len(page))
        self.slot = (itertools.count(SEGMENT_HEADER, RECORD), page)

    def append(self, value, *, step=None, timestamp=None, wait=False, name=None, description=None):
        """One record."""
        offsets, page = self.slot
        at = next(offsets)
        pack_int(page, at, step, value, time.time(), 1, at)

    def append_all(self, values, *, step=None, timestamp=None, wait=False, name=None, description=None):
        """A record for each key."""
        offsets, page = self.slot
        now = time.time()
        for key in values:
            at = next(offsets)
            pack_int(page, at, step, values[key], now, 1, at)

    def nothing(self, value, *, step=None, timestamp=None, wait=False, name=None, description=None):
        """The call alone."""


WRITTEN = """
import glob, json, os, random, sys
import naiad
from naiad.storage.local import processes
processes.can_start = lambda: False  # folded in a thread, so that its bytes are counted with those of this process
place, count = sys.argv[1], int(sys.argv[2])
run = naiad.init_run(store=place, capture_stdout=False, capture_stderr=False, capture_hardware_metrics=False,
                     capture_traceback=False, git_ref=False, source_files=[])

def written():
    with open("/proc/self/io") as stream:
        return int(stream.read().partition("wchar: ")[2].split()[0])

handles, draw = [run[f"metric{i}"] for i in range(10)], random.Random(5).random
before = written()
for step in range(count // 10):
    for handle in handles:
        handle.append(draw(), step=step)
run.stop()
bytes_written = written() - before
kept = sum(os.stat(path).st_size for path in glob.glob(place + "/runs/*/**", recursive=True) if os.path.isfile(path))
print(json.dumps({"written": bytes_written, "kept": kept}))
"""


def steps_of_torch(place: Path, *, quick: bool) -> list[Figure]:
    """Return microseconds that five metrics add to a step: by five appends, by one dict, and by what is beside them."""
    if not importlib.util.find_spec("torch"):
        return []
    import torch

    torch.set_num_threads(1)
    model = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.ReLU(), torch.nn.Linear(512, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    inputs, targets = torch.randn(64, 256), torch.randint(10, (64,))
    run = naiad.init_run(store=place / "torch", **OFF)  # type: ignore[arg-type]  # options of a test
    handles, group = [run[f"train/{name}"] for name in NAMES], run["both"]

    def five(step: int, value: float) -> None:
        for handle in handles:
            handle.append(value, step=step)

    def one_dict(step: int, value: float) -> None:
        group.append({"loss": value, "accuracy": value, "grad_norm": value, "lr": value, "epoch": value}, step=step)

    lists, list_of_all = [Listed() for _ in NAMES], Listed()

    def five_lists(step: int, value: float) -> None:
        for each in lists:
            each.append(value, step=step)

    def one_list(step: int, value: float) -> None:
        given = {"loss": value, "accuracy": value, "grad_norm": value, "lr": value, "epoch": value}
        list_of_all.append_all(given, step=step)

    steps = 2 * BLOCK * 10 if quick else 8_000
    bares = [Bare(place / "bare", 5 * steps)] * len(NAMES)

    def five_paths(step: int, value: float) -> None:
        for name in NAMES:
            run["train/" + name].append(value, step=step)

    def five_bare(step: int, value: float) -> None:
        for each in bares:
            each.append(value, step=step)

    def dict_bare(step: int, value: float) -> None:
        given = {"loss": value, "accuracy": value, "grad_norm": value, "lr": value, "epoch": value}
        bares[0].append_all(given, step=step)

    def five_empty(step: int, value: float) -> None:
        for each in bares:
            each.nothing(value, step=step)

    logs: dict[str, Callable[[int, float], object]] = {
        "five appends": five,
        "a dict of five": one_dict,
        "five appends by path": five_paths,
        "an empty method, five times": five_empty,
        "a bare mmap in a method, five times": five_bare,
        "a bare mmap in a method, a dict": dict_bare,
        "a plain method and a list, five times": five_lists,
        "a plain method and a list, a dict": one_list,
    }
    if not quick and importlib.util.find_spec("lightning"):
        from lightning.pytorch.loggers import CSVLogger

        logger = CSVLogger(place / "csv", flush_logs_every_n_steps=10**9)
        logs["CSVLogger of Lightning"] = lambda step, value: logger.log_metrics(dict.fromkeys(NAMES, value), step)
    taken: dict[str, list[int]] = {name: [] for name in logs}
    for step in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it so
        optimizer.step()
        value = loss.item()
        # One of them in each step, many steps in turn: a program makes the same call in each, and the caches hold what
        # training has left of it.
        name = [*logs][step // BLOCK % len(logs)]
        began = time.perf_counter_ns()
        logs[name](step, value)
        if step % BLOCK >= BLOCK // 8:
            taken[name].append(time.perf_counter_ns() - began)
    run.stop()
    figures = []
    for share, label, goal in ((50, "p50", "<= 4"), (99, "p99", "<= 12")):
        at = {name: [sorted(values)[len(values) * share // 100] / 1e3] for name, values in taken.items()}
        five_times, at_once, by_path = (
            at.pop(name) for name in ("five appends", "a dict of five", "five appends by path")
        )
        of_dicts = {name: at[name] for name in at if name.endswith("a dict")}
        figures.append(Figure(f"five appends in a step of torch, {label}", "us", five_times, goal, at))
        title = f"a dict of five in a step of torch, {label}"
        floors = {"five appends": five_times, "five appends by path": by_path, **of_dicts}
        figures.append(Figure(title, "us", at_once, "< five", floors))
    return figures


def tags(place: Path, *, quick: bool) -> list[Figure]:
    """Return CPU seconds of adding tags one by one and of the `stop()` then, and the exponent of their growth."""
    counts = (20, 200) if quick else (2_000, 20_000)
    taken: dict[int, list[float]] = {}
    stops: list[float] = []
    for count in counts:
        run = naiad.init_run(store=place / "tags", **OFF)  # type: ignore[arg-type]  # options of a test
        handle = run["sys/tags"]
        adding = seconds(lambda handle=handle, count=count: [handle.add(f"tag{n}") for n in range(count)])
        stops.append(seconds(run.stop))
        taken[count] = [adding + stops[-1]]
    growth = math.log(taken[counts[1]][0] / taken[counts[0]][0], counts[1] / counts[0])
    return [
        Figure(f"{counts[1]:,} tags one by one, with stop()", "s", taken[counts[1]]),
        Figure("    its stop()", "s", stops[1:], "<= 1"),
        Figure("    exponent of growth", "", [growth], "<= 1.1"),
    ]


def amplification(place: Path, *, quick: bool) -> list[Figure]:
    """Return bytes written by calls, which those into the mapped journal are not, over bytes kept."""
    figures = []
    for count in (3_000,) if quick else (1_000_000, 4_000_000):
        command = [sys.executable, "-c", WRITTEN, str(place / f"written{count}"), str(count)]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        title = f"bytes written besides the journal over bytes kept, {count:,} points"
        figures.append(Figure(title, "", [found["written"] / found["kept"]], "<= 2"))
        figures.append(Figure("    bytes kept a point", "B", [found["kept"] / count]))
    return figures


def measure(quick: bool) -> list[Figure]:
    """All figures of this file."""
    with folder() as place:
        return steps_of_torch(place, quick=quick) + tags(place, quick=quick) + amplification(place, quick=quick)


if __name__ == "__main__":
    main(measure)
