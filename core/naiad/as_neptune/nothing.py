"""No names: the home of modules of Neptune's that have others below them and none of their own."""

from __future__ import annotations

__all__: list[str] = []
