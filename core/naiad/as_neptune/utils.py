"""`neptune.utils`."""

from __future__ import annotations

from naiad.as_neptune.typing import NeptuneObject
from naiad.utils import NullProgressBar, TqdmProgressBar, stringify_unsupported

__all__ = ["NullProgressBar", "TqdmProgressBar", "stop_synchronization_callback", "stringify_unsupported"]


def stop_synchronization_callback(neptune_object: NeptuneObject) -> None:
    """Stop a container; Neptune's client could be given this to be called when its server did not answer."""
    neptune_object.stop()
