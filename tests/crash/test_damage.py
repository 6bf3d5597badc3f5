"""Random damages of a stopped run and of a killed one: none is read silently, and a repair saves what is whole.

280 of them are part of every run of the tests. Many more, with the table that sums them up:

    python -m pytest tests/crash/test_damage.py -m slow -s
"""

from __future__ import annotations

import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from naiad.errors import DamagedData, DamageWarning, MissingField
from naiad.ops import Assign, Configure, Delete, Frame, Strings, Tags
from naiad.settings import Tuning
from naiad.storage.local.integrity.repair import repair
from naiad.storage.local.integrity.verify import examine, verify
from naiad.storage.local.journal.frames import read_frames
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.maintenance import Maintenance
from naiad.storage.local.reader import Reader
from naiad.storage.local.store import Store
from naiad.storage.local.writer import Writer

BLOCK = 4096
DERIVED = ("sys/state", "sys/modification_time", "sys/ping_time", "sys/running_time", "sys/size")
Answers = dict[tuple[str, str], Any]
Rows = list[tuple[float, Any, int]]


# The run


@dataclass
class Truth:
    """A stopped run, what a reader says of it, and what was ever true at each path."""

    folder: RunDirectory
    answers: Answers = field(default_factory=dict)
    past: dict[str, list[Any]] = field(default_factory=dict)
    rows: set[tuple[float, Any, int]] = field(default_factory=set)
    is_killed: bool = False
    old: dict[str, bytes] = field(default_factory=dict)
    """What the files of a killed run held some time before."""

    def learn(self) -> None:
        """Take down what a reader says now."""
        self.answers = ask(self.folder)[0]
        for (verb, path), answer in self.answers.items():
            if verb in ("points", "texts"):
                self.rows.update(as_rows(answer))
            elif verb in ("value", "tags", "config"):
                self.past.setdefault(path, []).append(answer)


def make(root: Path, *, is_folded: bool) -> Truth:
    folder, run_id = reserved(root)
    writer = Writer.open(folder, first_ops=[Assign("sys/id", "string", run_id, 1.0)])
    truth = Truth(folder)
    write(writer, truth, random.Random(7), rounds=4 if is_folded else 1, points=9000 if is_folded else 600)
    writer.stop()
    assert is_folded == folder.index.exists()

    truth.learn()
    return truth


def make_killed(root: Path, *, is_folded: bool) -> Truth:
    """The same, of a writer that was killed a second after its last write."""
    folder, run_id = reserved(root)
    truth = Truth(folder, is_killed=True)
    child = os.fork()
    if not child:
        try:
            write_and_wait(folder, run_id, root, truth, is_folded=is_folded)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    assert -signal.SIGKILL == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    truth.past, truth.rows, truth.old = pickle.loads((root / "truth").read_bytes())
    assert is_folded == folder.index.exists()
    assert [] == verify(folder)
    truth.learn()
    return truth


def reserved(root: Path) -> tuple[RunDirectory, str]:
    """The folder and the id of a new run."""
    store = Store.locate(root)
    reservation = store.reserve_run("damage")
    return store.directory(reservation.run), reservation.id


def write_and_wait(folder: RunDirectory, run_id: str, root: Path, truth: Truth, *, is_folded: bool) -> None:
    writer = Writer.open(folder, first_ops=[Assign("sys/id", "string", run_id, 1.0)])
    writer.log([Assign("early", "int", 1, writer.now())])
    writer.wait()
    truth.old = contents_of(folder)
    write(writer, truth, random.Random(7), rounds=4 if is_folded else 1, points=9000 if is_folded else 600)
    if is_folded:
        late = writer.bind("late")
        writer.points(late, [step / 7 for step in range(3000)], range(3000), [1e9] * 3000)
    time.sleep(1.2)
    (root / "truth").write_bytes(pickle.dumps((truth.past, truth.rows, truth.old)))


def contents_of(folder: RunDirectory) -> dict[str, bytes]:
    return {str(path.relative_to(folder.path)): path.read_bytes() for path in files_of(folder)}


def files_of(folder: RunDirectory) -> list[Path]:
    """The files that hold something: a lease only says who writes."""
    found = [path for path in folder.path.rglob("*") if path.is_file() and path.stat().st_size]
    return sorted(path for path in found if path.suffix != ".lease")


def write(writer: Writer, truth: Truth, numbers: random.Random, *, rounds: int, points: int) -> None:
    """Fields of every kind; long and short series; values written twice, tags taken back, fields deleted."""
    at = writer.now
    writer.log([Assign(f"params/{i}", "float", i / 3, at()) for i in range(30)])
    writer.log([Assign("name", "string", "first", at()), Assign("epochs", "int", 7, at())])
    writer.log([Assign("is_big", "bool", True, at()), Assign("begun", "datetime", 1_700_000_000_000_000, at())])
    writer.log([Tags("sys/tags", ["a", "b"], [], False, at())])
    no_axis = [(None, None, None)]
    truth.past = {"long/0": [*no_axis], "gone/series": no_axis, "gone/atom": [5], "name": ["first"]}
    truth.past["sys/tags"] = [{"a", "b"}, {"c"}]
    long = [writer.bind(f"long/{i}") for i in range(3)]
    short = [writer.bind(f"short/{i}") for i in range(25)]
    writer.log([Configure("long/0", 0.0, 1.0, "m", at())])
    gone = writer.bind("gone/series")
    writer.points(gone, [1.0, 2.0], [0, 1], [1.0, 2.0])
    truth.rows = {(0.0, 1.0, 1000), (1.0, 2.0, 2000)}
    writer.log([Delete("gone/series", at()), Assign("gone/atom", "int", 5, at())])
    writer.log([Delete("gone/atom", at())])
    for turn in range(rounds):
        for i, fid in enumerate(long):
            count = points // (i + 1)
            steps = range(turn * count, (turn + 1) * count)
            writer.points(fid, [numbers.gauss(0, 1) for _ in steps], steps, [1e9 + step for step in steps])
        for fid in short:
            steps = range(turn * 5, turn * 5 + 5)
            writer.points(fid, [numbers.random() for _ in steps], steps, [1e9 + step for step in steps])
        lines = [f"{turn}.{i} " + "x" * numbers.randrange(50) for i in range(60)]
        steps = list(range(turn * 60, turn * 60 + 60))
        writer.log([Strings("log", lines, steps, [2e9 + step for step in steps], False, at())])
        if rounds > 1:
            Maintenance(writer.folder, Tuning.from_environment()).fold(writer.journal)
    writer.log([Assign("name", "string", "second", at()), Tags("sys/tags", ["c"], ["a"], False, at())])


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """A folder in memory where there is one: hundreds of repairs sync thousands of files."""
    shared = Path("/dev/shm")
    place = str(shared) if os.access(shared, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place, prefix="naiad-damage-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def small(memory: Path) -> Truth:
    """A short run: its journal is all there is."""
    return make(memory / "short", is_folded=False)


@pytest.fixture(scope="module")
def folded(memory: Path) -> Truth:
    """A long run: its index is all there is."""
    return make(memory / "long", is_folded=True)


@pytest.fixture(scope="module")
def killed_small(memory: Path) -> Truth:
    """A short run whose writer was killed."""
    return make_killed(memory / "killed-short", is_folded=False)


@pytest.fixture(scope="module")
def killed_long(memory: Path) -> Truth:
    """A long one, most of which was folded."""
    return make_killed(memory / "killed-long", is_folded=True)


# Asking everything


def ask(folder: RunDirectory, known: Mapping[str, str] = {}) -> tuple[Answers, list[str]]:
    """What every method of a reader says of every field it has or should have, and the warnings.

    Where it raises an error, that is the answer.
    """
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        reader = Reader(folder)
        answers: Answers = {("kinds", ""): said(reader.kinds), ("values", ""): said(reader.values)}
        answers["state", ""] = said(reader.state)
        kinds = answers["kinds", ""]
        found = kinds if isinstance(kinds, dict) else {}
        for path, kind in {**found, **known}.items():
            for verb in VERBS.get(kind, ("value",)):
                answers[verb, path] = said(getattr(reader, verb), path)
    return answers, [str(one.message) for one in given if issubclass(one.category, DamageWarning)]


VERBS = {
    "float_series": ("points", "last", "count", "chart", "config"),
    "string_series": ("texts", "last", "count"),
    "string_set": ("tags",),
}


def said(verb: Callable[..., Any], *arguments: str) -> Any:
    try:
        return verb(*arguments)
    except (DamagedData, MissingField) as error:
        return error


def stored(answers: Answers) -> Any:
    """The values that somebody wrote."""
    values = answers["values", ""]
    return {path: values[path] for path in values if path not in DERIVED} if isinstance(values, dict) else values


def is_same(one: Any, two: Any) -> bool:
    if isinstance(one, tuple) and isinstance(two, tuple):
        return len(one) == len(two) and all(map(is_same, one, two))
    if isinstance(one, np.ndarray):
        return isinstance(two, np.ndarray) and one.tobytes() == two.tobytes()
    return type(one) is type(two) and bool(one == two)


def as_rows(answer: Any) -> Rows:
    steps, values, times = (column.tolist() if isinstance(column, np.ndarray) else column for column in answer)
    return list(zip(map(float, steps), values, times, strict=True))


# Damaging


@dataclass(frozen=True)
class Hurt:
    """A copy of a run, the file in it that was damaged, and how."""

    folder: RunDirectory
    file: Path
    kind: str
    place: str


def damaged(truth: Truth, root: Path, chance: random.Random) -> Hurt:
    """Copy the run and damage one file of the copy; its times stay as they were."""
    folder = RunDirectory(root / "copies" / truth.folder.uid)
    shutil.rmtree(folder.path, ignore_errors=True)
    shutil.copytree(truth.folder.path, folder.path)
    files = files_of(folder)
    path = chance.choice(files if chance.random() < 0.5 else [max(files, key=lambda file: file.stat().st_size)])
    before, found = path.read_bytes(), path.stat()
    harms = HARMS | (MORE_HARMS if truth.is_killed else {})
    while True:
        kind, content = chance.choice(list(harms.items()))
        old = truth.old.get(str(path.relative_to(folder.path)), b"")
        after = old if kind == OLD else content(before, chance)
        if after != before:
            break
    if kind == REMOVED or (kind == OLD and not old):
        path.unlink()
    else:
        path.write_bytes(after)
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    first = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), len(after))
    return Hurt(folder, path, kind, f"{kind} of {path.name} at {first}")


def flip(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(8 * len(data))
    return data[: at // 8] + bytes([data[at // 8] ^ 1 << at % 8]) + data[at // 8 + 1 :]


def scribble(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + chance.randbytes(min(32, len(data) - at)) + data[at + 32 :]


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def zero(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(-(-len(data) // BLOCK)) * BLOCK
    return data[:at] + bytes(min(BLOCK, len(data) - at)) + data[at + BLOCK :]


def double(data: bytes, chance: random.Random) -> bytes:
    """Another block of the same file in the place of one."""
    blocks = -(-len(data) // BLOCK)
    source, target = chance.randrange(blocks) * BLOCK, chance.randrange(blocks) * BLOCK
    block = data[source : source + BLOCK]
    return data[:target] + block + data[target + len(block) :]


HARMS = {"flipped bit": flip, "32 other bytes": scribble, "cut": cut, "zeroed page": zero}
REMOVED, OLD = "removed", "old version"
MORE_HARMS = {
    "doubled block": double,
    "appended": lambda data, chance: data + chance.randbytes(chance.randrange(1, 5000)),
    REMOVED: lambda data, _chance: b"",
    OLD: lambda data, _chance: data,
    "emptied": lambda data, _chance: b"",
}


# Judging


@dataclass
class Tally:
    """Outcomes by kind of damage; what a reader got of its questions before a repair, and of the points after it."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    kept: dict[str, list[float]] = field(default_factory=dict)

    def table(self) -> str:
        outcomes = ("unharmed", "refused", "warned", "silent", "unnamed")
        lines = [" " * 16 + "".join(f"{name:>10}" for name in outcomes) + "  points after repair"]
        for kind in HARMS | MORE_HARMS:
            kept = self.kept.get(kind, [1.0])
            counts = "".join(f"{self.outcomes[kind, name]:>10}" for name in outcomes)
            lines.append(f"{kind:<16}{counts}  {np.mean(kept):>8.2%} (least {min(kept):.2%})")
        lines.append(f"true answers before the repair: {np.mean(self.answered):.1%}")
        return "\n".join(lines)


def try_damages(truth: Truth, root: Path, count: int, seed: int) -> Tally:
    tally = Tally()
    for n in range(count):
        hurt = damaged(truth, root, random.Random(seed * 100_003 + n))
        tally.outcomes[hurt.kind, look(truth, hurt, tally)] += 1
        mend(truth, hurt, tally)
    print(f"\n{count} damages of a {truth.folder.path.parent.parent.name} run\n{tally.table()}")
    return tally


def look(truth: Truth, hurt: Hurt, tally: Tally) -> str:
    """Read everything: what is not the truth has to be refused, or a warning has to name the file."""
    answers, given = ask(hurt.folder, truth.answers["kinds", ""])
    same = [question for question, true in truth.answers.items() if is_same(true, answers[question])]
    if truth.is_killed:  # no seal tells the size and the times of its files, from which these follow
        same += [("value", path) for path in DERIVED]
        same += [("values", "")] if stored(truth.answers) == stored(answers) else []
    tally.answered.append(len(same) / len(truth.answers))
    refused = [question for question, answer in answers.items() if isinstance(answer, DamagedData)]
    wrong = answers.keys() - set(same) - set(refused)
    is_named = any(hurt.file.name in text for text in given)
    if wrong and not is_named:
        tally.faults.append(f"silent: {hurt.place}: {sorted(wrong)[:3]}")
        return "silent"
    if truth.is_killed and not wrong and not refused and not given:
        return "unharmed"  # what is damaged was of no more use, or was not written down at the kill
    files = {str(answers[question].file) for question in refused}
    if any(hurt.file.name not in file for file in files):
        tally.faults.append(f"another file is blamed: {hurt.place}: {files}")
    found = verify(hurt.folder)
    if not any(hurt.file.name in damage.file for damage in found):
        tally.faults.append(f"verify does not name the file: {hurt.place}: {found[:2]}")
        return "unnamed"
    paths = {damage.path for damage in found}
    nameless = [path for verb, path in refused if path and path not in paths]
    if nameless and len(refused) < len(truth.answers) / 2:
        tally.faults.append(f"verify does not name the field: {hurt.place}: {nameless[:3]}")
    return "refused" if refused else "warned" if given else "unharmed"


def mend(truth: Truth, hurt: Hurt, tally: Tally) -> None:
    """After a repair everything is clean and true, and the original is still there."""
    original = hurt.file.read_bytes() if hurt.file.exists() else None
    done = repair(hurt.folder)
    if truth.is_killed and done.kept is None:
        return
    assert done.kept is not None

    kept = done.kept / hurt.file.relative_to(hurt.folder.path)
    answers, given = ask(hurt.folder)
    found = verify(hurt.folder)
    problems = [*given, *map(str, found), *untrue(truth, answers)]
    if original is not None and kept.read_bytes() != original:
        problems.append("the original has changed")
    if problems:
        tally.faults.append(f"repair: {hurt.place}: {problems[:3]}")
    true = sum(len(as_rows(answer)) for (verb, _), answer in truth.answers.items() if verb in ("points", "texts"))
    tally.kept.setdefault(hurt.kind, []).append(min(1.0, done.points / true))


def untrue(truth: Truth, answers: Answers) -> Iterator[str]:
    """What a reader says that was never so. An earlier value was true: the op that changed it may be the one lost."""
    for (verb, path), answer in answers.items():
        if isinstance(answer, DamagedData | MissingField):
            yield f"{verb} {path}: {answer}"
        elif verb in ("points", "texts"):
            steps = [row[0] for row in as_rows(answer)]
            if steps != sorted(steps) or not truth.rows.issuperset(as_rows(answer)):
                yield f"{verb} {path} has other points"
        elif verb in ("value", "tags", "config") and path not in DERIVED:
            past = truth.past.get(path, [(None, None, None)] if path.startswith("recovered/") else [])
            if answer not in past:
                yield f"{verb} {path} is {answer!r} and was {past}"
        elif verb == "state" and answer not in ("finished", "killed"):
            yield f"state is {answer}"


@pytest.mark.parametrize("seed", range(2))
def test_no_damage_of_a_short_run_is_read_silently(small: Truth, memory: Path, seed: int) -> None:
    tally = try_damages(small, memory, 25, seed)

    assert [] == tally.faults


@pytest.mark.parametrize("seed", range(2))
def test_no_damage_of_a_long_run_is_read_silently(folded: Truth, memory: Path, seed: int) -> None:
    tally = try_damages(folded, memory, 25, seed)

    assert [] == tally.faults


@pytest.mark.parametrize("form", ["killed_small", "killed_long"])
def test_no_damage_of_a_killed_run_is_read_silently(form: str, request: pytest.FixtureRequest, memory: Path) -> None:
    tally = try_damages(request.getfixturevalue(form), memory, 25, 5)

    assert [] == tally.faults


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("form", ["killed_small", "killed_long"])
def test_no_damage_of_many_of_a_killed_run_is_read_silently(
    form: str, request: pytest.FixtureRequest, memory: Path
) -> None:
    tally = try_damages(request.getfixturevalue(form), memory, 300, 77)

    assert [] == tally.faults


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("form", ["small", "folded"])
def test_no_damage_of_a_thousand_is_read_silently(form: str, request: pytest.FixtureRequest, memory: Path) -> None:
    tally = try_damages(request.getfixturevalue(form), memory, 500, 99)

    assert [] == tally.faults
    assert 1.0 == min(tally.kept["flipped bit"])


# Every prefix of what a killed writer left

SCRIPT = """
import os, signal, sys
from naiad.ops import Assign, Strings
from naiad.storage.local.store import Store
from naiad.storage.local.writer import Writer

store = Store.locate(sys.argv[1])
writer = Writer.open(store.directory(store.reserve_run("prefix").run))
fid = writer.bind("loss")
for n in range(12):
    at = writer.now()
    writer.log([Assign("n", "int", n, at), Strings("log", [f"line {n}"], [n], [at], False, at)])
    writer.points(fid, [n / 2], [n], [float(n)])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def killed(tmp_path: Path) -> RunDirectory:
    """A run whose writer was killed after twelve rounds of an atom, a text and a point."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / "store")], check=False)
    assert -signal.SIGKILL == done.returncode

    (folder,) = Store.locate(tmp_path / "store").folders()
    return folder


def test_each_prefix_of_the_ops_of_a_killed_writer_is_read_as_that_prefix(killed: RunDirectory) -> None:
    (ops,) = killed.journal.glob("*.ops")
    whole = ops.read_bytes()
    ends = [item.end for item in read_frames(whole, 16) if isinstance(item, Frame)]
    before = 2  # frames: open, define
    for size in range(len(whole) + 1):
        ops.write_bytes(whole[:size])
        frames = sum(end <= size for end in ends)
        reader = Reader(killed)
        kinds, rounds = reader.kinds(), max(0, frames - before)

        assert ("n" in kinds, "log" in kinds, "loss" in kinds) == (rounds > 0, rounds > 0, frames >= before)
        if rounds:
            assert rounds - 1 == reader.value("n")
            assert [f"line {n}" for n in range(rounds)] == reader.texts("log").texts
        if frames >= before:
            assert [n / 2 for n in range(12)] == reader.points("loss").values.tolist()
        assert "killed" == reader.state()
        found = examine(killed)
        assert [] == found.damages
        is_torn = size > 16 and size not in ends
        assert is_torn == any("cut short" in note.what for note in found.torn)


def test_each_prefix_of_the_points_of_a_killed_writer_is_read_as_that_prefix(killed: RunDirectory) -> None:
    (segment,) = killed.journal.glob("*.seg")
    whole = segment.read_bytes()[: 64 + 13 * 32]
    for size in range(64, len(whole) + 1):
        segment.write_bytes(whole[:size])
        points = min(12, (size - 64) // 32)

        assert [n / 2 for n in range(points)] == Reader(killed).points("loss").values.tolist()
        assert [] == verify(killed)
