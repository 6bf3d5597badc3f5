"""The commits of a server: which requests share one."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from naiad.container_kinds import RUN, RunId
from naiad.ids import new_uid
from naiad.storage.opening import receiver
from naiad.storage.receiving import Piece, Receiver
from naiad_server import intake
from naiad_server.folding import Folding
from naiad_server.intake import Intake
from naiad_server.metrics import Metrics


def piece(receiving: Receiver, run: RunId, first: int, count: int = 1) -> Piece:
    return receiving.checked(run, "writer.0.seg", 64 + 32 * first, bytes(32 * count))


def test_requests_of_a_moment_share_a_commit_after_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "SPACING_SECONDS", 1.0)
    receiving = receiver(tmp_path / "store")
    runs = [RunId(new_uid(), RUN) for _ in range(4)]
    for run in runs:
        receiving.register(run, "p")
    metrics = Metrics()

    async def accept_all() -> list[int]:
        own = Intake(receiving, Folding(str(tmp_path), metrics), metrics)
        own.begin()
        first = await own.accept([piece(receiving, runs[0], 0)], [], {})
        others = []
        for run in runs[1:]:
            others.append(asyncio.create_task(own.accept([piece(receiving, run, 0)], [], {})))
            await asyncio.sleep(0.01)
        found = await asyncio.gather(*others)
        await own.end()
        return [first.parts, *(each.parts for each in found)]

    try:
        parts = ThreadPoolExecutor(1).submit(asyncio.run, accept_all()).result()
    finally:
        receiving.close()

    assert [1, 3, 3, 3] == parts
    assert b"naiad_group_parts_count 2.0" in metrics.text()


def test_requests_that_wait_at_the_end_are_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that got no answer would send them again, to a server that takes nothing more."""
    monkeypatch.setattr(intake, "SPACING_SECONDS", 60.0)
    receiving = receiver(tmp_path / "store")
    run = RunId(new_uid(), RUN)
    receiving.register(run, "p")
    metrics = Metrics()

    async def accept_both() -> int:
        own = Intake(receiving, Folding(str(tmp_path), metrics), metrics)
        own.begin()
        await own.accept([piece(receiving, run, 0)], [], {})
        waiting = asyncio.create_task(own.accept([piece(receiving, run, 1)], [], {}))
        await asyncio.sleep(0.01)
        await own.end()
        return (await waiting).parts

    try:
        assert 1 == ThreadPoolExecutor(1).submit(asyncio.run, accept_both()).result()
    finally:
        receiving.close()


def test_fault_in_one_commit_leaves_the_next_ones_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    receiving = receiver(tmp_path / "store")
    run = RunId(new_uid(), RUN)
    receiving.register(run, "p")
    metrics = Metrics()
    accept, faults = receiving.accept, [KeyError("a fault of ours")]

    def accept_with_a_fault(*given: Any) -> Any:
        if faults:
            raise faults.pop()
        return accept(*given)

    async def accept_both() -> int:
        own = Intake(receiving, Folding(str(tmp_path), metrics), metrics)
        own.begin()
        with pytest.raises(KeyError, match="a fault of ours"):
            await asyncio.wait_for(own.accept([piece(receiving, run, 0)], [], {}), 10)
        parts = (await asyncio.wait_for(own.accept([piece(receiving, run, 0)], [], {}), 10)).parts
        await own.end()
        return parts

    monkeypatch.setattr(receiving, "accept", accept_with_a_fault)  # no fault of this kind is known
    try:
        assert 1 == ThreadPoolExecutor(1).submit(asyncio.run, accept_both()).result()
    finally:
        receiving.close()
