"""naiad for scipy.optimize: a callback. Importing this imports no framework; using a name from here does."""

from typing import TYPE_CHECKING

from naiad.lazy import fetched

__all__ = ["NaiadCallback"]

if TYPE_CHECKING:
    from naiad_scipy.callback import NaiadCallback
else:
    __getattr__, __dir__ = fetched(__name__, {"NaiadCallback": "naiad_scipy.callback"})
