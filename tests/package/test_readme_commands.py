"""README's two commands: the first thing a newcomer copies, and the test one is what .ci/run runs."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
RUN = "python3 -m venv .venv && .venv/bin/pip install --quiet . scikit-learn && .venv/bin/python examples/quickstart.py"
TEST = (
    'python3 -m venv .venv && .venv/bin/pip install --quiet -c tests/constraints.txt -e ".[test]"'
    " && .venv/bin/python -m pytest tests"
)


def test_readme_opens_with_the_two_commands() -> None:
    opening = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:60]

    assert [RUN, TEST] == [line.strip() for line in opening if "python3 -m venv" in line]


def test_the_files_named_in_the_commands_exist() -> None:
    assert (ROOT / "examples/quickstart.py").is_file()
    assert (ROOT / "tests/constraints.txt").is_file()
