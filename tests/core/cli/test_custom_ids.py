"""Runs that are named by their custom ids, in each command that takes a run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import naiad

COMMANDS = """
show trial | compare trial OTHER-1 | plot trial loss | tail trial loss | logs trial | files trial | du trial
path trial | download trial note {} | verify trial
repair trial | copy trial --to {}/b | export trial --to {}/out
ls --parent trial | protect trial | protect trial --off | move trial --to elsewhere | trash trial | restore trial
"""


@pytest.fixture
def runs(store: Path) -> None:
    """A run with a custom id, and one without."""
    for project, custom in (("digits", "trial"), ("other", None)):
        with naiad.init_run(project=project, custom_run_id=custom, git_ref=False, source_files=[]) as run:
            run["loss"].append(0.5)
            run["note"].upload(naiad.types.File.from_content("text"))


@pytest.mark.usefixtures("runs")
def test_each_command_finds_a_run_by_its_custom_id(cli: Callable[..., Result], tmp_path: Path) -> None:
    for line in re.split(r"[|\n]", COMMANDS.strip()):
        words = line.format(tmp_path).split()
        result = cli(*words)

        assert 0 == result.exit_code, (words, result.stderr)


@pytest.mark.usefixtures("runs")
def test_custom_id_of_two_projects_is_refused_with_both_ids(cli: Callable[..., Result]) -> None:
    with naiad.init_run(project="other", custom_run_id="trial"):
        pass
    result = cli("show", "trial")

    assert 0 != result.exit_code
    assert "DIGITS-1, OTHER-2" in result.stderr
    assert "DIGITS-1" == json.loads(cli("show", "DIGITS-1", "--json").stdout)["id"]


@pytest.mark.usefixtures("runs")
def test_id_is_preferred_to_an_equal_custom_id(cli: Callable[..., Result]) -> None:
    with naiad.init_run(project="other", custom_run_id="DIGITS-1", name="impostor"):
        pass

    assert "impostor" not in cli("show", "DIGITS-1").stdout


@pytest.mark.usefixtures("runs")
def test_unknown_name_is_reported_as_before(cli: Callable[..., Result]) -> None:
    assert "has no run 'trail'" in cli("show", "trail").stderr
