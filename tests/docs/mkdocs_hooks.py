"""Parts of the documentation that are made from the source: mapping tables, and pages that live outside of docs/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TABLES = ROOT / "integrations/README.md"
INCLUDE = re.compile(r"^\{\{ (file|mapping|page) (.+) \}\}$", re.MULTILINE)


def on_page_markdown(markdown: str, **_more: Any) -> str:
    """Replace `{{ file PATH }}`, `{{ page PATH }}` and `{{ mapping FRAMEWORK }}` by their content."""
    return INCLUDE.sub(lambda found: _included(found[1], found[2]), markdown)


def _included(form: str, name: str) -> str:
    if form == "mapping":
        _, _, rest = TABLES.read_text(encoding="utf-8").partition(f"\n## {name}\n")
        assert rest, f"{TABLES} has no section {name!r}"
        return rest.partition("\n## ")[0]
    text = (ROOT / name).read_text(encoding="utf-8").rstrip()
    if form == "file":
        return text
    return re.sub(r"\[([^\]]+)\]\((?!https?:|#)[^)]+\)", r"\1", text)  # files beside the page are not in the site
