"""An extension of griffe: examples of docstrings, which begin with `>>>`, become code in the reference."""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^>>> .*(?:\n(?!\s*$).*)*", re.MULTILINE)


class Examples(griffe.Extension):
    """Fences each paragraph that begins with `>>>`; Markdown would make a quotation of it."""

    def on_object(self, *, obj: griffe.Object, **_more: Any) -> None:
        """Change a docstring before it is rendered."""
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(lambda found: f"```pycon\n{found[0]}\n```", obj.docstring.value)
