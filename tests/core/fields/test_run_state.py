"""The state of a run can be read and not written."""

from __future__ import annotations

import pytest

import naiad
from naiad.errors import ProtectedPath


def test_state_is_read_like_a_field(run: naiad.Run) -> None:
    assert "running" == run["sys/state"].fetch()
    assert '<RunState field at "sys/state">' == repr(run["sys/state"])
    assert "running" == run["sys"].fetch()["state"]


def test_state_cannot_be_written_or_removed(run: naiad.Run) -> None:
    for change in (lambda: run["sys/state"].assign("failed"), lambda: run.pop("sys/state")):
        with pytest.raises((ProtectedPath, AttributeError)):
            change()

    assert "running" == run["sys/state"].fetch()


def test_state_can_be_copied_as_text(run: naiad.Run) -> None:
    run["was"] = run["sys/state"]

    assert "running" == run["was"].fetch()
