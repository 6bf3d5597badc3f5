"""An extension of griffe, which reads the source for the reference: examples are code, structs are recognised."""

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

    def on_class_members(self, *, cls: griffe.Class, **_more: Any) -> None:
        """Let griffe find the parameters of a `msgspec.Struct`, as those of the dataclass that it resembles."""
        if any(getattr(base, "canonical_path", "") == "msgspec.Struct" for base in cls.bases):
            cls.decorators.append(
                griffe.Decorator(griffe.ExprName("dataclasses.dataclass"), lineno=None, endlineno=None)
            )

    def on_module_members(self, *, mod: griffe.Module, **_more: Any) -> None:
        """Let griffe find the default of a member of such a struct."""
        member = mod.members.get("field")
        if isinstance(member, griffe.Alias) and member.target_path == "msgspec.field":
            member.target_path = "dataclasses.field"
