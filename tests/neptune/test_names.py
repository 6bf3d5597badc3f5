"""Every public name of Neptune's client is answered; the client's names are facts that were read from it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import names
import pytest

DOCS = Path(__file__).parents[2] / "core" / "docs" / "neptune-names.md"


@pytest.fixture(scope="module")
def verdicts() -> list[names.Verdict]:
    return [*names.verdicts()]


def test_no_name_is_missing(verdicts: list[names.Verdict]) -> None:
    assert [] == [f"{each.module}.{each.name}" for each in verdicts if each.verdict == "missing"]


def test_whatever_differs_has_a_reason(verdicts: list[names.Verdict]) -> None:
    assert [] == [f"{each.module}.{each.name}" for each in verdicts if each.verdict == "differs" and not each.why]


def test_members_that_are_not_there_are_explained_and_no_others(verdicts: list[names.Verdict]) -> None:
    known = {name for each in verdicts for name in names.LEFT_OUT if f"`{name}`" in each.why.partition("without ")[2]}

    assert names.LEFT_OUT.keys() == known


def test_names_that_are_better_exist(verdicts: list[names.Verdict]) -> None:
    assert set() == names.BETTER.keys() - {each.name for each in verdicts}


def test_documentation_shows_the_table() -> None:
    assert names.page() == DOCS.read_text(encoding="utf-8"), "run tests/neptune/names.py > core/docs/neptune-names.md"


def test_names_of_several_modules_are_one_and_the_same() -> None:
    """What the client re-exports, the alias re-exports too: `isinstance` and `except` do not depend on the import."""
    code = """
import importlib, json, sys, warnings
warnings.simplefilter("ignore")
import naiad.as_neptune
found = {}
for module, names in json.loads(sys.argv[1]).items():
    for name, home in names.items():
        there = [getattr(importlib.import_module(each), name) for each in (module, home)]
        if there[0] is not there[1] and not isinstance(there[0], (str, int)):
            found[f"{module}.{name}"] = home
print(found)
"""

    command = [sys.executable, "-c", code, json.dumps(names.homes())]

    assert "{}" == subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_errors_derive_from_what_they_derive_from_in_the_client() -> None:
    code = """
import builtins, importlib, json, sys
import naiad.as_neptune
wrong = []
for module, names in json.loads(sys.argv[1]).items():
    here = importlib.import_module(module)
    base = importlib.import_module("neptune.common.exceptions")
    for name, bases in names.items():
        for each in bases:
            above = getattr(here, each, None) or getattr(base, each, None) or getattr(builtins, each)
            if not issubclass(getattr(here, name), above):
                wrong.append(f"{module}.{name} is no {each}")
print(wrong)
"""

    errors = {
        module: {name: facts["bases"] for name, facts in known.items() if "Exception" in facts.get("bases", ())}
        for module, known in names.client_facts().items()
        if "exceptions" in module or "warnings" in module
    }
    command = [sys.executable, "-c", code, json.dumps(errors)]

    assert "[]" == subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert 100 < sum(map(len, errors.values()))


def test_each_error_can_be_raised_as_the_client_raises_it() -> None:
    """Packages raise some of them with the client's own arguments; without any, the message says what it is."""
    code = """
import naiad.as_neptune, importlib, json, sys
for module, names in json.loads(sys.argv[1]).items():
    for name, count in names.items():
        made = getattr(importlib.import_module(module), name)
        error = made(*map(str, range(count)))
        assert str(error) and "None" not in str(error), (module, name, str(error))
        made(**{"path": "a"})
"""

    needed = {
        module: {
            name: sum(not is_optional for _name, kind, is_optional in facts["signature"] or [] if kind == "any")
            for name, facts in known.items()
            if "NeptuneException" in facts.get("bases", ())
        }
        for module, known in names.client_facts().items()
        if "exceptions" in module
    }

    done = subprocess.run([sys.executable, "-c", code, json.dumps(needed)], capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stderr


@pytest.mark.parametrize(
    ("ours", "client", "expected"),
    [
        ([["a", "any", False]], [["a", "any", False]], True),
        ([["a", "keyword", False]], [["a", "any", False]], False),
        ([["a", "any", False], ["b", "any", False]], [["a", "any", False]], False),
        ([["a", "any", True]], [["a", "any", False], ["options", "var_keyword", False]], False),
        ([["a", "any", False], ["more", "keyword", True]], [["a", "any", False]], True),
        ([["b", "any", False], ["a", "any", False]], [["a", "any", False], ["b", "any", False]], False),
    ],
)
def test_signatures_are_compared_by_the_calls_they_allow(
    ours: list[list[object]], client: list[list[object]], expected: bool
) -> None:
    assert expected is names.accepts(ours, client)


def test_what_the_client_refuses_is_refused_with_its_errors(tmp_path: Path) -> None:
    """An `except` clause that caught the client's error catches ours."""
    here = Path(__file__).parent
    client = json.loads((here / "client_refusals.json").read_text(encoding="utf-8"))
    code = "import sys, runpy; import naiad.as_neptune; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0])"
    command = [sys.executable, "-c", code, str(here / "refusals.py"), "ours.json"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    ours = json.loads((tmp_path / "ours.json").read_text(encoding="utf-8"))

    assert names.OTHERWISE.keys() == {name for name in client if not set(client[name]) <= set(ours[name])}
