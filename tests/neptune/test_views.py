"""Each compatibility view, shown on a run; and that nothing is lost in the store for any of them.

The programs run in processes of their own, because the alias answers for a whole process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

import naiad

MOMENT = datetime(2024, 5, 1, 12, 30, 15, 123_456, tzinfo=timezone.utc)
BEGIN = """
import sys, json, naiad.as_neptune, neptune
from datetime import datetime, timezone
MOMENT = datetime(2024, 5, 1, 12, 30, 15, 123456, tzinfo=timezone.utc)
"""

VIEWS: dict[str, tuple[str, Any]] = {
    "init_project() of an unknown name": (
        """
        with neptune.init_project("team/new") as project:
            project["note"] = "kept"
        try:
            neptune.init_project("team/absent", mode="read-only")
        except neptune.exceptions.ProjectNotFound:
            answer = neptune.management.get_project_list()
        """,
        ["team/new"],
    ),
    '"sys/state"': (
        """
        run = neptune.init_run()
        states = [run["sys/state"].fetch(), run["sys"].fetch()["state"], run.fetch()["sys"]["state"]]
        states.append(run.get_structure()["sys"]["state"].fetch())
        run.stop()
        states.append(neptune.init_run(with_id=run._sys_id, mode="read-only")["sys/state"].fetch())
        run = neptune.init_run()
        run["state"] = run["other/sys/state"] = "running"
        answer = [*states, run["state"].fetch(), run["other"].fetch()["sys"]["state"]]
        """,
        [*["Active"] * 4, "Inactive", "running", "running"],
    ),
    "a fetched datetime": (
        """
        run = neptune.init_run(project="moments")
        run["moment"] = run["below/moment"] = MOMENT
        field = run.get_structure()["moment"]
        run["copy"] = run["moment"]
        run["written"] = datetime(2000, 1, 1)
        run.get_structure()["written"].assign(MOMENT)
        assert isinstance(field, neptune.attributes.Datetime)
        found = [run["moment"].fetch(), run["below"].fetch()["moment"]]
        found += [field.fetch(), run.get_attribute("moment").fetch()]
        run.stop()
        table = neptune.init_project("moments", mode="read-only").fetch_runs_table(columns=["moment"])
        found.append(next(table).get_attribute_value("moment"))
        found.append(table.to_pandas()["moment"][0].to_pydatetime())
        answer = [each.microsecond for each in found]
        """,
        [123_000] * 6,
    ),
    "a malformed query": (
        """
        neptune.init_run(project="queries").stop()
        project = neptune.init_project("queries", mode="read-only")
        answer = []
        for use in (next, list, lambda table: table.to_pandas(), lambda table: table.to_rows()):
            table = project.fetch_runs_table(query="lr > ><")
            try:
                use(table)
            except neptune.exceptions.NeptuneInvalidQueryException:
                answer.append("raised")
        try:
            project.fetch_runs_table(limit=0)
        except ValueError:
            answer.append("at once")
        """,
        [*["raised"] * 4, "at once"],
    ),
    "next() of a table": (
        """
        for name in "abc":
            neptune.init_run(project="rows", name=name).stop()
        table = neptune.init_project("rows", mode="read-only").fetch_runs_table(sort_by="sys/name", ascending=True)
        first = next(table).get_attribute_value("sys/name")
        rest = [row["sys/name"].get() for row in table]
        again = [row._id for row in table if row._container_type is neptune.Run.container_type]
        answer = [first, *rest, len(again), iter(table) is table, len(neptune.integrations.pandas.to_pandas(table))]
        """,
        ["a", "b", "c", 3, True, 3],
    ),
    "the archive of a file set": (
        """
        import zipfile, pathlib
        pathlib.Path("data/sub").mkdir(parents=True)
        pathlib.Path("data/a.txt").write_text("a")
        pathlib.Path("data/sub/b.txt").write_text("b")
        run = neptune.init_run(project="sets")
        run["set"].upload_files("data")
        run["file"].upload("data/a.txt")
        run["set"].download()
        run["set"].download("data")
        run["set"].download("named.zip")
        run["file"].download()
        run.stop()
        row = next(neptune.init_project("sets", mode="read-only").fetch_runs_table())
        row["set"].download("table.zip")
        places = ["set.zip", "data/set.zip", "named.zip", "table.zip"]
        answer = [sorted(zipfile.ZipFile(place).namelist()) for place in places]
        answer.append(pathlib.Path("file.txt").read_text())
        """,
        [*[["/", "data/", "data/a.txt", "data/sub/", "data/sub/b.txt"]] * 4, "a"],
    ),
    "download() to a name that another field's file has": (
        """
        answer = []
        for content in ("first", "second"):
            with neptune.init_run(project="models") as run:
                run["model"].upload(neptune.types.File.from_content(content))
                run["model"].download()
            answer.append(open("model.txt").read())
        for row in neptune.init_project("models", mode="read-only").fetch_runs_table().to_rows():
            row["model"].download()
            answer.append(open("model.txt").read())
        """,
        ["first", "second", "second", "first"],
    ),
    "sort_by= of single values and series at one path": (
        """
        run = neptune.init_run(project="mixed")
        run["x"] = 1.5
        run["number"] = 1
        run.stop()
        run = neptune.init_run(project="mixed")
        run["x"].append(0.5)
        run["number"] = 0.5
        run.stop()
        project = neptune.init_project("mixed", mode="read-only")
        numbers = project.fetch_runs_table(sort_by="number", ascending=True).to_pandas()["number"].tolist()
        try:
            project.fetch_runs_table(sort_by="x")
        except ValueError:
            answer = [*numbers, "refused"]
        """,
        [0.5, 1.0, "refused"],
    ),
    "reading a field that does not exist": (
        """
        run = neptune.init_run()
        answer = []
        errors = neptune.exceptions
        names = (errors.MissingFieldException, errors.FetchAttributeNotFoundException, errors.MetadataInconsistency)
        for verb in ("fetch", "fetch_last", "fetch_values", "download", "fetch_hash", "fetch_extension"):
            try:
                getattr(run["nothing"], verb)()
            except (AttributeError, KeyError) as error:
                answer.append(all(isinstance(error, name) for name in names) and error.path == "nothing")
        """,
        [True] * 6,
    ),
}
"""A program for each view, and its answer."""


OTHERS: dict[str, tuple[str, Any]] = {
    "naiad keeps its own rules beside the alias": (
        """
        import naiad
        run = naiad.init_run()
        run["moment"] = MOMENT
        answer = [run["sys/state"].fetch(), run["moment"].fetch().microsecond, isinstance(run, neptune.Run)]
        """,
        ["running", 123_456, False],
    ),
    "what naiad keeps is kept under the alias": (
        """
        import numpy as np
        run = neptune.init_run()
        run["loss"].extend(np.array([0.5, float("nan"), 0.25]), steps=range(2, -1, -1))
        run["text"] = "x" * 20_000
        run["count"] = 2**40
        run["flag"] = np.bool_(True)
        frame = run["loss"].fetch_values()
        answer = [frame["step"].tolist(), len(frame), len(run["text"].fetch())]
        answer += [run["count"].fetch(), run["flag"].fetch()]
        """,
        [[0.0, 1.0, 2.0], 3, 20_000, 2**40, True],
    ),
    "options of points are those of the client": (
        """
        import warnings
        from neptune.types import File
        run = neptune.init_run()
        files = [File.from_content(b"a"), File.from_content(b"b")]
        run["files"].extend(files, steps=[3, 5], name="both", description="text")
        run["files"].append(File.from_content(b"c"), name="one")
        run["more"].extend({"a": files, "b": files[:1]}, name="below")
        below = [run["more"][name].fetch_values()["name"].tolist() for name in "ab"]
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always")
            run["loss"].append(0.5, step=1, colour="red")
        frame = run["files"].fetch_values()
        kinds = [issubclass(each.category, neptune.common.warnings.NeptuneWarning) for each in given]
        answer = [frame["name"].tolist(), frame["step"].tolist(), kinds, run["loss"].fetch_last(), below]
        """,
        [["both", "both", "one"], [3, 5, 6], [True], 0.5, [["below", "below"], ["below"]]],
    ),
    "methods of the old API say so": (
        """
        run = neptune.init_run()
        answer = []
        for name in ("log_metric", "send_image", "set_property"):
            try:
                getattr(run, name)
            except neptune.exceptions.NeptunePossibleLegacyUsageException as error:
                answer.append(name in str(error))
        answer.append(hasattr(run, "nothing_of_this_name"))
        try:
            neptune.init_run(project_qualified_name="a/b")
        except neptune.exceptions.NeptunePossibleLegacyUsageException:
            answer.append("refused")
        """,
        [True, True, True, False, "refused"],
    ),
    "inner names that packages use are there": (
        """
        from neptune.integrations.utils import RunType, expect_not_an_experiment, join_paths, verify_type
        from neptune.internal.container_type import ContainerType
        from neptune.internal.state import ContainerState
        from neptune.management.internal.utils import normalize_project_name
        from neptune.common.warnings import NeptuneWarning, warn_once, warned_once
        from neptune.typing import NeptuneObject, SupportsNamespaces
        run = neptune.init_run(project="inner")
        expect_not_an_experiment(run)
        verify_type("run", run, (neptune.Run, neptune.handler.Handler))
        verify_type("run", run["a"], (neptune.Run, neptune.handler.Handler, type(None)))
        answer = [
            join_paths("a/", "/b", "c"), run["a"]["b"]._path, run._sys_id, run.container_type == "run",
            run.container_type is ContainerType.RUN, ContainerState(run.get_state()).name,
            normalize_project_name("digits", "team"), isinstance(run, NeptuneObject),
            isinstance(run["a"], SupportsNamespaces), isinstance(run["a"], neptune.handler.Handler),
        ]
        try:
            verify_type("run", 5, (neptune.Run, neptune.handler.Handler))
        except TypeError as error:
            answer.append(str(error))
        """,
        [
            "a/b/c",
            "a/b",
            "INNER-1",
            True,
            True,
            "STARTED",
            "team/digits",
            True,
            True,
            True,
            "run must be a Run or Handler, not 5.",
        ],
    ),
    "what is asked of types, roles and loggers has an answer": (
        """
        import io, logging, pathlib
        from enum import Enum
        from neptune.attributes.atoms.copiable_atom import CopiableAtom
        from neptune.attributes.series.fetchable_series import FetchableSeries
        from neptune.attributes.sets.set import Set
        from neptune.common.exceptions import NeptuneException
        from neptune.common.utils import IS_WINDOWS
        from neptune.envs import CUSTOM_RUN_ID_ENV_NAME
        from neptune.integrations.python_logger import NeptuneHandler
        from neptune.management import WorkspaceMemberRole
        from neptune.types import Artifact, File, FileSeries, GitRef
        from neptune.types.atoms.git_ref import GitRefDisabled
        from neptune.internal.types.file_types import FileType
        run = neptune.init_run(monitoring_namespace="watched")
        logger = logging.getLogger("of a program")
        logger.addHandler(NeptuneHandler(run=run, level=logging.WARNING))
        logger.warning("loud")
        logger.info("quiet")
        neptune.logging.Logger(run, "notes").log("first")
        fields = run.get_structure()
        answer = [
            run["watched/python_logger"].fetch_last(), run["notes"].fetch_last(),
            File.from_stream(io.BytesIO(b"a")).file_type is FileType.STREAM,
            isinstance(WorkspaceMemberRole.ADMIN, Enum), Artifact(None).hash, len(FileSeries([File.from_content("a")])),
            GitRef.DISABLED == GitRefDisabled("DISABLED"), GitRef(str(pathlib.Path.cwd())).resolve_path(),
            IS_WINDOWS, CUSTOM_RUN_ID_ENV_NAME, issubclass(neptune.exceptions.RunNotFound, NeptuneException),
            isinstance(fields["notes"], FetchableSeries), isinstance(fields["sys"]["tags"], Set),
            isinstance(fields["sys"]["name"], CopiableAtom), run["watched/python_logger"].fetch_values().shape[0],
        ]
        answer[7] = pathlib.Path(answer[7]) == pathlib.Path.cwd()
        """,
        ["loud", "first", True, True, None, 1, True, True, False, "NEPTUNE_CUSTOM_RUN_ID", *[True] * 4, 1],
    ),
    "values are cast as the client casts them": (
        """
        from neptune.types import Boolean, Datetime, File, Float, Integer, String, FloatSeries, StringSeries
        from neptune.types.namespace import Namespace
        from neptune.types.type_casting import cast_value, cast_value_for_extend
        from neptune.types.value_copy import ValueCopy
        from neptune.types.value_visitor import ValueVisitor
        run = neptune.init_run()
        kinds = [type(cast_value(each)) for each in (True, 1, 0.5, "a", MOMENT, {"a": 1}, run["a"], object())]
        assert kinds == [Boolean, Integer, Float, String, Datetime, Namespace, ValueCopy, type(None)], kinds
        assert [type(cast_value_for_extend(each)) for each in ([0.5], ["a"])] == [FloatSeries, StringSeries]
        assert len(FloatSeries([1, 2, 3])) == 3

        class Names(ValueVisitor):
            def visit_integer(self, value):
                return value.value + 1

        from neptune.attributes import Float as Field, create_attribute_from_type
        field = create_attribute_from_type("float", run, ["made", "here"])
        field.assign(0.5)
        answer = [Names().visit(Integer(1)), run["made/here"].fetch(), isinstance(field, Field)]
        """,
        [2, 0.5, True],
    ),
}
"""Programs that show something else of the alias, each with its answer."""

ALL = VIEWS | OTHERS
RUNNER = """
import contextlib, io, os, pathlib, traceback
answers = {}
for number, (name, program) in enumerate(json.load(sys.stdin).items()):
    place = pathlib.Path(str(number))
    place.mkdir()
    os.chdir(place)
    os.environ["NAIAD_STORE"] = str(pathlib.Path(".naiad").absolute())
    known = {"neptune": neptune, "MOMENT": MOMENT, "datetime": datetime}
    try:
        exec(program, known)
        answers[name] = known["answer"]
    except Exception:
        answers[name] = traceback.format_exc()
    os.chdir("..")
json.dump(answers, sys.stdout)
"""


def run_all(programs: dict[str, str], folder: Path) -> dict[str, Any]:
    """Run programs under the alias, one after the other, in one process, and return what each called its `answer`."""
    settings = {name: text for name, text in os.environ.items() if not name.startswith(("NAIAD_", "NEPTUNE_"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BEGIN + RUNNER],
        input=json.dumps({name: textwrap.dedent(program) for name, program in programs.items()}),
        cwd=folder,
        env={**settings, "NAIAD_CAPTURES": "off", "NAIAD_STORE": str(folder / ".naiad")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("views")


@pytest.fixture(scope="module")
def answers(folder: Path) -> dict[str, Any]:
    return run_all({name: program for name, (program, _answer) in ALL.items()}, folder)


@pytest.mark.parametrize("name", ALL)
def test_program_answers_as_with_neptune(name: str, answers: dict[str, Any]) -> None:
    assert ALL[name][1] == answers[name]


def test_every_view_of_the_table_has_a_program() -> None:
    code = "import json, naiad.as_neptune.views as views; print(json.dumps([each.subject for each in views.VIEWS]))"

    assert [*VIEWS] == json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)


def test_store_holds_what_naiad_holds(folder: Path, answers: dict[str, Any]) -> None:
    """A view changes an answer: without the alias everything is there."""
    store = folder / str([*ALL].index("a fetched datetime")) / ".naiad"

    with naiad.init_run(with_id="MOMENTS-1", mode="read-only", store=store) as run:
        assert [MOMENT] * 4 == [run[path].fetch() for path in ("moment", "below/moment", "copy", "written")]
        assert "finished" == run["sys/state"].fetch()


def test_environment_of_the_client_is_honoured(tmp_path: Path) -> None:
    program = """
    import os
    os.environ |= {
        "NEPTUNE_API_TOKEN": "of no use",
        "NEPTUNE_PROJECT": "team/project",
        "NEPTUNE_MODE": "sync",
        "NEPTUNE_CUSTOM_RUN_ID": "mine",
        "NEPTUNE_MONITORING_NAMESPACE": "watched",
        "NEPTUNE_REQUEST_TIMEOUT": "1",
        "NEPTUNE_FETCH_TABLE_STEP_SIZE": "1",
    }
    with neptune.init_run(api_token="also of no use") as run:
        answer = [run["sys/custom_run_id"].fetch(), run.monitoring_namespace, run._sys_id]
    os.environ["NEPTUNE_MODE"] = "offline"
    for opener in (neptune.init_project, neptune.init_model):
        try:
            opener(**({"key": "CNN"} if opener is neptune.init_model else {}))
        except neptune.exceptions.NeptuneException:
            answer.append("no offline")
    os.environ["NEPTUNE_MODE"] = "read-only"
    answer.append(len(neptune.init_project().fetch_runs_table()))
    try:
        neptune.init_project("team/absent")
    except neptune.exceptions.ProjectNotFound:
        answer.append(neptune.management.get_project_list())
    """

    assert ["mine", "watched", "PROJECT-1", "no offline", "no offline", 1, ["team/project"]] == run_all(
        {"it": program}, tmp_path
    )["it"]


def test_every_variable_of_the_client_is_in_the_table() -> None:
    code = """
import json, naiad.as_neptune.envs as envs
known = {each.name for each in envs.VARIABLES}
print(json.dumps([name for name in envs.__all__ if getattr(envs, name) not in known]))
"""

    assert b"[]\n" == subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
