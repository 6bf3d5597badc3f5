"""plotly: interactive figures, with the whole of plotly.js in the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from naiad.conversions.origin import is_from
from naiad.file import File
from naiad.hookspecs import hookimpl


@hookimpl
def naiad_convert(value: Any) -> File | None:
    """Take a figure as a page."""
    html = naiad_html(value, {})
    return None if html is None else File.from_content(html, extension="html")


@hookimpl
def naiad_html(subject: Any, options: Mapping[str, object]) -> str | None:
    """Write a figure; `include_plotlyjs` selects the source of plotly.js."""
    if not is_from(subject, "plotly", "BaseFigure"):
        return None
    return str(subject.to_html(include_plotlyjs=options.get("include_plotlyjs", True)))
