"""Names from inside Neptune's client that published packages import."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from enum import Enum
from typing import Any, TypeAlias

from naiad.as_neptune.containers import Run, __version__
from naiad.as_neptune.exceptions import NeptuneLegacyIncompatibilityException
from naiad.as_neptune.handler import Handler
from naiad.as_neptune.kinds import ContainerType
from naiad.errors import NaiadPathError, NaiadTypeError, NaiadValueError, shown

__all__ = [
    "IS_MACOS",
    "IS_WINDOWS",
    "ContainerState",
    "ContainerType",
    "LegacyExperiment",
    "RunType",
    "StructureVersion",
    "__version__",
    "expect_not_an_experiment",
    "join_paths",
    "normalize_project_name",
    "parse_path",
    "path_to_str",
    "verify_collection_type",
    "verify_optional_callable",
    "verify_type",
    "verify_value",
    "version",
]

IS_WINDOWS = sys.platform == "win32"
IS_MACOS = sys.platform == "darwin"
version = __version__
RunType: TypeAlias = Run | Handler


class ContainerState(Enum):
    """The life cycle state of a container; its values are those of `get_state()`."""

    CREATED = "created"
    STARTED = "started"
    STOPPING = "stopping"
    STOPPED = "stopped"


class StructureVersion(Enum):
    """The layouts of the folder `.neptune`."""

    LEGACY = 1
    CHILD_EXECUTION_DIRECTORIES = 2
    DIRECT_DIRECTORY = 3


class LegacyExperiment:
    """The class of experiments before Neptune 1.0; it has no instances here."""


def expect_not_an_experiment(run: object) -> None:
    """Raise for an experiment of Neptune's API before 1.0.

    Raises:
        NeptuneLegacyIncompatibilityException: it is one.
    """
    if isinstance(run, LegacyExperiment):
        raise NeptuneLegacyIncompatibilityException()


def verify_type(var_name: str, var: Any, expected_type: type | tuple[type | None, ...]) -> None:
    """Check an argument.

    Raises:
        TypeError: it is of another type.
    """
    wanted = expected_type if isinstance(expected_type, tuple) else (expected_type,)
    # Packages pass `(str, None)` for an optional text, which isinstance() does not take.
    kinds = tuple(type(None) if each is None else each for each in wanted)
    if not isinstance(var, kinds):
        names = " or ".join(each.__name__ for each in kinds)
        raise NaiadTypeError(f"{var_name} must be a {names}, not {shown(var)}.", argument=var_name, value=var)


def verify_value(var_name: str, var: Any, expected_values: Collection[Any]) -> None:
    """Check that an argument is one of those allowed.

    Raises:
        ValueError: it is another one.
    """
    if var not in expected_values:
        choices = ", ".join(map(repr, expected_values))
        raise NaiadValueError(f"{var_name} must be one of {choices}, not {shown(var)}.", argument=var_name, value=var)


def verify_optional_callable(var_name: str, var: Any) -> None:
    """Check that an argument is None or can be called.

    Raises:
        TypeError: it is neither.
    """
    if var is not None and not callable(var):
        raise NaiadTypeError(f"{var_name} must be callable, not {shown(var)}.", argument=var_name, value=var)


def verify_collection_type(var_name: str, var: Any, expected_type: type | tuple[type | None, ...]) -> None:
    """Check a list, set or tuple and each of its items.

    Raises:
        TypeError: it is another collection, or one of the items is of another type.
    """
    verify_type(var_name, var, (list, set, tuple))
    for item in var:
        verify_type(f"an item of {var_name}", item, expected_type)


def parse_path(path: str) -> list[str]:
    """Return the parts of a path."""
    return [part for part in str(path).split("/") if part]


def path_to_str(path: Iterable[str]) -> str:
    """Return parts as one path."""
    return "/".join(path)


def join_paths(*paths: str) -> str:
    """Return one path of several."""
    return path_to_str(part for path in paths for part in parse_path(path))


def normalize_project_name(name: str, workspace: str | None = None) -> str:
    """Return the full name of a project of a workspace.

    Raises:
        NaiadPathError: the name has another workspace in it.
    """
    given, slash, project = name.rpartition("/")
    if workspace and slash and given != workspace:
        raise NaiadPathError(f"{name!r} is not in workspace {workspace!r}.\nLeave one of the two out.", path=name)
    return "/".join(filter(None, (given or workspace, project)))
