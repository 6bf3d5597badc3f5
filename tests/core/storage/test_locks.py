"""Locks and Ctrl-C: an interrupt at any moment leaves each lock free."""

from __future__ import annotations

import ast
import dis
import itertools
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType

import pytest

import naiad
from naiad.locks import run_locked

SOURCES = sorted(Path(naiad.__file__).parent.rglob("*.py"))
LOCK = re.compile(r"(lock|_changed|_recording)(\(.*\))?$")


def code_of(code: CodeType) -> Iterator[CodeType]:
    """The code of a module, its classes and its functions."""
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from code_of(each)


def uncovered(code: CodeType) -> set[int]:
    """Lines with a jump back out of a block of `with` or `try`, into it again: an interrupt there skips its end."""
    entries = list(dis.Bytecode(code).exception_entries)  # type: ignore[attr-defined]

    def is_covered(offset: int) -> bool:
        return any(each.start <= offset < each.end for each in entries)

    return {
        each.positions.lineno
        for each in dis.get_instructions(code)
        if each.opname == "JUMP_BACKWARD" and each.positions is not None and each.positions.lineno is not None
        if not is_covered(each.offset) and is_covered(each.argval)
    }


def is_held_in(node: ast.AST) -> bool:
    """Whether it is a block of `with lock:`, or of `try` with a `finally` that resets a mark of what goes on."""
    if isinstance(node, ast.With):
        return any(LOCK.search(ast.unparse(item.context_expr)) for item in node.items)
    return isinstance(node, ast.Try) and any(ast.unparse(each).endswith(" = False") for each in node.finalbody)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python up to 3.11 covers these jumps")
def test_no_lock_is_held_at_a_jump_that_python_leaves_outside_of_its_block() -> None:
    """From Python 3.12 on a loop whose end depends on a condition would keep the lock after Ctrl-C.

    It belongs into a function of its own, or has its condition at its begin, with `break` or `continue`.
    """
    found = []
    for source in SOURCES:
        text = source.read_text(encoding="utf-8")
        blocks = [
            range(each.body[0].lineno, (each.body[-1].end_lineno or 0) + 1)
            for each in ast.walk(ast.parse(text))
            if is_held_in(each)
        ]
        for code in code_of(compile(text, str(source), "exec")):
            lines = uncovered(code)
            # A function inside a block is called there; its lines are its own.
            own = [block for block in blocks if code.co_firstlineno <= block.start]
            found += [f"{source}:{line}" for line in lines if any(line in block for block in own)]

    assert [] == found


def test_lock_is_free_after_an_interrupt_at_any_moment_of_taking_it() -> None:
    lock = threading.RLock()
    is_armed, cuts = False, 0

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal is_armed
        if is_armed:
            is_armed = False
            raise KeyboardInterrupt

    def runs() -> None:
        for _ in itertools.repeat(None):
            run_locked(lock, 5, int)

    earlier = signal.signal(signal.SIGUSR1, interrupt)
    sends = "import os, sys, time\nwhile True: os.kill(int(sys.argv[1]), int(sys.argv[2])); time.sleep(0.0007)"
    sender = subprocess.Popen(
        [sys.executable, "-c", sends, str(threading.main_thread().native_id), str(signal.SIGUSR1.value)]
    )
    try:
        until = time.monotonic() + 60  # of a busy machine; usually it takes a second
        while cuts < 200 and time.monotonic() < until:
            try:
                is_armed = True
                runs()
            except KeyboardInterrupt:
                cuts += 1
            assert not lock._is_owned()  # type: ignore[attr-defined]  # there is no other way to ask
    finally:
        is_armed = False
        sender.kill()
        sender.wait()
        signal.signal(signal.SIGUSR1, earlier)
    assert cuts == 200


def test_lock_that_is_not_free_in_time_is_not_waited_for_any_longer() -> None:
    lock, done = threading.RLock(), []
    is_held, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            is_held.set()
            may_end.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    is_held.wait(60)
    assert not run_locked(lock, 0.01, lambda: done.append("early"))
    may_end.set()
    holder.join()
    assert run_locked(lock, 60, lambda: run_locked(lock, 0.01, lambda: done.append("twice")))
    assert ["twice"] == done
