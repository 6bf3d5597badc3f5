"""Lets the machine, its model and its worker processes import one another, and names the profile of long searches."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

settings.register_profile(
    "slow", max_examples=10_000, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
