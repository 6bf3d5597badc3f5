"""An extension of griffe, which reads the source for the reference: examples are code, dataclasses are recognised."""

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

    def on_module_members(self, *, mod: griffe.Module, **_more: Any) -> None:
        """Let griffe find the parameters of a dataclass of `naiad.deferred`: it knows only the decorator's own name."""
        for name in ("dataclass", "field"):
            member = mod.members.get(name)
            if isinstance(member, griffe.Alias) and member.target_path == f"naiad.deferred.{name}":
                member.target_path = f"dataclasses.{name}"
