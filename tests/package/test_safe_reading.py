"""No data can run code: the library calls nothing that executes what it reads."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [file for root in ("core", "integrations") for file in sorted((ROOT / root).rglob("*.py"))]
EXECUTING = {
    "builtins": "eval exec compile __import__",
    "cloudpickle": "load loads",
    "dill": "load loads",
    "joblib": "load",
    "marshal": "load loads",
    "os": "system popen",
    "pandas": "read_pickle",
    "pd": "read_pickle",
    "pickle": "load loads Unpickler",
    "shelve": "open",
    "torch": "load",
    "yaml": "load unsafe_load full_load",
}
FORBIDDEN = {f"{module}.{name}" for module, names in EXECUTING.items() for name in names.split()}
FORBIDDEN |= set(EXECUTING["builtins"].split())
EXEMPT = {"lifecycle.py": ["eval"]}  # a constant text, which makes Python end as after any Ctrl-C; it reads no data
FORBIDDEN_WORDS = {"allow_pickle", "shell"}


def is_on(value: ast.expr) -> bool:
    return not (isinstance(value, ast.Constant) and value.value is False)


def forbidden_calls(tree: ast.AST) -> list[str]:
    """Name each forbidden call, import of one, and keyword that makes a call execute what it is given."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            found += [ast.unparse(node.func)] if ast.unparse(node.func) in FORBIDDEN else []
            found += [word.arg for word in node.keywords if word.arg in FORBIDDEN_WORDS and is_on(word.value)]
        elif isinstance(node, ast.ImportFrom):
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            found += [name for name in names if name in FORBIDDEN]
    return found


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_source_executes_no_data(file: Path) -> None:
    assert EXEMPT.get(file.name, []) == forbidden_calls(ast.parse(file.read_text(encoding="utf-8")))


CODE = ["eval(text)", "pickle.loads(data)", "from yaml import load", "subprocess.run(line, shell=True)"]


@pytest.mark.parametrize("code", CODE)
def test_forbidden_calls_are_seen(code: str) -> None:
    assert [] != forbidden_calls(ast.parse(code))
