"""The pages of `naiad server`, over a folder and over a database, in a real Chromium: what they export."""

from __future__ import annotations

import csv
import functools
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from postgres_server import wait_for
from server_client import COMMAND, AnyServer

import naiad
from naiad.errors import forget_warnings
from naiad.ship import shipper

pytestmark = pytest.mark.browser
HOSTILE = "</script><img src=x onerror=window.hacked=1>"
QUIET: dict[str, Any] = {
    "capture_hardware_metrics": False,
    "capture_stdout": False,
    "capture_stderr": False,
    "git_ref": False,
    "source_files": [],
}


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A page of a browser without a past. The test fails on what its console reports."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    found = context.new_page()
    found.set_default_timeout(60_000)
    troubles: list[str] = []
    found.on(
        "console",
        lambda each: troubles.append(f"{each.text} {each.location}") if each.type in ("error", "warning") else None,
    )
    found.on("pageerror", lambda error: troubles.append(str(error)))
    yield found
    context.close()
    assert [] == troubles


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """Of this test alone: the server may be that of another one too."""
    return str(request.node.originalname).removeprefix("test_")


@pytest.fixture
def runs(server: AnyServer, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The uids of eleven runs of the project on the server."""
    monkeypatch.setenv("NAIAD_API_TOKEN", server.token)
    monkeypatch.setenv("NAIAD_LOCAL_STORE", str(tmp_path / "here"))
    found = []
    for number in range(11):
        with naiad.init_run(store=address(server), project=project, name=f"n{number} {HOSTILE}", **QUIET) as run:
            run["score"] = number % 3 + 0.5
            run["kind"] = "=1+1" if number % 2 else "plain"
            run["loss"].extend([1.0, 0.25, number], steps=[0, 1, 2])
        found.append(run._run.uid)
    for uid in found:
        wait_for(functools.partial(server.is_settled, uid), f"the end of {uid} on the server")
    yield found
    shipper.of_process.close()
    forget_warnings()


def address(server: AnyServer) -> str:
    return f"http://127.0.0.1:{server.port}"


def exported(page: Any, form: str) -> str:
    """Return the file that the export of a table gives."""
    page.get_by_role("button", name="Export what is shown").click()
    with page.expect_download() as download:
        page.get_by_role("button", name=form, exact=True).click()
    return Path(download.value.path()).read_text()


@pytest.mark.usefixtures("runs")
def test_table_is_exported_as_it_is_shown(page: Any, server: AnyServer, project: str) -> None:
    """By its sort, its filter and its groups; a text that a spreadsheet would compute is none in the file."""
    columns = "cols=sys/id,kind,score,loss:min"
    page.goto(f"{address(server)}/p/{project}/runs?{columns}&sort=-sys/id#token={server.token}")
    page.locator("tbody tr[role=row]").nth(10).wait_for()
    rows = list(csv.reader(exported(page, "CSV").splitlines()))
    records = json.loads(exported(page, "JSON"))
    shown = page.locator("tbody tr[role=row] td:nth-child(2)").all_text_contents()

    assert ["sys/id", "kind", "score", "loss:min"] == rows[0] == list(records[0])
    assert [text.strip() for text in shown] == [row[0] for row in rows[1:]] == [row["sys/id"] for row in records]
    assert {"'=1+1", "plain"} == {row[1] for row in rows[1:]}
    page.goto(f"{address(server)}/p/{project}/runs?{columns}&group=kind")
    page.locator("tr.group").nth(1).wait_for()

    groups = json.loads(exported(page, "JSON"))
    assert [("plain", 6), ("=1+1", 5)] == [(group["kind"], group["runs"]) for group in groups]
    assert {"score (mean)", "loss:min (mean)"} <= groups[0].keys()


def test_runs_of_a_server_are_one_html_file(page: Any, server: AnyServer, runs: list[str], tmp_path: Path) -> None:
    """It opens from the disk, makes no request, and executes nothing that was logged."""
    file = tmp_path / "runs.html"
    place = {"NAIAD_STORE": address(server), "NAIAD_API_TOKEN": server.token}
    command = [*COMMAND, "export", *runs[:3], "--to", str(file), "--format", "html"]
    done = subprocess.run(
        command, env={**os.environ, **place}, check=False, capture_output=True, text=True, timeout=100
    )
    assert 0 == done.returncode, done.stderr
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"file://{file}")
    page.locator("tbody tr[role=row]").nth(2).wait_for()

    assert {"file", "data", "blob"} >= {url.partition(":")[0] for url in requests}
    assert page.evaluate("window.hacked === undefined")
    assert server.token not in file.read_text()
    names = {row["sys/name"] for row in json.loads(exported(page, "JSON"))}
    assert {f"n{number} {HOSTILE}" for number in range(3)} == names
