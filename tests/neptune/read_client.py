"""Print the public names of the package that answers `import neptune`: kinds, signatures, bases and members, as JSON.

Run in an environment that holds the real client, it makes `client_names.json`; the tests run it under naiad's alias
and compare. It notes facts alone: no sentence and no code of the client.

    python -m venv client && client/bin/pip install neptune==1.14.0.post2 "setuptools<81"
    client/bin/python tests/neptune/read_client.py > tests/neptune/client_names.json

With a file of such facts as its argument, it reads exactly the names that the file has.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import json
import pkgutil
import sys
from types import GenericAlias, ModuleType
from typing import Any

ROOMS = (
    "neptune",
    "neptune.attributes",
    "neptune.constants",
    "neptune.common.exceptions",
    "neptune.common.experiments",
    "neptune.common.warnings",
    "neptune.envs",
    "neptune.exceptions",
    "neptune.handler",
    "neptune.integrations.pandas",
    "neptune.integrations.python_logger",
    "neptune.integrations.utils",
    "neptune.logging",
    "neptune.management",
    "neptune.metadata_containers",
    "neptune.new",
    "neptune.table",
    "neptune.types",
    "neptune.typing",
    "neptune.utils",
    "neptune.version",
)
"""The modules that users import from. Those below them are read too, apart from the ones that are named here."""
INSIDE = ("internal", "cli", "legacy", "vendor", "api", "core")
ELSEWHERE = {
    "neptune.common.utils": ["IS_MACOS", "IS_WINDOWS"],
    "neptune.internal.container_type": ["ContainerType"],
    "neptune.internal.state": ["ContainerState"],
    "neptune.internal.utils": ["verify_collection_type", "verify_optional_callable", "verify_type", "verify_value"],
    "neptune.internal.utils.paths": ["join_paths", "parse_path", "path_to_str"],
    "neptune.management.internal.utils": ["normalize_project_name"],
}
"""Names of internal modules that published packages import."""


def read_again(facts: dict[str, Any]) -> dict[str, Any]:
    """Return what is to be known of the names in such facts; of those that are not there, nothing."""
    found: dict[str, Any] = {}
    for name, names in facts.items():
        module = importlib.import_module(name)
        found[name] = {each: _facts(module, each) for each in names if hasattr(module, each)}
    return found


def expanded(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts with those that are told elsewhere put in."""
    return {
        module: {name: facts[each["as"]][name] if "as" in each else each for name, each in names.items()}
        for module, names in facts.items()
    }


def compact(found: dict[str, Any]) -> dict[str, Any]:
    """Return facts with each told once: elsewhere stands in which module it was."""
    told: dict[tuple[str, str], str] = {}
    for module, names in found.items():
        for name, facts in names.items():
            first = told.setdefault((name, json.dumps(facts, sort_keys=True)), module)
            if first != module and facts["kind"] == "class":
                names[name] = {"as": first}
    return found


def read() -> dict[str, Any]:
    """Return every public name below each module, by module."""
    found: dict[str, Any] = {}
    for name in sorted({*ROOMS, *(each for room in ROOMS[1:] for each in _below(room))}):
        module = importlib.import_module(name)
        found[name] = {each: _facts(module, each) for each in _public(module)}
    for name, wanted in ELSEWHERE.items():
        module = importlib.import_module(name)
        found[name] = {each: _facts(module, each) for each in wanted}
    return found


def _below(name: str) -> list[str]:
    module = importlib.import_module(name)
    names = [found.name for found in pkgutil.walk_packages(getattr(module, "__path__", []), f"{name}.")]
    return [each for each in names if not set(each.split(".")) & set(INSIDE) and not each.startswith("neptune.new.")]


def _public(module: ModuleType) -> list[str]:
    if hasattr(module, "__all__"):
        return sorted({*module.__all__})
    ours = [name for name in vars(module) if not name.startswith("_") and _is_own(module, getattr(module, name))]
    return sorted(ours)


def _is_own(module: ModuleType, value: object) -> bool:
    """Whether a name without `__all__` was made here: a class or function of the package, or a plain constant."""
    if isinstance(value, ModuleType):
        return False
    home = getattr(value, "__module__", None)
    return home == module.__name__ if home else isinstance(value, str | int | float | frozenset)


def _facts(module: ModuleType, name: str) -> dict[str, Any]:
    value = getattr(module, name)
    if inspect.isclass(value) and not isinstance(value, GenericAlias):  # Python 3.10 takes one for a class
        return _class(value)
    if inspect.isroutine(value):
        return {"kind": "function", "signature": _signature(value)}
    if isinstance(value, str | int | float | bool) and name != "__version__":
        return {"kind": "constant", "value": value}
    return {"kind": "constant"}


def _class(value: type) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "kind": "class",
        "bases": [base.__name__ for base in value.__mro__[1:] if base is not object],
        "signature": _signature(value),
    }
    if issubclass(value, enum.Enum):
        facts["members"] = {member.name: {"kind": "constant", "value": member.value} for member in value}
        facts.pop("signature")
        return facts
    declared = {name for base in value.__mro__ for name in vars(base).get("__annotations__", ())}
    names = sorted({*dir(value), *declared})
    shown = [name for name in names if not name.startswith("_") and not hasattr(Exception, name)]
    facts["members"] = {name: _member(value, name) for name in shown}
    return facts


def _member(owner: type, name: str) -> dict[str, Any]:
    value = inspect.getattr_static(owner, name, None)
    if isinstance(value, property):
        return {"kind": "property"}
    if inspect.isroutine(value) or isinstance(value, staticmethod | classmethod):
        return {"kind": "method", "signature": _signature(getattr(owner, name), skip=inspect.isfunction(value))}
    return {"kind": "attribute"}


def _signature(value: Any, skip: bool = False) -> list[list[Any]] | None:
    try:
        parameters = list(inspect.signature(value).parameters.values())
    except (ValueError, TypeError):
        return None
    short = {"POSITIONAL_ONLY": "positional", "POSITIONAL_OR_KEYWORD": "any", "KEYWORD_ONLY": "keyword"}
    return [
        [each.name, short.get(each.kind.name, each.kind.name.lower()), each.default is not inspect.Parameter.empty]
        for each in parameters[1 if skip else 0 :]
    ]


def written(found: dict[str, Any]) -> str:
    """Return facts as JSON, a line for each name."""
    modules = []
    for module, names in found.items():
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(facts)}" for name, facts in names.items())
        modules.append(f" {json.dumps(module)}: {{\n{lines}\n }}")
    return "{\n" + ",\n".join(modules) + "\n}\n"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        with open(sys.argv[1], encoding="utf-8") as file:
            sys.stdout.write(written(read_again(json.load(file))))
    else:
        sys.stdout.write(written(compact(read())))
