"""Frames that wait in memory, in order and bounded, until the disk takes them again."""

from __future__ import annotations

from collections import deque

__all__ = ["Waiting"]


class Waiting:
    """Payloads of frames. Those with vital ops stay: without them later points and ops would mean nothing."""

    def __init__(self, limit: int) -> None:
        self.dropped = 0  # frames that had to give way and are not recorded anywhere yet
        self._limit = limit
        self._frames: deque[tuple[bytes, bool]] = deque()  # and whether each is vital
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, payload: bytes, is_vital: bool) -> None:
        """Keep one more; where it is too much, others are dropped."""
        self._frames.append((payload, is_vital))
        self._bytes += len(payload)
        if self._bytes > self._limit:
            self._forget_oldest()

    def first(self) -> bytes:
        """The one to write next."""
        return self._frames[0][0]

    def pop(self) -> None:
        """The first one is written."""
        self._bytes -= len(self._frames.popleft()[0])

    def vital(self) -> list[bytes]:
        """Those without which others would mean nothing."""
        return [payload for payload, is_vital in self._frames if is_vital]

    def clear(self) -> None:
        """Let go of all, uncounted."""
        self._frames.clear()
        self._bytes = 0

    def _forget_oldest(self) -> None:
        """Make room, a quarter at once."""
        kept: deque[tuple[bytes, bool]] = deque()
        for payload, is_vital in self._frames:
            if is_vital or self._bytes <= self._limit * 3 // 4:
                kept.append((payload, is_vital))
            else:
                self._bytes -= len(payload)
                self.dropped += 1
        self._frames = kept
