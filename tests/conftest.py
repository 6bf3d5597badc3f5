"""Fixtures every test may use; what only one folder needs lives in that folder's conftest."""

from __future__ import annotations

import compileall
import gc
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import naiad

# Threads that wait for each other take most of the time of small models, and two tests run at a time.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before a framework is imported

# What a shell runs in the background ignores Ctrl-C, and so would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The machines are shared: how long an example takes says nothing.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


FLAGS = "no-sandbox disable-gpu disable-quic no-first-run disable-sync disable-component-update"
"""Of Chromium."""
MEMORY = Path("/dev/shm")
ROOM = 6 << 30
"""Bytes; all tests leave less than a third of it, and pytest keeps what they left the last three times."""
SOURCES = [Path(__file__).parent.with_name(name) for name in ("core", "integrations")]


def pytest_configure(config: pytest.Config) -> None:
    """Prepare what all workers use, in the process that starts them."""
    if not hasattr(config, "workerinput"):
        compile_sources()
        if has_room_in_memory():
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))  # `.ci/run` sets it to a disk for some tests


def compile_sources() -> None:
    """Compile the source once where Python may not keep what it compiles: thousands of processes would do it again."""
    if sys.dont_write_bytecode:
        for folder in SOURCES:
            compileall.compile_dir(str(folder), quiet=2)


def has_room_in_memory() -> bool:
    """Whether the folders of tests may lie in memory: thousands of runs would wait for a disk each time they end.

    Programs are started there too, which some systems forbid.
    """
    try:
        found = os.statvfs(MEMORY)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize >= ROOM and not found.f_flag & getattr(os, "ST_NOEXEC", 0)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[Any]:
    """Leave the garbage collector out of the imports of all frameworks: it looks through them and finds nothing."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """Keep the garbage collector from looking again and again at the frameworks that the collection has imported."""
    gc.collect()
    gc.freeze()


DRIVERS: list[Any] = []
"""Kept until the process ends, since the collection of garbage would warn of their open pipes."""


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser that the machine has: one for all tests of a worker, since a second playwright could not begin."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not program:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            "no Chromium is installed (Debian: apt-get install chromium)"
        )
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    started = playwright.sync_playwright().start()
    browser = started.chromium.launch(executable_path=program, args=[f"--{flag}" for flag in FLAGS.split()])
    yield browser
    browser.close()
    # Not stopped: after a Jupyter client has run in this process, that waits for ever. The driver ends with it.
    DRIVERS.append(started)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where this test's runs go, not created yet; the developer's own settings are put away."""
    for name in list(os.environ):
        if name.startswith(("NAIAD_", "NEPTUNE_")):
            monkeypatch.delenv(name)
    folder = tmp_path / ".naiad"
    monkeypatch.setenv("NAIAD_STORE", str(folder))
    monkeypatch.setenv("NAIAD_CAPTURES", "off")  # tests of other things look at all of a run
    return folder


@pytest.fixture
def run(store: Path) -> Iterator[naiad.Run]:
    """A run in the test's own store, stopped when the test ends."""
    run = naiad.init_run()
    yield run
    run.stop()
