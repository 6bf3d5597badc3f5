"""`neptune.constants`: names of folders and limits of Neptune's client. naiad has neither these folders nor limits."""

from __future__ import annotations

__all__ = [
    "ANONYMOUS_API_TOKEN",
    "ASYNC_DIRECTORY",
    "MAX_32_BIT_INT",
    "MIN_32_BIT_INT",
    "NEPTUNE_DATA_DIRECTORY",
    "OFFLINE_DIRECTORY",
    "OFFLINE_NAME_PREFIX",
    "SYNC_DIRECTORY",
]

ANONYMOUS_API_TOKEN = "ANONYMOUS"
ASYNC_DIRECTORY = "async"
MAX_32_BIT_INT = 2147483647
MIN_32_BIT_INT = -2147483648
NEPTUNE_DATA_DIRECTORY = ".neptune"
OFFLINE_DIRECTORY = "offline"
OFFLINE_NAME_PREFIX = "offline/"
SYNC_DIRECTORY = "sync"
