"""What the page of the integration shows is run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.integrations.sklearn.conftest import needs_callbacks

PAGE = Path(__file__).parents[3] / "integrations" / "naiad_sklearn" / "README.md"


@needs_callbacks
def test_blocks_run_one_after_the_other(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec("\n".join(blocks), {})
    lines = capsys.readouterr().out.splitlines()

    assert ["step", "value", "timestamp"] == lines[0].split()
    assert float(lines[-1]) > 0.9
