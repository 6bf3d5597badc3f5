"""Clients of the replicas of a server: requests, and a program that logs."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import zlib
from typing import Any

import msgspec
from postgres_server import Cluster

PROGRAM = """
    import os, sys, time, naiad
    run = naiad.init_run(store=sys.argv[1], project="killed", custom_run_id=sys.argv[2], capture_stdout=False,
        capture_stderr=False, capture_hardware_metrics=False, capture_traceback=False, git_ref=False, source_files=[])
    step = 0
    while not os.path.exists(sys.argv[3]):
        for _ in range(50):
            run["loss"].append(float(step), step=step)
            step += 1
        time.sleep(0.01)
    run["steps"] = step
    run.stop()

    print(step)
"""


def ask(cluster: Cluster, path: str, body: object = None, replica: int | None = None) -> Any:
    """Ask one replica, or through the proxy; return the JSON of the answer."""
    place = cluster.url if replica is None else cluster.replicas[replica].url
    data = None if body is None else msgspec.msgpack.encode(body)
    headers = {"Authorization": f"Bearer {cluster.token}", "Content-Type": "application/msgpack"}
    asked = urllib.request.Request(f"{place}{path}", data, headers)
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return json.loads(answer.read())


def status(url: str | urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()  # it has the connection
        return error.code


def sent(cluster: Cluster, body: dict[str, Any], replica: int) -> int:
    """Send a request with parts of journals; return the status of the answer."""
    try:
        ask(cluster, "/api/v1/journal", body, replica)
    except urllib.error.HTTPError as error:
        error.close()  # it has the connection
        return error.code
    return 200


def stored_bytes(cluster: Cluster, uid: str) -> dict[str, int]:
    """The bytes that each file of a container has in the database."""
    rows = cluster.ask("select file, upto - 64 from naiad.received join naiad.run on number = run where uid = %s", uid)
    return dict(rows)


def points(uid: str, writer: int, count: int = 100, at: int = 64) -> dict[str, Any]:
    """A request with points of a writer."""
    records = bytes(32 * count)
    part = [uid, f"writer{writer}.0.seg", at, 0, zlib.crc32(records), records]
    return {"sent": 0.0, "writers": [], "parts": [part], "sealed": []}
