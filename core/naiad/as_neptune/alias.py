"""The alias: a finder that answers `import neptune` and questions after the installed version of neptune.

    this process      the finder stands first in sys.meta_path
    forked processes  inherit it
    started ones      find `startup/` in PYTHONPATH; Python runs the sitecustomize there, which imports naiad.as_neptune

Importing this loads the standard library and `naiad.errors` alone, because it happens at the start of every process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from naiad.as_neptune.modules import MODULES, Integration, Module, module_of
from naiad.as_neptune.standin import StandInLoader
from naiad.errors import AliasTooLate

__all__ = ["ANNOUNCED", "PACKAGE", "VERSION", "announce", "install"]

PACKAGE = "neptune"
VERSION = "1.14.0"
"""The release of the Neptune client whose place naiad takes."""
ANNOUNCED = "NAIAD_AS_NEPTUNE"
"""The environment variable that says to processes started from here which store was named on standard error."""
STARTUP = str(Path(__file__).with_name("startup"))


class AliasLoader(Loader):
    """Makes a module of Neptune's from the names that naiad has for it."""

    def __init__(self, module: Module | Integration) -> None:
        self._module = module

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module with its names; modules below it are imported on first access."""
        names = self._module.names()
        vars(module).update(names)
        # The one name with underscores that belongs to the public API.
        vars(module)["__all__"] = sorted(name for name in names if name == "__version__" or not name.startswith("_"))
        vars(module)["__doc__"] = f"{module.__name__}, answered by naiad."

        # The client imports its submodules itself, so that `import neptune` and then `neptune.types.File` works with
        # it.
        def fetch(name: str) -> Any:
            below = f"{module.__name__}.{name}"
            if module_of(below) is None:
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            return import_module(below)

        vars(module)["__getattr__"] = fetch
        self._module.imported()


class AliasFinder(MetaPathFinder):
    """Import finder for Neptune's modules and distribution; all other names pass."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002 (finders are asked with it)
        target: ModuleType | None = None,  # noqa: ARG002 (likewise)
    ) -> ModuleSpec | None:
        """Return how to make a module of this name."""
        if fullname == StandInLoader.package:
            return StandInLoader.spec(sys.meta_path[sys.meta_path.index(self) + 1 :])
        # A name that the client lacks is left to the other finders, which raise ModuleNotFoundError with the user's
        # own name.
        module = module_of(fullname)
        if module is None:
            return None
        spec = ModuleSpec(fullname, AliasLoader(module), origin="naiad", is_package=module.is_package)
        # The module gets no `__file__`: there is no file that would be it.
        spec.has_location = False
        return spec

    def find_distributions(self, context: Any = None) -> Iterable[Any]:
        """Yield the distribution of the client, or all installed ones."""
        name = getattr(context, "name", None)
        # None asks for all distributions, as pip's list does; ours is one of them.
        if name is None or name.lower() == PACKAGE:
            yield import_module("naiad.as_neptune.distribution").Client()  # late: it loads much that few processes need


def install() -> None:
    """Install the alias for `import neptune`, and print once where the data goes.

    Raises:
        AliasTooLate: another package of that name has been imported.
    """
    # Imported again, by sitecustomize and then by the program: a second finder would only cost time.
    if any(isinstance(finder, AliasFinder) for finder in sys.meta_path):
        return
    # Objects of the real client would live on in the modules that imported it, and half of a program would log
    # elsewhere.
    taken = next((name for name in MODULES if name in sys.modules), None)
    if taken is not None:
        raise AliasTooLate(
            f"{taken!r} was imported before naiad.as_neptune, from {getattr(sys.modules[taken], '__file__', None)}.\n"
            "Make `import naiad.as_neptune` the first line of the program, or start it with `naiad neptune SCRIPT`."
        )
    sys.meta_path.insert(0, AliasFinder())
    _reach_started_processes()
    if ANNOUNCED not in os.environ:
        announce(None)


def _reach_started_processes() -> None:
    """Let every Python that is started with this environment begin with `startup/sitecustomize.py`."""
    known = os.environ.get("PYTHONPATH", "")
    # First in the path, since Python runs only the first sitecustomize that it finds; ours runs the next one.
    if STARTUP not in known.split(os.pathsep):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (STARTUP, known)))


def announce(store: str | None) -> None:
    """Print on standard error where the data goes, once per program and its children.

    Args:
        store: the folder; the one that a run would use now if None.
    """
    if store is None:
        management = import_module("naiad.management")  # late: where nothing is announced it is not needed
        store = str(management.store_folder())
    # By the environment, so that the workers of a data loader do not print it again.
    if os.environ.get(ANNOUNCED) != store:
        os.environ[ANNOUNCED] = store
        print(f"naiad takes the place of neptune. The data goes to {store}", file=sys.stderr, flush=True)
