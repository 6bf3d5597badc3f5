"""Live views: the curves of a run below a cell, drawn by the browser of the notebook through a widget.

A thread of the kernel looks at the run as any reader does and sends the charts that have changed; no server takes part.
The output holds the static form too, which is what other programs show of the notebook. When the run ends, the output
becomes the static form alone, with the final values: a widget is gone with its kernel, and a saved notebook is not.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import Any

from naiad import clock
from naiad.errors import NaiadError
from naiad.kinds import POINTS
from naiad.listing import OWN, listing
from naiad.scalars import unpack_text
from naiad.session import Session
from naiad.settings import setting
from naiad.storage.base import RunReader

LOOK_SECONDS = 1.0
BUSY_SHARE = 20
"""A look that takes long is followed by a pause that is so many times longer: training comes first."""
END_SECONDS = 0.1
MOST_SERIES = 24
STRETCHES = 200
CURVES = 4
"""Series that the static form draws."""
VIEW = "application/vnd.jupyter.widget-view+json"


def show(session: Session, path: str, title: str) -> bool:
    """Show the curves at or below a path in the notebook that calls this, live.

    Returns:
        False where there is nothing to see live: no notebook, no anywidget, a run that has ended, no curve. Then the
        static form is shown.
    """
    if setting("NOTEBOOK") == "static" or not _in_notebook() or not _has_widgets():
        return False
    try:
        if session.is_stopped or session.reader.state() != "running":
            return False
        if path and not any(kind == POINTS and _is_below(each, path) for each, kind in session.reader.kinds().items()):
            return False
    except (NaiadError, OSError):
        return False
    _LiveView(session, path, title).start()
    return True


def _in_notebook() -> bool:
    """Whether a kernel runs this, which a browser or an editor shows."""
    module = sys.modules.get("IPython")
    return module is not None and hasattr(module.get_ipython(), "kernel")


def _has_widgets() -> bool:
    from importlib.util import find_spec  # for notebooks only

    return find_spec("anywidget") is not None


def _is_below(path: str, base: str) -> bool:
    return not base or path == base or path.startswith(f"{base}/")


class _LiveView:
    """One output of a notebook, and the thread that keeps it up to date."""

    def __init__(self, session: Session, path: str, title: str) -> None:
        from naiad.notebook.widget import new_widget  # anywidget, of those who have it

        self._session = session
        self._path = path
        self._title = title
        self._widget: Any = new_widget()
        self._charts: dict[str, dict[str, Any]] = {}
        self._counts: dict[str, int] = {}
        self._thread = threading.Thread(target=self._work, name="naiad-notebook", daemon=True)

    def start(self) -> None:
        """Show the output, and begin to look."""
        from IPython.display import display

        self._send(self._session.reader)
        view = {"version_major": 2, "version_minor": 0, "model_id": self._widget.model_id}
        self._output = display({**self._static(), VIEW: view}, raw=True, display_id=True)  # type: ignore[no-untyped-call]  # IPython's
        self._thread.start()

    def _static(self) -> dict[str, str]:
        return {"text/plain": self._title, "text/html": listing(self._session, self._path, self._title, curves=CURVES)}

    def _work(self) -> None:
        with contextlib.suppress(NaiadError, OSError):  # deleted, or its disk is gone: the last values stay
            self._follow(self._session.reader)
        # JupyterLab shows an error in the place of a widget whose kernel is gone.
        self._output.update(self._static(), raw=True)
        self._widget.close()

    def _follow(self, reader: RunReader) -> None:
        """Send the charts that have changed until the run has ended."""
        next_look = 0.0
        while not self._session.is_stopped:
            began = clock.monotonic()
            if began >= next_look:
                if self._send(reader) != "running":
                    return
                next_look = began + max(LOOK_SECONDS, BUSY_SHARE * (clock.monotonic() - began))
            clock.sleep(END_SECONDS)

    def _send(self, reader: RunReader) -> str:
        """Send the charts if one of them has changed, and return the state of the run."""
        # One moment for all: a state of running would be sent with the values of a run that has ended.
        with reader.moment():
            state, sys_values, counts, kinds = reader.state(), reader.values("sys"), reader.counts(), reader.kinds()
            paths = sorted(
                (each for each, kind in kinds.items() if kind == POINTS and _is_below(each, self._path)),
                key=lambda each: (OWN.get(each.partition("/")[0], 0), each),
            )
            shown = paths[:MOST_SERIES]
            changed = [each for each in shown if counts.get(each) != self._counts.get(each)]
            for each in changed:
                self._charts[each] = _chart(reader, each, counts.get(each, 0))
        self._counts = {each: counts.get(each, 0) for each in shown}
        facts = {
            "id": _text(sys_values.get("sys/id")), "name": _text(sys_values.get("sys/name")), "state": state,
            "more": len(paths) - len(shown),
        }  # fmt: skip
        # The whole state, since a view that is opened later gets nothing else.
        if changed or {key: self._widget.shown.get(key) for key in facts} != facts:
            self._widget.shown = {**facts, "series": [self._charts[each] for each in shown]}
        return state


def _chart(reader: RunReader, path: str, count: int) -> dict[str, Any]:
    """Return one series for the widget; numbers that are not finite leave gaps."""
    chart, last = reader.chart(path, STRETCHES), reader.last(path)
    steps, low, high, mean = (list(map(_number, column.tolist())) for column in chart[:4])
    value = "" if last is None else f"{float(last.value):.6g}"
    return {"path": path, "count": count, "last": value, "x": steps, "low": low, "mean": mean, "high": high}


def _number(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


def _text(value: object) -> str:
    return unpack_text(value) if isinstance(value, str | bytes) else ""
