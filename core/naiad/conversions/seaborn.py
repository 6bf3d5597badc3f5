"""seaborn: grids of axes. Its other functions return matplotlib's own."""

from __future__ import annotations

from typing import Any

from naiad.conversions import matplotlib
from naiad.conversions.origin import is_from
from naiad.file import File
from naiad.hookspecs import hookimpl

GRIDS = ("FacetGrid", "JointGrid", "PairGrid", "ClusterGrid")


@hookimpl
def naiad_convert(value: Any) -> File | None:
    """Take a grid as an image."""
    return matplotlib.naiad_convert(value.figure) if is_from(value, "seaborn", *GRIDS) else None


@hookimpl
def naiad_image(subject: Any) -> bytes | None:
    """Draw a grid."""
    return matplotlib.naiad_image(subject.figure) if is_from(subject, "seaborn", *GRIDS) else None


@hookimpl
def naiad_html(subject: Any) -> str | None:
    """Draw a grid into a page."""
    return matplotlib.naiad_html(subject.figure) if is_from(subject, "seaborn", *GRIDS) else None
