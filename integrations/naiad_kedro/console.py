"""Masking of secrets in Kedro's own log records, which the run captures from the console."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from naiad.secrets import Secrets


class _Hiding(logging.Filter):
    """Filter that masks secrets in log records."""

    def __init__(self, secrets: Secrets) -> None:
        super().__init__()
        self._secrets = secrets

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # the handler itself says best that the record is wrong
            return True
        safe = self._secrets.text(text)
        if record.exc_info and record.exc_info[1] is not None:
            trace = "".join(traceback.format_exception(record.exc_info[1]))
            # The handler would format the exception by itself, from the object; so it gets the text in its place.
            if (hidden := self._secrets.text(trace)) != trace:
                safe, record.exc_info, record.exc_text = f"{safe}\n{hidden}", None, None
        # The text is complete, so that the handler must not put arguments into it again.
        if safe != text:
            record.msg, record.args = safe, None
        return True


def hide(secrets: Secrets) -> list[tuple[logging.Handler, logging.Filter]]:
    """Add a masking filter to every handler of this process; return the added pairs."""
    # Handlers are filtered and not loggers: a logger's filter does not see what its children log.
    loggers = [logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    handlers = dict.fromkeys(handler for logger in loggers for handler in logger.handlers)
    known = [each for each in handlers if not any(isinstance(filter, _Hiding) for filter in each.filters)]
    added: list[tuple[logging.Handler, logging.Filter]] = [(handler, _Hiding(secrets)) for handler in known]
    for handler, hiding in added:
        handler.addFilter(hiding)
    return added


@contextmanager
def without_secrets(secrets: Secrets) -> Iterator[None]:
    """Mask secrets in console and file logs within this context."""
    added = hide(secrets)
    try:
        yield
    finally:
        for handler, hiding in added:
            handler.removeFilter(hiding)
