"""The store behind two replicas over PostgreSQL passes the suite of the storage interface."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_server import Cluster

from naiad.container_kinds import RunId
from naiad.errors import forget_warnings
from naiad.ship import shipper
from naiad.storage.base import RunReader, Store
from naiad.storage.local.store import Store as Folder
from naiad.storage.remote.store import RemoteStore
from naiad.testing.storage import StoreTests


class ReadingStore(RemoteStore):
    """A store whose readers all ask the server, also of runs that began here."""

    def reader(self, run: RunId) -> RunReader:
        return self._reader(run)


@pytest.fixture
def cluster(own_cluster: Cluster) -> Cluster:
    return own_cluster


@pytest.mark.slow  # a minute: pytest -m slow tests/server/test_postgres_store.py
class TestPostgresStore(StoreTests):
    """A folder here, two replicas behind nginx, PostgreSQL and S3, and what readers get from them."""

    @pytest.fixture
    def store(self, tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
        monkeypatch.setenv("NAIAD_API_TOKEN", cluster.token)
        forget_warnings()
        cluster.empty()
        yield ReadingStore(cluster.url, Folder(tmp_path / "here"))
        shipper.of_process.close()
        forget_warnings()

    # what a server refuses, and what needs the store of one process: see tests/core/storage/remote
    test_a_change_is_seen_whole_or_not_at_all = None  # type: ignore[assignment]
    test_stored_file_is_adopted_by_another_run = None  # type: ignore[assignment]
    test_changes_since_a_mark_are_told = None  # type: ignore[assignment]
    test_catalog_follows_later_writes = None  # type: ignore[assignment]
    test_run_that_is_written_is_not_deleted = None  # type: ignore[assignment]
    test_protected_run_is_not_deleted = None  # type: ignore[assignment]
    test_source_means_one_container = None  # type: ignore[assignment]
    test_source_may_be_a_model_or_a_version = None  # type: ignore[assignment]
    test_released_run_leaves_nothing = None  # type: ignore[assignment]
    test_moved_run_is_found_by_its_former_id = None  # type: ignore[assignment]
    test_key_of_a_forgotten_project_is_free = None  # type: ignore[assignment]
