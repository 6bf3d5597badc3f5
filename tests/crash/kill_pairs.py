"""kill -9 of two processes at once on one store, at any moment of any work; nothing acknowledged is lost or doubled.

    python tests/crash/kill_pairs.py 200

makes two hundred kills and prints the figures; the normal suite makes ten of them (`test_kill_pairs.py`). In each round
a writer logs points, texts, values and files, folds, stops, resumes, over and over. At the same time a second process
either writes the same run, or collects garbage, repairs the run, reads it, or reads the table of all runs. Both are
killed at random moments, the first ones of their lives included. Then the store is verified, garbage is collected
without grace, and the run is compared with what each call that returned means; the one call of each writer that was
under way may have happened or not. `naiad verify` must be content exactly when nothing is lost.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OTHERS = ("write", "write", "gc", "repair", "table", "read")
WORKING, COUNT = 0, 1  # words of a page: whether a process has begun its work, calls that returned
PAGE = 4096
CALLS = 60  # until a writer stops and resumes
ROUNDS = 8  # on one store
TUNING = {
    "CAPTURES": "off",
    "SEGMENT_BYTES": "4096",
    "FOLD_RECORDS": "120",
    "SMALL_RUN_RECORDS": "50",
    "SYNC_SECONDS": "0.05",
}
FIGURES = ("kills", "rounds", "acknowledged", "lost", "doubled", "wrong", "verify untruthful", "died by itself")


def content(name: str, call: int) -> bytes:
    """A file; every other one is too large to travel in the op."""
    return f"{name} {call} ".encode() * (1000 if call % 2 else 10)


def perform(run: Any, name: str, call: int) -> None:
    """Make one call of the public API."""
    from naiad.types import File

    kind = call % 10
    if kind < 6:
        run[f"{name}/loss"].append(call / 3, step=call)
    elif kind == 6:
        run[f"{name}/text"].append(f"call {call}", step=call)
    elif kind == 7:
        run[f"{name}/value"] = call
    elif kind == 8:
        run["both"].append(call, step=call)
    else:
        run[f"{name}/file"].upload(File.from_content(content(name, call)))


@dataclass
class Model:
    """What one writer has written: the calls of each series, and the last of what is written over."""

    loss: list[int] = field(default_factory=list)
    text: list[int] = field(default_factory=list)
    both: list[int] = field(default_factory=list)
    value: int = -1
    file: int = -1

    def expect(self, call: int) -> None:
        """Let a call take effect."""
        kind = call % 10
        if kind < 6:
            self.loss.append(call)
        elif kind == 6:
            self.text.append(call)
        elif kind == 7:
            self.value = call
        elif kind == 8:
            self.both.append(call)
        else:
            self.file = call


# The children


def child(work: str, store: str, page_path: str, name: str) -> None:
    """Do one kind of work until killed."""
    import naiad

    warnings.simplefilter("error")
    words, parent = map_page(page_path), os.getppid()
    if work == "write":
        write(store, words, name, parent)
    words[WORKING] = 1
    while os.getppid() == parent:
        if not run_id(store):
            time.sleep(0.01)
        elif work == "gc":
            command(["gc"], store)
        elif work == "repair":
            command(["repair", run_id(store)], store)  # refused while somebody writes the run
        elif work == "table":
            with naiad.init_project("kill", store=store, mode="read-only") as project:
                project.fetch_runs_table().to_pandas()
        else:
            with naiad.init_run(with_id=run_id(store), project="kill", mode="read-only", store=store) as run:
                if run.exists("both"):
                    run["both"].fetch_values()


def write(store: str, words: memoryview, name: str, parent: int) -> None:
    import naiad

    call = 0
    while os.getppid() == parent:
        words[WORKING] = 1
        run = naiad.init_run(project="kill", custom_run_id="pairs", store=store)
        for _ in range(CALLS):
            perform(run, name, call)
            call += 1
            words[COUNT] = call
            time.sleep(0.0005)
        run.stop()


def command(arguments: list[str], store: str) -> int:
    """Run a command of the shell in this process; its exit status."""
    from click.testing import CliRunner

    from naiad.cli import main

    done = CliRunner().invoke(main, arguments, env={"NAIAD_STORE": store})
    assert done.exit_code in (0, 1), done.output
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code


def run_id(store: str) -> str:
    """The id of the run; empty before there is one. An id may have been taken by who was killed before it was named."""
    tickets = [path for path in Path(store, "custom").glob("*") if not path.name.startswith(".")]
    return str(json.loads(tickets[0].read_text())["id"]) if tickets else ""


def map_page(path: str) -> memoryview:
    with open(path, "r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), PAGE)).cast("Q")


# The parent


@dataclass
class Harness:
    """Rounds on one store after the other; what was found."""

    folder: Path
    rng: random.Random
    figures: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    models: dict[str, Model] = field(default_factory=dict)
    store: Path = Path()

    def go(self, kills: int) -> None:
        """Kill so many processes, or stop at the first store with a fault."""
        while self.figures["kills"] < kills and not self.notes:
            number = self.figures["rounds"]
            if number % ROUNDS == 0:
                if number:
                    shutil.rmtree(self.store)
                self.models, self.store = {}, self.folder / f"store{number}"
            self.round(number)
            self.figures["rounds"] += 1

    def round(self, number: int) -> None:
        """Let two processes work, kill both, look."""
        second = self.rng.choice(OTHERS) if self.models else "write"
        writers = {}
        children = []
        for i, work in enumerate(("write", second)):
            page = self.folder / f"page{number}-{i}"
            page.write_bytes(bytes(PAGE))
            name = f"w{number}-{i}"
            children.append((work, self.start(work, page, name), map_page(str(page))))
            if work == "write":
                writers[name] = children[-1][2]
        for work, process, words in self.rng.sample(children, 2):
            self.end(work, process, words)
        for name, words in writers.items():
            self.figures["acknowledged"] += words[COUNT]
            self.models[name] = Model()
            for call in range(words[COUNT]):
                self.models[name].expect(call)
        before = len(self.notes)
        self.look({name: words[COUNT] for name, words in writers.items()})
        self.look({})
        if len(self.notes) > before:
            self.notes.insert(before, f"round {number}, a writer beside {second}, in {self.store}:")

    def start(self, work: str, page: Path, name: str) -> subprocess.Popen[bytes]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("NAIAD_", "NEPTUNE_"))}
        environment |= {f"NAIAD_{key}": value for key, value in TUNING.items()}
        arguments = ["--child", work, str(self.store), str(page), name]
        return subprocess.Popen(
            [sys.executable, __file__, *arguments], env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )

    def end(self, work: str, process: subprocess.Popen[bytes], words: memoryview) -> None:
        """Kill a process some time after it has begun its work."""
        until = time.monotonic() + 60
        while not words[WORKING] and process.poll() is None and time.monotonic() < until:
            time.sleep(0.001)
        if self.rng.random() < 0.7:  # else in its first moments
            while work == "write" and not words[COUNT] and process.poll() is None and time.monotonic() < until:
                time.sleep(0.001)
            time.sleep(self.rng.uniform(0, 0.6))
        process.kill()
        errors = process.communicate(timeout=60)[1].decode()
        self.figures["kills"] += 1
        if errors:
            self.note("died by itself", f"{work}: {errors}")

    def look(self, under_way: dict[str, int]) -> None:
        """Verify, collect garbage, and compare; what was under way is settled afterwards."""
        from naiad.storage.local.gc import collect
        from naiad.storage.local.store import Store

        if not (self.store / "ids").exists():
            return
        code = command(["verify"], str(self.store))
        collect(Store(self.store), grace=-1)
        before = self.figures["lost"]
        self.compare(under_way)
        if (code == 0) != (self.figures["lost"] == before):
            self.note("verify untruthful", f"verify ended with {code}")

    def compare(self, under_way: dict[str, int]) -> None:
        import naiad

        if not run_id(str(self.store)):
            return  # killed before there was a run
        with naiad.init_run(with_id=run_id(str(self.store)), project="kill", mode="read-only", store=self.store) as run:
            both = self.steps(run, "both", [])
            begun: list[tuple[Model, Model]] = []
            for name, model in self.models.items():
                later = Model(**{key: list(v) if isinstance(v, list) else v for key, v in vars(model).items()})
                if name in under_way:
                    later.expect(under_way[name])
                model.loss = self.settle(f"{name}/loss", self.steps(run, f"{name}/loss", []), model.loss, later.loss)
                model.text = self.settle(f"{name}/text", self.steps(run, f"{name}/text", []), model.text, later.text)
                value = run[f"{name}/value"].fetch() if run.exists(f"{name}/value") else -1
                if value not in (model.value, later.value):
                    self.note("lost", f"{name}/value is {value} and not {model.value}")
                model.value = value
                self.compare_file(run, name, model, later)
                self.returned(both, model)
                begun.append((model, later))
            for model, later in begun:  # of equal calls of two writers, the one that returned is surely there
                self.under_way(both, model, later)
            self.note("doubled", f"both: {Counter(both)}", sum(Counter(both).values()))

    def compare_file(self, run: Any, name: str, model: Model, later: Model) -> None:
        found = run[f"{name}/file"].fetch_content() if run.exists(f"{name}/file") else b""
        known = {content(name, call) if call >= 0 else b"": call for call in (later.file, model.file)}
        if found not in known:
            self.note("lost", f"{name}/file has {found[:20]!r} and not call {model.file}")
        model.file = known.get(found, model.file)

    def returned(self, found: list[int], model: Model) -> None:
        """Take the calls of one writer out of the series that all of them write; what is left at last is too much."""
        rest = Counter(found)
        for call in model.both:
            if rest[call] < 1:
                self.note("lost", f"both lacks {call}")
            else:
                rest[call] -= 1
                found.remove(call)

    def under_way(self, found: list[int], model: Model, later: Model) -> None:
        """Take out the call of one writer that may have happened."""
        for call in later.both[len(model.both) :]:
            if call in found:
                found.remove(call)
                model.both.append(call)

    def steps(self, run: Any, path: str, nothing: list[int]) -> list[int]:
        """The steps of a series, whose values must be those that belong to them."""
        if not run.exists(path):
            return nothing
        frame = run[path].fetch_values(include_timestamp=False)
        steps = [int(step) for step in frame["step"]]
        kinds = {"loss": lambda n: n / 3, "text": lambda n: f"call {n}", "both": float}
        true = [kinds[path.rpartition("/")[2]](step) for step in steps]
        self.note("wrong", f"{path}: values", sum(a != b for a, b in zip(true, frame["value"], strict=True)))
        return steps

    def settle(self, path: str, found: list[int], least: list[int], most: list[int]) -> list[int]:
        """Compare a series of one writer with the least and the most that it may hold; what it does hold."""
        lost, extra = Counter(least) - Counter(found), Counter(found) - Counter(most)
        self.note("lost", f"{path}: {sorted(lost)[:5]}", sum(lost.values()))
        self.note("doubled", f"{path}: {sorted(extra)[:5]}", sum(extra.values()))
        if found != sorted(found):
            self.note("wrong", f"{path}: its order")
        return found

    def note(self, what: str, text: str, count: int = 1) -> None:
        """Count a fault."""
        if count:
            self.figures[what] += count
            self.notes.append(f"{what}: {text[:2000]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", type=int, nargs="?", default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--folder", type=Path, help="where the stores go; kept if something was found")
    parser.add_argument("--child", nargs=4, metavar=("WORK", "STORE", "PAGE", "NAME"))
    given = parser.parse_args()
    if given.child:
        child(*given.child)
        return 0
    warnings.simplefilter("error")
    folder = Path(tempfile.mkdtemp(prefix="naiad-kill-pairs-", dir=given.folder))
    began, harness = time.monotonic(), Harness(folder, random.Random(given.seed))
    harness.go(given.kills)
    print(json.dumps({name: harness.figures[name] for name in FIGURES} | {"seconds": round(time.monotonic() - began)}))
    if harness.notes:
        print("\n".join(harness.notes), f"\nseed {given.seed}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
