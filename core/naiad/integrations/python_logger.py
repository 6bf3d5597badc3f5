"""Python's logging: a handler that keeps each message as a point of a series."""

from __future__ import annotations

import logging
import threading

import naiad
from naiad.container import Container
from naiad.errors import NaiadTypeError, shown
from naiad.handler import Handler
from naiad.run import Run

__all__ = ["NaiadHandler", "NeptuneHandler"]

VERSION_PATH = "source_code/integrations/neptune-python-logger"


class NaiadHandler(logging.Handler):
    """Logging handler that appends each formatted message to a series.

    Args:
        run: the run, or a namespace of one.
        level: messages below it are left out.
        path: of the series, `<monitoring namespace>/python_logger` by default.

    >>> with naiad.init_run() as run:
    ...     logging.getLogger("train").addHandler(NaiadHandler(run=run))
    ...     logging.getLogger("train").warning("loss is high")
    """

    def __init__(self, *, run: Run | Handler, level: int | str = logging.NOTSET, path: str | None = None) -> None:
        root = getattr(run, "get_root_object", lambda: None)()
        if not isinstance(root, Run):
            message = f"run= takes a Run or a namespace of one, not {shown(run)}."
            raise NaiadTypeError(message, argument="run", value=run)
        super().__init__(level=level)
        self._root: Container = root
        self._series = run[path or f"{root.monitoring_namespace}/python_logger"]
        self._thread = threading.local()
        root[VERSION_PATH] = naiad.__version__

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message, unless the run has ended or the message comes from keeping one."""
        if self._root.get_state() != "started" or getattr(self._thread, "is_inside", False):
            return
        self._thread.is_inside = True
        try:
            self._series.append(self.format(record), timestamp=record.created)
        except Exception:  # noqa: BLE001 (as all handlers of logging: a message may fail to format in any way)
            self.handleError(record)
        finally:
            self._thread.is_inside = False


NeptuneHandler = NaiadHandler
"""The same under Neptune's name."""
