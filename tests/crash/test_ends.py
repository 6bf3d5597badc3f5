"""How a process can end, and what its run says afterwards. Nothing that was acknowledged is lost by any of it."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from naiad.storage.local.reader import Reader
from naiad.storage.local.store import Store

LOGS = """
run = naiad.init_run(project="ends")
for step in range(3000):
    run["loss"].append(step / 3)
    if step % 10 == 0:
        run["text"].append(f"line {step}")
run["params"] = {"lr": 0.1, "layers": 3}
"""
READY = "tell(ready=True)\n"
WAITS = "for _ in range(600):\n    time.sleep(0.1)\n"
"""For a minute, in pieces: a signal that comes just before a sleep is handled after it."""


def the_run(store: Path) -> Reader:
    return Reader(Store(store).find_directory("ENDS-1"))


def assert_whole(store: Path) -> None:
    reader = the_run(store)
    assert [step / 3 for step in range(3000)] == reader.points("loss").values.tolist()
    assert list(range(3000)) == reader.points("loss").steps.tolist()
    assert [f"line {step}" for step in range(0, 3000, 10)] == reader.texts("text").texts
    assert 3 == reader.value("params/layers")
    assert 0 == reader.is_incomplete()
    assert [] == reader.damages


@pytest.mark.parametrize(
    ("ending", "state", "code"),
    [
        ("run.stop()", "finished", 0),
        ("", "finished", 0),
        ("sys.exit(0)", "finished", 0),
        ("sys.exit()", "finished", 0),
        ("del run", "finished", 0),
        ("sys.exit(3)", "failed", 3),
        ("with run: sys.exit(3)", "failed", 3),
        ("raise ValueError('no convergence')", "failed", 1),
        ("raise KeyboardInterrupt", "terminated", -signal.SIGINT),
        ("os._exit(0)", "killed", 0),
        ("os.abort()", "killed", -signal.SIGABRT),
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed", -signal.SIGKILL),
        ("import ctypes; ctypes.string_at(0)", "killed", -signal.SIGSEGV),
        ("with run: pass", "finished", 0),
        ("with run: raise ValueError('no convergence')", "failed", 1),
    ],
)
def test_state_tells_how_the_process_ended(ending: str, state: str, code: int, store: Path, finish: Any) -> None:
    found, _output, errors = finish(LOGS + ending)

    assert code == found, errors
    assert state == the_run(store).state()
    assert_whole(store)


def test_uncaught_exception_is_kept_with_its_traceback(store: Path, finish: Any) -> None:
    _code, _output, errors = finish(LOGS + "def train():\n    raise ValueError('no convergence')\ntrain()\n")
    reader = the_run(store)
    path = next(path for path in reader.kinds() if path.endswith("/traceback"))

    assert "ValueError: no convergence" in reader.texts(path).texts[-1]
    assert 1 == errors.count("ValueError: no convergence")
    assert reader.value("sys/failed") is True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_loses_nothing(number: signal.Signals, store: Path, start: Any) -> None:
    """The process is gone at once; after SIGHUP, which naiad does not handle, the run is shown as killed."""
    usual = "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # below nohup it would be ignored, in the child too
    child = start(usual + LOGS + READY + WAITS)
    child.stdout.readline()
    began = time.monotonic()
    os.kill(child.pid, number)
    code = child.wait(60)

    assert time.monotonic() - began < 30  # of the 60 that it would have waited
    assert -number == code
    assert ("killed" if number == signal.SIGHUP else "terminated") == the_run(store).state()
    assert_whole(store)


def test_handler_of_sigterm_that_exits_finishes_the_run(store: Path, start: Any) -> None:
    child = start(LOGS + "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n" + READY + WAITS)
    child.stdout.readline()
    os.kill(child.pid, signal.SIGTERM)

    assert 0 == child.wait(60)
    assert "finished" == the_run(store).state()
    assert_whole(store)


def test_ctrl_c_that_is_caught_again_and_again_leaves_no_damage(store: Path, start: Any) -> None:
    """As in a notebook: cells are interrupted anywhere inside naiad, and the run goes on."""
    program = """
run = naiad.init_run(project="ends")
run["loss"].append(-1.0, step=-1)
done = dict(loss=0, text=0, many=0)
interrupts, is_in_cell = 0, False

def interrupt(*_):
    global interrupts, is_in_cell
    if is_in_cell:
        interrupts += 1
        is_in_cell = False  # or a second one could come before the cell has caught this one
        raise KeyboardInterrupt

def cell():  # a function, since Python 3.13 does not catch an interrupt at the jump of a loop that ends a `try`
    while time.monotonic() < until:
        run["loss"].append(float(done["loss"]), step=done["loss"])
        done["loss"] += 1
        run["text"].append(str(done["text"]), step=done["text"])
        done["text"] += 1
        run["many"].extend([1.0, 2.0, 3.0])
        done["many"] += 3

signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.00173)
until = time.monotonic() + 3
while time.monotonic() < until:
    try:
        is_in_cell = True
        cell()
        is_in_cell = False
    except KeyboardInterrupt:
        is_in_cell = False
signal.setitimer(signal.ITIMER_REAL, 0)
run.stop()
tell(interrupts=interrupts, said=said, **done)
"""
    child = start(program, SEGMENT_BYTES=4096, FOLD_RECORDS=500, SYNC_SECONDS=0.05)
    output, errors = child.communicate(timeout=100)
    assert 0 == child.returncode, errors
    facts = json.loads(output)
    reader = the_run(store)
    numbers = reader.points("loss").steps.tolist()
    texts = reader.texts("text").texts
    lost_in_flight = facts["interrupts"]

    print(facts)
    assert 100 < facts["interrupts"]
    assert [] == reader.damages
    assert [] == [text for text in facts["said"] if "StorageWarning" in text]
    assert "finished" == reader.state()
    assert list(range(facts["loss"])) == sorted(set(numbers) - {-1.0, float(facts["loss"])})
    assert len(numbers) <= facts["loss"] + 1 + lost_in_flight
    assert [str(number) for number in range(facts["text"])] == list(dict.fromkeys(texts))[: facts["text"]]
    assert len(texts) <= facts["text"] + lost_in_flight
    assert facts["many"] <= reader.count("many") <= facts["many"] + 3 * lost_in_flight


def test_interpreter_exit_with_daemon_threads_that_go_on_logging(store: Path, finish: Any) -> None:
    program = """
run = naiad.init_run(project="ends")
counts = [0] * 4
run["sys/tags"].add("x")

def log(k):
    while True:
        run[f"t{k}"].append(float(counts[k]), step=counts[k])
        counts[k] += 1

for k in range(4):
    threading.Thread(target=log, args=(k,), daemon=True).start()
time.sleep(0.5)
import atexit
atexit.register(lambda: (run.stop(), tell(counts=counts)))
"""
    code, output, errors = finish(program, SEGMENT_BYTES=65536)
    reader = the_run(store)
    counts = json.loads(output)["counts"]

    assert 0 == code, errors
    assert "finished" == reader.state()
    assert "Fatal" not in errors
    for k in range(4):
        steps = reader.points(f"t{k}").steps.tolist()
        assert list(range(len(steps))) == steps
        assert counts[k] <= len(steps) <= counts[k] + 1


def test_exit_without_stop_waits_for_threads_that_log(store: Path, finish: Any) -> None:
    program = """
run = naiad.init_run(project="ends")

def log():
    for step in range(3000):
        run["loss"].append(float(step), step=step)
        if step % 300 == 0:
            time.sleep(0.05)

threading.Thread(target=log).start()
"""
    code, _output, errors = finish(program)

    assert 0 == code, errors
    assert 3000 == the_run(store).count("loss")
    assert "finished" == the_run(store).state()


def test_stop_while_threads_log_tells_them_and_keeps_what_was_acknowledged(store: Path, finish: Any) -> None:
    program = """
run = naiad.init_run(project="ends")
counts, ends = [0] * 4, []

def log(k):
    try:
        while True:
            run[f"t{k}"].append(float(counts[k]))
            counts[k] += 1
            if counts[k] % 100 == 0:
                run[f"text{k}"].append(str(counts[k]))
    except naiad.exceptions.InactiveRunException:
        ends.append(k)

threads = [threading.Thread(target=log, args=(k,)) for k in range(4)]
for thread in threads: thread.start()
time.sleep(0.4)
run.stop()
for thread in threads: thread.join(60)
tell(counts=counts, ends=sorted(ends), said=said)
"""
    code, output, errors = finish(program, SEGMENT_BYTES=65536)
    facts = json.loads(output)
    reader = the_run(store)

    assert 0 == code, errors
    assert [0, 1, 2, 3] == facts["ends"]
    assert [] == facts["said"]
    for k in range(4):
        assert list(range(facts["counts"][k])) == reader.points(f"t{k}").values.tolist()
    assert "finished" == reader.state()


def test_state_of_a_killed_run_is_seen_at_once(store: Path, start: Any) -> None:
    child = start(LOGS + READY + WAITS)
    child.stdout.readline()
    reader = the_run(store)
    assert "running" == reader.state()
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    began = time.monotonic()

    assert "killed" == reader.state()
    assert time.monotonic() - began < 10  # a silent one takes 60


def test_stopped_process_is_running_and_not_killed(store: Path, start: Any) -> None:
    """SIGSTOP, a debugger or a laptop's lid: who holds the lease lives, however long it is silent."""
    child = start(LOGS + READY + WAITS)
    child.stdout.readline()
    os.kill(child.pid, signal.SIGSTOP)

    assert "running" == the_run(store).state()


def test_killed_run_is_resumed_and_finished(store: Path, finish: Any) -> None:
    finish(LOGS + "os._exit(0)")
    resume = "run = naiad.init_run(with_id='ENDS-1')\nrun['loss'].append(1000.0)\nrun['more'] = 1\n"
    code, _output, errors = finish(resume)
    reader = the_run(store)

    assert 0 == code, errors
    assert "finished" == reader.state()
    assert [3000, 1000.0] == [reader.last("loss").step, reader.last("loss").value]  # type: ignore[union-attr]
    assert 3001 == reader.count("loss")


def test_a_subprocess_started_by_the_run_does_not_keep_it_running(store: Path, start: Any) -> None:
    """A child program inherits no lease: with its parent dead, the run is shown as killed."""
    program = LOGS + "import subprocess\nprint(subprocess.Popen(['sleep', '30'], close_fds=False).pid, flush=True)\n"
    child = start(program + READY + WAITS)
    grandchild = int(child.stdout.readline())
    child.stdout.readline()
    os.kill(child.pid, signal.SIGKILL)
    child.wait()

    assert "killed" == the_run(store).state()
    os.kill(grandchild, signal.SIGKILL)


def test_messages_of_a_process_that_ends_well_are_none(store: Path, finish: Any) -> None:
    code, output, errors = finish(LOGS)

    assert (0, "") == (code, errors)
    assert not re.search("Traceback|Warning", output + errors)
