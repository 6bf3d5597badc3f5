"""Random verbs, writers, deaths and openings against a plain model: whatever happened, readers show what was said.

    pytest tests/properties                                fifteen examples, in the normal suite
    pytest tests/properties --hypothesis-profile=slow      10,000, for hours

A failure prints the steps that led to it; running it again begins with them.
"""

from __future__ import annotations

import itertools
import math
import os
import pickle
import shutil
import tempfile
import warnings
from datetime import datetime, timedelta, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from oracle import DERIVED, TAGS, AtomModel, Hand, Model, Point, SeriesModel, differences, points_of, stored, whole
from verbs import EPOCH, Clock, Verb, end, perform
from worker import Foreman, Job, Report

import naiad
from naiad import clock, handler, packing
from naiad.errors import LimitWarning, NaiadError, ReadOnlyWarning
from naiad.settings import Tuning
from naiad.storage.local.index.compact import compact
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.maintenance import Maintenance
from naiad.storage.local.reader import Reader
from naiad.storage.local.store import Store

PATHS = ("a", "b", "c/x", "c/y", "c/d/z", "ünï cödé/ß", "c", "monitoring/a")
TUNINGS: tuple[dict[str, str], ...] = (
    {"NAIAD_FOLD_RECORDS": "1000000", "NAIAD_SYNC_SECONDS": "5"},  # folded by the rules only
    {"NAIAD_FOLD_RECORDS": "1000000", "NAIAD_SYNC_SECONDS": "5", "NAIAD_SMALL_RUN_RECORDS": "0"},
    {"NAIAD_FOLD_RECORDS": "8", "NAIAD_SYNC_SECONDS": "0.01", "NAIAD_SEGMENT_BYTES": "320"},
    {"NAIAD_FOLD_RECORDS": "40", "NAIAD_SYNC_SECONDS": "0.05", "NAIAD_JOURNAL": "write"},
)

floats = st.floats() | st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1.5, 0.1])
texts = st.text(max_size=8) | st.sampled_from(["", "\ud800", "a\udfff\U0001f600", "\x00", "é" * 2100])
moments = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=st.just(timezone.utc))
integers = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 2**53 + 1, -(2**63)])
ATOMS: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int": integers,
    "float": floats,
    "string": texts,
    "datetime": moments,
}
steps = (
    st.integers(-2, 4)
    | st.sampled_from([0.5, 1.5, -0.25, 3.0, 2**53, 2**53 + 1, -(2**53) - 3, 2**62 + 1, -(2**63), 1e17, 2.0**60])
    | st.integers(-(2**63), 2**62)
)
times = st.floats(0, 1_500_000_000) | st.datetimes(
    datetime(1971, 1, 1), datetime(2019, 1, 1), timezones=st.just(timezone(timedelta(hours=3)))
)
numbers = floats | st.integers(-(2**53), 2**53) | st.booleans()
tags = st.lists(st.sampled_from(["x", "y", "\ud800", "lang/é"]) | texts, max_size=3)

foreman: Foreman | None = None


@pytest.fixture(scope="module", autouse=True)
def _foreman() -> Any:
    """The process from which foreign writers are forked."""
    global foreman
    for name in list(os.environ):
        if name.startswith(("NAIAD_", "NEPTUNE_")):
            del os.environ[name]
    foreman = Foreman()
    yield
    foreman.dismiss()


class RunMachine(RuleBasedStateMachine):
    """One run, written by up to three hands of this process and by others that come and go."""

    @initialize(tuning=st.sampled_from(TUNINGS), given=tags, name=texts)
    def begin(self, tuning: dict[str, str], given: list[str], name: str) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="naiad-machine-"))
        self.environment = {**tuning, "NAIAD_STORE": str(self.place / ".naiad"), "NAIAD_CAPTURES": "off"}
        os.environ.update(self.environment)
        self.numbers = itertools.count(1)  # of hands
        self.time = Clock()
        self.time.put_in_place()
        self.model = Model()
        self.runs: dict[int, naiad.Run] = {}
        self.hands: dict[int, Hand] = {}
        self.endings: list[str] = []  # of this session's owners
        self.writers_of_session = 1
        run = naiad.init_run(project="machine", custom_run_id="it", tags=given, name=name)
        self.id = run["sys/id"].fetch()
        self.folder: RunDirectory = Store.locate().find_directory(self.id)
        self.model.tags = {TAGS[0]: set(given), TAGS[1]: set()}
        self._take(run, Hand(next(self.numbers)))
        self.reader = Reader(self.folder)
        values = self.reader.values()
        kinds = self.reader.kinds()
        self.fixed = {path: (kinds[path], value) for path, value in values.items() if path not in DERIVED}
        assert self.fixed["sys/id"] == ("string", self.id)
        assert self.fixed["sys/custom_run_id"] == ("string", "it")
        assert stored(name) == stored(self.fixed["sys/name"][1])

    def teardown(self) -> None:
        if not hasattr(self, "runs"):
            return
        try:
            self._check_end()
        finally:
            for run in self.runs.values():
                run.stop()
            clock.now = handler.now = packing.now = clock_of_machine
            for name in self.environment:
                os.environ.pop(name, None)
            shutil.rmtree(self.place)

    def _check_end(self) -> None:
        for number in list(self.runs):
            self._stop(number)
            self.readers_show_the_model()
        assert [".naiad"] == os.listdir(self.place)
        [row] = Store.locate().catalog().summaries()
        assert (self.id, self._state()) == (row.id, row.state)
        if find_spec("naiad.storage.local.integrity.verify"):
            from naiad.storage.local.integrity.verify import verify

            damages = verify(self.folder)
            assert not damages, damages

    # Who writes

    def _take(self, run: naiad.Run, hand: Hand) -> None:
        self.runs[hand.number], self.hands[hand.number] = run, hand
        self.model.refresh(hand)

    def _stop(self, number: int) -> None:
        self.runs.pop(number).stop()
        del self.hands[number]
        self.endings.append("finished")

    def _begin_session(self) -> None:
        self.time.time = self.time.highest if self.runs else self.time.time
        if not self.runs:
            self.endings, self.writers_of_session = [], 0
        self.writers_of_session += 1

    def _state(self) -> str:
        if self.runs:
            return "running"
        return next(state for state in ("killed", "finished") if state in self.endings)

    def _draw_hand(self, data: st.DataObject) -> int:
        return data.draw(st.sampled_from(sorted(self.runs)), "hand")

    @precondition(lambda self: len(self.runs) < 3)
    @rule(how=st.sampled_from(["with_id", "custom_run_id", "folder"]))
    def open(self, how: str) -> None:
        """Resume, or join those who write already."""
        self._begin_session()
        given = {
            "with_id": {"with_id": self.id},
            "custom_run_id": {"custom_run_id": "it", "project": "machine"},
            "folder": {"with_id": self.folder.uid},
        }[how]
        run = naiad.init_run(**given)
        assert self.id == run["sys/id"].fetch()
        self._take(run, Hand(next(self.numbers)))

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        self._stop(self._draw_hand(data))

    # Verbs

    def _do(self, number: int, verb: Verb) -> None:
        done = perform(self.runs[number], verb, self.time)
        self.model.apply(self.hands[number], verb, done)

    def _verbs(self, data: st.DataObject, hand: Hand, model: Model) -> Verb | None:
        """A verb that fits what there is, or None."""
        path = data.draw(st.sampled_from(PATHS + TAGS), "path")
        kind = model.kind(path)
        if path in TAGS:
            return data.draw(
                st.one_of(
                    tags.map(lambda some: Verb("add", path, {"values": some})),
                    texts.map(lambda one: Verb("add", path, {"values": one})),
                    tags.map(lambda some: Verb("remove", path, {"values": some})),
                    st.just(Verb("clear", path)),
                )
            )
        if kind in ATOMS:
            return Verb("assign", path, {"value": data.draw(ATOMS[kind])})
        if kind is None and not model.is_free(path):
            return self._dict_verb(data, hand, model, path)
        if kind is None:
            kind = data.draw(st.sampled_from([*ATOMS, "float_series", "float_series", "string_series"]), "kind")
            if kind in ATOMS:
                return Verb("assign", path, {"value": data.draw(ATOMS[kind])})
            return self._series_verb(data, hand, model, path, kind, is_new=True)
        return self._series_verb(data, hand, model, path, kind, is_new=False)

    def _dict_verb(self, data: st.DataObject, hand: Hand, model: Model, path: str) -> Verb | None:
        """A dict for the fields below a namespace: all its float series get a point, or all its atoms a value."""
        below = [other for other in model.below(path) if other != path]
        atoms = {other: one for other in below if isinstance(one := model.fields[other], AtomModel)}
        if atoms and data.draw(st.booleans()):
            given = {other[len(path) + 1 :]: data.draw(ATOMS[one.kind]) for other, one in atoms.items()}
            return Verb("assign", path, {"value": given})
        series = [other for other in below if model.kind(other) == "float_series"]
        if not series:
            return None
        step = data.draw(st.none() | steps, "step")
        if step is None and not all(model.takes_auto_steps(hand, other, 1) for other in series):
            return None
        values = {other[len(path) + 1 :]: data.draw(floats) for other in series}
        return Verb("append", path, {"value": values, "step": step})

    def _series_verb(
        self, data: st.DataObject, hand: Hand, model: Model, path: str, kind: str, *, is_new: bool
    ) -> Verb | None:
        values = numbers if kind == "float_series" else texts
        names = ["append", "append", "extend"] + ([] if is_new else ["clear", "assign"])
        if kind == "float_series":
            names.append("configure")
        name = data.draw(st.sampled_from(names), "verb")
        if name == "configure":
            some = st.none() | st.floats(-1e6, 1e6)
            unit = data.draw(st.none() | st.text(max_size=3))
            return Verb("configure", path, {"min": data.draw(some), "max": data.draw(some), "unit": unit})
        if name == "clear":
            return Verb("clear", path)
        count = 1 if name == "append" else data.draw(st.integers(1, 12), "count")
        some_values = data.draw(st.lists(values, min_size=count, max_size=count), "values")
        if name == "assign":
            return Verb("assign", path, {"value": some_values})
        is_numbered = model.takes_auto_steps(hand, path, count) and data.draw(st.booleans(), "numbered")
        some_steps = None if is_numbered else data.draw(st.lists(steps, min_size=count, max_size=count), "steps")
        is_dated = self.writers_of_session == 1 and data.draw(st.booleans(), "dated")
        some_times = data.draw(st.lists(times, min_size=count, max_size=count), "times") if is_dated else None
        if name == "extend":
            return Verb("extend", path, {"values": some_values, "steps": some_steps, "timestamps": some_times})
        step, time = some_steps and some_steps[0], some_times and some_times[0]
        if some_steps is not None:
            step = some_steps[0]
        return Verb("append", path, {"value": some_values[0], "step": step, "timestamp": time})

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        """A verb of a hand that knows what others did."""
        number = self._draw_hand(data)
        self._do(number, Verb("sync", ""))
        verb = self._verbs(data, self.hands[number], self.model)
        if verb is not None:
            self._do(number, verb)

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def append_often(self, data: st.DataObject) -> None:
        """Enough points for more than one segment, chunk and pack."""
        number = self._draw_hand(data)
        self._do(number, Verb("sync", ""))
        fits = (None, "float_series")
        free = [path for path in PATHS[:5] if self.model.is_free(path) and self.model.kind(path) in fits]
        if not free:
            return
        path, count = data.draw(st.sampled_from(free), "path"), data.draw(st.sampled_from([20, 90, 700]), "count")
        step = data.draw(st.integers(-5, 5), "first step")
        for i in range(min(count, 90)):
            self._do(number, Verb("append", path, {"value": float(i), "step": step + i // 2}))
        rest = count - 90
        if rest > 0:
            self._do(number, Verb("extend", path, {"values": [0.5] * rest, "steps": [step] * rest}))

    @precondition(lambda self: len(self.runs) > 1)
    @rule(data=st.data())
    def write_blindly(self, data: st.DataObject) -> None:
        """A hand goes on as if it were alone: with its series, cleared or removed by another, and with its atoms."""
        number = self._draw_hand(data)
        hand = self.hands[number]
        fits = [
            path
            for path, memory in hand.known.items()
            if path in PATHS and self.model.is_free(path) and self.model.kind(path) in (None, memory.kind)
        ]
        if not fits:
            return
        path = data.draw(st.sampled_from(sorted(fits)), "path")
        kind = hand.known[path].kind
        if kind in ATOMS:
            verb = Verb("assign", path, {"value": data.draw(ATOMS[kind])})
        else:
            value = data.draw(floats if kind == "float_series" else texts)
            is_numbered = self.model.takes_auto_steps(hand, path, 1) and data.draw(st.booleans())
            verb = Verb("append", path, {"value": value, "step": None if is_numbered else data.draw(steps)})
        self._do(number, verb)

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def pop(self, data: st.DataObject) -> None:
        """A field or a whole namespace goes; something of another kind may follow."""
        number = self._draw_hand(data)
        self._do(number, Verb("sync", ""))
        there = [path for path in (*PATHS, "c/d", "ünï cödé") if self.model.below(path)]
        if there:
            self._do(number, Verb("pop", data.draw(st.sampled_from(there), "path")))

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def copy(self, data: st.DataObject) -> None:
        """What is stored at one place is assigned to another."""
        number = self._draw_hand(data)
        self._do(number, Verb("sync", ""))
        sources = [path for path in PATHS if self.model.below(path)]
        if not sources:
            return
        source, target = data.draw(st.sampled_from(sources), "source"), data.draw(st.sampled_from(PATHS), "target")
        if source == target or (source + "/").startswith(target + "/") or (target + "/").startswith(source + "/"):
            return
        found = []
        for path in self.model.below(source):
            one, place = self.model.fields[path], target + path[len(source) :]
            if not self.model.is_free(place) or self.model.kind(place) not in (None, one.kind):
                return
            found.append((place, one if isinstance(one, AtomModel) else self._as_read(path, one)))
        self._do(number, Verb("copy", target, {"source": source, "found": found}))

    def _as_read(self, path: str, series: SeriesModel) -> SeriesModel:
        """A series whose points are in the order in which they are read: that is what a copy gets."""
        points = [
            Point(whole(step), value, time, time, 0) for step, value, time in points_of(self.reader, path, series.kind)
        ]
        return SeriesModel(series.kind, points, series.axis)

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        """What cannot be done raises, and changes nothing."""
        number = self._draw_hand(data)
        self._do(number, Verb("sync", ""))
        path = data.draw(st.sampled_from(PATHS), "path")
        kind = self.model.kind(path)
        if kind in ATOMS:
            value = {"bool": "no", "int": 1.5, "float": "high", "string": None, "datetime": 3}[kind]
            refused = Verb("assign", path, {"value": value}) if value else Verb("append", path, {"value": 1.0})
        elif kind in ("float_series", "string_series"):
            wrong: Any = "high" if kind == "float_series" else 1.5
            refused = Verb("extend", path, {"values": [wrong, wrong], "steps": [1, 2]})
        elif self.model.is_free(path):
            refused = data.draw(
                st.sampled_from(
                    [
                        Verb("assign", path, {"value": 2**63}),
                        Verb("append", path, {"value": 1.0, "step": math.nan}),
                        Verb("extend", path, {"values": [1.0, 2.0], "steps": [1]}),
                        Verb("pop", path),
                        Verb("clear", path),
                    ]
                )
            )
        else:
            refused = Verb("assign", path, {"value": 1})
        with pytest.raises(NaiadError):
            perform(self.runs[number], refused, self.time)

    # Other processes

    def _plan(self, data: st.DataObject, hand: Hand) -> list[Verb]:
        """Some verbs that another process can do one after the other; each is drawn knowing the ones before."""
        model, verbs = pickle.loads(pickle.dumps((self.model, hand)))[0], []
        imagined = pickle.loads(pickle.dumps(hand))
        for _ in range(data.draw(st.integers(1, 4), "verbs")):
            verb = self._verbs(data, imagined, model)
            if verb is not None:
                model.apply(imagined, verb, PLANNED)
                verbs.append(verb)
        return verbs

    def _learn(self, hand: Hand, verbs: list[Verb], report: Report) -> None:
        assert not report.problem, report.problem
        for verb, done in zip(verbs, report.done, strict=True):
            self.model.apply(hand, verb, done)
        self.time.time = self.time.highest = max(report.time, self.time.highest)

    @rule(data=st.data(), ending=st.sampled_from(["stop", "exit", "kill"]))
    def foreign_process(self, data: st.DataObject, ending: str) -> None:
        """Another process opens the run, writes, and ends in one way or another."""
        self._begin_session()
        hand = Hand(next(self.numbers))
        self.model.refresh(hand)
        verbs = self._plan(data, hand)
        assert foreman is not None
        job = Job(str(self.place / ".naiad"), self.id, verbs, ending, self.time.time, self.environment)
        self._learn(hand, verbs, foreman.do(job))
        self.endings.append("finished" if ending == "stop" else "killed")

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), ending=st.sampled_from(["exit", "kill"]))
    def forked_child(self, data: st.DataObject, ending: str) -> None:
        """A child goes on with the run object of its parent."""
        number = self._draw_hand(data)
        self._do(number, Verb("sync", ""))
        self.writers_of_session += 1
        self.time.time = self.time.highest
        hand = self.hands[number].fork(next(self.numbers))
        verbs = self._plan(data, hand)
        ours, theirs = os.pipe()
        child = os.fork()
        if not child:
            self._be_child(self.runs[number], verbs, ending, theirs)
        os.close(theirs)
        with os.fdopen(ours, "rb") as stream:
            report = pickle.loads(stream.read())
        os.waitpid(child, 0)
        self._learn(hand, verbs, report)

    def _be_child(self, run: naiad.Run, verbs: list[Verb], ending: str, pipe: int) -> None:
        try:
            try:
                report = Report([perform(run, verb, self.time) for verb in verbs], self.time.highest)
            except BaseException as error:  # noqa: BLE001 (the parent raises it)
                report = Report([], 0, repr(error))
            with os.fdopen(pipe, "wb") as stream:
                stream.write(pickle.dumps(report))
            end(ending, run)
        finally:
            os._exit(0)

    # Keeping

    @rule(data=st.data())
    def fold(self, data: st.DataObject) -> None:
        """What nobody writes any more is folded, and what one of the hands wrote."""
        writer = self.runs[self._draw_hand(data)]._session.writer if self.runs else None
        if not self.folder.seal.exists():  # else it is finished
            Maintenance(self.folder, Tuning.from_environment()).fold(writer and writer.journal)

    @rule()
    def compact(self) -> None:
        compact(self.folder)

    @rule(seconds=st.sampled_from([-100_000.0, -3600.0, -1.0, 1.0, 86_400.0]))
    def clock_jumps(self, seconds: float) -> None:
        """Forward at any time; back only where one process writes, because between several the later time wins."""
        if seconds > 0 or (self.writers_of_session == 1 and self.time.time + seconds > EPOCH - 500_000):
            self.time.time += seconds

    # Looking

    @invariant()
    def readers_show_the_model(self) -> None:
        if not hasattr(self, "model"):
            return
        for reader in (self.reader, Reader(self.folder)):
            found = differences(self.model, reader, self.fixed)
            assert not found, found
        if self.runs or self.endings:
            assert self._state() == self.reader.state()
        assert [] == self.reader.damages

    @rule()
    def look_with_public_api(self) -> None:
        """A run opened for reading, and each hand, say the same as the model."""
        with naiad.init_run(with_id=self.id, mode="read-only") as run:
            self._compare_fetched(run)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ReadOnlyWarning)
                run["nothing/here"] = 1
            assert not run.exists("nothing")
        for open_run in self.runs.values():
            self._compare_fetched(open_run)

    def _compare_fetched(self, run: naiad.Run) -> None:
        structure = dict(_leaves(run.get_structure()))
        classes = {path: type(field).kind for path, field in structure.items() if path not in DERIVED}
        assert self.model.kinds() | {path: kind for path, (kind, _value) in self.fixed.items()} == classes
        for path, one in self.model.fields.items():
            if isinstance(one, AtomModel):
                assert stored(one.value) == stored(run[path].fetch())
                continue
            frame = run[path].fetch_values()
            found = points_of(self.reader, path, one.kind)
            steps = [step for step, _value, _time in found]
            is_exact = all(isinstance(step, int) for step in steps)
            assert (steps if is_exact else list(map(float, steps))) == frame["step"].tolist()
            if one.kind == "string_series":
                assert [value for _step, value, _time in found] == frame["value"].tolist()
            else:
                assert b"".join(value for _step, value, _time in found) == frame["value"].to_numpy().tobytes()  # type: ignore[arg-type]
            if found:
                last = run[path].fetch_last()
                assert stored(last) == stored(frame["value"].tolist()[-1])
        for path, tags_there in self.model.tags.items():
            assert tags_there == run[path].fetch()


def _leaves(tree: dict[str, Any], above: str = "") -> Any:
    for name, leaf in tree.items():
        if isinstance(leaf, dict):
            yield from _leaves(leaf, f"{above}{name}/")
        else:
            yield above + name, leaf


PLANNED: Any = type("Planned", (), {"low": 0, "high": 0})()
clock_of_machine = clock.now

TestRun = RunMachine.TestCase
if settings.get_current_profile_name() != "slow":
    TestRun.settings = settings(
        max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
    )
TestRun.pytestmark = [  # type: ignore[attr-defined]  # how pytest marks a class
    pytest.mark.filterwarnings(f"ignore::{LimitWarning.__module__}.{LimitWarning.__qualname__}"),
    pytest.mark.timeout(0 if settings.get_current_profile_name() == "slow" else 300),
]
