"""The widget: `live.js` in the browser, which draws the state that is sent to it. Imports anywidget."""

from __future__ import annotations

from functools import cache
from importlib import resources

import anywidget
import traitlets


@cache
def _script() -> str:
    """Return the library that the pages draw with, and the widget: one module, as a browser in a notebook takes it."""
    library = resources.files("naiad_web").joinpath("pages", "vendor", "uplot.js").read_text(encoding="utf-8")
    own = resources.files("naiad.notebook").joinpath("live.js").read_text(encoding="utf-8")
    return library.replace("export default uPlot;", "") + own


@cache
def _style() -> str:
    library = resources.files("naiad_web").joinpath("pages", "vendor", "uplot.css").read_text(encoding="utf-8")
    return library + resources.files("naiad.notebook").joinpath("live.css").read_text(encoding="utf-8")


def new_widget() -> anywidget.AnyWidget:
    """Return a widget with the synced trait `shown`, a dict that `live.js` draws."""
    return _class()()


@cache
def _class() -> type[anywidget.AnyWidget]:
    class Curves(anywidget.AnyWidget):  # made here, because reading its script takes longer than importing this module
        _esm = _script()
        _css = _style()
        shown = traitlets.Dict().tag(sync=True)

    return Curves
