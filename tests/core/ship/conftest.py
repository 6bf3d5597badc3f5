"""A server for journals, and a program that ships to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from journal_server import TOKEN, JournalServer

from naiad.errors import forget_warnings
from naiad.ship import shipper


@pytest.fixture
def server(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JournalServer]:
    """A server that listens; runs are written to the test's own folder and shipped to it."""
    monkeypatch.delenv("NAIAD_STORE")
    monkeypatch.setenv("NAIAD_LOCAL_STORE", str(store))
    monkeypatch.setenv("NAIAD_API_TOKEN", TOKEN)
    forget_warnings()
    found = JournalServer(tmp_path / "served")
    found.start()
    yield found
    shipper.of_process.close()
    found.stop()
    forget_warnings()
