"""One table of kinds: a new kind is one row, one value class and one field class, and no other module spells a name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from naiad import types
from naiad.fields.base import Field
from naiad.fields.registry import field_class
from naiad.kinds import KINDS, Kind
from naiad.query.literals import TYPES
from naiad.value import Value

CORE = Path(__file__).parents[2] / "core"
HOMES = {
    "naiad/kinds.py": "the table",
    "naiad/types.py": "value classes",
    "naiad/file.py": "the value class of a file",
    "naiad/refs.py": "the value class of a stored file",
    "naiad/gitref.py": "the value class of a commit",
    "naiad/histogram.py": "the value class of a histogram",
    "naiad/importers/dump_rows.py": "the types of Neptune's exporter",
    "naiad/fields/run_state.py": "a field without a value class, since nothing can be assigned to it",
}
"""The modules that spell the name of a kind."""
OTHER_MEANINGS = {
    ("naiad/files/local.py", "file"): "the scheme of a URL",
    ("naiad/files/tracking.py", "file"): "the scheme of a URL",
    ("naiad/capture/remotes.py", "file"): "the scheme of a URL",
    ("naiad/storage/local/index/rows.py", "file"): "a column of a table",
    ("naiad/storage/local/index/schema.py", "file"): "a column of a table",
    ("naiad/ship/client.py", "file"): "an attribute of errors",
    ("naiad_web/server/storage.py", "file"): "an argument of a call",
    ("naiad/storage/remote/reader.py", "file"): "an argument of a call",
    ("naiad/cli/program.py", "artifact"): "a command",
    ("naiad/cli/verify.py", "file"): "a key of a JSON document",
    ("naiad/importers/tables.py", "file"): "a fact about a source",
    ("naiad/importers/mlflow.py", "file"): "the scheme of a URL",
    ("naiad/importers/neptune_export.py", "file"): "a fact about a source",
    ("naiad/importers/imports.py", "file"): "an attribute of errors",
    ("naiad/refs.py", "file"): "the word for a file without an extension",
    ("naiad/fields/file_set.py", "file"): "Neptune's word for an entry that is no directory",
    ("naiad/convert.py", "datetime"): "a part of NumPy's names of types",
    ("naiad/as_neptune/tables.py", "datetime"): "a name of types in pandas",
    ("naiad/capture/wanted.py", "git_ref"): "an argument of init_run",
}
"""Words that are the name of a kind, and mean something else there."""


def spelled(file: Path) -> Iterator[str]:
    """The names of kinds that a module spells: as a literal outside docstrings, or in the name of a constant."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    words = {**{name: name for name in KINDS}, **{name.upper(): name for name in KINDS if "_" in name}}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in texts and node.value in KINDS:
            yield str(node.value)
        elif isinstance(node, ast.Name) and node.id.isupper() and node.id in words:
            yield words[node.id]


def test_no_other_module_of_core_spells_the_name_of_a_kind() -> None:
    found = {
        (name, kind)
        for file in sorted(CORE.rglob("*.py"))
        for name in [file.relative_to(CORE).as_posix()]
        for kind in spelled(file)
    }

    assert set() == {(name, kind) for name, kind in found if name not in HOMES} - OTHER_MEANINGS.keys()
    assert set(HOMES) == {name for name, _kind in found} & HOMES.keys(), "delete the homes that spell none"
    assert set() == OTHER_MEANINGS.keys() - found, "delete the exemptions that are not needed"


def test_each_kind_has_a_field_class_and_each_field_class_a_kind() -> None:
    found = {field_class(name) for name in KINDS}  # which loads all modules that have one
    classes = {each for each in _below(Field) if "kind" in vars(each) and each.__module__.startswith("naiad.fields.")}

    assert all(field_class(name).kind == name for name in KINDS)
    assert found == classes


def _below(base: type) -> Iterator[type]:
    for each in base.__subclasses__():
        yield each
        yield from _below(each)


def test_each_value_class_makes_a_field_of_a_kind() -> None:
    """All but `Namespace`, which is several values."""
    named = {vars(each)["kind"] for each in vars(types).values() if isinstance(each, type) and "kind" in vars(each)}

    assert {"namespace"} == named - set(KINDS)
    assert {"run_state"} == set(KINDS) - named
    assert issubclass(types.Float, Value)


def test_types_of_a_query_are_the_names_in_tables_and_a_few_more() -> None:
    assert set(KINDS) == set(TYPES.values())
    shown = {name for kind in KINDS for name in (kind, kind.replace("_", ""))}
    assert {"integer", "boolean"} == set(TYPES) - shown - {kind.neptune.lower() for kind in KINDS.values()}


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_row_is_consistent(kind: Kind) -> None:
    assert re.fullmatch("[a-z]+(_[a-z]+)?", kind.name)
    assert (kind.holds == "facts") is bool(kind.fact)
    assert kind.has_value or kind.keeps
    assert not kind.sorted_as or kind.compared_as
    assert not kind.drawn_as or kind.is_series


def test_kind_of_a_later_release_has_no_value_here() -> None:
    found = KINDS["hologram"]

    assert ("hologram", False, "", "") == (found.neptune, found.has_value, found.compared_as, found.sorted_as)
