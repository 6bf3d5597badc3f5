"""Parts of the documentation that are made from the source: mapping tables, and pages that live outside of docs/."""

from __future__ import annotations

import ast
import difflib
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TABLES = ROOT / "integrations/README.md"
INCLUDE = re.compile(r"^\{\{ (changes|file|mapping|page) (.+) \}\}$", re.MULTILINE)


def on_page_markdown(markdown: str, **_more: Any) -> str:
    """Replace `{{ file PATH }}`, `{{ page PATH }}`, `{{ mapping FRAMEWORK }}` and `{{ changes NAME }}`."""
    return INCLUDE.sub(lambda found: _included(found[1], found[2]), markdown)


def on_page_content(html: str, **_more: Any) -> str:
    """Leave out the default of options that have none; mkdocs-click prints click's own marker for it."""
    return re.sub(r"<code>Sentinel\.UNSET</code>", "", html)


def _included(form: str, name: str) -> str:
    if form == "mapping":
        _, _, rest = TABLES.read_text(encoding="utf-8").partition(f"\n## {name}\n")
        assert rest, f"{TABLES} has no section {name!r}"
        return rest.partition("\n## ")[0]
    if form == "changes":
        return changes(name)
    text = (ROOT / name).read_text(encoding="utf-8").rstrip()
    if form == "file":
        return text
    return re.sub(r"\[([^\]]+)\]\((?!https?:|#)[^)]+\)", r"\1", text)  # files beside the page are not in the site


def changes(name: str) -> str:
    """Return the lines by which the example of an integration differs from the same program without naiad."""
    plain, logged = (_code(ROOT / f"examples/{name}_{form}.py") for form in ("plain", _FORMS.get(name, "train")))
    lines = list(difflib.unified_diff(plain, logged, lineterm="", n=1))[2:]
    shown = (" ..." if line.startswith("@@") else re.sub(r"  # noqa: .*", "", line) for line in lines)
    return "\n".join(line for line in shown if line != " ")


_FORMS = {"keras": "fit", "lightning": "fit", "sklearn": "report"}


def _code(path: Path) -> list[str]:
    """Return the lines of a program below its docstring."""
    text = path.read_text(encoding="utf-8")
    return text.splitlines()[ast.parse(text).body[0].end_lineno or 0 :]
