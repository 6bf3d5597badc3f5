"""The names we promise exist, and Neptune's names are reachable where its users look for them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest

import naiad

ALIAS = "naiad.as_neptune"  # importing it answers `import neptune` for the whole process; tests/neptune has its tests


def modules(package: ModuleType) -> Iterator[str]:
    yield package.__name__
    for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if found.name == ALIAS:
            continue
        if found.ispkg:
            yield from modules(importlib.import_module(found.name))
        else:
            yield found.name


MODULES = [*modules(naiad)]


@pytest.mark.parametrize("module", MODULES)
def test_all_lists_names_that_exist(module: str) -> None:
    loaded = importlib.import_module(module)

    missing = [name for name in getattr(loaded, "__all__", []) if not hasattr(loaded, name)]

    assert [] == missing


@pytest.mark.parametrize("name", ["attributes", "errors", "exceptions", "handler", "types", "typing", "utils"])
def test_submodules_are_attributes(name: str) -> None:
    assert importlib.import_module(f"naiad.{name}") is getattr(naiad, name)


def test_init_functions_are_the_classes() -> None:
    assert naiad.init_run is naiad.Run
    assert naiad.init_project is naiad.Project


def test_dir_lists_names_before_they_are_used() -> None:
    assert {*naiad.__all__, "errors", "utils"} <= set(dir(naiad))


def test_unknown_name_raises_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'naiad' has no attribute 'init_rum'"):
        naiad.init_rum
