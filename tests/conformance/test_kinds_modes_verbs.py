"""Each kind, in each mode, through each of its verbs: written in one process life, read in the same and in the next."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

import naiad
from naiad import types
from naiad.errors import MissingField, ReadOnlyWarning
from naiad.handler import Handler
from naiad.storage.local.integrity.verify import verify
from naiad.types import File, Histogram

MOMENT = datetime(2024, 5, 6, 7, 8, 9, 123_456, tzinfo=timezone.utc)
MODES = ["async", "sync", "offline", "debug"]
PATH = "some/where"


@dataclass(frozen=True)
class Case:
    """A verb of a kind: what is done, and what is there afterwards."""

    kind: str
    verb: str
    do: Callable[[Handler], object]
    expected: Any
    path: str = PATH
    exists: bool = True


def points(handler: Handler) -> list[tuple[float, Any]]:
    frame = handler.fetch_values(include_timestamp=False)
    return list(zip(frame["step"].tolist(), frame["value"].tolist(), strict=True))


def opened(handler: Handler) -> dict[str, bytes]:
    found = {}
    for entry in handler.list_fileset_files():
        with handler.open_file(entry.name) as stream:
            found[entry.name] = stream.read()
    return found


READ: dict[str, Callable[[Handler], Any]] = {
    **dict.fromkeys(["Boolean", "Integer", "Float", "String", "Datetime", "StringSet"], Handler.fetch),
    **dict.fromkeys(["FloatSeries", "StringSeries", "HistogramSeries"], points),
    "File": lambda handler: (handler.fetch_content(), handler.fetch_extension()),
    "FileSeries": lambda handler: [
        (step, file.content)
        for step, file in zip(handler.fetch_values()["step"].tolist(), handler.fetch_files(), strict=True)
    ],
    "FileSet": opened,
    "Artifact": lambda handler: [file.file_path for file in handler.fetch_files_list()],
    "GitRef": Handler.fetch,
}


def series(kind: str, a: Any, b: Any, c: Any, value: Callable[..., Any]) -> list[Case]:
    return [
        Case(kind, "append", lambda h: h.append(a), [(0, a)]),
        Case(kind, "append-step", lambda h: h.append(a, step=7, timestamp=5), [(7, a)]),
        Case(kind, "append-wait", lambda h: h.append(a, wait=True), [(0, a)]),
        Case(kind, "append-dict", lambda h: h.container["some"].append({"where": a}, step=2), [(2, a)]),
        Case(kind, "extend", lambda h: h.extend([a, b]), [(0, a), (1, b)]),
        Case(kind, "extend-steps", lambda h: h.extend((a, b), steps=[5, 1.5], timestamps=[1, 2]), [(1.5, b), (5, a)]),
        Case(kind, "extend-dict", lambda h: h.container.extend({"some": {"where": [a, b]}}), [(0, a), (1, b)]),
        Case(kind, "log", lambda h: (h.log(a), h.log([b, c])), [(0, a), (1, b), (2, c)]),
        Case(kind, "assign-value", lambda h: h.assign(value([a, b], steps=[3, 4])), [(3, a), (4, b)]),
        Case(kind, "assign-list", lambda h: (h.append(c), h.assign([a, b])), [(0, a), (1, b)]),
        Case(kind, "clear", lambda h: (h.append(c), h.clear()), []),
        Case(kind, "clear-append", lambda h: (h.append(c), h.clear(), h.append(a)), [(0, a)]),
        Case(kind, "pop", lambda h: (h.append(a), h.pop()), None, exists=False),
        Case(kind, "pop-append", lambda h: (h.append(a), h.pop(), h.append(b)), [(0, b)]),
        Case(kind, "copy", lambda h: (h.container["x"].extend([a, b]), h.assign(h.container["x"])), [(0, a), (1, b)]),
    ]


def atoms(kind: str, a: Any, b: Any) -> list[Case]:
    value = getattr(types, kind)
    return [
        Case(kind, "assign", lambda h: h.assign(a), a),
        Case(kind, "assign-wait", lambda h: h.assign(a, wait=True), a),
        Case(kind, "assign-again", lambda h: (h.assign(a), h.assign(b)), b),
        Case(kind, "assign-item", lambda h: h.container.__setitem__(PATH, a), a),
        Case(kind, "assign-value", lambda h: h.assign(value(a)), a),
        Case(kind, "assign-dict", lambda h: h.container.assign({"some": {"where": a}}), a),
        Case(kind, "define", lambda h: h.container.define(PATH, a), a),
        Case(kind, "pop", lambda h: (h.assign(a), h.pop()), None, exists=False),
        Case(kind, "pop-namespace", lambda h: (h.assign(a), h.container.pop("some")), None, exists=False),
        Case(kind, "del-assign", lambda h: (h.assign("x"), h.container["some"].pop("where"), h.assign(a)), a),
        Case(kind, "copy", lambda h: (h.container["x"].assign(a), h.assign(h.container["x"])), a),
    ]


FEW, MANY = b"few", bytes(range(256)) * 100
TREE = {"few.txt": FEW, "many.bin": MANY}


def tree() -> str:
    """A folder of two files, beside the store, or the folder of this machine where a server is the store."""
    folder = Path(os.environ.get("NAIAD_LOCAL_STORE") or os.environ["NAIAD_STORE"]).parent / "tree"
    folder.mkdir(exist_ok=True)
    for name, content in TREE.items():
        (folder / name).write_bytes(content)
    return f"{folder}/"


def globs(name: str) -> str:
    return f"{tree()}{name}"


def files() -> list[Case]:
    few, many = File.from_content(FEW, extension="txt"), File.from_content(MANY)
    stored = (FEW, "txt")
    return [
        Case("File", "upload", lambda h: h.upload(many), (MANY, "bin")),
        Case("File", "upload-path", lambda h: h.upload(globs("few.txt")), stored),
        Case("File", "upload-wait", lambda h: h.upload(few, wait=True), stored),
        Case("File", "upload-again", lambda h: (h.upload(many), h.upload(few)), stored),
        Case("File", "assign", lambda h: h.assign(few), stored),
        Case("File", "assign-wait", lambda h: h.assign(many, wait=True), (MANY, "bin")),
        Case("File", "assign-dict", lambda h: h.container.assign({"some": {"where": few}}), stored),
        Case("File", "pop", lambda h: (h.upload(many), h.pop()), None, exists=False),
        Case("File", "pop-upload", lambda h: (h.upload(many), h.pop(), h.upload(few)), stored),
        Case("File", "copy", lambda h: (h.container["x"].upload(many), h.assign(h.container["x"])), (MANY, "bin")),
    ]


def file_sets() -> list[Case]:
    one, kind = {"few.txt": FEW}, "FileSet"
    return [
        Case(kind, "upload", lambda h: h.upload_files(globs("*")), TREE),
        Case(kind, "upload-wait", lambda h: h.upload_files(tree(), wait=True), TREE),
        Case(kind, "upload-twice", lambda h: (h.upload_files(globs("few.txt")), h.upload_files(globs("many*"))), TREE),
        Case(kind, "assign", lambda h: h.assign(types.FileSet(tree())), TREE),
        Case(kind, "assign-again", lambda h: (h.upload_files(tree()), h.assign(globs("few.txt"))), one),
        Case(kind, "delete", lambda h: (h.upload_files(tree()), h.delete_files("many.bin")), one),
        Case(kind, "delete-all", lambda h: (h.upload_files(tree()), h.delete_files(list(TREE), wait=True)), {}),
        Case(kind, "pop", lambda h: (h.upload_files(tree()), h.pop()), None, exists=False),
        Case(kind, "pop-upload", lambda h: (h.upload_files(tree()), h.pop(), h.upload_files(globs("few*"))), one),
        Case(kind, "copy", lambda h: (h.container["x"].upload_files(tree()), h.assign(h.container["x"])), TREE),
    ]


def artifacts() -> list[Case]:
    both, one, kind = sorted(TREE), ["few.txt"], "Artifact"

    def twice(h: Handler) -> None:
        h.track_files(tree())
        h.track_files(globs("many.bin"), destination="in")

    return [
        Case(kind, "track", lambda h: h.track_files(tree()), both),
        Case(kind, "track-wait", lambda h: h.track_files(tree(), wait=True), both),
        Case(kind, "track-file", lambda h: h.track_files(globs("few.txt")), one),
        Case(kind, "track-twice", twice, ["few.txt", "in/many.bin", "many.bin"]),
        Case(
            kind, "assign", lambda h: (h.container["x"].track_files(tree()), h.assign(h.container["x"].fetch())), both
        ),
        Case(kind, "copy", lambda h: (h.container["x"].track_files(tree()), h.assign(h.container["x"])), both),
        Case(kind, "pop", lambda h: (h.track_files(tree()), h.pop()), None, exists=False),
        Case(kind, "pop-track", lambda h: (h.track_files(tree()), h.pop(), h.track_files(globs("few.txt"))), one),
    ]


def git_refs() -> list[Case]:
    one, other = types.GitRef("a", commit_id="0" * 40, remotes=("b",)), types.GitRef("c")
    return [
        Case("GitRef", "assign", lambda h: h.assign(one), one),
        Case("GitRef", "assign-wait", lambda h: h.assign(one, wait=True), one),
        Case("GitRef", "assign-again", lambda h: (h.assign(other), h.assign(one)), one),
        Case("GitRef", "pop", lambda h: (h.assign(one), h.pop()), None, exists=False),
        Case("GitRef", "copy", lambda h: (h.container["x"].assign(one), h.assign(h.container["x"])), one),
    ]


def file_series_value(contents: list[bytes], steps: list[float]) -> types.FileSeries:
    return types.FileSeries([File.from_content(content) for content in contents], steps=steps)


def sets(path: str) -> list[Case]:
    kind = "StringSet"
    return [
        Case(kind, f"{path}-add", lambda h: (h.add("a"), h.add(["b", "a"])), {"a", "b"}, path),
        Case(kind, f"{path}-remove", lambda h: (h.add(["a", "b"]), h.remove("a"), h.remove(["c"])), {"b"}, path),
        Case(kind, f"{path}-clear", lambda h: (h.add("a"), h.clear()), set(), path),
        Case(kind, f"{path}-assign", lambda h: (h.add("a"), h.assign(types.StringSet(["b"]))), {"b"}, path),
    ]


CASES = [
    *atoms("Boolean", True, False),
    *atoms("Integer", 2**62, -5),
    *atoms("Float", 0.1, float("inf")),
    *atoms("String", "text \0 \U0001f40d", ""),
    *atoms("Datetime", MOMENT, MOMENT.replace(year=1990)),
    *series("FloatSeries", 0.5, -1e300, 3.0, types.FloatSeries),
    *series("StringSeries", "one", "", "three", types.StringSeries),
    *series(
        "HistogramSeries",
        Histogram([-0.1, 0.1, 0.3], counts=[0, 2**63 - 1]),
        Histogram([0, 1e300], densities=[5e-324]),
        Histogram(range(1001), counts=[0.5] * 1000),
        types.HistogramSeries,
    ),
    *series("FileSeries", FEW, MANY, b"", file_series_value),
    *files(),
    *file_sets(),
    *artifacts(),
    *git_refs(),
    *sets("sys/tags"),
    *sets("sys/group_tags"),
]


def check(run: naiad.Run, case: Case) -> None:
    assert case.exists is run.exists(case.path)
    if case.exists:
        assert case.expected == READ[case.kind](run[case.path])
        assert case.kind == type(run.get_attribute(case.path)).__name__
    else:
        with pytest.raises(MissingField):
            run[case.path].fetch()


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}-{case.verb}")
def test_verb(case: Case, mode: str) -> None:
    with naiad.init_run(mode=mode) as run:
        case.do(run[case.path])

        check(run, case)
        if mode == "debug":
            return
        with naiad.init_run(with_id=run["sys/id"].fetch(), mode="read-only") as live:
            check(live, case)
        name = run["sys/id"].fetch()
    with naiad.init_run(with_id=name, mode="read-only") as stopped:
        check(stopped, case)


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}-{case.verb}")
def test_verb_on_a_run_that_goes_on(case: Case) -> None:
    with naiad.init_run() as run:
        run["other"] = 1
        name = run["sys/id"].fetch()
    with naiad.init_run(with_id=name) as run:
        case.do(run[case.path])

        check(run, case)
        assert 1 == run["other"].fetch()


WRITING: dict[str, Callable[[Handler], object]] = {
    "assign": lambda h: h.assign(1),
    "append": lambda h: h.append(0.5),
    "append-dict": lambda h: h.append({"a": 1.0}),
    "extend": lambda h: h.extend([1, 2]),
    "log": lambda h: h.log(1),
    "configure": lambda h: h.configure(min=0),
    "wait": lambda h: h.append(0.5, wait=True),
    "upload": lambda h: h.upload(MANY, wait=True),
    "assign-file": lambda h: h.assign(File.from_content(MANY)),
    "append-file": lambda h: h.append(MANY, name="n"),
    "upload_files": lambda h: h.upload_files(tree()),
    "track_files": lambda h: h.track_files(tree(), wait=True),
    "assign-git_ref": lambda h: h.assign(types.GitRef("a")),
}


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("verb", WRITING)
def test_read_only_run_stores_nothing_and_says_so(verb: str) -> None:
    with naiad.init_run() as run:
        run["other"] = 1
        name = run["sys/id"].fetch()
    with naiad.init_run(with_id=name, mode="read-only") as reader:
        with pytest.warns(ReadOnlyWarning):
            WRITING[verb](reader[PATH])

        assert not reader.exists(PATH)
        assert 1 == reader["other"].fetch()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache of hashes is the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


KINDS_OF_FILES = ("File", "FileSeries", "FileSet", "Artifact", "GitRef")
COPIED = [case for case in CASES if case.kind in KINDS_OF_FILES and case.exists]


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("case", COPIED, ids=lambda case: f"{case.kind}-{case.verb}")
def test_field_of_files_is_copied_to_another_run_and_another_store(case: Case, tmp_path: Path) -> None:
    """Right after the verb, when nothing is settled yet, and from a run that has ended."""
    with naiad.init_run() as run, naiad.init_run() as near, naiad.init_run(store=tmp_path / "far") as far:
        case.do(run[case.path])
        for each in (near, far):
            each[PATH] = run[case.path]
            check(each, case)
        run.stop()
        with naiad.init_run(with_id=run._id, mode="read-only") as ended:
            for each in (near, far):
                each["again/where"] = ended[case.path]
                each["whole"] = ended["some"]
                assert case.expected == READ[case.kind](each["again/where"])
                assert case.expected == READ[case.kind](each["whole/where"])
        names = {path: each._id for path, each in ((tmp_path / ".naiad", near), (tmp_path / "far", far))}
    for store, name in names.items():
        with naiad.init_run(with_id=name, store=store, mode="read-only") as stopped:
            check(stopped, case)


@pytest.mark.usefixtures("store")
def test_fetch_of_a_namespace_leaves_files_out() -> None:
    with naiad.init_run() as run:
        run["ns/lr"] = 0.5
        run["ns/file"].upload(MANY)
        run["ns/series"].append(MANY)
        run["ns/set"].upload_files(tree())
        run["ns/artifact"].track_files(tree())
        run["ns/git"] = types.GitRef("a")

        assert {"lr": 0.5} == run["ns"].fetch()
        structure = run.get_structure()["ns"]
        assert ["Artifact", "File", "GitRef", "Float", "FileSeries", "FileSet"] == [
            type(structure[name]).__name__ for name in ("artifact", "file", "git", "lr", "series", "set")
        ]


@pytest.mark.usefixtures("store")
def test_forked_child_uploads_into_the_same_run() -> None:
    with naiad.init_run() as run:
        run["parent"].upload(MANY)
        folder = tree()
        child = os.fork()
        if not child:
            status = 1
            try:
                run["child"].upload(MANY[::-1])
                run["series"].append(MANY, step=7)
                run["set"].upload_files(folder)
                run["artifact"].track_files(folder)
                run["copy"] = run["parent"]
                run.stop()
                status = 0
            finally:
                os._exit(status)
        assert 0 == os.waitpid(child, 0)[1]
        run["series"].append(FEW, step=8)

        assert [MANY[::-1], MANY, MANY] == [run[path].fetch_content() for path in ("child", "parent", "copy")]
        assert [(7, MANY), (8, FEW)] == READ["FileSeries"](run["series"])
        assert opened(run["set"]) == TREE
        assert 2 == len(run["artifact"].fetch_files_list())


UPLOADER = """
import pathlib, sys, naiad
name, number, folder = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
run = naiad.init_run(with_id=name)
for step in range(5):
    content = f"{number}-{step}".encode() * 2000
    run["series"].append(content, step=number * 10 + step, name=f"{number}-{step}")
    file = folder / f"{number}-{step}"
    file.write_bytes(content)
    run["set"].upload_files(str(file))
run.stop()
"""


@pytest.mark.usefixtures("store")
def test_eight_processes_upload_into_one_series_and_one_set(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    expected = {f"{number}-{step}": f"{number}-{step}".encode() * 2000 for number in range(8) for step in range(5)}
    with naiad.init_run() as run:
        command = [sys.executable, "-W", "error", "-c", UPLOADER, run["sys/id"].fetch()]
        children = [subprocess.Popen([*command, str(number), str(tmp_path / "made")]) for number in range(8)]
        assert [0] * 8 == [child.wait(timeout=120) for child in children]

        frame = run["series"].fetch_values()
        assert sorted(expected) == sorted(frame["name"])
        assert frame["step"].is_monotonic_increasing
        assert expected == {file.name: file.content for file in run["series"].fetch_files()}
        assert expected == opened(run["set"])
    assert [] == verify(run._store.directory(run._run))
    assert [] == list((tmp_path / ".naiad" / "blobs").glob("incoming/*"))
