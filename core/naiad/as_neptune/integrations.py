"""`neptune.integrations.<framework>`: the published package of that name where it can be imported, else naiad's own."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

from packaging.version import Version

from naiad.errors import MissingPackage

__all__ = ["names_of"]

ELSEWHERE = {
    "mosaicml": ("composer.loggers", "NeptuneLogger"),
    "pytorch_lightning": ("pytorch_lightning.loggers", "NeptuneLogger"),
    "transformers": ("transformers.integrations", "NeptuneCallback"),
}
"""Published with the framework itself: the module and the one name that is meant."""
OURS = {
    "kedro": "naiad.as_neptune.kedro",  # kedro-neptune does not run on Kedro 1
    "lightgbm": "naiad_lightgbm",
    "optuna": "naiad_optuna",
    "pytorch": "naiad_pytorch",
    "pytorch_lightning": "naiad_lightning",
    "sklearn": "naiad_sklearn",
    "tensorflow_keras": "naiad_keras",
    "transformers": "naiad_transformers",
    "xgboost": "naiad_xgboost",
}
LAST_LIGHTNING = Version("2.6.4")
"""From this release on, Lightning's own NeptuneLogger raises."""


def names_of(framework: str) -> dict[str, Any]:
    """Return the public names of the integration of a framework.

    Raises:
        MissingPackage: none is installed.
    """
    problem: Exception | None = None
    # The published package first: its signatures are those that the program was written for.
    if _is_published(framework):
        try:
            return _published(framework)
        except (ImportError, AttributeError) as error:  # frameworks remove the loggers that they had
            problem = error
    if framework in OURS:
        return _public(import_module(OURS[framework]))
    raise MissingPackage(
        f"neptune.integrations.{framework} needs its package, and importing it failed: {problem}.\n"
        f"Install it with: pip install {_distribution(framework)}",
        package=_distribution(framework),
    ) from problem


def _is_published(framework: str) -> bool:
    if framework == "kedro":
        return False
    # Whether the others still run is found out by importing them.
    if framework != "pytorch_lightning":
        return True
    try:
        return Version(version("pytorch-lightning")) < LAST_LIGHTNING
    except PackageNotFoundError:
        return False


def _published(framework: str) -> dict[str, Any]:
    if framework in ELSEWHERE:
        home, name = ELSEWHERE[framework]
        return {name: getattr(import_module(home), name)}
    return _public(import_module(f"neptune_{framework}.impl"))


def _public(module: ModuleType) -> dict[str, Any]:
    # A published package may have no `__all__`.
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    return {name: getattr(module, name) for name in names}


def _distribution(framework: str) -> str:
    home = ELSEWHERE.get(framework, (f"neptune-{framework}", ""))[0].partition(".")[0]
    return home.replace("_", "-")
