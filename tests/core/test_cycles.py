"""The search for reference cycles goes on after every pause, however it ends."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator

import pytest

import naiad
from naiad.cycles import search_paused


@pytest.fixture(autouse=True)
def search_is_on() -> Iterator[None]:
    gc.enable()
    yield
    gc.enable()


def test_search_goes_on_after_the_block_and_after_an_error_in_it() -> None:
    with search_paused():
        assert not gc.isenabled()
    assert gc.isenabled()

    with pytest.raises(KeyboardInterrupt), search_paused():
        raise KeyboardInterrupt
    assert gc.isenabled()


def test_search_goes_on_after_the_last_of_several_blocks() -> None:
    with search_paused(), search_paused():
        with search_paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_search_goes_on_after_the_last_of_several_threads() -> None:
    begun, may_end = threading.Barrier(3), threading.Event()

    def pause() -> None:
        with search_paused():
            begun.wait(10)
            may_end.wait(10)

    threads = [threading.Thread(target=pause) for _ in range(2)]
    for thread in threads:
        thread.start()
    begun.wait(10)
    with search_paused():
        pass
    assert not gc.isenabled()

    may_end.set()
    for thread in threads:
        thread.join()
    assert gc.isenabled()


def test_search_that_the_program_has_switched_off_stays_off() -> None:
    gc.disable()
    with search_paused():
        pass

    assert not gc.isenabled()


def test_search_that_the_program_switches_on_in_a_block_stays_on() -> None:
    with search_paused():
        gc.enable()
        with search_paused():
            assert not gc.isenabled()
        assert gc.isenabled()

    assert gc.isenabled()


def test_search_is_on_in_a_child_that_is_forked_in_the_pause_of_a_thread() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def pause() -> None:
        with search_paused():
            begun.set()
            may_end.wait(10)

    thread = threading.Thread(target=pause)
    thread.start()
    begun.wait(10)
    child = os.fork()
    if not child:
        os._exit(0 if gc.isenabled() else 1)
    _child, status = os.waitpid(child, 0)
    may_end.set()
    thread.join()

    assert 0 == os.waitstatus_to_exitcode(status)


def test_search_pauses_while_a_dict_begins_many_series(run: naiad.Run) -> None:
    values = {f"{number:04}": float(number) for number in range(10_000)}
    passes: list[str] = []

    def note(phase: str, _facts: dict[str, int]) -> None:
        passes.append(phase)

    gc.collect()
    gc.callbacks.append(note)
    try:
        run["metrics"].append(values, step=1)
        # One before the block and one behind it are due at any time; without a pause there are some fifty.
        assert passes.count("start") <= 2
    finally:
        gc.callbacks.remove(note)
    assert gc.isenabled()
    assert 999.0 == run["metrics/0999"].fetch_last()
