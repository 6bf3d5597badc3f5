"""A replica whose database takes connections and never answers: all that needs no database is answered."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import psycopg
import pytest
from cluster_client import status
from postgres_server import Cluster, Listener, Replica, wait_for
from server_client import environment

from naiad.ids import new_uid


def test_replica_is_alive_while_requests_wait_for_its_database(cluster: Cluster, tmp_path: Path) -> None:
    """They wait in threads, and not in the one that answers all."""
    with Listener() as between:
        between.forward(cluster.postgres.port)
        url = cluster.postgres.url.replace(str(cluster.postgres.port), str(between.port))
        replica = Replica(url, cluster.objects.url, cluster.objects.environment, tmp_path).start("--role", "web")
        headers = {"Authorization": f"Bearer {cluster.token}", "Content-Type": "application/msgpack"}
        body = {"uid": new_uid(), "kind": "run", "project": "away", "created": 1.0}
        register = urllib.request.Request(f"{replica.url}/api/v1/runs", msgspec.msgpack.encode(body), headers)
        try:
            # The second one finds its token, from then on without the database.
            assert [200, 200] == [status(register) for _ in range(2)]
            with between.held(), ThreadPoolExecutor(3) as pool:
                body["uid"] = new_uid()
                register.data = msgspec.msgpack.encode(body)
                journal = {"sent": 0.0, "parts": [[new_uid(), "writer.0.seg", 64, 0, 0, b""]]}
                sent = urllib.request.Request(f"{replica.url}/api/v1/journal", msgspec.msgpack.encode(journal), headers)
                positions = urllib.request.Request(f"{replica.url}/api/v1/runs/{new_uid()}/journal", headers=headers)
                waiting = [pool.submit(status, each) for each in (register, sent, positions)]
                wait_for(lambda: between.waits >= 4, "three requests, and the look at tokens")
                alive = status(f"{replica.url}/healthz")
                were_waiting = not any(each.done() for each in waiting)
                between.release()
                found = [each.result() for each in waiting]
        finally:
            replica.stop()

    assert (200, True) == (alive, were_waiting)
    assert [200, 200, 404] == found


def empty_database(cluster: Cluster, name: str, folder: Path) -> tuple[str, dict[str, str]]:
    """A new database beside that of the cluster: its address, and the environment of commands on it."""
    with psycopg.connect(cluster.postgres.url, autocommit=True) as raw:
        raw.execute(f"drop database if exists {name}")  # type: ignore[arg-type]  # a name of this file
        raw.execute(f"create database {name}")  # type: ignore[arg-type]
    url = cluster.postgres.url.removesuffix("/postgres") + f"/{name}"
    objects = (folder / "objects").as_uri()
    return url, {**environment(), "NAIAD_SERVER_DATABASE": url, "NAIAD_SERVER_OBJECTS": objects}


def test_restored_database_has_an_entry_in_the_audit(cluster: Cluster, tmp_path: Path) -> None:
    _url, own = empty_database(cluster, "set_back", tmp_path)
    program = Path(sys.executable).with_name("naiad")
    for command in ("migrate", "restored"):
        subprocess.run([program, "server", command], check=True, capture_output=True, env=own)
    listed = subprocess.run([program, "server", "audit"], check=True, capture_output=True, text=True, env=own).stdout

    assert ["command", "backup.restore", "postgresql://127.0.0.1/set_back"] == listed.split("\n")[0].split("\t")[1:]


COMMANDS = [
    ["token", "list"],
    ["token", "add", "ana"],
    ["member", "list"],
    ["quota", "list"],
    ["audit"],
    ["verify"],
    ["gc"],
    ["backed-up", "2020-01-01T00:00:00+00:00"],
    ["restored"],
]


def test_commands_on_a_database_without_tables_name_the_command_that_makes_them(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Also a worker and `/readyz`; the worker folds when the tables are there."""
    url, own = empty_database(cluster, "untouched", tmp_path)
    program = Path(sys.executable).with_name("naiad")
    replica = Replica(url, own["NAIAD_SERVER_OBJECTS"], {}, tmp_path)
    replica.begin("--role", "web")
    log = tmp_path / "worker.log"
    with log.open("wb") as stream:
        worker = subprocess.Popen([program, "server", "--role", "worker"], stdout=stream, stderr=stream, env=own)
    try:
        for command in COMMANDS:
            done = subprocess.run([program, "server", *command], capture_output=True, text=True, check=False, env=own)

            assert 1 == done.returncode, (command, done.stdout)
            assert "no tables" in done.stderr, (command, done.stderr)
            assert "naiad server migrate" in done.stderr
        wait_for(lambda: "no tables" in log.read_text(), "the line of the worker")
        wait_for(lambda: status(f"{replica.url}/healthz") == 200, "the replica")
        with pytest.raises(urllib.error.HTTPError) as refused, urllib.request.urlopen(f"{replica.url}/readyz"):
            pass
        reason = refused.value.read().decode()
        refused.value.close()
        time.sleep(3)  # the worker asks again meanwhile
        lines = log.read_text().splitlines()
        subprocess.run([program, "server", "migrate"], check=True, capture_output=True, env=own)
        done = subprocess.run([program, "server", "verify"], capture_output=True, text=True, check=False, env=own)
    finally:
        worker.terminate()
        worker.wait(60)
        replica.stop()

    assert "no tables" in reason
    assert 2 == len(lines), lines
    assert "relation" not in "".join(lines)
    assert 0 == done.returncode, done.stderr
