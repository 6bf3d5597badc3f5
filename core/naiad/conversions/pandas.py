"""pandas: data frames as tables."""

from __future__ import annotations

from typing import Any

from naiad.conversions.origin import is_from
from naiad.conversions.page import page
from naiad.hookspecs import hookimpl


@hookimpl
def naiad_html(subject: Any) -> str | None:
    """Write a frame with all its rows and columns, texts escaped and uncut."""
    if not is_from(subject, "pandas", "DataFrame"):
        return None
    from pandas import option_context

    with option_context("display.max_colwidth", None):
        return page(subject.to_html())
