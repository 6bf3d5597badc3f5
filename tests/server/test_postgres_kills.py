"""Parts of a server of two replicas are killed, stopped, replaced and set back while programs log."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from cluster_client import PROGRAM, ask, status
from postgres_server import Cluster, free_port, wait_for
from server_client import QUIET

import naiad
from naiad.ids import new_uid
from naiad.storage.local.store import Store as Folder
from naiad.storage.postgres import migrating
from naiad.storage.remote.store import RemoteStore

pytestmark = pytest.mark.usefixtures("cluster_token")


@pytest.fixture
def cluster(own_cluster: Cluster) -> Cluster:
    return own_cluster


def test_killed_replica_worker_and_database_lose_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """Three programs log while each part is killed; every point is there, once, with the value that it had."""
    kill_parts(cluster, tmp_path, rounds=1)


@pytest.mark.slow  # ten minutes, 50 kills of each part: pytest -m slow tests/server/test_postgres_kills.py -k many
@pytest.mark.timeout(1500)
def test_many_kills_lose_nothing(cluster: Cluster, tmp_path: Path) -> None:
    for each in range(10):
        kill_parts(cluster, tmp_path / str(each), rounds=5)


def kill_parts(cluster: Cluster, folder: Path, rounds: int) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "program.py").write_text(textwrap.dedent(PROGRAM))
    customs = [new_uid() for _ in range(3)]
    programs = [
        subprocess.Popen(
            [sys.executable, folder / "program.py", cluster.url, custom, folder / "over"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for custom in customs
    ]  # fmt: skip
    store = RemoteStore(cluster.url, Folder(folder / "empty"))
    wait_for(lambda: len(cluster.ask("select 1 from naiad.run where custom = any(%s)", customs)) == 3, "registering")
    for _ in range(rounds):
        for replica in cluster.replicas:
            wait_for(lambda: workers(cluster) != [], "the start of a worker")
            subprocess.run(["kill", "-9", workers(cluster)[0]], check=False)
            replica.kill()
            replica.start("--url", cluster.url)
        cluster.postgres.kill()
        cluster.postgres.start()
        for replica in cluster.replicas:
            wait_for(replica.is_ready, "a replica's recovery")
    (folder / "over").touch()
    steps = []
    for program in programs:
        out, err = program.communicate(timeout=120)
        assert program.returncode == 0, err
        steps.append(int(out.split()[-1]))
    sync = [Path(sys.executable).with_name("naiad"), "sync", os.environ["NAIAD_LOCAL_STORE"], "--verify"]
    done = subprocess.run(sync, check=False, capture_output=True, text=True, timeout=240)
    assert 0 == done.returncode, (done.stdout, done.stderr, [each.log.read_text() for each in cluster.replicas])
    for custom, step in zip(customs, steps, strict=True):
        run = store.find_custom("killed", custom)
        assert run is not None
        points = store.reader(run).points("loss")
        assert list(range(step)) == points.values.tolist() == points.steps.tolist()
        assert step == store.reader(run).value("steps")


def workers(cluster: Cluster) -> list[str]:
    """The processes that fold for the replicas."""
    found = []
    for replica in cluster.replicas:
        assert replica.process is not None
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(replica.process.pid)], capture_output=True, text=True, check=False
        )
        found += listed.stdout.split()
    return found


NEWER = """
from alembic.config import Config
from naiad.storage.postgres import migrating

def config():
    found = Config()
    found.set_main_option("script_location", {place!r})
    return found

migrating.SERVED, migrating._config = ("0001", "0002"), config
from naiad.cli import main
main()
"""
"""The program of a next release, which has one migration more and serves the tables before it too."""


MIGRATION = """
from alembic import op
revision, down_revision = "0002", "0001"
def upgrade():
    op.execute("alter table naiad.run add column note text")
"""


def test_replicas_of_two_releases_lose_nothing_during_a_migration(cluster: Cluster, tmp_path: Path) -> None:
    """The new one starts with the old tables; then they are migrated, while a program logs through both."""
    place = tmp_path / "migrations"
    shutil.copytree(Path(migrating.__file__).with_name("migrations"), place)
    (place / "versions/note_0002.py").write_text(MIGRATION)
    newer = [sys.executable, "-c", NEWER.format(place=str(place))]
    new = cluster.replicas[1]
    before = new.program
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    custom = new_uid()
    command = [sys.executable, tmp_path / "program.py", cluster.url, custom, tmp_path / "over"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        wait_for(lambda: cluster.ask("select 1 from naiad.run where custom = %s", custom), "registering")
        new.stop()
        new.program = newer
        new.start("--url", cluster.url)
        ready = [each.is_ready() for each in cluster.replicas]
        _options, variables = cluster.place()
        subprocess.run([*newer, "server", "migrate"], check=True, env={**os.environ, **variables}, timeout=60)
        ready += [each.is_ready() for each in cluster.replicas]
        time.sleep(1)
        (tmp_path / "over").touch()
        out, _nothing = program.communicate(timeout=120)
    new.stop()
    cluster.ask("alter table naiad.run drop column note")
    cluster.ask("update naiad.alembic_version set version_num = '0001'")
    new.program = before
    new.start("--url", cluster.url)
    store = RemoteStore(cluster.url, Folder(tmp_path / "empty"))
    found = store.reader(store.find_custom("killed", custom))

    assert [True] * 4 == ready
    assert list(range(int(out.split()[-1]))) == found.points("loss").values.tolist()


def test_replica_without_its_database_lives_and_recovers(cluster: Cluster) -> None:
    """`/healthz` answers, `/readyz` does not, requests get 503; all without a restart."""
    cluster.postgres.stop()
    try:
        for replica in cluster.replicas:
            assert (200, 503) == (status(f"{replica.url}/healthz"), status(f"{replica.url}/readyz"))
            new = {"Authorization": f"Bearer naiad_cccccccc_{'c' * 43}"}
            assert 503 == status(urllib.request.Request(f"{replica.url}/api/v1/projects", headers=new))
            with pytest.raises(urllib.error.HTTPError, match="503") as caught:
                ask(cluster, "/api/v1/runs", {"uid": new_uid(), "kind": "run", "project": "p", "created": 1.0})
            caught.value.close()
    finally:
        cluster.postgres.start()
    for replica in cluster.replicas:
        wait_for(replica.is_ready, "recovery")


@pytest.fixture
def standby(cluster: Cluster) -> Iterator[Path]:
    """The folder of a standby that confirms each commit, with the standby running."""
    postgres = cluster.postgres
    home = Path(tempfile.mkdtemp(prefix="naiad-standby-"))
    if postgres.as_user:
        shutil.chown(home, postgres.user)
    postgres.run("pg_basebackup", "-D", str(home / "data"), "-d", postgres.url, "-R", "-c", "fast")
    command = [postgres.bin / "postgres", "-D", home / "data", "-p", str(free_port()), "-k", ""]
    settings = ["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=60"]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen([*command, *settings], stdout=log, stderr=log, cwd="/", **postgres.as_user)
    try:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute("alter system set synchronous_standby_names = '*'")
            connection.execute("select pg_reload_conf()")
        wait_for(lambda: cluster.ask("select sync_state from pg_stat_replication") == [("sync",)], "the standby")
        yield home / "data"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        shutil.rmtree(home)


@pytest.mark.slow  # another database server: pytest -m slow tests/server/test_postgres_kills.py -k standby
def test_failover_to_a_standby_loses_nothing(cluster: Cluster, standby: Path, tmp_path: Path) -> None:
    """The standby takes the place of a killed server, under its address, while a program logs."""
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    custom, postgres = new_uid(), cluster.postgres
    command = [sys.executable, tmp_path / "program.py", cluster.url, custom, tmp_path / "over"]
    received = "select sum(upto) from naiad.received r join naiad.run on number = r.run where custom = %s"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        wait_for(lambda: (cluster.ask(received, custom)[0][0] or 0) > 10_000, "points of the program")
        confirmed = cluster.ask(received, custom)[0][0]
        postgres.kill()
        postgres.run("pg_ctl", "promote", "-w", "-D", str(standby))
        postgres.run("pg_ctl", "stop", "-w", "-D", str(standby), "-m", "fast")
        postgres.put_back(standby)
        postgres.start()
        before = cluster.ask(received, custom)[0][0]
        wait_for(lambda: cluster.ask(received, custom)[0][0] > before, "more points")
        (tmp_path / "over").touch()
        out, _nothing = program.communicate(timeout=120)
    store = RemoteStore(cluster.url, Folder(tmp_path / "empty"))
    found = store.reader(store.find_custom("killed", custom))

    assert list(range(int(out.split()[-1]))) == found.points("loss").values.tolist()
    assert confirmed <= before
    assert [(2,)] == cluster.ask("select timeline_id from pg_control_checkpoint()")


@pytest.mark.slow  # stops every part twice: pytest -m slow tests/server/test_postgres_kills.py -k restored
def test_clients_send_again_what_a_restored_database_lost(cluster: Cluster, tmp_path: Path) -> None:
    """The run goes on meanwhile; another is stopped and sent again by `naiad sync`."""
    store = RemoteStore(cluster.url, Folder(tmp_path / "empty"))
    run = naiad.init_run(store=cluster.url, project="restored", **QUIET)
    run["loss"].extend([float(each) for each in range(100)])
    run.sync(remote=True)
    cluster.postgres.stop()
    shutil.copytree(cluster.postgres.data, tmp_path / "backup", symlinks=True)
    cluster.postgres.start()
    run["loss"].extend([float(each) for each in range(100, 5_000)])
    run.sync(remote=True)
    assert 5_000 == store.reader(store.find(run["sys/id"].fetch())).count("loss")
    cluster.postgres.stop()
    cluster.postgres.put_back(tmp_path / "backup")
    cluster.postgres.start()
    command = [Path(sys.executable).with_name("naiad"), "server", "restored"]
    told = {"NAIAD_SERVER_DATABASE": cluster.postgres.url, "NAIAD_SERVER_OBJECTS": cluster.objects.url}
    subprocess.run(command, check=True, env={**os.environ, **cluster.objects.environment, **told}, timeout=60)
    for replica in cluster.replicas:
        replica.stop()
        replica.start("--url", cluster.url)
    run["loss"].extend([float(each) for each in range(5_000, 5_100)])
    run.sync(remote=True)

    assert list(range(5_100)) == store.reader(store.find(run["sys/id"].fetch())).points("loss").values.tolist()
    run.stop()


def test_bytes_are_accepted_while_the_objects_are_away(cluster: Cluster, tmp_path: Path) -> None:
    """The database takes them in the meantime."""
    cluster.objects.stop()
    try:
        run = naiad.init_run(store=cluster.url, project="inline", **QUIET)
        run["loss"].extend([float(each) for each in range(200_000)])
        run.sync(remote=True)
        store = RemoteStore(cluster.url, Folder(tmp_path / "empty"))

        assert 200_000 == store.reader(store.find(run["sys/id"].fetch())).count("loss")
        run.stop()
    finally:  # it has forgotten its objects, which no other test reads again
        cluster.objects.begin()
        cluster.objects.make_bucket()
