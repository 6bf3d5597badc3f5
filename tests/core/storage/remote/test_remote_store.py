"""The store behind a server passes the suite of the storage interface, over the real application."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from naiad.container_kinds import RunId
from naiad.errors import NeedsServer, forget_warnings
from naiad.ship import shipper
from naiad.storage.base import RunReader, Store
from naiad.storage.local.store import Store as Folder
from naiad.storage.opening import locate, receiver
from naiad.storage.remote.store import RemoteStore
from naiad.testing.storage import StoreTests
from naiad_server.app import application
from naiad_server.tokens import open_tokens


class ReadingStore(RemoteStore):
    """A store whose readers all ask the server, also of runs that began here."""

    def reader(self, run: RunId) -> RunReader:
        return self._reader(run)


class Served:
    """The application of `naiad server` over a new folder, in a thread."""

    def __init__(self, folder: Path) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        tokens = open_tokens(folder / "server")
        _token, self.token = tokens.add("test", "admin")
        self._receiver = receiver(folder)
        app = application(locate(folder), self._receiver, tokens, None, self.url)
        config = uvicorn.Config(app, ws="none", loop="asyncio", log_config=None, timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        self._receiver.close()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A server that has nothing yet."""
    found = Served(tmp_path / "served")
    monkeypatch.setenv("NAIAD_API_TOKEN", found.token)
    forget_warnings()
    yield found
    shipper.of_process.close()
    found.stop()
    forget_warnings()


@pytest.mark.slow  # a server for each test: pytest -m slow tests/core/storage/remote
class TestRemoteStore(StoreTests):
    """A folder here, the server, and what readers get from it."""

    @pytest.fixture
    def store(self, tmp_path: Path, served: Served) -> Store:
        return ReadingStore(served.url, Folder(tmp_path / "here"))

    # Imports go to a folder, which is shipped; a server deletes only its trash, and its projects keep their keys.
    # Where writer, shipper, server and reader are threads of one process, a writer that never rests starves the others.
    test_a_change_is_seen_whole_or_not_at_all = None  # type: ignore[assignment]
    test_stored_file_is_adopted_by_another_run = None  # type: ignore[assignment]
    test_changes_since_a_mark_are_told = None  # type: ignore[assignment]
    test_catalog_follows_later_writes = None  # type: ignore[assignment]
    test_run_that_is_written_is_not_deleted = None  # type: ignore[assignment]
    test_protected_run_is_not_deleted = None  # type: ignore[assignment]
    test_source_means_one_container = None  # type: ignore[assignment]
    test_source_may_be_a_model_or_a_version = None  # type: ignore[assignment]
    test_released_run_leaves_nothing = None  # type: ignore[assignment]  # a number was taken there
    test_moved_run_is_found_by_its_former_id = None  # type: ignore[assignment]
    test_key_of_a_forgotten_project_is_free = None  # type: ignore[assignment]


def test_import_into_a_server_names_the_way(tmp_path: Path, served: Served) -> None:
    store = RemoteStore(served.url, Folder(tmp_path / "here"))
    with pytest.raises(NeedsServer, match="naiad sync FOLDER --to"):
        store.lock_source("x")
