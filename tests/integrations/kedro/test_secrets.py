"""No credential is in any file of the store, wherever it stood."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
from kedro.io import DatasetError
from kedro.runner import ParallelRunner, ThreadRunner
from kedro_datasets.pandas import CSVDataset

import naiad
from naiad.errors import NaiadValueError, PluginWarning
from naiad_kedro.marks import Mark

SECRET = "hunter2hunter2"
ADDRESSES = [
    f"https://me:{SECRET}@127.0.0.1:1/x.csv",
    f"https://me:pa/ss{SECRET}@127.0.0.1:1/x.csv",
    f"http://{SECRET}@127.0.0.1:1/x.csv",
    f"http://127.0.0.1:1/x.csv?sv=2024&sig={SECRET}",
    f"http://127.0.0.1:1/x.csv?X-Amz-Signature={SECRET}#part",
]
TEXTS = [
    f"cannot connect to postgresql+psycopg://me:{SECRET}@host:5432/db",
    f"{{'user': 'me', 'password': '{SECRET}'}}",
    f'{{"api_key": "{SECRET}"}}',
    f"Server=tcp:host,1433;Uid=me;Pwd={SECRET};Encrypt=yes",
    f"DefaultEndpointsProtocol=https;AccountName=x;AccountKey={SECRET}==;EndpointSuffix=core.windows.net",
    f"AWS_SECRET_ACCESS_KEY={SECRET} HF_TOKEN={SECRET}",
    f"Authorization: Bearer {SECRET}",
    f"host=h user=me password='{SECRET}' dbname=x",
]


def leaks(store: Path, secret: str = SECRET) -> list[str]:
    """The files that hold it."""
    return [str(file) for file in store.rglob("*") if file.is_file() and secret.encode() in file.read_bytes()]


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs capture the console, as they do."""
    monkeypatch.delenv("NAIAD_CAPTURES")
    monkeypatch.setenv("NAIAD_HARDWARE_SECONDS", "1000")


@pytest.mark.parametrize("address", ADDRESSES)
def test_address_in_the_catalog_and_in_the_error_of_loading(project: Any, address: str, captured: None) -> None:
    entry = "{type: pandas.CSVDataset, filepath: '%s'}" % address  # noqa: UP031 (braces)
    project.configure("catalog.yml", f"raw: {entry}\nnumbers: {{type: pandas.CSVDataset, filepath: n.csv}}")

    with pytest.raises(DatasetError):
        project.run()

    run = project.read()
    assert [] == leaks(project.path / ".naiad")
    assert "***" in run.value("kedro/error/message") or "127.0.0.1" in run.value("kedro/error/message")
    assert "127.0.0.1:1/x.csv" in run.value("kedro/catalog/datasets/raw/filepath")
    assert "failed" == run.state()


@pytest.mark.parametrize("text", TEXTS)
def test_text_of_an_exception_of_a_node(project: Any, text: str, captured: None, monkeypatch: Any) -> None:
    from tiny import nodes

    monkeypatch.setattr(nodes, "message", text)

    with pytest.raises(ZeroDivisionError):
        project.run("failing")

    assert [] == leaks(project.path / ".naiad")
    run = project.read()
    assert ("ZeroDivisionError", "raises") == (run.value("kedro/error/type"), run.value("kedro/error/node"))


def test_configuration_with_a_secret_is_not_kept_as_a_source_file(project: Any) -> None:
    files = "upload_source_files: ['conf/**/*.yml']"
    project.configure("naiad.yml", f"naiad: {{{files}}}")
    project.configure("catalog_far.yml", f"far: {{type: pandas.CSVDataset, filepath: '{ADDRESSES[0]}'}}")
    project.configure("catalog_db.yml", "db: {type: pandas.SQLTableDataset, table_name: t, credentials: db}")
    (project.path / "conf/local/credentials.yml").write_text("db: {con: 'sqlite://'}")

    with pytest.warns(PluginWarning, match=r"contains a secret: .*catalog_far.yml"):
        project.run()

    project.opened()["source_code/files"].download(str(project.path / "kept.zip"))
    names = {Path(name).name for name in zipfile.ZipFile(project.path / "kept.zip").namelist()}
    assert {"naiad.yml", "parameters.yml", "catalog.yml", "catalog_db.yml"} == names
    assert [] == leaks(project.path / ".naiad")


def test_artifact_is_not_tracked_by_an_address_with_a_secret(run: naiad.Run) -> None:
    dataset = CSVDataset(filepath=f"https://me:{SECRET}@host/x.csv", metadata={"naiad": "artifact"})

    with pytest.raises(NaiadValueError, match=r"@host/x.csv contains a secret") as caught:
        Mark("artifact", "a").put(run["kedro"], dataset)

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("runner", [None, ThreadRunner(), ParallelRunner(max_workers=2)], ids=["one", "threads", "all"])
def test_credentials_are_known_wherever_they_turn_up(project: Any, runner: Any, captured: None) -> None:
    (project.path / "conf/local/credentials.yml").write_text(
        f"db: {{con: 'sqlite:///{SECRET}', key: plainword77, user: tinyuser}}\n"
    )
    project.configure(
        "parameters.yml", "{factor: 2.0, options: {a: 'with plainword77 in it', token: secretword, n: 1}}"
    )

    project.run(runner=runner, runtime_params={"password": "given-by-hand", "pad_token": "<pad>"})

    found = project.opened()["kedro"].fetch()
    for secret in ("plainword77", "secretword", "given-by-hand"):
        assert [] == leaks(project.path / ".naiad", secret)
    assert {"a": "with *** in it", "token": "***", "n": 1} == found["parameters"]["options"]
    assert "<pad>" == found["parameters"]["pad_token"]
    assert "finished" == project.read().state()
