"""Several processes and threads on one run: fork, spawn, forkserver, DataLoader workers, eight of everything."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from naiad.storage.local.reader import Reader
from naiad.storage.local.store import Store


def the_run(store: Path, run_id: str = "PROC-1") -> Reader:
    return Reader(Store(store).find_directory(run_id))


FORK = """
run = naiad.init_run(project="proc")
loss, text = run["loss"], run["text"]
for step in range(500):
    loss.append(float(step), step=step)
    text.append(f"before {step}")
children = []
for k in range(3):
    pid = os.fork()
    if pid == 0:
        for step in range(500):
            loss.append(1000.0 * (k + 1) + step, step=step)
            text.append(f"child {k} {step}")
            run[f"own/{k}"].append(step, step=step)
            if step == 250:
                run["sys/tags"].add(f"child {k}")
        run[f"atom/{k}"] = k
        ENDING
    children.append(pid)
    for step in range(500):
        loss.append(-1000.0 * (k + 1) - step, step=step)
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
run["after"] = True
run.stop()
tell(said=said)
"""


@pytest.mark.parametrize("journal", ["mmap", "write"])
@pytest.mark.parametrize("ending", ["os._exit(0)", "run.stop(); os._exit(0)", "sys.exit(0)"])
def test_fork_parent_and_children_log_on_the_same_handlers(ending: str, journal: str, store: Path, finish: Any) -> None:
    code, output, errors = finish(
        FORK.replace("ENDING", ending), JOURNAL=journal, SEGMENT_BYTES=4096, FOLD_RECORDS=300, SYNC_SECONDS=0.05
    )
    assert 0 == code, errors
    reader = the_run(store)
    expected = [float(step) for step in range(500)]
    for k in range(1, 4):
        expected += [sign * (1000.0 * k + step) for step in range(500) for sign in (1, -1)]
    texts = [f"before {step}" for step in range(500)] + [f"child {k} {step}" for k in range(3) for step in range(500)]

    assert [] == json.loads(output.splitlines()[-1])["said"]
    assert sorted(expected) == sorted(reader.points("loss").values.tolist())
    assert sorted(texts) == sorted(reader.texts("text").texts)
    assert [list(range(500))] * 3 == [reader.points(f"own/{k}").values.tolist() for k in range(3)]
    assert [0, 1, 2] == [reader.value(f"atom/{k}") for k in range(3)]
    assert {"child 0", "child 1", "child 2"} == reader.tags("sys/tags")
    assert reader.value("after") is True
    assert [] == reader.damages
    assert "finished" == reader.state()
    assert reader.folder.seal.exists()


def test_fork_of_a_parent_whose_threads_are_logging(store: Path, finish: Any) -> None:
    """A lock that another thread held at the fork must not stop the child."""
    program = """
run = naiad.init_run(project="proc")
counts, ending = [0] * 6, False

def log(k):
    while not ending:
        run[f"t{k}/loss"].append(float(counts[k]), step=counts[k])
        if counts[k] % 3 == 0:
            run[f"t{k}/text"].append(str(counts[k]), step=counts[k])
        if counts[k] % 50 == 0:
            run["shared"].append(1.0)
            run[f"t{k}/loss"].fetch_last()
            run.exists("nothing")
        counts[k] += 1

threads = [threading.Thread(target=log, args=(k,)) for k in range(6)]
for thread in threads: thread.start()
children = []
for k in range(25):
    time.sleep(0.01)
    pid = os.fork()
    if pid == 0:
        signal.alarm(80)
        for step in range(40):
            run[f"child{k}"].append(float(step))
            run["text"].append(f"{k} {step}")
            run["t0/loss"].append(-1.0 - step, step=step)
        run[f"atom/{k}"] = run[f"child{k}"].fetch_last()
        assert run.exists(f"child{k}")
        os._exit(0)
    children.append(pid)
codes = [os.waitpid(pid, 0)[1] for pid in children]
ending = True
for thread in threads: thread.join()
run.stop()
tell(codes=codes, counts=counts, said=said)
"""
    code, output, errors = finish(program, SEGMENT_BYTES=16384, FOLD_RECORDS=2000, SYNC_SECONDS=0.05)
    assert 0 == code, errors
    facts = json.loads(output.splitlines()[-1])
    reader = the_run(store)

    assert [0] * 25 == facts["codes"]
    assert [] == facts["said"]
    for k in range(6):
        own = [value for value in reader.points(f"t{k}/loss").values.tolist() if value >= 0]
        assert list(range(facts["counts"][k])) == own
        assert [str(i) for i in range(0, facts["counts"][k], 3)] == reader.texts(f"t{k}/text").texts
    assert 25 * 40 == sum(value < 0 for value in reader.points("t0/loss").values.tolist())
    assert [list(range(40))] * 25 == [reader.points(f"child{k}").values.tolist() for k in range(25)]
    assert sorted(f"{k} {step}" for k in range(25) for step in range(40)) == sorted(reader.texts("text").texts)
    assert [39.0] * 25 == [reader.value(f"atom/{k}") for k in range(25)]
    assert "finished" == reader.state()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_takes_runs_and_handlers_as_arguments(
    method: str, store: Path, tmp_path: Path, finish: Any
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"""
import json, multiprocessing, os, sys, warnings
warnings.simplefilter("error")
import naiad

def work(run, handler, k):
    for step in range(300):
        handler.append(1000.0 * k + step, step=step)
        run[f"own/{{k}}"].append(float(step))
        run["text"].append(f"{{k}} {{step}}")
    run[f"atom/{{k}}"] = k

if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    run = naiad.init_run(project="proc")
    handler = run["loss"]
    handler.append(-1.0, step=0)
    processes = [context.Process(target=work, args=(run, handler, k)) for k in range(4)]
    for process in processes: process.start()
    for process in processes: process.join(40)
    with context.Pool(2) as pool:
        pool.starmap(work, [(run, run["loss"], k) for k in (4, 5)])
    print(json.dumps([process.exitcode for process in processes]))
    run["after"].append(1.0)
    run.stop()
"""
    )
    code, output, errors = finish("os.execv(sys.executable, [sys.executable, sys.argv[1]])", script)
    assert 0 == code, errors
    reader = the_run(store)

    assert [0, 0, 0, 0] == json.loads(output)
    assert sorted([-1.0, *(1000.0 * k + step for k in range(6) for step in range(300))]) == sorted(
        reader.points("loss").values.tolist()
    )
    assert [list(range(300))] * 6 == [reader.points(f"own/{k}").values.tolist() for k in range(6)]
    assert sorted(f"{k} {step}" for k in range(6) for step in range(300)) == sorted(reader.texts("text").texts)
    assert list(range(6)) == [reader.value(f"atom/{k}") for k in range(6)]
    assert [1.0] == reader.points("after").values.tolist()
    assert "finished" == reader.state()
    assert [] == reader.damages


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_torch_data_loader_with_workers_that_log(method: str, store: Path, tmp_path: Path, finish: Any) -> None:
    pytest.importorskip("torch", reason="PyTorch is installed for one version of Python only")
    script = tmp_path / "script.py"
    script.write_text(
        f"""
import os, sys
import naiad, torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

class Numbers(Dataset):
    def __init__(self, run):
        self.seen = run["seen"]
        self.run = run

    def __len__(self):
        return 64

    def __getitem__(self, index):
        self.seen.append(float(index), step=index)
        self.run["text"].append(f"{{get_worker_info().id}} {{index}}")
        return torch.tensor(float(index))

if __name__ == "__main__":
    run = naiad.init_run(project="proc")
    total = 0.0
    for epoch in range(2 if {method!r} == "fork" else 1):
        loader = DataLoader(Numbers(run), batch_size=4, num_workers=2, multiprocessing_context={method!r})
        for batch in loader:
            total += float(batch.sum())
            run["loss"].append(float(batch.mean()))
    run["total"] = total
    run.stop()
"""
    )
    code, _output, errors = finish("os.execv(sys.executable, [sys.executable, sys.argv[1]])", script)
    assert 0 == code, errors
    reader = the_run(store)

    epochs = 2 if method == "fork" else 1  # a spawned worker takes seconds to import torch
    assert sorted([*range(64)] * epochs) == reader.points("seen").values.tolist()
    assert epochs * 64 == reader.count("text")
    assert epochs * 16 == reader.count("loss")
    assert epochs * 2016.0 == reader.value("total")
    assert "finished" == reader.state()


def test_eight_threads_on_one_series_and_on_their_own(store: Path, finish: Any) -> None:
    program = """
run = naiad.init_run(project="proc")
shared, texts = run["shared"], run["texts"]

def log(k):
    for step in range(5000):
        shared.append(10_000.0 * k + step)
        run[f"own/{k}"].append(float(step))
        if step % 50 == 0:
            texts.append(f"{k} {step}")
            run["sys/tags"].add(f"{k} {step}")
            run[f"deep/{k}/{step}"] = step

threads = [threading.Thread(target=log, args=(k,)) for k in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
run.stop()
tell(said=said)
"""
    code, output, errors = finish(program, SEGMENT_BYTES=16384, FOLD_RECORDS=5000, SYNC_SECONDS=0.05)
    assert 0 == code, errors
    reader = the_run(store)
    points, texts = reader.points("shared"), reader.texts("texts")

    assert [] == json.loads(output)["said"]
    assert list(range(40_000)) == points.steps.tolist()
    for k in range(8):
        assert [value for value in points.values.tolist() if value // 10_000 == k] == [
            10_000.0 * k + step for step in range(5000)
        ]
        assert list(range(5000)) == reader.points(f"own/{k}").steps.tolist()
        assert [t for t in texts.texts if t.startswith(f"{k} ")] == [f"{k} {step}" for step in range(0, 5000, 50)]
    assert list(range(800)) == texts.steps
    assert 800 == len(reader.tags("sys/tags"))
    assert 800 == sum(path.startswith("deep/") for path in reader.kinds())


@pytest.mark.parametrize("how", ["with_id", "custom_run_id"])
def test_eight_processes_on_one_run(how: str, store: Path, start: Any) -> None:
    program = """
k, how = int(sys.argv[1]), sys.argv[2]
run = naiad.init_run(project="proc", **{how: "PROC-1"})
own = run[f"own/{k}"]
for step in range(2000):
    own.append(float(step))
    run["shared"].append(10_000.0 * k + step, step=step)
    if step % 20 == 0:
        run["texts"].append(f"{k} {step}")
        run["sys/tags"].add(f"{k} {step}")
run["atom"] = k
if k % 2:
    run.stop()
tell(id=run._id, said=said)
"""
    if how == "with_id":
        assert 0 == start("naiad.init_run(project='proc').stop()").wait(60)
    children = [start(program, k, how, SEGMENT_BYTES=16384, FOLD_RECORDS=1000, SYNC_SECONDS=0.05) for k in range(8)]
    results = [child.communicate(timeout=100) for child in children]
    assert [0] * 8 == [child.returncode for child in children], results
    facts = [json.loads(output) for output, _errors in results]
    run_id = facts[0]["id"]  # of a custom id maybe PROC-2: a process that loses the race for it gives its number back
    reader = the_run(store, run_id)
    points = reader.points("shared")

    assert [(run_id, [])] * 8 == [(each["id"], each["said"]) for each in facts]
    assert 1 == len(list((store / "runs").iterdir()))
    assert 16_000 == len(points.values)
    for k in range(8):
        assert [v for v in points.values.tolist() if v // 10_000 == k] == [10_000.0 * k + s for s in range(2000)]
        assert list(range(2000)) == reader.points(f"own/{k}").values.tolist()
    assert sorted(f"{k} {step}" for k in range(8) for step in range(0, 2000, 20)) == sorted(reader.texts("texts").texts)
    assert 800 == len(reader.tags("sys/tags"))
    assert reader.value("atom") in range(8)
    assert "finished" == reader.state()
    assert reader.folder.seal.exists()
    assert [] == reader.damages


def test_eight_processes_begin_runs_in_a_new_store_at_once(store: Path, start: Any) -> None:
    program = """
for i in range(5):
    with naiad.init_run(project="proc") as run:
        run["x"] = i
"""
    children = [start(program) for _ in range(8)]
    results = [child.communicate(timeout=100) for child in children]

    assert [0] * 8 == [child.returncode for child in children], results
    runs = [Reader(folder) for folder in Store(store).folders()]
    assert {f"PROC-{n}" for n in range(1, 41)} == {reader.value("sys/id") for reader in runs}
    assert {"finished"} == {reader.state() for reader in runs}


def test_end_of_a_forked_child_does_not_end_the_run(store: Path, start: Any) -> None:
    program = """
run = naiad.init_run(project="proc")
run["loss"].append(0.0)
for ending in (lambda: sys.exit(0), lambda: run.stop(), lambda: os._exit(0), lambda: 1 / 0):
    pid = os.fork()
    if pid == 0:
        run["loss"].append(1.0)
        ending()
        sys.exit(0)
    os.waitpid(pid, 0)
tell(state=run["sys/state"].fetch(), count=len(run["loss"].fetch_values()))
sys.stdin.readline()
run["loss"].append(2.0, step=100)
run.stop()
"""
    child = start(program)
    facts = json.loads(child.stdout.readline())
    assert {"state": "running", "count": 5} == facts
    assert "running" == the_run(store).state()
    child.communicate("go on\n", timeout=100)

    assert "finished" == the_run(store).state()
    assert the_run(store).value("sys/failed") is False
    assert 2.0 == the_run(store).last("loss").value  # type: ignore[union-attr]


def test_parent_stops_while_a_child_still_logs(store: Path, start: Any) -> None:
    program = """
run = naiad.init_run(project="proc")
run["loss"].append(0.0)
read, write = os.pipe()
pid = os.fork()
if pid == 0:
    run["child"].append(0.0)
    os.read(read, 1)
    for step in range(1, 2000):
        run["child"].append(float(step))
        run["text"].append(str(step))
    os._exit(0)
while not run.exists("child"):
    time.sleep(0.01)
began = time.monotonic()
run.stop()
stopped = time.monotonic() - began
os.write(write, b"x")
code = os.waitpid(pid, 0)[1]
tell(code=code, stopped=stopped, said=said)
"""
    child = start(program, SEGMENT_BYTES=4096, FOLD_RECORDS=300, SYNC_SECONDS=0.05)
    output, errors = child.communicate(timeout=100)
    assert 0 == child.returncode, errors
    facts = json.loads(output)
    reader = the_run(store)

    assert (0, []) == (facts["code"], facts["said"])
    assert facts["stopped"] < 5
    assert list(range(2000)) == reader.points("child").values.tolist()
    assert [str(step) for step in range(1, 2000)] == reader.texts("text").texts
    assert "finished" == reader.state()


def test_killed_parent_leaves_a_run_that_its_children_keep_running(store: Path, start: Any) -> None:
    program = """
run = naiad.init_run(project="proc")
run["loss"].append(0.0)
pid = os.fork()
if pid == 0:
    run["child"].append(0.0)
    tell(pid=os.getpid())
    time.sleep(60)
os.waitpid(pid, 0)
"""
    child = start(program)
    grandchild = json.loads(child.stdout.readline())["pid"]
    os.kill(child.pid, 9)
    child.wait()
    assert "running" == the_run(store).state()
    os.kill(grandchild, 9)
    until = time.monotonic() + 60
    while the_run(store).state() == "running" and time.monotonic() < until:
        time.sleep(0.01)

    assert "killed" == the_run(store).state()
    assert 0.0 == the_run(store).last("child").value  # type: ignore[union-attr]


def test_forked_children_on_a_full_disk_keep_in_memory_what_they_log(mount: Any, start: Any) -> None:
    """A child that cannot take a lease must not write: others would take it for dead and fold what it still writes."""
    program = """
run = naiad.init_run(store=sys.argv[1], project="proc")
run["loss"].append(0.0)
filler = open(sys.argv[2], "wb", buffering=0)
try:
    while filler.write(bytes(4096)): pass
except OSError: pass
pid = os.fork()
if pid == 0:
    for step in range(500):
        run["child"].append(float(step))
        run["text"].append(str(step))
    os.unlink(sys.argv[2])
    filler.close()
    run.stop()
    tell(said=said)
    os._exit(0)
filler.close()
assert os.waitpid(pid, 0)[1] == 0
run.stop()
"""
    disk = mount("1m")
    child = start(program, disk / "s", disk / "filler")
    output, errors = child.communicate(timeout=100)
    assert 0 == child.returncode, errors
    reader = the_run(disk / "s")

    assert 1 == len(json.loads(output)["said"])
    assert list(range(500)) == reader.points("child").values.tolist()
    assert [str(step) for step in range(500)] == reader.texts("text").texts
    assert "finished" == reader.state()


FORK_DURING_IMPORT = """
import importlib.abc, sys

class Slow(importlib.abc.MetaPathFinder):
    reached = False

    def find_spec(self, name, path, target=None):
        if name == MODULE and threading.current_thread() is not threading.main_thread():
            Slow.reached = True
            time.sleep(0.3)
        return None

sys.meta_path.insert(0, Slow())
run = naiad.init_run(project="proc")
for step in range(1000):
    run["loss"].append(float(step), step=step)
while not Slow.reached:
    time.sleep(0.001)
pid = os.fork()
run["text"].append(str(pid == 0))
assert len(run["loss"].fetch_values()) == 1000
if pid == 0:
    run.stop()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
run.stop()
tell(said=said)
"""


@pytest.mark.parametrize(
    "module", ["sqlite3", "naiad.storage.local.index.fold", "naiad.storage.sql.connection", "zstandard"]
)
def test_child_forked_while_the_first_fold_imports_can_read_and_fold(module: str, store: Path, finish: Any) -> None:
    code, output, errors = finish(
        FORK_DURING_IMPORT.replace("MODULE", repr(module)), SEGMENT_BYTES=4096, FOLD_RECORDS=300, SYNC_SECONDS=0.05
    )

    assert 0 == code, errors
    assert [] == json.loads(output.splitlines()[-1])["said"]
    assert {"True", "False"} == set(the_run(store).texts("text").texts)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_run_that_a_worker_opened_ends_with_it(method: str, store: Path, tmp_path: Path, finish: Any) -> None:
    """Processes of `multiprocessing` end without atexit up to Python 3.12."""
    script = tmp_path / "script.py"
    script.write_text(
        f"""
import multiprocessing
import naiad

def work(error):
    naiad.init_run(project="proc")["name"] = "an error" if error else "no error"
    if error:
        raise error

if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    for error in (None, ValueError("on purpose")):
        process = context.Process(target=work, args=(error,))
        process.start()
        process.join(40)
        print(process.exitcode)
"""
    )
    code, output, errors = finish("os.execv(sys.executable, [sys.executable, sys.argv[1]])", script)

    assert (0, ["0", "1"]) == (code, output.split()), errors
    # From Python 3.13 on nothing that runs in a forked worker can see that an exception ended its function.
    failed = "finished" if method == "fork" and sys.version_info >= (3, 13) else "failed"
    assert {"no error": "finished", "an error": failed} == {
        run.value("name"): run.state() for run in map(Reader, Store(store).folders())
    }
