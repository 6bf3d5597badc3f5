"""kill -9 at random moments: what was acknowledged must be there, once, as it was given, and nothing else.

    python tests/crash/kill.py 1000

runs a thousand kills and prints the figures; the normal suite runs some twenty (`test_kill.py`). A child process logs
through the public API, with one or four threads, segments of 126 points and a fold every few hundred. After each call
that returned, its thread stores the number of calls so far into shared memory, by one aligned store. The parent kills
it while the run is opened, while it logs or while it stops, reads the run through the public API, and compares with
what the acknowledged calls mean; the one call of each thread that was under way may have happened or not. Then another
child resumes the run, and at last one stops it in order.
"""

from __future__ import annotations

import argparse
import json
import math
import mmap
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STARTING, OPENING, LOGGING, STOPPING, STOPPED = range(5)
PHASE, STOP_ASKED, ACKNOWLEDGED = 0, 1, 8  # words of the page; the run's id lies behind them
ID_AT = 2048
PAGE = 4096
PACE = 20  # calls between two short rests: tiny segments at full speed would be thousands of files a second
SESSION_CALLS = 10_000_000  # calls of a session are numbered from a multiple of this, so that values tell where from
TUNING = {
    "CAPTURES": "off",
    "SEGMENT_BYTES": "4096",
    "FOLD_RECORDS": "300",
    "SMALL_RUN_RECORDS": "200",
    "SYNC_SECONDS": "0.02",
}
FIGURES = ("kills", "sessions", "acknowledged", "lost", "duplicated", "wrong", "unreadable", "not shown as killed")

Points = list[tuple[float, Any]]


# What a call means


@dataclass
class Model:
    """What a run must hold after some calls."""

    series: dict[str, Points] = field(default_factory=dict)
    atoms: dict[str, int] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)

    def copy(self) -> Model:
        return Model({path: list(points) for path, points in self.series.items()}, dict(self.atoms), set(self.tags))

    def append(self, path: str, values: list[Any], step: float | None = None) -> None:
        points = self.series.setdefault(path, [])
        for value in values:
            place = step if step is not None else (math.floor(points[-1][0]) + 1 if points else 0)
            points.append((place, value))


def number(thread: int, call: int) -> float:
    """A value that tells which call it came from; every third one needs all 64 bits."""
    return call + thread / 8 + (0.1 if call % 3 == 0 else 0.0)


def perform(run: Any, thread: int, call: int) -> None:
    """Make one call of the public API."""
    base, value = f"t{thread}", number(thread, call)
    kind = call % 20
    if kind < 9:
        run[f"{base}/loss"].append(value, step=call)
    elif kind < 11:
        run[f"{base}/auto"].append(value)
    elif kind == 11:
        run[f"{base}/int"].append(call, step=call)
    elif kind == 12:
        run[f"{base}/half"].append(value, step=call + 0.5)
    elif kind == 13:
        run[f"{base}/many"].extend([value, value + 0.25, value + 0.5])
    elif kind == 14:
        run[base].append({"x": value, "y": -value}, step=call)
    elif kind == 15:
        run[f"{base}/text"].append(f"call {call}")
    elif kind == 16:
        run[f"{base}/atom"] = call
    elif kind == 17:
        run["sys/tags"].add(f"{thread}-{call // 20 % 50}")
    elif kind == 18:
        run["shared"].append(value)
    elif call // 20 % 8 == 7:
        run.pop(f"{base}/gone")
    else:
        run[f"{base}/gone"].append(value)


def expect(model: Model, thread: int, call: int) -> None:
    """Let the same call take effect on the model. The shared series is looked at by itself."""
    base, value = f"t{thread}", number(thread, call)
    kind = call % 20
    if kind < 9:
        model.append(f"{base}/loss", [value], call)
    elif kind < 11:
        model.append(f"{base}/auto", [value])
    elif kind == 11:
        model.append(f"{base}/int", [float(call)], call)
    elif kind == 12:
        model.append(f"{base}/half", [value], call + 0.5)
    elif kind == 13:
        model.append(f"{base}/many", [value, value + 0.25, value + 0.5])
    elif kind == 14:
        model.append(f"{base}/x", [value], call)
        model.append(f"{base}/y", [-value], call)
    elif kind == 15:
        model.append(f"{base}/text", [f"call {call}"])
    elif kind == 16:
        model.atoms[f"{base}/atom"] = call
    elif kind == 17:
        model.tags.add(f"{thread}-{call // 20 % 50}")
    elif kind == 18:
        model.series.setdefault(f"shared {thread}", []).append((0, value))
    elif call // 20 % 8 == 7:
        model.series.pop(f"{base}/gone", None)
    else:
        model.append(f"{base}/gone", [value])


# The child


def child(store: str, custom_run_id: str, page_path: str, threads: int, session: int) -> None:
    """Log until killed or asked to stop."""
    import naiad

    page, words = map_page(page_path)
    words[PHASE] = OPENING
    run = naiad.init_run(store=store, custom_run_id=custom_run_id, project="kill")
    run_id = run["sys/id"].fetch().encode()
    page[ID_AT : ID_AT + len(run_id)] = run_id
    words[PHASE] = LOGGING
    workers = [threading.Thread(target=log, args=(run, words, k, session)) for k in range(1, threads)]
    for worker in workers:
        worker.start()
    log(run, words, 0, session)
    for worker in workers:
        worker.join()
    words[PHASE] = STOPPING
    run.stop()
    words[PHASE] = STOPPED


def log(run: Any, words: memoryview, thread: int, session: int) -> None:
    call = session * SESSION_CALLS
    count, parent = 0, os.getppid()
    while not words[STOP_ASKED]:
        perform(run, thread, call)
        call += 1
        count += 1
        if count % PACE == 0:
            time.sleep(0.001)
            if os.getppid() != parent:
                os._exit(1)  # the harness itself was killed
        words[ACKNOWLEDGED + thread] = count


def map_page(path: str) -> tuple[mmap.mmap, memoryview]:
    with open(path, "r+b") as file:
        page = mmap.mmap(file.fileno(), PAGE)
    return page, memoryview(page)[:ID_AT].cast("Q")


# The parent


@dataclass
class Trial:
    """One run: a few sessions that end in various ways, and what was found after each."""

    store: Path
    number: int
    rng: random.Random
    journal: str
    figures: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    run_id: str = ""
    model: Model = field(default_factory=Model)
    seconds: list[float] = field(default_factory=list)  # from each kill until the state was shown

    def go(self) -> None:
        threads = self.rng.choice((1, 4))
        self.threads = threads
        ends = [self.rng.choice(("init", "log", "log", "log", "stop"))]
        while self.rng.random() < 0.5:
            ends.append(self.rng.choice(("init", "log", "log", "stop")))
        for session, end in enumerate([*ends, "finish"]):
            self.session(session, end)
            if self.notes:
                self.notes.insert(0, f"trial {self.number}, {threads} threads, {ends}, session {session} ({end}):")
                return

    def session(self, session: int, end: str) -> None:
        self.figures["sessions"] += 1
        with self.page() as (path, page, words):
            process = self.spawn(path, session)
            try:
                self.bring_to_an_end(process, words, end, session)
            finally:
                process.kill()
                errors = process.communicate(timeout=60)[1].decode()
            if errors:
                self.note("unreadable", f"the child said: {errors}")
            was_killed = process.returncode == -signal.SIGKILL
            self.figures["kills"] += was_killed
            phase, counts = words[PHASE], list(words[ACKNOWLEDGED : ACKNOWLEDGED + self.threads])
            self.run_id = self.run_id or page[ID_AT : ID_AT + 40].rstrip(b"\0").decode()
            words.release()
        self.figures["acknowledged"] += sum(counts)
        if self.run_id:
            least, most = self.bounds(session, counts, counts)
            states = {"killed"} if was_killed else {"finished"}
            if was_killed and phase != LOGGING:  # it was just being opened, or had said already that it ends
                states |= {"finished"}
            self.look(least, most, states)

    def bring_to_an_end(self, process: subprocess.Popen[bytes], words: memoryview, end: str, session: int) -> None:
        rng = self.rng
        self.await_phase(process, words, OPENING)
        if end == "init":
            time.sleep(rng.uniform(0, 0.02))
            return
        self.await_phase(process, words, LOGGING)
        time.sleep(rng.uniform(0, 0.3))
        if rng.random() < 0.2:
            self.look_while_it_writes(words, session)
            time.sleep(rng.uniform(0, 0.1))
        if end == "log":
            return
        words[STOP_ASKED] = 1
        self.await_phase(process, words, STOPPING)
        if end == "stop":
            time.sleep(rng.uniform(0, 0.08))
        else:
            process.wait(timeout=60)

    def await_phase(self, process: subprocess.Popen[bytes], words: memoryview, phase: int) -> None:
        until = time.monotonic() + 60
        while words[PHASE] < phase and process.poll() is None:
            if time.monotonic() > until:
                self.note("unreadable", f"the child hung in phase {words[PHASE]}")
                return
            time.sleep(0.0005)

    def spawn(self, page: Path, session: int) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("NAIAD_", "NEPTUNE_"))}
        environment |= {f"NAIAD_{name}": value for name, value in TUNING.items()} | {"NAIAD_JOURNAL": self.journal}
        arguments = [self.store, f"trial {self.number}", page, self.threads, session]
        return subprocess.Popen(
            [sys.executable, "-W", "error", __file__, "child", *map(str, arguments)],
            env=environment,
            stderr=subprocess.PIPE,
        )

    @contextmanager
    def page(self) -> Iterator[tuple[Path, mmap.mmap, memoryview]]:
        with tempfile.NamedTemporaryFile(dir=self.store.parent) as file:
            file.write(bytes(PAGE))
            file.flush()
            yield Path(file.name), *map_page(file.name)

    def bounds(self, session: int, least: list[int], most: list[int]) -> tuple[Model, Model]:
        """What must be there at least, and at most: the call that each thread is making may have happened or not."""
        low = self.model.copy()
        self.replay(low, session, [0] * self.threads, least)
        high = low.copy()
        self.replay(high, session, least, [count + 1 for count in most])
        return low, high

    def replay(self, model: Model, session: int, start: list[int], end: list[int]) -> None:
        for thread in range(self.threads):
            for call in range(start[thread], end[thread]):
                expect(model, thread, session * SESSION_CALLS + call)

    def look_while_it_writes(self, words: memoryview, session: int) -> None:
        import naiad

        least = list(words[ACKNOWLEDGED : ACKNOWLEDGED + self.threads])
        try:
            with naiad.init_run(with_id=self.run_id or self.known_id(), mode="read-only", store=self.store) as run:
                found = self.read(run, is_live=True)
        except (naiad.errors.NaiadError, Warning, OSError, AssertionError) as error:
            self.note("unreadable", f"while it wrote: {error!r}")
            return
        low, high = self.bounds(session, least, list(words[ACKNOWLEDGED : ACKNOWLEDGED + self.threads]))
        for model in (found, low, high):  # what is removed again and again has no order to compare
            model.series = {path: points for path, points in model.series.items() if not path.endswith("gone")}
        self.compare(found, low, high, is_live=True)

    def known_id(self) -> str:
        names = (self.store / "custom").iterdir()
        known = [json.loads(path.read_text()) for path in names if not path.name.startswith(".")]
        return str(known[-1]["id"]) if len(known) == 1 else ""

    def look(self, low: Model, high: Model, states: set[str]) -> None:
        """Compare; what is found is what the next session goes on from."""
        import naiad

        began, worked = time.monotonic(), time.thread_time()
        try:
            with naiad.init_run(with_id=self.run_id, mode="read-only", store=self.store) as run:
                state = run["sys/state"].fetch()
                self.seconds.append(time.monotonic() - began)
                if state not in states or time.thread_time() - worked > 1:
                    self.note("not shown as killed", f"{state} after {self.seconds[-1]:.2f} s")
                assert run["sys/id"].fetch() == self.run_id
                assert run["sys/custom_run_id"].fetch() == f"trial {self.number}"
                assert run["sys/name"].fetch() == "Untitled"
                found = self.read(run)
        except (naiad.errors.NaiadError, Warning, OSError, AssertionError) as error:
            self.note("unreadable", repr(error))
            return
        self.compare(found, low, high)
        self.model = found

    def read(self, run: Any, *, is_live: bool = False) -> Model:
        found = Model(tags=run["sys/tags"].fetch())
        for path in leaves(run.get_structure()):
            if path.endswith("/atom"):
                found.atoms[path] = run[path].fetch()
            elif not path.startswith("sys/") and not (is_live and path.endswith("/gone")):
                frame = run[path].fetch_values(include_timestamp=False)
                found.series[path] = list(zip(frame["step"].tolist(), frame["value"].tolist(), strict=True))
        self.split_shared(found)
        return found

    def split_shared(self, found: Model) -> None:
        """All threads append to one series, each taking the next step; those of a thread must be in order, and all."""
        points = found.series.pop("shared", [])
        steps = [step for step, _value in points]
        if len(set(steps)) != len(steps):
            self.note("wrong", "two points of the shared series have one step")
        for _step, value in points:
            thread = round((value % 1 - (0.1 if math.floor(value) % 3 == 0 else 0.0)) * 8)
            found.series.setdefault(f"shared {thread}", []).append((0, value))

    def compare(self, found: Model, low: Model, high: Model, *, is_live: bool = False) -> None:
        for path in {*found.series, *low.series, *high.series}:
            points, least, most = (model.series.get(path, []) for model in (found, low, high))
            if points in (least, most):
                continue  # a removal that was under way took everything or nothing
            if points[: len(least)] == least and most[: len(points)] == points:
                continue
            lost = Counter(least) - Counter(points)
            extra = Counter(points) - Counter(most)
            double = {point for point in extra if point in Counter(most)}
            self.note("lost", f"{path}: {head(lost)} of {len(least)}", sum(lost.values()))
            self.note("duplicated", f"{path}: {head(double)}", len(double))
            self.note("wrong", f"{path}: {head(set(extra) - double)} or their order", sum(extra.values()) - len(double))
            if not (lost or extra):
                at = next(i for i, pair in enumerate(zip(points, most, strict=False)) if pair[0] != pair[1])
                self.note("wrong", f"{path}: {points[at : at + 3]} where {most[at : at + 3]} was expected")
        for path in {*found.atoms, *low.atoms}:
            value = found.atoms.get(path, -1)
            if not low.atoms.get(path, -1) <= value <= high.atoms.get(path, -1):
                self.note("lost", f"{path}: {value} instead of {low.atoms.get(path)}")
        self.note("lost", f"tags {low.tags - found.tags}", len(low.tags - found.tags))
        self.note("wrong", f"tags {found.tags - high.tags}", len(found.tags - high.tags))

    def note(self, what: str, text: str, count: int = 1) -> None:
        if count:
            self.figures[what] += count
            self.notes.append(f"{what}: {text}")


def head(items: Any) -> str:
    return f"{len(items)}, first {sorted(items)[:3]}"


def leaves(tree: dict[str, Any], base: str = "") -> Iterator[str]:
    for name, inner in tree.items():
        if isinstance(inner, dict):
            yield from leaves(inner, f"{base}{name}/")
        else:
            yield base + name


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("kills", type=int, nargs="?", default=40)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--journal", choices=("auto", "mmap", "write"), default="auto")
    parser.add_argument("--folder", type=Path, help="where the stores go; kept if something was found")
    options = parser.parse_args()
    warnings.simplefilter("error")
    folder = Path(tempfile.mkdtemp(prefix="naiad-kill-", dir=options.folder))
    began, total, notes, numbers = time.monotonic(), Counter[str](), list[str](), iter(range(1_000_000))
    lock, seconds = threading.Lock(), list[float]()

    def work() -> None:
        while total["kills"] < options.kills and len(notes) < 20:
            with lock:
                number = next(numbers)
            place = folder / str(number)
            place.mkdir()
            trial = Trial(place / ".naiad", number, random.Random(options.seed * 1000 + number), options.journal)
            trial.go()
            with lock:
                total.update(trial.figures)
                seconds.extend(trial.seconds)
                notes.extend(trial.notes)
                for note in trial.notes:
                    print(note if len(note) < 2000 else note[:2000] + " ...", flush=True)
            if not trial.notes:
                shutil.rmtree(place)

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(work) for _ in range(2)]:
            future.result()
    figures: dict[str, float] = {name: total[name] for name in FIGURES}
    figures["seconds until the state was shown, median"] = round(statistics.median(seconds), 3)
    figures["seconds until the state was shown, longest"] = round(max(seconds), 3)
    figures["seconds"] = round(time.monotonic() - began, 1)
    print(json.dumps(figures))
    if notes:
        print(f"seed {options.seed}; the stores are in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        child(*sys.argv[2:5], *map(int, sys.argv[5:7]))
    else:
        sys.exit(main())
