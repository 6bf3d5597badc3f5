"""`neptune.management`: the functions of naiad's."""

from __future__ import annotations

from naiad import management
from naiad.management import *  # noqa: F403 (the names are listed below)

__all__ = [name for name in management.__all__ if name not in ("restore_objects", "store_folder")]
