"""Models and their versions: ids, stages, going on, and what says that something was asked for wrongly."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import naiad
from naiad import management
from naiad.container import Container
from naiad.container_kinds import MODEL, MODEL_VERSION, PROJECT
from naiad.errors import (
    InactiveModel,
    InactiveModelVersion,
    InvalidArgument,
    MissingField,
    MissingParameter,
    ModelKeyTaken,
    ModelNotFound,
    ModelVersionNotFound,
    NaiadError,
    NaiadTypeError,
    NeedExistingModel,
    NeedExistingModelVersion,
    ProjectNotFound,
    ProtectedPath,
    ProtectedStage,
    ReadOnlyWarning,
    RunNotFound,
)
from naiad.storage.local.store import Store

pytestmark = pytest.mark.usefixtures("store")

MAKE_VERSIONS = """
import sys
import naiad

sys.stdin.readline()
for i in range(5):
    with naiad.init_model_version(model="DIGITS-CNN") as version:
        version["made_by"] = sys.argv[1]
        print(version["sys/id"].fetch(), flush=True)
"""


@pytest.fixture
def model(store: Path) -> str:
    """The id of a model that was made and stopped."""
    with naiad.init_model(key="CNN", name="small", project="digits") as model:
        model["signature"] = "28 x 28 -> 10"
        found: str = model["sys/id"].fetch()
        return found


# Ids


def test_ids_are_made_of_project_model_and_number(model: str) -> None:
    versions = [naiad.init_model_version(model=model) for _ in range(3)]

    assert "DIGITS-CNN" == model
    assert ["DIGITS-CNN-1", "DIGITS-CNN-2", "DIGITS-CNN-3"] == [each["sys/id"].fetch() for each in versions]
    assert {"DIGITS-CNN"} == {each["sys/model_id"].fetch() for each in versions}
    for each in versions:
        each.stop()


def test_versions_made_by_eight_processes_at_once_have_ids_of_their_own(model: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MAKE_VERSIONS, str(i)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for i in range(8)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    printed = [process.communicate(timeout=60)[0].split() for process in processes]

    assert sorted(f"{model}-{n}" for n in range(1, 41)) == sorted(name for names in printed for name in names)
    rows = Store.locate().catalog().summaries(kind=MODEL_VERSION)
    assert 40 == len(rows)
    assert {model} == {row.model_id for row in rows}


def test_key_of_another_model_is_taken(model: str) -> None:
    with pytest.raises(ModelKeyTaken, match=r"already has a model DIGITS-CNN\.\nOpen it with") as problem:
        naiad.init_model(key="CNN", project="digits")

    assert ("CNN", model) == (problem.value.key, problem.value.model_id)  # type: ignore[attr-defined]  # facts
    with naiad.init_model(key="CNN", project="other") as other:
        assert "OTHER-CNN" == other["sys/id"].fetch()


@pytest.mark.parametrize("key", ["cnn", "", "A-B", "12", "A B", "É", "../UP", "A" * 33, "A\n", "_"])
def test_key_with_other_characters_is_refused(key: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot be the key of a model"):
        naiad.init_model(key=key)
    assert [] == list(Store.locate().folders())


def test_small_letters_get_a_hint() -> None:
    with pytest.raises(InvalidArgument, match="Try 'CNN'"):
        naiad.init_model(key="cnn")


# Fields


def test_sys_fields_of_a_model(model: str) -> None:
    with naiad.init_model(model, mode="read-only") as found:
        texts = {name: found[f"sys/{name}"].fetch() for name in ("id", "name", "project", "description", "state")}
        assert {
            "id": model,
            "name": "small",
            "project": "digits",
            "description": "",
            "state": "finished",
        } == texts
        assert (False, set()) == (found["sys/trashed"].fetch(), found["sys/tags"].fetch())
        assert not found.exists("sys/stage")
        assert not found.exists("sys/failed")


def test_writable_sys_fields_are_those_of_neptune(model: str) -> None:
    with naiad.init_model_version(model=model) as version:
        version["sys/name"] = "better"
        version["sys/tags"].add("quantised")
        assert ("better", {"quantised"}) == (version["sys/name"].fetch(), version["sys/tags"].fetch())
        for path in ("sys/id", "sys/model_id", "sys/trashed", "sys/new"):
            with pytest.raises(ProtectedPath):
                version[path] = "x"


def test_going_on_changes_nothing_by_itself(model: str) -> None:
    with naiad.init_model(model) as found:
        assert ("small", "28 x 28 -> 10") == (found["sys/name"].fetch(), found["signature"].fetch())
    with naiad.init_model(with_id=model, key="CNN", name="renamed") as found:
        assert "renamed" == found["sys/name"].fetch()


def test_who_only_looks_into_a_model_is_no_writer_of_it(model: str) -> None:
    found = naiad.init_model(model)

    assert not list(found._store.directory(found._run).journal.glob("*.lease"))
    found["score"].append(0.5)
    found["score"].append(0.6)
    assert list(found._store.directory(found._run).journal.glob("*.lease"))
    assert "running" == found["sys/state"].fetch()
    found.stop()
    with naiad.init_model(model, mode="read-only") as found:
        assert [0.5, 0.6] == list(found["score"].fetch_values()["value"])


def test_model_that_is_open_for_reading_warns_of_writes(model: str) -> None:
    with naiad.init_model(model, mode="read-only") as found:
        with pytest.warns(ReadOnlyWarning, match="Model DIGITS-CNN is open for reading only"):
            found["x"] = 1
        assert not found.exists("x")


# Stages


def test_stage_goes_through_change_stage_alone(model: str) -> None:
    with naiad.init_model_version(model=model) as version:
        assert "none" == version["sys/stage"].fetch()
        for stage in ("staging", naiad.types.ModelVersionStage.PRODUCTION, "archived", "none", "production"):
            version.change_stage(stage)
            assert stage == version["sys/stage"].fetch()
        for change in (
            lambda: version.__setitem__("sys/stage", "staging"),
            lambda: version["sys/stage"].assign("staging"),
            lambda: version["sys"].assign({"stage": "staging"}),
            version["sys/stage"].pop,
            lambda: version.__delitem__("sys/stage"),
        ):
            with pytest.raises(ProtectedStage, match="change_stage"):
                change()

    with naiad.init_model_version("DIGITS-CNN-1", mode="read-only") as version:
        assert "production" == version["sys/stage"].fetch()
        with pytest.warns(ReadOnlyWarning):
            version.change_stage("archived")
        assert "production" == version["sys/stage"].fetch()


def test_stages_of_a_version_are_remembered_with_their_times(model: str) -> None:
    with naiad.init_model_version(model=model) as version:
        version.change_stage("staging")
        version.change_stage("production")
    with naiad.init_model_version("DIGITS-CNN-1") as version:
        version.change_stage("archived")
        history = version["sys/stage_history"].fetch_values()

    assert ["staging", "production", "archived"] == history["value"].tolist()
    assert history["timestamp"].is_monotonic_increasing


@pytest.mark.parametrize("stage", ["prod", "", "Production", None, 1, ["staging"]])
def test_unknown_stage_is_refused(model: str, stage: Any) -> None:
    with naiad.init_model_version(model=model) as version:
        with pytest.raises(InvalidArgument, match="'none', 'staging', 'production', 'archived'"):
            version.change_stage(stage)
        assert "none" == version["sys/stage"].fetch()


# What all containers share

OPENERS: list[Callable[[], Container]] = [
    lambda: naiad.init_run(project="digits"),
    lambda: naiad.init_project("digits"),
    lambda: naiad.init_model("DIGITS-CNN"),
    lambda: naiad.init_model_version(model="DIGITS-CNN"),
]


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("opener", OPENERS, ids=["run", "project", "model", "version"])
def test_every_container_has_the_same_verbs(opener: Callable[[], Container]) -> None:
    with opener() as container:
        container["a/b"] = 1
        container["a/series"].append(0.5, step=2)
        container["a/notes"].extend(["x", "y"])
        container["sys/tags"].add("t")
        container.wait()
        container.sync()
        assert {"b": 1} == container["a"].fetch()
        assert 1 == container.fetch()["a"]["b"]
        assert container.exists("a/series")
        assert not container.exists("a/none")
        assert {"a", "a/b", "sys"} <= {name.rstrip("/") for name in container._ipython_key_completions_()}
        assert container.get_url().startswith("file://")
        assert "started" == container.get_state()
        assert container is container["a"].get_root_object()
        container.pop("a/notes")
        assert not container.exists("a/notes")
        twin = pickle.loads(pickle.dumps(container))
        assert twin is container
    assert "stopped" == container.get_state()
    with pytest.raises(container._kind.inactive):
        container["a/b"] = 2


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("opener", OPENERS[1:], ids=["project", "model", "version"])
def test_container_crosses_to_a_spawned_process(opener: Callable[[], Container]) -> None:
    script = "import pickle, sys; c = pickle.load(sys.stdin.buffer); c['from/child'] = 5; c.wait()"
    with opener() as container:
        subprocess.run([sys.executable, "-c", script], input=pickle.dumps(container), check=True, timeout=60)
        assert 5 == container["from/child"].fetch()


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("opener", OPENERS, ids=["run", "project", "model", "version"])
def test_forked_child_writes_to_the_container_it_was_given(opener: Callable[[], Container]) -> None:
    with opener() as container:
        pid = os.fork()
        if pid == 0:
            container["from/child"] = 5
            container["from/series"].append(0.5)
            os._exit(0)
        assert (pid, 0) == os.waitpid(pid, 0)
        assert 5 == container["from/child"].fetch()
        container["from/parent"] = 6
        assert [0.5] == list(container["from/series"].fetch_values()["value"])
    [row] = [row for row in Store.locate().catalog().summaries(kind=container._kind) if row.id == container._id]
    assert "finished" == row.state


def test_held_handler_of_a_stopped_version_is_refused(model: str) -> None:
    version = naiad.init_model_version(model=model)
    handler = version["loss"]
    handler.append(1.0)
    version.stop()

    with pytest.raises(InactiveModelVersion):
        handler.append(2.0)
    with pytest.raises(InactiveModelVersion):
        version.change_stage("staging")
    found = naiad.init_model(model)
    found.stop()
    with pytest.raises(InactiveModel, match="Model DIGITS-CNN was stopped"):
        found["x"].fetch()


def test_debug_mode_leaves_nothing(tmp_path: Path) -> None:
    for container in (
        naiad.init_model(key="CNN", mode="debug"),
        naiad.init_model("DIGITS-CNN", mode="debug"),
        naiad.init_model_version(model="DIGITS-CNN", mode="debug"),
        naiad.init_model_version("DIGITS-CNN-1", mode="debug"),
        naiad.init_project("unheard/of", mode="debug"),
    ):
        folder = container._store.directory(container._run).path
        with container:
            container["x"] = 1
            assert 1 == container["x"].fetch()
        assert not folder.exists()
    assert [] == os.listdir(tmp_path)


def test_model_that_could_not_begin_leaves_its_key_free(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_given: object, **_more: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("naiad.storage.local.writer.Writer.open", refuse)
        with pytest.raises(OSError, match="space"):
            naiad.init_model(key="CNN", project="digits")
    assert [] == list(Store.locate().folders())

    with naiad.init_model(key="CNN", project="digits") as model:
        assert "DIGITS-CNN" == model["sys/id"].fetch()


# What is asked for wrongly


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (naiad.init_model, MissingParameter, 'init_model(key="CNN")'),
        (naiad.init_model_version, MissingParameter, "init_model_version() needs model="),
        (lambda: naiad.init_model(key="A", mode="read-only"), NeedExistingModel, "init_model(with_id="),
        (
            lambda: naiad.init_model_version(model="DIGITS-CNN", mode="read-only"),
            NeedExistingModelVersion,
            "init_model_version(with_id=",
        ),
        (lambda: naiad.init_model(key="A", mode="offline"), NaiadError, "be initialized in OFFLINE"),
        (lambda: naiad.init_model_version(model="DIGITS-CNN", mode="offline"), NaiadError, "be initialized in OFFLINE"),
        (lambda: naiad.init_model("DIGITS-CNM"), ModelNotFound, "Nearby: DIGITS-CNN"),
        (lambda: naiad.init_model_version(model="DIGITS-CNM"), ModelNotFound, "Nearby: DIGITS-CNN"),
        (lambda: naiad.init_model_version("DIGITS-CNN-1"), ModelVersionNotFound, "has no model version"),
        (lambda: naiad.init_model_version(model="DIGITS-CNN-1"), InvalidArgument, "not of a model version"),
        (lambda: naiad.init_model_version(model="DIGITS-1"), InvalidArgument, "not of a run"),
        (lambda: naiad.init_run(with_id="DIGITS-CNN"), RunNotFound, "is a model, not a run"),
        (lambda: naiad.init_model_version("DIGITS-CNN"), ModelVersionNotFound, "is a model, not a model version"),
        (lambda: naiad.init_model("DIGITS-CNN", key="DNN"), InvalidArgument, "contradict each other"),
        (lambda: naiad.init_model_version("A-B-1", model="A-C"), InvalidArgument, "contradict each other"),
        (lambda: naiad.init_project("unknown"), ProjectNotFound, "It has: 'digits'"),
        (lambda: naiad.init_model(5), NaiadTypeError, "with_id="),  # type: ignore[arg-type]  # that is the test
        (lambda: naiad.init_model(key=5), NaiadTypeError, "key="),  # type: ignore[arg-type]  # that is the test
        (lambda: naiad.init_model_version(model=b"A"), NaiadTypeError, "model="),  # type: ignore[arg-type]  # likewise
        (lambda: naiad.init_model(key="A", project=5), NaiadTypeError, "project="),  # type: ignore[arg-type]  # likewise
        (lambda: naiad.init_model(key="A", mode="quick"), InvalidArgument, "no mode 'quick'"),
        (lambda: naiad.init_model(key="A", limits="wandb"), InvalidArgument, "limits="),
        (lambda: naiad.init_model(key="A", speed=1), TypeError, "unexpected keyword argument 'speed'"),
        (lambda: naiad.init_model(key="A", backend=1), InvalidArgument, "before 1.0"),
    ],
)
def test_wrong_arguments_are_refused_and_make_nothing(
    call: Callable[[], Any], error: type[Exception], words: str
) -> None:
    before = [folder.path for folder in Store.locate().folders()]
    with pytest.raises(error) as problem:
        call()

    assert words in str(problem.value)
    assert before == [folder.path for folder in Store.locate().folders()]


def test_id_of_another_kind_is_not_found_as_a_model(model: str) -> None:
    with naiad.init_run(project="digits") as run, naiad.init_model_version(model=model) as version:
        for other in (run, version):
            with pytest.raises(ModelNotFound, match="not a model"):
                naiad.init_model(other["sys/id"].fetch())


def test_neptunes_names_are_these_errors() -> None:
    names = naiad.exceptions
    assert (ModelKeyTaken, ProtectedStage) == (
        names.NeptuneModelKeyAlreadyExistsError,
        names.NeptuneCannotChangeStageManually,
    )
    assert issubclass(names.NeedExistingModelForReadOnlyMode, names.NeedExistingExperimentForReadOnlyMode)
    assert issubclass(ModelKeyTaken, names.NeptuneObjectCreationConflict)


# Listings


def test_catalog_lists_each_kind_by_itself(model: str) -> None:
    naiad.init_run(project="digits").stop()
    naiad.init_project("digits").stop()
    with naiad.init_model_version(model=model) as version:
        version.change_stage("staging")
    catalog = Store.locate().catalog()

    assert ["DIGITS-1"] == [row.id for row in catalog.summaries()]
    assert [("DIGITS-CNN", "small")] == [(row.id, row.name) for row in catalog.summaries(kind=MODEL)]
    assert [("DIGITS-CNN-1", model, "staging")] == [
        (row.id, row.model_id, row.stage) for row in catalog.summaries(kind=MODEL_VERSION)
    ]
    assert [("DIGITS", "digits")] == [(row.id, row.name) for row in catalog.summaries(kind=PROJECT)]
    before = catalog.summaries(kind=None)
    catalog.rebuild()
    assert {row.id: row for row in before} == {row.id: row for row in catalog.summaries(kind=None)}


def test_model_copied_from_another_store_is_found_by_its_id(tmp_path: Path, model: str) -> None:
    source = Store.locate().find_directory(model, MODEL)
    other = tmp_path / "elsewhere"
    naiad.init_run(project="mine", store=other).stop()
    (other / "models").mkdir()
    source.path.rename(other / "models" / source.uid)

    with naiad.init_model(model, store=other, mode="read-only") as found:
        assert "28 x 28 -> 10" == found["signature"].fetch()
    with naiad.init_model_version(model=model, store=other) as version:
        assert ("DIGITS-CNN-1", "digits") == (version["sys/id"].fetch(), version["sys/project"].fetch())
    with naiad.init_project("digits", store=other, mode="read-only") as project, pytest.raises(MissingField):
        project["sys/owner"].fetch()


def test_model_in_the_trash_hides_its_versions_until_it_is_restored(model: str) -> None:
    naiad.init_model_version(model=model).stop()
    with naiad.init_model(model, mode="read-only") as found:
        management.trash_objects("digits", model)
        hidden = found.fetch_model_versions_table().to_rows()
        management.restore_objects("digits", model)
        shown = found.fetch_model_versions_table().to_rows()

    assert (0, 1) == (len(hidden), len(shown))
