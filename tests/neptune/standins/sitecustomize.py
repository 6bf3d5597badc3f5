"""Replaces the data sets that scikit-learn, Keras and pandas would fetch, once these are imported."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any


def of_sklearn(module: Any) -> None:
    """Replace houses, digits and faces."""
    import numpy as np
    from sklearn.utils import Bunch

    chance = np.random.default_rng(0)

    def houses(return_X_y: bool = False, **_options: Any) -> Any:
        data = chance.normal(size=(1000, 8))
        target = data[:, 0] * 2 + chance.normal(size=1000)
        return (data, target) if return_X_y else Bunch(data=data, target=target)

    def digits(*_arguments: Any, **_options: Any) -> Any:
        return Bunch(data=chance.random((400, 784)) * 255, target=(np.arange(400) % 10).astype(str))

    def faces(**_options: Any) -> Any:
        target = np.arange(240) % 3
        images = chance.random((240, 20, 16)) + target[:, None, None]
        names = np.array(["Ann A", "Bob B", "Cy C"])
        return Bunch(images=images, data=images.reshape(240, -1), target=target, target_names=names)

    vars(module).update(fetch_california_housing=houses, fetch_openml=digits, fetch_lfw_people=faces)


def of_keras(module: Any) -> None:
    """Replace digits."""

    def load_data(*_arguments: Any) -> Any:
        import numpy as np

        chance = np.random.default_rng(0)
        return tuple(
            (chance.integers(0, 256, (size, 28, 28), np.uint8), chance.integers(0, 10, size, np.uint8))
            for size in (512, 64)
        )

    module.load_data = load_data


def of_pandas(module: Any) -> None:
    """Replace tables behind addresses."""
    read = module.read_csv

    def read_csv(source: Any, *arguments: Any, **options: Any) -> Any:
        import requests

        if isinstance(source, str) and source.startswith("https://"):
            source = io.BytesIO(requests.get(source).content)
        return read(source, *arguments, **options)

    module.read_csv = read_csv


REPLACED = {
    "sklearn.datasets": of_sklearn,
    "keras.src.datasets.mnist": of_keras,
    "keras.datasets.mnist": of_keras,
    "pandas": of_pandas,
}


class Replacing(Loader):
    """Loads a module, and then replaces some of its names."""

    def __init__(self, real: Any, name: str) -> None:
        self._real, self._name = real, name

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Let the real loader make it."""
        made: ModuleType | None = self._real.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        """Load it."""
        self._real.exec_module(module)
        REPLACED[self._name](module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Finder(MetaPathFinder):
    """Finds the modules in which something is replaced."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return how the module is loaded."""
        found = PathFinder.find_spec(name, path) if name in REPLACED else None
        if found is not None and found.loader is not None:
            found.loader = Replacing(found.loader, name)
        return found


sys.meta_path.insert(0, Finder())
