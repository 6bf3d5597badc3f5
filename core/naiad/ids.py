"""Names that machines give: of runs, writers and project keys. None of them is ever made from a user's text alone."""

from __future__ import annotations

import functools
import os
import re

from naiad import clock

is_uid = re.compile(r"[A-Za-z0-9_-]{1,64}\Z").match
"""Called with a name: true if it may be a run's folder; anything else never reaches the file system."""


def new_uid() -> str:
    """A run's folder name: 12 hex digits of milliseconds, so that listing sorts by age, then 20 random ones."""
    return f"{int(clock.now() * 1000):012x}{os.urandom(10).hex()}"


def new_writer_id() -> str:
    """Of one writer: readable by its pid, unique even when pids repeat."""
    return f"{os.getpid()}-{os.urandom(5).hex()}"


@functools.cache
def own_process_start() -> str:
    """Return the start of this process, as `process_start` does."""
    return process_start(os.getpid()) or ""


os.register_at_fork(after_in_child=own_process_start.cache_clear)


def host_name() -> str:
    """This machine's name."""
    return os.uname().nodename


@functools.cache
def boot_id() -> str:
    """Changes with every boot, so that a pid of an earlier boot is never taken for a living process."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def pid_namespace() -> str:
    """The namespace in which pids of this process mean something; empty where the system has no such thing."""
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return ""


def process_start(pid: int) -> str | None:
    """Return the start of the process with this pid, in clock ticks since the boot.

    It distinguishes the process from a later one with the same pid.

    None if there is none, or only a zombie, which does nothing any more; empty where the system has no such fact.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name of the program stands in brackets and may itself have spaces and brackets, so the last one
            # counts.
            state, *fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return "" if _exists(pid) else None
    # Field 22 of proc(5): two are before the bracket, and the state is the third.
    return None if state in (b"Z", b"X") else fields[18].decode()


def is_gone(pid: int, boot: str, namespace: str, started: str) -> bool:
    """Whether a process of this host is gone for good: the machine was booted since, or nothing has its pid and start.

    In another PID namespace (a container) its pid means another process, so nothing is known there.
    """
    if boot and boot_id() and boot != boot_id():
        return True
    if (boot, namespace) != (boot_id(), pid_namespace()):
        return False
    # The start too, because a pid is given again after some thousands of processes.
    found = process_start(pid)
    return found is None or (bool(found) and bool(started) and found != started)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def project_key(project: str) -> str:
    """The `KEY` of run ids `KEY-N`: initials of a many-worded name (`my-nice-project`: `MNP`), else its letters.

    Two projects of a store may wish for the same key; the store then adds a number.
    """
    name = project.rstrip("/").rsplit("/", 1)[-1]
    words = re.findall(r"[A-Za-z0-9]+", name)
    if len(words) > 1:
        return "".join(word[0] for word in words).upper()[:10]
    return (words[0].upper()[:10] if words else "") or "RUN"
