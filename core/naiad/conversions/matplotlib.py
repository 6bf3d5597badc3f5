"""Matplotlib: a figure, the figure that axes are in, or pyplot itself, which stands for its current figure."""

from __future__ import annotations

import io
from types import ModuleType
from typing import TYPE_CHECKING, Any

from naiad.conversions.origin import is_from
from naiad.conversions.page import page, picture
from naiad.errors import NaiadValueError
from naiad.file import File
from naiad.hookspecs import hookimpl

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@hookimpl
def naiad_convert(value: Any) -> File | None:
    """Take a figure as an image."""
    image = naiad_image(value)
    return None if image is None else File(content=image, extension="png")


@hookimpl
def naiad_image(subject: Any) -> bytes | None:
    """Draw a figure; it stays open."""
    figure = _figure(subject)
    if figure is None:
        return None
    # Straight to PNG and not through pyplot: a figure that is drawn in a thread must not become the current one.
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight")
    return file.getvalue()


@hookimpl
def naiad_html(subject: Any) -> str | None:
    """Draw a figure into a page: exactly as it looks, where a translation for a browser would lose parts of it."""
    image = naiad_image(subject)
    return None if image is None else page(picture(image))


def _figure(subject: Any) -> Figure | None:
    if isinstance(subject, ModuleType) and subject.__name__ == "matplotlib.pyplot":
        if not subject.get_fignums():
            raise NaiadValueError("pyplot has no figure yet.\nDraw one first, or give the figure itself.")
        return subject.gcf()  # type: ignore[no-any-return]  # a module of which mypy knows nothing
    if is_from(subject, "matplotlib", "FigureBase", "Axes"):
        return subject.figure.figure  # type: ignore[no-any-return]  # the second leads from a subfigure to its figure
    return None
