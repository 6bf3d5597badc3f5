"""Frames that wait in memory, in order and bounded, until the disk takes them again."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple


class WaitingFrame(NamedTuple):
    """A frame to be written, and what is missing without it."""

    payload: bytes
    is_vital: bool
    weight: int


class RetryBuffer:
    """Payloads of frames. Those with vital ops stay: without them later points and ops would mean nothing."""

    def __init__(self, limit: int) -> None:
        self.dropped = 0  # weight of frames that had to give way, which is not recorded anywhere yet
        self._limit = limit
        self._frames: deque[WaitingFrame] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def weight(self) -> int:
        """How much waits."""
        return sum(frame.weight for frame in self._frames)

    def add(self, frame: WaitingFrame) -> None:
        """Keep one more; where it is too much, others are dropped."""
        self._frames.append(frame)
        self._bytes += len(frame.payload)
        if self._bytes > self._limit:
            self._forget_oldest()

    def first(self) -> WaitingFrame:
        """The one to write next."""
        return self._frames[0]

    def pop(self) -> None:
        """The first one is written."""
        self._bytes -= len(self._frames.popleft().payload)

    def vital(self) -> list[WaitingFrame]:
        """Those without which others would mean nothing."""
        return [frame for frame in self._frames if frame.is_vital]

    def clear(self) -> None:
        """Let go of all, uncounted."""
        self._frames.clear()
        self._bytes = 0

    def _forget_oldest(self) -> None:
        """Make room, a quarter at once."""
        kept: deque[WaitingFrame] = deque()
        for frame in self._frames:
            if frame.is_vital or self._bytes <= self._limit * 3 // 4:
                kept.append(frame)
            else:
                self._bytes -= len(frame.payload)
                self.dropped += frame.weight
        self._frames = kept
