"""naiad is the Neptune 1.x API and data model on a folder you own.

Importing naiad loads no other module: each public name is fetched from its home when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

ANONYMOUS_API_TOKEN = "ANONYMOUS"

__all__ = [
    "ANONYMOUS_API_TOKEN",
    "File",
    "Model",
    "ModelVersion",
    "Project",
    "Run",
    "__version__",
    "init_model",
    "init_model_version",
    "init_project",
    "init_run",
    "types",
]

if TYPE_CHECKING:
    from naiad import attributes, errors, exceptions, handler, management, types, typing, utils  # noqa: F401 (reachable)
    from naiad.file import File
    from naiad.model import Model, ModelVersion, init_model, init_model_version
    from naiad.project import Project, init_project
    from naiad.run import Run, init_run
else:
    from importlib import import_module

    _HOMES = {
        "File": "naiad.file",
        "Model": "naiad.model",
        "ModelVersion": "naiad.model",
        "init_model": "naiad.model",
        "init_model_version": "naiad.model",
        "Project": "naiad.project",
        "init_project": "naiad.project",
        "Run": "naiad.run",
        "init_run": "naiad.run",
    }
    _SUBMODULES = frozenset({"attributes", "errors", "exceptions", "handler", "management", "types", "typing", "utils"})

    def __getattr__(name):
        """Fetch a public name from its home; it is found here without this detour from then on."""
        if name in _SUBMODULES:
            return import_module(f"naiad.{name}")
        if name not in _HOMES:
            raise AttributeError(f"module 'naiad' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value

    def __dir__():
        """List every public name, fetched or not."""
        return sorted({*globals(), *_HOMES, *_SUBMODULES})
