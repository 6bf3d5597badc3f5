"""Programs that log while their disk fails, and the lines that a test and its child send each other."""

from __future__ import annotations

import json
import subprocess
from typing import Any

PRELUDE = """
import faulthandler, json, os, signal, sys, threading, time, warnings
faulthandler.register(signal.SIGUSR1, all_threads=True)
said = []
warnings.simplefilter("always")
warnings.showwarning = lambda message, category, *_: said.append(f"{category.__name__}: {message}")

def tell(**facts):
    sys.stdout.write(json.dumps(facts) + "\\n")  # as one text: print() writes the newline apart, and threads tell too
    sys.stdout.flush()

def await_parent():
    sys.stdin.readline()

import naiad

def until_stored(run):
    until = time.monotonic() + 60
    while True:
        try:
            return run.wait()
        except naiad.errors.SyncFailed:
            if time.monotonic() > until: raise
            time.sleep(0.1)
"""
LOGS = """
run = naiad.init_run(store=sys.argv[1], project="disk")
loss, text = run["loss"], run["text"]
took, done = [], 0

def log(count):
    global done
    for _ in range(count):
        began = time.perf_counter()
        loss.append(done / 3, step=done)
        if done % 10 == 0:
            text.append(f"line {done}", step=done)
        took.append(time.perf_counter() - began)
        done += 1

log(1000)
tell(id=run["sys/id"].fetch())
"""
GOES_ON = """
await_parent()
took.clear()
log(60_000)
time.sleep(1.5)
took.sort()
tell(p99=took[len(took) * 99 // 100], longest=took[-1], done=done, said=said)
"""
STOPS = """
began = time.monotonic()
run.stop(seconds=float(sys.argv[2]) if len(sys.argv) > 2 else None)
tell(stopped=time.monotonic() - began, done=done, said=said)
"""
STOPS_WHEN_STORED = f"""
await_parent()
until_stored(run)
log(1000)
{STOPS}
"""


def heard(child: subprocess.Popen[str]) -> dict[str, Any]:
    """The next line of a child."""
    assert child.stdout
    assert child.stderr
    line = child.stdout.readline()
    assert line, (child.wait(60), child.stderr.read())
    facts: dict[str, Any] = json.loads(line)
    return facts


def go_on(child: subprocess.Popen[str]) -> None:
    """Let a child continue that waits for its parent."""
    assert child.stdin
    child.stdin.write("go on\n")
    child.stdin.flush()
