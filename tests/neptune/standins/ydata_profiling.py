"""Stands in for ydata-profiling, which does not run on pandas of today."""

from __future__ import annotations

from typing import Any


class ProfileReport:
    """A description of a table."""

    def __init__(self, table: Any, title: str) -> None:
        self.table, self.title = table, title

    def to_html(self) -> str:
        """Return it as a page."""
        return f"<h1>{self.title}</h1>{self.table.describe().to_html()}"
