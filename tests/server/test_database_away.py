"""A replica whose database takes connections and never answers: all that needs no database is answered."""

from __future__ import annotations

import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
from cluster_client import status
from postgres_server import Cluster, Listener, Replica, wait_for

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
