"""`neptune.typing`: common protocols of containers and namespaces, for annotations and `isinstance`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

from naiad.typing import ProgressBarCallback, ProgressBarType

__all__ = ["NeptuneObject", "NeptuneObjectCallback", "ProgressBarCallback", "ProgressBarType", "SupportsNamespaces"]


class SupportsNamespaces(ABC):
    """A container or a handler: brackets give handlers of the paths below."""

    __slots__ = ()

    @abstractmethod
    def __getitem__(self, path: str) -> Any:
        """Return the handler of a path below."""

    @abstractmethod
    def get_root_object(self) -> Any:
        """Return the container."""


class NeptuneObject(SupportsNamespaces):
    """A run, project, model or model version."""

    __slots__ = ()

    @abstractmethod
    def stop(self, *, seconds: float | None = None) -> None:
        """End it."""


NeptuneObjectCallback: TypeAlias = Callable[[NeptuneObject, float], None]
"""What `async_lag_callback=` takes."""
