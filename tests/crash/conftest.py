"""What the crash tests share: child processes that never outlive a test, and small file systems of their own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HARD_LIMIT = 100
PRELUDE = """
import faulthandler, json, os, signal, sys, threading, time, warnings
faulthandler.register(signal.SIGUSR1, all_threads=True)
said = []
warnings.simplefilter("always")
warnings.showwarning = lambda message, category, *_: said.append(f"{category.__name__}: {message}")

def tell(**facts):
    print(json.dumps(facts), flush=True)

def await_parent():
    sys.stdin.readline()

import naiad
"""

Start = Callable[..., "subprocess.Popen[str]"]
Mount = Callable[..., Path]


@pytest.fixture
def start(store: Path) -> Iterator[Start]:
    """Start a child that runs a program text after PRELUDE; keywords are settings: SEGMENT_BYTES=4096."""
    children = []

    def begin(program: str, *arguments: object, **settings: object) -> subprocess.Popen[str]:
        environment = os.environ | {f"NAIAD_{name}": str(value) for name, value in settings.items()}
        child = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + program, *map(str, arguments)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        children.append(child)
        return child

    yield begin
    for child in children:
        if child.poll() is None:  # else its number may be somebody else's by now
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


@pytest.fixture
def finish(start: Start) -> Callable[..., tuple[int, str, str]]:
    """Run a child to its end: return code, output, errors."""

    def run(program: str, *arguments: object, **settings: object) -> tuple[int, str, str]:
        child = start(program, *arguments, **settings)
        try:
            output, errors = child.communicate(timeout=HARD_LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGUSR1)  # where does it hang?
            time.sleep(1)
            os.killpg(child.pid, signal.SIGKILL)
            output, errors = child.communicate()
        return child.returncode, output, errors

    return run


MAKE = {"ext4": ["mke2fs", "-q", "-t", "ext4"], "xfs": ["mkfs.xfs", "-q"], "btrfs": ["mkfs.btrfs", "-q"]}
OPTIONS = {"ext4": "loop,errors=remount-ro"}


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mount a file system of some size in a folder of the test: tmpfs, or another one on a loop device."""
    places: list[Path] = []

    def make(size: str, kind: str = "tmpfs") -> Path:
        place = tmp_path / f"disk{len(places)}"
        place.mkdir()
        if kind == "tmpfs":
            command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "naiad-test", str(place)]
        else:
            image = tmp_path / f"image{len(places)}"
            image.touch()
            os.truncate(image, int(size.rstrip("m")) << 20)
            if shutil.which(MAKE[kind][0]) is None:
                pytest.skip(f"{MAKE[kind][0]} is not here, so no {kind} of our own can be made")
            subprocess.run([*MAKE[kind], str(image)], check=True, capture_output=True)
            command = ["mount", "-t", kind, "-o", OPTIONS.get(kind, "loop"), str(image), str(place)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"mounting {kind} is not possible here: {done.stderr.strip()}")
        places.append(place)
        return place

    yield make
    for place in places:
        subprocess.run(["umount", "-l", str(place)], check=False)
