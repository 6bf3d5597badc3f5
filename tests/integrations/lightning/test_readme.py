"""What the page about Lightning shows is run."""

from __future__ import annotations

import re
from pathlib import Path

import naiad

PAGE = Path(__file__).parents[3] / "integrations" / "naiad_lightning" / "README.md"


def test_blocks_of_the_page_run_one_after_the_other(workplace: Path) -> None:
    exec("\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)), {})

    with naiad.init_run(with_id="DEMO-1", mode="read-only") as run:
        assert ("2026-11", "success") == (run["data/version"].fetch(), run["training/status"].fetch())
        assert all(run.exists(f"training/{path}") for path in ("samples", "notes", "table", "model/summary"))
