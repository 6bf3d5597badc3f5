"""Databases and roles of other encodings than UTF-8: all texts of a server come back as they were sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from postgres_server import Cluster, Replica, wait_for
from server_client import QUIET

import naiad
from naiad.ids import new_uid
from naiad.storage.local.store import Store as Folder
from naiad.storage.remote.store import RemoteStore

TEXT = "Größe ☃ 🎄 Ω"
"""Letters of Latin-1, of Unicode's first plane, and of another one."""
DATABASES = {
    "ascii": ("create database {0} encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C' template template0",),
    "latin1": ("create database {0}", "alter database {0} set client_encoding = 'LATIN1'"),
}


@pytest.fixture(params=DATABASES)
def replica(request: pytest.FixtureRequest, cluster: Cluster, tmp_path: Path) -> Iterator[Replica]:
    """A replica over a database of its own, beside that of the shared server."""
    name = f"encoded_{new_uid().replace('-', '_').lower()}"
    with psycopg.connect(cluster.postgres.url, autocommit=True) as connection:
        for each in DATABASES[request.param]:
            connection.execute(each.format(name))  # type: ignore[call-overload]  # a name made here
    url = cluster.postgres.url.rpartition("/")[0] + f"/{name}"
    found = Replica(url, f"{cluster.objects.url}/{name}", cluster.objects.environment, tmp_path).start("--init")
    yield found
    found.stop()
    with psycopg.connect(cluster.postgres.url, autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)")  # type: ignore[call-overload]  # a name made here


@pytest.mark.usefixtures("cluster_token")
def test_texts_come_back_unchanged_from_databases_of_other_encodings(
    replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [line] = [line for line in replica.log.read_text().splitlines() if "Your token" in line]
    monkeypatch.setenv("NAIAD_API_TOKEN", line.split()[-1])
    project, custom = f"Projekt {TEXT}", f"Lauf {TEXT}"
    with naiad.init_run(store=replica.url, project=project, custom_run_id=custom, name=TEXT, **QUIET) as run:
        run[f"params/{TEXT}"] = TEXT
        run["lines"].extend([TEXT, "plain"])
        run["sys/tags"].add(TEXT)
        run.sync(remote=True)
        uid = run._run.uid
    with naiad.init_run(store=replica.url, project=project, custom_run_id=custom, mode="read-only", **QUIET) as again:
        read = again[f"params/{TEXT}"].fetch(), again["lines"].fetch_values()["value"].tolist()
        found = again._run.uid
    store = RemoteStore(replica.url, Folder(tmp_path / "empty"))

    def rows(query: str) -> list[str]:
        with naiad.init_project(project, store=replica.url, mode="read-only") as opened:
            return list(opened.fetch_runs_table(query=query, columns=["sys/name"]).to_pandas().get("sys/name", []))

    wait_for(lambda: rows(f'`sys/name`:string = "{TEXT}"') == [TEXT], "the run in the table")

    assert uid == found
    assert (TEXT, [TEXT, "plain"]) == read
    assert [project] == [row.project for row in store.catalog().summaries(project)]
