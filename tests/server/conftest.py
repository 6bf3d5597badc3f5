"""Servers that all tests of a worker share, and runs that programs have logged into a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from places import SERVERS, Shared
from postgres_server import Cluster
from server_client import QUIET, AnyServer

import naiad
from naiad.errors import forget_warnings
from naiad.ship import shipper
from naiad.storage.opening import database
from naiad.storage.postgres.receiver import Receiver
from naiad.storage.postgres.store import PostgresStore


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """Servers that tests of any module use; each is started once in a worker of pytest, for the first that asks."""
    found = Shared(tmp_path_factory.mktemp("shared"))
    yield found
    found.stop()


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, shared: Shared) -> AnyServer:
    """A server over a folder, and one over a database. Tests use projects and uids of their own there."""
    return shared.server(request.param)


@pytest.fixture(scope="session")
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two replicas over PostgreSQL and S3, of which tests stop parts, for all modules; `shared` has those that stay."""
    found = Cluster.start(tmp_path_factory.mktemp("cluster"))
    yield found
    found.stop()


@pytest.fixture
def cluster_token(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let programs log to the cluster, from a folder of the test."""
    monkeypatch.setenv("NAIAD_API_TOKEN", cluster.token)
    monkeypatch.setenv("NAIAD_LOCAL_STORE", str(tmp_path / "local"))
    forget_warnings()
    yield
    shipper.of_process.close()
    forget_warnings()


@pytest.fixture
def cluster(shared: Shared) -> Cluster:
    """The server over a database, which tests look into."""
    found = shared.server("database")
    assert isinstance(found, Cluster)
    return found


@pytest.fixture
def opened(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[PostgresStore, Receiver]]]:
    """The stores and receiving ends of two replicas over that database, in this process."""
    for name, value in cluster.objects.environment.items():
        monkeypatch.setenv(name, value)
    found = []
    for _ in range(2):
        store, receiver = database(cluster.postgres.url, cluster.objects.url)
        assert isinstance(store, PostgresStore)
        assert isinstance(receiver, Receiver)
        found.append((store, receiver))
    yield found
    for store, receiver in found:
        store.close()
        receiver.close()


@pytest.fixture
def logged(tmp_path: Path) -> Callable[..., Path]:
    """Log a stopped run of 100 points, and return its folder."""

    def log(project: str = "p", points: int = 100, **fields: object) -> Path:
        folder = tmp_path / "logged/runs"
        before = set(folder.iterdir()) if folder.exists() else set()
        run = naiad.init_run(store=tmp_path / "logged", project=project, **QUIET)
        run["loss"].extend([float(each) for each in range(points)])
        for path, value in fields.items():
            run[path.replace("__", "/")] = value
        run.stop()
        (new,) = set(folder.iterdir()) - before
        return new

    return log
