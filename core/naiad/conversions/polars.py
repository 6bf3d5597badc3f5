"""polars: data frames as tables."""

from __future__ import annotations

from typing import Any

from naiad.conversions.origin import is_from
from naiad.conversions.page import page, table
from naiad.hookspecs import hookimpl


@hookimpl
def naiad_html(subject: Any) -> str | None:
    """Write a frame with all its rows and columns, texts escaped and uncut."""
    if not is_from(subject, "polars", "DataFrame"):
        return None
    return page(table(subject.columns, subject.iter_rows()))
