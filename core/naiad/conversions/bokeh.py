"""Bokeh: plots and layouts, with BokehJS in the page."""

from __future__ import annotations

from typing import Any

from naiad.conversions.origin import is_from
from naiad.file import File
from naiad.hookspecs import hookimpl


@hookimpl
def naiad_convert(value: Any) -> File | None:
    """Take a plot as a page."""
    html = naiad_html(value)
    return None if html is None else File.from_content(html, extension="html")


@hookimpl
def naiad_html(subject: Any) -> str | None:
    """Write a plot or a layout of plots."""
    if not is_from(subject, "bokeh", "LayoutDOM"):
        return None
    from bokeh.embed import file_html
    from bokeh.resources import INLINE

    return str(file_html(subject, INLINE))
