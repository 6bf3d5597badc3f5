"""The mapping tables of the docs are the rows of the integrations. As a program, this file writes the tables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from naiad.handler import Handler
from naiad.integration import Integration
from naiad.kinds import KINDS
from naiad.plugins import results

PAGE = Path(__file__).parents[2] / "integrations/README.md"
OURS = {each.name: each for each in results("naiad_integration") if each.adapter.startswith("naiad_")}


def section(integration: Integration) -> str:
    """Return the section of the page about an integration."""
    distributions = " or ".join(f"`{name}`" for name in sorted(integration.packages.values()))
    base = f' The default namespace is "{integration.base}".' if integration.base else ""
    rows = [
        "| " + " | ".join([f"`{row.path}`", row.kind, row.verb, f"`{row.event}`", row.when, row.meaning]) + " |"
        for row in integration.rows
    ]
    return "\n".join(
        [
            f"## {integration.framework}",
            "",
            f'`pip install "naiad[{integration.extra}]"`, for {distributions} {integration.versions}.{base}',
            "",
            "| path | kind | verb | event | when | meaning |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def page() -> str:
    head = PAGE.read_text(encoding="utf-8").partition("\n## ")[0].rstrip()
    return "\n\n".join([head, *(section(OURS[name]) for name in sorted(OURS))])


def test_tables_are_made_from_the_rows() -> None:
    assert page() == PAGE.read_text(encoding="utf-8"), "run: python tests/docs/test_mappings.py"


def test_each_package_of_integrations_is_an_integration() -> None:
    assert {folder.name for folder in PAGE.parent.glob("naiad_*")} == {f"naiad_{name}" for name in OURS}


@pytest.mark.parametrize("name", OURS)
def test_rows_name_kinds_and_verbs_that_exist(name: str) -> None:
    for row in OURS[name].rows:
        assert row.kind in {"atom", *KINDS}
        assert hasattr(Handler, row.verb) or row.verb == "upload", row


@pytest.mark.parametrize("name", OURS)
def test_rows_differ(name: str) -> None:
    keys = [(row.path, row.kind, row.when, row.event) for row in OURS[name].rows]

    assert sorted(set(keys)) == sorted(keys)


@pytest.mark.parametrize("name", OURS)
def test_extra_asks_for_the_versions_that_are_supported(name: str) -> None:
    text = (PAGE.parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    (found,) = re.findall(rf'^{OURS[name].extra} = \["[a-z-]+([^"]*)"', text, re.MULTILINE)

    assert OURS[name].versions == found


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
