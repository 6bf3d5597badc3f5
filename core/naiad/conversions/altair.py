"""Altair: charts, with Vega in the page where vl-convert-python is installed, which has it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from naiad.conversions.origin import is_from
from naiad.errors import NaiadWarning, warn_once
from naiad.file import File
from naiad.hookspecs import hookimpl


@hookimpl
def naiad_convert(value: Any) -> File | None:
    """Take a chart as a page."""
    html = naiad_html(value)
    return None if html is None else File.from_content(html, extension="html")


@hookimpl
def naiad_html(subject: Any) -> str | None:
    """Write a chart with all of its data, however many rows that has."""
    if not is_from(subject, "altair", "TopLevelMixin"):
        return None
    from altair import data_transformers

    if data_transformers.active != "default":  # the user's own way to bring data along
        return str(subject.to_html(inline=_has_vega()))
    with data_transformers.disable_max_rows():
        return str(subject.to_html(inline=_has_vega()))


def _has_vega() -> bool:
    if find_spec("vl_convert"):
        return True
    message = "The page of an Altair chart needs internet access to be drawn."
    remedy = "To make such pages self-contained: pip install vl-convert-python"
    warn_once("altair without vl-convert", f"{message}\n{remedy}", NaiadWarning)
    return False
