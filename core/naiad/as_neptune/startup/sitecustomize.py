"""Python imports this at its start where `naiad.as_neptune` has put this folder into PYTHONPATH.

It passes the alias on to a process that a program under the alias has started, and then gives way to the sitecustomize
that would have been found without it.
"""

import contextlib
import importlib
import os
import sys

_here = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [folder for folder in sys.path if os.path.abspath(folder or os.curdir) != _here]

with contextlib.suppress(ImportError):  # of another Python, which has no naiad
    import naiad.as_neptune  # noqa: F401 (importing it is what it is for)

_ours = sys.modules.pop("sitecustomize", None)
importlib.invalidate_caches()
try:
    importlib.import_module("sitecustomize")  # the one that this one stands before
except ModuleNotFoundError as _problem:
    if _problem.name != "sitecustomize":
        raise
finally:
    if _ours is not None:
        sys.modules.setdefault("sitecustomize", _ours)  # the import system looks for it when this is done
