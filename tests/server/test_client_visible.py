"""Programs see the same in a folder and on a server: every kind of field, fetching, tables, models, files, artifacts.

python -m pytest tests/server/test_client_visible.py -m slow -n 0        every verb, and examples of four integrations
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from places import PLACES, Place, Shared
from server_client import COMMAND
from test_kinds_modes_verbs import CASES, READ, Case
from test_storage import MOMENT, leaves, run_with_everything

import naiad
from naiad import trash
from naiad.errors import MissingField, ModelKeyTaken, NaiadTypeError, ReadOnlyWarning, RunNotFound, forget_warnings
from naiad.fields.registry import FIELDS
from naiad.ship import shipper
from naiad.storage.opening import locate
from naiad.types import File

EXAMPLES = Path(__file__).parents[2] / "examples"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
"""A whole image."""
_numbers = itertools.count(1)


@pytest.fixture(scope="module", params=PLACES)
def began(request: pytest.FixtureRequest, shared: Shared) -> Place:
    """A place for the tests of this module."""
    return shared.place(request.param)


@pytest.fixture
def place(began: Place, store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """The place that programs mean without naming one, and a folder of this machine that is the test's own."""
    for name, value in began.environment(store.parent).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(store.parent / "cache"))
    forget_warnings()
    yield began
    shipper.of_process.close()
    forget_warnings()


@pytest.fixture
def project(place: Place) -> str:
    """A project of the test's own, since the place is shared."""
    return f"p{next(_numbers)}"


KINDS = sorted({case.kind for case in CASES})


@pytest.mark.parametrize("kind", KINDS)
def test_some_verbs_of_each_kind(place: Place, project: str, kind: str) -> None:
    read_back(project, [case for case in CASES if case.kind == kind][::5])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_verb_of_a_kind(place: Place, project: str, kind: str) -> None:
    read_back(project, [case for case in CASES if case.kind == kind])


def read_back(project: str, cases: list[Case]) -> None:
    """Do what the cases say, and look at it: in the run that writes, while it goes on, and after its end."""
    begun: list[tuple[Case, naiad.Run]] = []
    for case in cases:
        run = naiad.init_run(project=project)
        case.do(run[case.path])
        check(run, case)
        begun.append((case, run))
    case, run = begun[0]
    with naiad.init_run(with_id=run["sys/id"].fetch(), mode="read-only") as live:
        check(live, case)
    for _case, run in begun:
        run.stop()
    for case, run in begun:
        with naiad.init_run(with_id=run._id, mode="read-only") as stopped:
            check(stopped, case)


def check(run: naiad.Run, case: Case) -> None:
    assert case.exists is run.exists(case.path), case.verb
    if case.exists:
        assert case.expected == READ[case.kind](run[case.path]), case.verb
        assert case.kind == type(run.get_attribute(case.path)).__name__
    else:
        with pytest.raises(MissingField):
            run[case.path].fetch()


def test_every_kind_of_field_is_read_back(place: Place, tmp_path: Path) -> None:
    here = locate(place.store)
    run_id = run_with_everything(here, tmp_path / "folder")
    with naiad.init_run(with_id=run_id, mode="read-only") as run:
        kinds = {leaf.kind for path in ("", "params", "sys") for leaf in leaves(run, path)}
        run["model"].download(str(tmp_path / "copy.bin"))
        run["files"].download(str(tmp_path / "files.zip"))
        run["data"].download(str(tmp_path / "data"))
        frame = run["loss"].fetch_values(include_timestamp=False)

        assert FIELDS.keys() == kinds
        assert {"lr": 0.1, "layers": 3, "is_deep": True, "at": MOMENT, "text": "x"} == run["params"].fetch()
        assert [[0, 0.5], [1, 0.75], [2, 0.25]] == frame.to_numpy().tolist()
        assert (0.25, ["one", "two"]) == (run["loss"].fetch_last(), run["log"].fetch_values()["value"].tolist())
        assert [b"\x89PNG" * 2000] == [file.content for file in run["images"].fetch_files()]
        assert b"m" * 5000 == (tmp_path / "copy.bin").read_bytes()
        assert b"a,b" == (tmp_path / "data/inner/data.csv").read_bytes()
        with zipfile.ZipFile(tmp_path / "files.zip") as archive:
            assert "inner/data.csv" in archive.namelist()
        assert ["inner/data.csv"] == [file.file_path for file in run["data"].fetch_files_list()]
        assert 64 == len(run["data"].fetch_hash())
        assert {"good"} == run["sys/tags"].fetch()
        assert not run.exists("gone")
        with pytest.raises(MissingField, match="no field"):
            run["los"].fetch()
        with pytest.warns(ReadOnlyWarning):
            run["new"] = 1
        assert here.url(here.find(run_id)) == run.get_url()
        assert ("params", "loss") <= tuple(run.get_structure()) or run.exists("params/lr")


def test_run_is_resumed_and_changed_by_several_writers(place: Place, project: str) -> None:
    with naiad.init_run(project=project, custom_run_id="job") as first:
        first["loss"].append(1.0)
        first["text"].append("one")
        with naiad.init_run(project=project, custom_run_id="job") as second:
            second["loss"].append(2.0)
            second["x"] = 1
            again = pickle.loads(pickle.dumps(second))
            assert again is second or again["x"].fetch() == 1
            second.sync(remote=place.is_server)
        name = first["sys/id"].fetch()
    with naiad.init_run(with_id=name) as third:
        third["loss"].append(3.0)
        third["sys/tags"].add("again")
        values = third["loss"].fetch_values()["value"].tolist()
    with naiad.init_run(with_id=name, mode="read-only") as found:
        assert [1.0, 2.0, 3.0] == sorted(values) == sorted(found["loss"].fetch_values()["value"].tolist())
        assert (1, {"again"}, "finished") == tuple(found[path].fetch() for path in ("x", "sys/tags", "sys/state"))


def test_run_goes_on_in_another_process(place: Place, project: str) -> None:
    with naiad.init_run(project=project) as run:
        run["a"] = 1
        run.sync(remote=place.is_server)
        name = run["sys/id"].fetch()
        child = os.fork()
        if not child:
            run["b"] = 2
            run["file"].upload(File.from_content(b"c" * 10_000))
            run.stop()
            os._exit(0)
        assert 0 == os.waitpid(child, 0)[1]
    code = f"import naiad\nwith naiad.init_run(with_id={name!r}) as run:\n    run['c'] = run['a'].fetch() + 2"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)
    with naiad.init_run(with_id=name, mode="read-only") as found:
        assert [1, 2, 3] == [found[path].fetch() for path in "abc"]
        assert b"c" * 10_000 == found["file"].fetch_content()


def test_refused_dict_leaves_nothing(place: Place, project: str) -> None:
    with naiad.init_run(project=project, strict=True) as run:
        with pytest.raises(NaiadTypeError):
            run["p"] = {"a": 1, "b": object()}

        assert not run.exists("p/a")


def test_tables_have_the_runs_that_a_query_finds(place: Place, project: str) -> None:
    for lr, tag in ((0.1, "slow"), (0.3, "fast"), (0.2, "fast")):
        with naiad.init_run(project=project, tags=[tag], name=f"lr {lr}") as run:
            run["lr"] = lr
            run["loss"].extend([1.0, lr])
            run["note"] = "é\U0001f40d"
    found = naiad.init_project(project, mode="read-only")
    key = found._id
    columns = ["sys/id", "sys/name", "lr", "loss", "loss:min", "note", "sys/state"]
    frame = found.fetch_runs_table(query="`lr`:float > 0.15", columns=columns, sort_by="lr").to_pandas()
    tagged = found.fetch_runs_table(tag="fast", columns=["sys/id"], limit=1, sort_by="lr", ascending=True)
    everything = found.fetch_runs_table(sort_by="lr", ascending=True)

    assert [f"{key}-2", f"{key}-3"] == frame["sys/id"].tolist()
    assert [0.3, 0.2] == frame["lr"].tolist() == frame["loss"].tolist() == frame["loss:min"].tolist()
    assert (["é\U0001f40d"] * 2, ["finished"] * 2) == (frame["note"].tolist(), frame["sys/state"].tolist())
    assert [f"{key}-3"] == [row.get_attribute_value("sys/id") for row in tagged]
    assert [f"{key}-1", f"{key}-3", f"{key}-2"] == [row.get_attribute_value("sys/id") for row in everything]
    assert [f"{key}-3", f"{key}-2", f"{key}-1"] == [each.id for each in found.runs()]
    assert project in naiad.management.get_project_list()


def test_models_their_versions_and_the_trash(place: Place, project: str) -> None:
    with naiad.init_model(key="CNN", project=project, name="small") as model:
        model["signature"] = "28 x 28"
        name = model["sys/id"].fetch()
        for stage in ("staging", "production"):
            with naiad.init_model_version(model=name) as version:
                version["weights"].upload(File.from_content(b"w" * 5000, extension="bin"))
                version.change_stage(stage)
        frame = model.fetch_model_versions_table(sort_by="sys/creation_time", ascending=True).to_pandas()
    with pytest.raises(ModelKeyTaken, match="a model .*-CNN") as taken:
        naiad.init_model(key="CNN", project=project)
    with naiad.init_model_version(with_id=f"{name}-2", mode="read-only") as found:
        content, url = found["weights"].fetch_content(), found.get_url()
    with naiad.init_model(with_id=name) as again:
        again["signature"] = "32 x 32"
    project_reader = naiad.init_project(project, mode="read-only")
    models = project_reader.fetch_models_table(columns=["sys/id", "signature"]).to_pandas()[["sys/id", "signature"]]

    assert name == taken.value.model_id  # type: ignore[attr-defined]  # a fact
    assert "Open it with" in str(taken.value)
    assert ["staging", "production"] == frame["sys/stage"].tolist()
    assert [f"{name}-1", f"{name}-2"] == frame["sys/id"].tolist()
    assert (b"w" * 5000, [[name, "32 x 32"]]) == (content, models.to_numpy().tolist())
    assert url.startswith(place.store if place.is_server else "file://")

    here = locate(place.store)
    naiad.management.trash_objects(project, [name])
    assert [] == [*project_reader.fetch_models_table()]
    gone = trash.delete(here, list(trash.in_trash(here, project)))
    assert {name, f"{name}-1", f"{name}-2"} == {item.id for item in gone}
    with pytest.raises(Exception, match="no model"):
        naiad.init_model(with_id=name, mode="read-only")


def test_fields_of_a_project(place: Place, project: str) -> None:
    naiad.management.create_project(project)
    with naiad.init_project(project) as first:
        first["data/version"] = 3
        first["notes"].append("one")
    with naiad.init_project(project, mode="read-only") as again:
        assert (3, "one") == (again["data/version"].fetch(), again["notes"].fetch_last())


def test_run_that_does_not_exist_is_named(place: Place, project: str) -> None:
    with pytest.raises(RunNotFound, match="NONE-1"):
        naiad.init_run(with_id="NONE-1")
    with pytest.raises(RunNotFound, match="job"):
        naiad.init_run(project=project, custom_run_id="job", mode="read-only")


def test_files_are_replaced_deleted_and_downloaded(place: Place, project: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / "data" / name).write_text(name * 2000)
    with naiad.init_run(project=project) as run:
        run["file"].upload(str(tmp_path / "data/a.txt"))
        run["set"].upload_files(str(tmp_path / "data/*.txt"))
        run["set"].delete_files(["a.txt"])
        run["artifact"].track_files(str(tmp_path / "data"))
        before = run["artifact"].fetch_hash()
        (tmp_path / "data/b.txt").write_text("changed")
        run["artifact"].track_files(str(tmp_path / "data"))
        name = run["sys/id"].fetch()
    with naiad.init_run(with_id=name) as run:
        run["file"].upload(File.from_content("new", extension="md"))
        run["other"] = run["artifact"]
    with naiad.init_run(with_id=name, mode="read-only") as found:
        found["file"].download(str(tmp_path / "file.md"))
        found["set"].download(str(tmp_path / "set.zip"))
        found["artifact"].download(str(tmp_path / "artifact"))

        assert (b"new", "md") == ((tmp_path / "file.md").read_bytes(), found["file"].fetch_extension())
        assert ["b.txt"] == zipfile.ZipFile(tmp_path / "set.zip").namelist()
        assert "changed" == (tmp_path / "artifact/b.txt").read_text()
        assert before != found["artifact"].fetch_hash() == found["other"].fetch_hash()


def test_run_is_exported_as_a_page_with_its_curves_values_and_images(
    place: Place, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a machine that has only the address of the server, of which the page has nothing."""
    with naiad.init_run(project=project) as run:
        run["loss"].extend([each / 4 for each in range(300)])
        run["lr"] = 0.25
        run["image"].upload(File.from_content(PIXEL, extension="png"))
        name = run["sys/id"].fetch()
        if place.is_server:
            run.sync(remote=True)
    if place.is_server:
        monkeypatch.setenv("NAIAD_LOCAL_STORE", str(tmp_path / "elsewhere"))
    command = [*COMMAND, "export", name, "--to", str(tmp_path / "run.html"), "--format", "html"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    page = (tmp_path / "run.html").read_text(encoding="utf-8")
    found = json.loads(page.partition('id="naiad-data">')[2].partition("</script>")[0])
    [kept] = found["runs"].values()
    fields = {field["path"]: field for field in kept["fields"]["fields"]}

    assert (0.25, 300, 299 / 4) == (fields["lr"]["value"], fields["loss"]["count"], fields["loss"]["last"]["value"])
    assert ["finished", name] == [kept["head"]["state"], kept["head"]["id"]]
    assert found["charts"]
    assert f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}" in found["files"].values()
    assert [] == [text for text in (place.token, place.store) if place.is_server and text in page]


COMMANDS: dict[str, list[str]] = {
    "keras": [sys.executable, "-W", "ignore", str(EXAMPLES / "keras_fit.py")],
    "lightning": [sys.executable, "-W", "ignore", str(EXAMPLES / "lightning_fit.py")],
    "sklearn": [sys.executable, "-W", "ignore", str(EXAMPLES / "sklearn_report.py")],
    "kedro": [sys.executable, "-m", "kedro", "run"],
}
EXPECTED: dict[str, tuple[str, str, Any]] = {
    "keras": ("digits", "training/train/epoch/loss", 10),
    "lightning": ("digits", "training/train/loss", 200),
    "sklearn": ("wines", "test/metrics/accuracy_score", None),
    "kedro": ("kedro_project", "kedro/status", None),
}


@pytest.mark.slow
@pytest.mark.parametrize("framework", COMMANDS)
def test_example_of_an_integration(place: Place, framework: str, tmp_path: Path) -> None:
    folder = tmp_path / "kedro_project"
    shutil.copytree(EXAMPLES / "kedro_project", folder, ignore=shutil.ignore_patterns("data", ".naiad", "__pycache__"))
    more = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "DO_NOT_TRACK": "1"}
    done = subprocess.run(
        COMMANDS[framework], cwd=folder, env={**os.environ, **more}, capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    project, path, count = EXPECTED[framework]
    rows = naiad.init_project(project, mode="read-only").fetch_runs_table(columns=["sys/id", "sys/state"]).to_pandas()
    names = rows["sys/id"].tolist()
    with naiad.init_run(with_id=names[0], mode="read-only") as run:
        assert "finished" == run["sys/state"].fetch()
        if count is None:
            run[path].fetch()
        else:
            assert count == len(run[path].fetch_values())
