"""The pages over a store that is no folder: a dict in memory answers as a folder does."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import naiad
from naiad.storage.local.store import Store as Folder
from naiad.types import File
from naiad_web.server.access import Access
from naiad_web.server.app import application

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))
from memory_store import MemoryStore

TARGETS = [
    "", "/projects", "/columns?project=p", "/table?project=p&column=lr&column=loss:min&query=lr>0.1", "/containers/P-1",
    "/containers/P-1/fields?details=true", "/containers/P-1/attributes",
    "/chart?run=P-1&run=P-2&path=loss&format=json&buckets=20", "/series?run=P-1&path=loss&limit=5",
    "/nearest?run=P-1&path=loss&at=3.2", "/lines?run=P-1&path=log&start=-3&limit=3", "/entries?run=P-1&path=images",
    "/file?run=P-1&path=note", "/files?run=P-1&path=set", "/compare?run=P-1&run=P-2",
    "/containers/P-9", "/table?project=p&query=lr>",
]  # fmt: skip


def fill(store: Any) -> None:
    for number in (1, 2):
        with naiad.init_run(project="p", store=store, name=f"run {number}", git_ref=False, source_files=[]) as run:
            run["lr"] = number / 10
            run["loss"].extend([1 / (step + number) for step in range(100)], timestamps=[float(n) for n in range(100)])
            run["log"].extend([f"line {n}" for n in range(10)], timestamps=[float(n) for n in range(10)])
            run["note"].upload(File.from_content("a text", extension="txt"))
            run["images"].append(File.from_content(b"GIF89a", extension="gif"), timestamp=1.0)
            run["set"].upload_files([__file__])


def answered(app: Any, token: str, target: str) -> tuple[int, bytes]:
    """Ask an application, without a socket."""
    sent: list[dict[str, Any]] = []
    asked: list[bool] = []
    path, _, query = f"/api/v1{target}".partition("?")
    scope = {
        "type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "path": path, "root_path": "",
        "raw_path": path.encode(), "query_string": quote(query, safe="=&:/").encode(), "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "headers": [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {token}".encode())],
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        if not asked:
            asked.append(True)
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.sleep(60)  # the client stays connected
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    # Playwright leaves a loop running in the thread of a worker's tests, so these have a thread of their own.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(app(scope, receive, send))).result()
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


OWN = {
    "address",
    "running_time",
    "seen_age",
    "size",
    "store",
    "store_format",
    "default_project",
    "detail",
    "sys/running_time",
    "sys/size",
}
"""The facts that differ from store to store."""


def plain(body: bytes) -> Any:
    """An answer without uids, moments and the facts of its store."""
    text = re.sub(r"[0-9a-f]{32}(?![0-9a-f])", "UID", body.decode())
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z|\b1[6-9]\d{8,}(\.\d+)?", "0", text)
    return without_own(json.loads(text)) if text[:1] in "[{" else text


def without_own(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: without_own(value) for name, value in found.items() if name not in OWN}
    if isinstance(found, list):
        return [without_own(each) for each in found if not (isinstance(each, dict) and each.get("path") in OWN)]
    return found


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[Any, str]]]:
    """The application over a folder and over memory, with the same runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAIAD_CAPTURES", "off")
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        folder = Folder(tmp_path_factory.mktemp("place") / ".naiad")
        found = []
        for store in (folder, MemoryStore("pages")):
            fill(store)
            access = Access("secret")
            found.append((application(store, access), "secret"))
        yield found


@pytest.mark.parametrize("target", TARGETS)
def test_memory_answers_as_a_folder_does(both: list[tuple[Any, str]], target: str) -> None:
    (status, of_folder), (other_status, of_memory) = (answered(*each, target) for each in both)

    assert status == (404 if "P-9" in target else 400 if target.endswith("lr>") else 200)
    assert status == other_status
    one, other = plain(of_folder), plain(of_memory)
    assert one == other
