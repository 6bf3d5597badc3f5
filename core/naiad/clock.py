"""Time, in one place, so that a test can replace it. Order never depends on it: see `ops`."""

from __future__ import annotations

import time

now = time.time
"""Seconds since 1970 UTC; bound to the C function itself because appending a point calls it."""

monotonic = time.monotonic
"""Seconds that never go back, for waiting and intervals."""

sleep = time.sleep
