"""HTML pages for objects that have no page of their own."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable

STYLE = "body{font:14px sans-serif} table{border-collapse:collapse} td,th{padding:2px 8px} img{max-width:100%}"


def page(body: str) -> str:
    """Return a whole page; its body is HTML already."""
    head = f'<meta charset="utf-8"><style>{STYLE}</style>'
    return f"<!DOCTYPE html>\n<html><head>{head}</head><body>\n{body}\n</body></html>\n"


def picture(png: bytes) -> str:
    """Return an image with its content in it.

    >>> picture(b"...")
    '<img src="data:image/png;base64,Li4u">'
    """
    return f'<img src="data:image/png;base64,{b64encode(png).decode()}">'


def table(header: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Return a table of anything, escaped.

    >>> print(table(["a"], [["<b>"]]))
    <table border="1">
    <tr><th>a</th></tr>
    <tr><td>&lt;b&gt;</td></tr>
    </table>
    """
    lines = [_row("th", header), *(_row("td", row) for row in rows)]
    return "\n".join(['<table border="1">', *lines, "</table>"])


def _row(tag: str, cells: Iterable[object]) -> str:
    from html import escape  # it loads the names of all characters

    return f"<tr>{''.join(f'<{tag}>{escape(str(cell))}</{tag}>' for cell in cells)}</tr>"
