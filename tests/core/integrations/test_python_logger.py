from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

import naiad
from naiad.errors import NaiadTypeError
from naiad.integrations.python_logger import NaiadHandler, NeptuneHandler


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("test of the handler")
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.handlers.clear()


def test_messages_become_points_where_naiad_logs(run: naiad.Run, logger: logging.Logger) -> None:
    logger.addHandler(NeptuneHandler(run=run))
    logger.warning("loss is %s", 0.5)
    logger.debug("second")

    series = run[f"{run.monitoring_namespace}/python_logger"]
    assert ["loss is 0.5", "second"] == list(series.fetch_values()["value"])
    assert naiad.__version__ == run["source_code/integrations/neptune-python-logger"].fetch()


def test_level_path_and_formatter_are_heeded(run: naiad.Run, logger: logging.Logger) -> None:
    handler = NaiadHandler(run=run, level=logging.ERROR, path="log")
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.warning("quiet")
    logger.error("loud")

    assert ["ERROR loud"] == list(run["log"].fetch_values()["value"])


def test_a_namespace_can_be_given(run: naiad.Run, logger: logging.Logger) -> None:
    logger.addHandler(NaiadHandler(run=run["train"], path="log"))
    logger.error("below")

    assert "below" == run["train/log"].fetch_last()


def test_after_the_end_messages_are_left_out_silently(run: naiad.Run, logger: logging.Logger) -> None:
    logger.addHandler(NaiadHandler(run=run, path="log"))
    run.stop()
    logger.error("late")


@pytest.mark.parametrize("wrong", [None, "RUN-1", 5])
def test_anything_else_is_refused(wrong: object) -> None:
    with pytest.raises(NaiadTypeError, match="run= takes a Run"):
        NaiadHandler(run=wrong)  # type: ignore[arg-type]
