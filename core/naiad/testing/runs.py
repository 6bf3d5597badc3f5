"""Conformance tests for the runs of a store: its writers and readers. They need pytest."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

import pytest

from naiad import clock
from naiad.container_kinds import RunId
from naiad.errors import (
    FieldConflict,
    InactiveContainer,
    MissingField,
)
from naiad.file import File
from naiad.kinds import ATOM_OF, DERIVED, LINES, MEMBERS, POINTS, TAGS, TEXTS
from naiad.ops import Assign, Configure, Define, Delete, Members, Op, Plain, Strings, Tags
from naiad.refs import FileRef, incoming
from naiad.slots import pack_int
from naiad.storage.base import Change, RunReader, RunWriter, Store
from naiad.storage.results import PointColumns

ATOMS: dict[str, tuple[str, Plain]] = {
    "a/bool": (ATOM_OF[bool], True),
    "a/int": (ATOM_OF[int], -(2**63)),
    "a/float": (ATOM_OF[float], 0.1),
    "a/text": (ATOM_OF[str], "\N{SNOWMAN}\0 and more"),
    "a/surrogate": (ATOM_OF[str], b"\xed\xa0\x80"),
    "a/moment": (ATOM_OF[datetime], 1_700_000_000_123_456),
}
SERIES = "loss"


def assign(path: str, kind: str, value: Plain) -> Change:
    """Return the change that stores an atom."""
    return Change(path, kind, (Assign(path, kind, value),))


def known(*, created: int = 1_000_000, **texts: str) -> list[Op]:
    """Return the first ops of a run, as `init_run` writes them."""
    facts = {"name": "Untitled", "owner": "me", **texts}
    ops: list[Op] = [Assign(f"sys/{name}", ATOM_OF[str], text, 1.0) for name, text in facts.items()]
    return [
        *ops,
        Assign("sys/creation_time", ATOM_OF[datetime], created, 1.0),
        Assign("sys/trashed", ATOM_OF[bool], False, 1.0),
    ]


def begin(store: Store, project: str = "digits", **texts: str) -> tuple[RunId, RunWriter]:
    """Begin a run, and return it with its writer.

    The time of creation follows the number of its id, since a store gives those of one time in any order.
    """
    reservation = store.reserve_run(project)
    created = 1_000_000 + int(reservation.id.rpartition("-")[2])
    ops = known(created=created, id=reservation.id, project=project, **texts)
    return reservation.run, store.writer(reservation.run, first_ops=ops)


def new_series(writer: RunWriter, path: str = SERIES) -> int:
    """Define a float series, and return the number that its points carry."""
    [written] = writer.write([Change(path, POINTS, (Define(0, path, fresh=False),), PointColumns([], [], []))])
    return written.number


class StoreFixtures:
    """The store of each test, and a run in it."""

    def make_store(self, folder: Path) -> Store:
        """Return a new and empty store; the folder is the test's own."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        """The store of one test."""
        return self.make_store(tmp_path)

    @pytest.fixture
    def run(self, store: Store) -> Iterator[tuple[RunReader, RunWriter]]:
        """A run that is being written: its reader and its writer."""
        run, writer = begin(store)
        yield store.reader(run), writer
        writer.stop()


class RunTests(StoreFixtures):
    """The tests of `RunWriter` and `RunReader`; see `naiad.testing.storage`."""

    # Fields

    def test_atoms_of_every_kind_are_read_as_written(self, run: tuple[RunReader, RunWriter]) -> None:
        """One by one, and all below a namespace."""
        reader, writer = run
        writer.write([assign(path, kind, value) for path, (kind, value) in ATOMS.items()])

        assert {path: reader.atom(path) for path in ATOMS} == ATOMS
        assert reader.atoms("a") == ATOMS
        assert {path: value for path, (_kind, value) in ATOMS.items()} == reader.values("a")
        assert {path: kind for path, (kind, _value) in ATOMS.items()}.items() <= reader.kinds().items()
        assert "a/int" not in reader.atoms("a/in")

    def test_last_assignment_wins(self, run: tuple[RunReader, RunWriter]) -> None:
        """An atom is replaced, also by its own writer in one change."""
        reader, writer = run
        writer.write([assign("x", ATOM_OF[int], 1)])
        writer.write([assign("x", ATOM_OF[int], 2), assign("x", ATOM_OF[int], 3)])

        assert reader.value("x") == 3

    def test_points_are_ordered_by_step_and_equal_steps_by_arrival(self, run: tuple[RunReader, RunWriter]) -> None:
        """Values are kept bit for bit, times to the millisecond."""
        reader, writer = run
        number = new_series(writer)
        writer.points(number, [0.5, float("inf"), 0.25], [2, 0.5, 2], [10.0, 11.0, 12.001])
        writer.points(number, [float("nan")], [1], [9.0])
        found = reader.points(SERIES)

        assert found.steps.tolist() == [0.5, 1.0, 2.0, 2.0]
        assert [str(value) for value in found.values.tolist()] == ["inf", "nan", "0.5", "0.25"]
        assert found.times.tolist() == [11_000, 9_000, 10_000, 12_001]
        assert (reader.count(SERIES), reader.last(SERIES)) == (4, (2, 0.25, 12_001))

    def test_block_of_points_keeps_its_place_among_others(self, run: tuple[RunReader, RunWriter]) -> None:
        """Of many series at once, with steps of either type; those of equal steps stay in order of arrival."""
        reader, writer = run
        number, other = new_series(writer), new_series(writer, "other")
        writer.points(number, [1.0], [7], [1.0])
        writer.point_block(
            [(number, PointColumns([2.0, 3.0], [7, 8], [1.0, 2.0])), (other, PointColumns([4.0], [0.5], [3.0]))]
        )
        writer.points(number, [5.0], [7], [1.0])
        points, others = reader.points(SERIES), reader.points("other")

        assert points.values.tolist() == [1.0, 2.0, 5.0, 3.0]
        assert points.steps.tolist() == [7, 7, 7, 8]
        assert [column.tolist() for column in others] == [[0.5], [4.0], [3000]]

    def test_slot_takes_points_or_sends_them_to_the_writer(self, run: tuple[RunReader, RunWriter]) -> None:
        """A record that is packed is a point; a slot may also take none."""
        reader, writer = run
        number = new_series(writer)
        offsets, page = writer.point_log.slot
        at = next(offsets)
        try:
            pack_int(page, at, 7, 0.5, 1.0, number, at)
        # A back end without a page of its own gives DEAD_SLOT, and must pass this test too.
        except (struct.error, ValueError, TypeError):  # the slot takes nothing
            writer.points(number, [0.5], [7], [1.0])

        assert list(zip(*reader.points(SERIES)[:2], strict=True)) == [(7, 0.5)]

    def test_large_steps_stay_exact(self, run: tuple[RunReader, RunWriter]) -> None:
        """Integers that a float64 cannot hold come back as integers."""
        reader, writer = run
        writer.points(new_series(writer), [1.0, 2.0], [2**60 + 1, 3], [1.0, 2.0])

        assert reader.points(SERIES).steps.tolist() == [3, 2**60 + 1]

    def test_empty_series_is_there(self, run: tuple[RunReader, RunWriter]) -> None:
        """A series without points has no last one."""
        reader, writer = run
        new_series(writer)

        assert (reader.kinds()[SERIES], reader.count(SERIES), reader.last(SERIES)) == (POINTS, 0, None)
        assert len(reader.points(SERIES).values) == 0

    def test_chart_loses_no_spike(self, run: tuple[RunReader, RunWriter]) -> None:
        """Extremes and number of all points are in its stretches."""
        reader, writer = run
        values = [0.0] * 5000
        values[1234], values[4321] = 9.0, -9.0
        writer.points(new_series(writer), values, range(5000), [1.0] * 5000)
        chart = reader.chart(SERIES, buckets=50)

        assert len(chart.steps) <= 200
        assert (chart.maximum.max(), chart.minimum.min(), chart.finite.sum()) == (9.0, -9.0, 5000)

    def test_config_of_a_series_is_kept(self, run: tuple[RunReader, RunWriter]) -> None:
        """Limits and unit of a chart."""
        reader, writer = run
        new_series(writer)
        writer.write([Change(SERIES, POINTS, (Configure(SERIES, 0.0, None, "%"),))])

        assert reader.config(SERIES) == (0.0, None, "%")

    def test_texts_are_ordered_by_step(self, run: tuple[RunReader, RunWriter]) -> None:
        """Of string series and of file series."""
        reader, writer = run
        for number, kind in enumerate(sorted(TEXTS)):
            path = f"texts/{number}"
            ops = Strings(path, ["b", b"\xed\xa0\x80", "a"], [2, 2.5, 1], [5.0, 6.0, 7.0], fresh=False, kind=kind)
            writer.write([Change(path, kind, (ops,))])

            assert reader.texts(path, kind) == ([1, 2, 2.5], ["a", "b", "\ud800"], [7000, 5000, 6000])
            assert (reader.count(path), reader.last(path, kind)) == (3, (2.5, "\ud800", 6000))

    def test_printed_bytes_become_lines(self, run: tuple[RunReader, RunWriter]) -> None:
        """A point a line, its step the number of the line, however the bytes are cut."""
        reader, writer = run
        writer.write([Change("out", LINES, (Strings("out", [], [], [], fresh=False),))])
        writer.log_printed("out", b"one\ntw", 0)
        writer.log_printed("out", b"o\nthree\n", 1)
        found = reader.texts("out")

        assert (found.steps, [text.rstrip("\n") for text in found.texts]) == ([0, 1, 2], ["one", "two", "three"])

    def test_tags_are_added_removed_and_cleared(self, run: tuple[RunReader, RunWriter]) -> None:
        """In this order within one op: clear, remove, add."""
        reader, writer = run
        ops: list[tuple[list[str | bytes], list[str | bytes], bool]]
        ops = [(["x", "y"], [], False), (["z"], ["x", "z"], False), (["w"], [], True)]
        for add, remove, clear in ops:
            writer.write([Change("tags", TAGS, (Tags("tags", add, remove, clear),))])
            if not clear:
                assert set(add) <= reader.tags("tags")

        assert {"w"} == reader.tags("tags")

    def test_files_of_a_set_are_added_and_removed(self, run: tuple[RunReader, RunWriter]) -> None:
        """A folder is removed with all that is in it."""
        reader, writer = run
        text = FileRef.of_bytes(b"x").to_text()
        names = ("a/b", "a/c/d", "ab", "e")
        writer.write([Change("set", MEMBERS, (Members("set", dict.fromkeys(names, text), [], clear=False),))])
        writer.write([Change("set", MEMBERS, (Members("set", {"f": text}, ["a", "e"], clear=False),))])

        assert {"ab": text, "f": text} == reader.members("set")

    def test_deleted_field_is_gone_and_may_come_back_as_another_kind(self, run: tuple[RunReader, RunWriter]) -> None:
        """With all its points."""
        reader, writer = run
        writer.points(new_series(writer), [1.0], [0], [1.0])
        writer.write([Change(SERIES, "", (Delete(SERIES),))])
        with pytest.raises(MissingField):
            reader.points(SERIES)
        writer.write([assign(SERIES, ATOM_OF[str], "gone")])

        assert reader.atom(SERIES) == (ATOM_OF[str], "gone")

    def test_reading_as_another_kind_is_refused(self, run: tuple[RunReader, RunWriter]) -> None:
        """A reader never takes one kind for another."""
        reader, writer = run
        writer.write([assign("x", ATOM_OF[int], 1)])

        for read in (reader.points, reader.tags, reader.members, reader.config):
            with pytest.raises(FieldConflict):
                read("x")
            with pytest.raises(MissingField):
                read("nothing")

    # Changes

    def test_a_change_is_seen_whole_or_not_at_all(self, run: tuple[RunReader, RunWriter]) -> None:
        """Two atoms that are always written together are never read apart."""
        reader, writer = run
        writer.write([assign("pair/a", ATOM_OF[int], 0), assign("pair/b", ATOM_OF[int], 0)])
        seen: list[Mapping[str, Plain]] = []

        def read() -> None:
            while len(seen) < 40:
                seen.append(reader.values("pair"))

        thread = threading.Thread(target=read)
        thread.start()
        number = 0
        while thread.is_alive():
            number += 1
            writer.write([assign("pair/a", ATOM_OF[int], number), assign("pair/b", ATOM_OF[int], number)])
        thread.join()

        assert all(each["pair/a"] == each["pair/b"] for each in seen)

    def test_readers_see_all_that_was_accepted(self, store: Store, run: tuple[RunReader, RunWriter]) -> None:
        """A reader that was opened before and one that is opened after, while the run is written."""
        reader, writer = run
        number = new_series(writer)
        for count in range(1, 50):
            writer.points(number, [float(count)], [count], [1.0])
            writer.write([assign("count", ATOM_OF[int], count)])

            assert (count, count) == (reader.count(SERIES), reader.value("count"))
        assert store.reader(reader.run).count(SERIES) == 49

    def test_rewind_hides_what_was_logged_above_a_step(self, store: Store) -> None:
        """Whichever time a point has; nothing is removed, and the catalog follows."""
        run, writer = begin(store)
        for path in (SERIES, "monitoring/cpu", "own/gpu"):
            writer.points(new_series(writer, path), [0.0, 1.0, 9.0], [0, 1, 2], [1.0, 4e9, 1.0])
        texts = Strings("log", ["a", "b", "c"], [0, 1, 2], [1.0, 4e9, 1.0], False)
        writer.write([Change("log", LINES, (texts,))])
        writer.stop()
        reader, again = store.reader(run), store.writer(run)
        again.rewind("", 1, is_first=True, but=["own"])
        again.rewind("", 1, is_first=True)  # as several processes of one job do
        again.points(new_series(again), [2.0], [2], [1.0])
        again.stop()

        assert reader.points(SERIES).values.tolist() == [0.0, 1.0, 2.0]
        assert reader.points(SERIES, include_rewound=True).steps.tolist() == [0, 1, 2, 2]
        assert reader.chart(SERIES).maximum.tolist() == [0.0, 1.0, 2.0]
        assert (reader.count(SERIES), reader.last(SERIES).value) == (3, 2.0)  # type: ignore[union-attr]  # it has some
        assert reader.texts("log").texts == ["a", "b"]
        assert reader.texts("log", include_rewound=True).texts == ["a", "b", "c"]
        assert reader.text_page("log", -1, 5).texts == ["b"]
        assert reader.aspects(SERIES)[:3] == [2.0, 0.0, 2.0]
        assert reader.points("monitoring/cpu").values.tolist() == [0.0, 1.0, 9.0]
        assert reader.points("own/gpu").values.tolist() == [0.0, 1.0, 9.0]
        assert store.catalog().cells(run)[SERIES, POINTS][:3] == [2.0, 0.0, 2.0]

    def test_rewind_of_one_series_leaves_others_and_what_follows(self, run: tuple[RunReader, RunWriter]) -> None:
        """Of this session, the points up to now are hidden."""
        reader, writer = run
        at = clock.now()
        numbers = [new_series(writer, path) for path in ("a/loss", "a/acc", "loss")]
        for number in numbers:
            writer.points(number, [1.0, 2.0], [1, 2], [at, at])
        writer.rewind("a", 1)
        for number in numbers:
            writer.points(number, [3.0], [3], [clock.now()])

        assert [reader.points(path).values.tolist() for path in ("a/loss", "a/acc")] == [[1.0, 3.0]] * 2
        assert reader.points("loss").values.tolist() == [1.0, 2.0, 3.0]

    def test_stopped_writer_takes_nothing(self, run: tuple[RunReader, RunWriter]) -> None:
        """A second stop does nothing."""
        reader, writer = run
        number = new_series(writer)
        writer.wait()
        writer.stop()
        writer.stop()

        with pytest.raises(InactiveContainer):
            writer.write([assign("x", ATOM_OF[int], 1)])
        with pytest.raises(InactiveContainer):
            writer.points(number, [1.0], [0], [1.0])
        with pytest.raises(InactiveContainer):
            writer.ingest(File(content=b"x" * 10_000, extension=""))
        assert "x" not in reader.kinds()

    def test_run_is_gone_on_with(self, store: Store) -> None:
        """The next writer adds to the fields that are there."""
        run, writer = begin(store)
        writer.points(new_series(writer), [1.0], [0], [1.0])
        writer.stop()
        writer = store.writer(run)
        writer.points(new_series(writer), [2.0], [1], [2.0])
        writer.stop()

        assert store.reader(run).points(SERIES).values.tolist() == [1.0, 2.0]

    def test_several_writers_write_one_run(self, store: Store, run: tuple[RunReader, RunWriter]) -> None:
        """Points of all of them are in the series, and each notices that others write."""
        reader, first = run
        second = store.writer(reader.run, role="guest")
        for writer, value in ((first, 1.0), (second, 2.0)):
            writer.points(new_series(writer), [value] * 100, range(100), [value] * 100)
        first.write([assign("x", ATOM_OF[int], 1)])
        second.write([assign("x", ATOM_OF[int], 2), assign("y", ATOM_OF[int], 2)])

        assert reader.count(SERIES) == 200
        assert reader.points(SERIES).values.tolist() == [1.0, 2.0] * 100
        assert (reader.value("x"), reader.value("y")) == (2, 2)
        assert first.peers_have_written()
        second.stop()

    def test_lost_points_are_counted(self, run: tuple[RunReader, RunWriter]) -> None:
        """A run that lacks something is incomplete."""
        reader, writer = run
        assert reader.is_incomplete() == 0
        writer.count_lost()

        assert reader.is_incomplete() == 1

    # State

    @pytest.mark.parametrize("end", ["finished", "failed", "terminated"])
    def test_state_is_running_and_then_that_of_the_owner(self, store: Store, end: str) -> None:
        """The end of a guest does not count."""
        run, writer = begin(store)
        guest = store.writer(run, role="guest")
        reader = store.reader(run)
        states = [reader.state()]
        writer.stop(end)
        states.append(reader.state())
        guest.stop()

        assert ["running", "running", end] == [*states, reader.state()]
        assert end == reader.value("sys/state")
        assert {path: reader.kinds()[path] for path in DERIVED} == DERIVED

    def test_state_stays_while_a_container_is_edited(self, store: Store) -> None:
        """Neither the life nor the end of an editor counts."""
        run, writer = begin(store)
        writer.stop("failed")
        editor = store.writer(run, role="editor")
        reader = store.reader(run)
        editor.write([assign("x", ATOM_OF[int], 1)])
        state, value = reader.state(), reader.value("x")
        editor.stop()

        assert (state, value, reader.state()) == ("failed", 1, "failed")

    def test_later_session_decides_the_state(self, store: Store) -> None:
        """A run that failed once and was resumed has the state of its last session."""
        run, writer = begin(store)
        writer.stop("failed")
        writer = store.writer(run)
        assert store.reader(run).state() == "running"
        writer.stop()

        assert store.reader(run).state() == "finished"

    # Pages of long series

    @pytest.mark.parametrize("has_gone_back", [False, True])
    def test_texts_are_read_a_page_at_a_time(self, run: tuple[RunReader, RunWriter], *, has_gone_back: bool) -> None:
        """Pages are parts of the whole, wherever they begin, also while the series grows and if steps went back."""
        reader, writer = run
        texts, steps = [f"line {n} \N{SNOWMAN}" * (n % 3) for n in range(300)], [*range(300)]
        if has_gone_back:
            steps[200:] = range(100)
        for start in range(0, 300, 50):
            rows = slice(start, start + 50)
            op = Strings("log", [*texts[rows]], [*steps[rows]], [float(start)] * 50, fresh=start == 0)
            writer.write([Change("log", LINES, (op,))])
        whole = reader.texts("log")

        for start, limit in ((0, 10), (45, 10), (290, 100), (-7, 5), (-1000, 3), (300, 5)):
            page = reader.text_page("log", start, limit)
            first = start if start >= 0 else max(0, 300 + start)
            rows = slice(first, first + limit)
            assert page == (300, first, whole.steps[rows], whole.texts[rows], whole.times[rows])
        assert reader.text_place("log", step=99.5) == (200 if has_gone_back else 100)
        assert reader.text_place("log", step=1000) == 300
        if not has_gone_back:
            assert reader.text_place("log", time=100_000) == 100

    @pytest.mark.parametrize("has_gone_back", [False, True])
    def test_points_are_read_a_page_at_a_time(self, run: tuple[RunReader, RunWriter], *, has_gone_back: bool) -> None:
        """Pages are parts of all points, in their order and of their types, and places are found by step."""
        reader, writer = run
        steps = [n / 2 for n in range(200)] + ([n / 2 for n in range(100, 200)] if has_gone_back else [])
        number = new_series(writer)
        for start in range(0, len(steps), 50):
            rows = steps[start : start + 50]
            writer.points(number, [step + start / 1000 for step in rows], rows, [float(start)] * len(rows))
        whole = reader.points(SERIES)

        for start, limit in ((0, 10), (45, 10), (190, 500), (-7, 5), (-1000, 3), (len(steps), 5)):
            page = reader.point_page(SERIES, start, limit)
            first = start if start >= 0 else max(0, len(steps) + start)
            assert (page.total, page.start) == (len(steps), first)
            for column, own in zip(page.points, whole, strict=True):
                assert own.dtype == column.dtype
                assert own[first : first + limit].tolist() == column.tolist()
        for step in (-1, 0, 49.9, 50, 75.25, 99.5, 1000):
            for is_after in (False, True):
                wanted = int(whole.steps.searchsorted(step, "right" if is_after else "left"))
                assert wanted == reader.point_place(SERIES, step, is_after=is_after)
        for begin, stop in ((None, 3.0), (49.9, 75.25), (98.0, None), (-5.0, -1.0), (1000.0, None), (None, None)):
            found = reader.point_range(SERIES, begin, stop, len(steps))
            if found is None:
                assert has_gone_back  # a store may have to read all points then
                continue
            low = 0 if begin is None else int(whole.steps.searchsorted(begin))
            high = len(steps) if stop is None else int(whole.steps.searchsorted(stop, "right"))
            assert whole.values[max(0, low - 1) : high + 1].tolist() == found.points.values.tolist()
            assert (reader.point_range(SERIES, begin, stop, max(0, high - low - 1)) is None) == (high > low)

    def test_pages_of_texts_join_those_of_several_writers(self, store: Store) -> None:
        """They are in the order of `texts`."""
        run, first = begin(store)
        second = store.writer(run, role="guest")
        for number, writer in enumerate((first, second, first, second)):
            op = Strings("log", [f"{number}a", f"{number}b"], [number, number + 0.5], [1.0, 1.0], fresh=number == 0)
            writer.write([Change("log", LINES, (op,))])
        reader = store.reader(run)
        whole, page = reader.texts("log"), reader.text_page("log", 2, 4)
        first.stop()
        second.stop()

        assert page.texts == whole.texts[2:6]
        assert reader.text_page("log", 0, 100).texts == whole.texts
        with pytest.raises(MissingField):
            reader.text_page("nothing", 0, 1)

    def test_aspects_of_a_series(self, run: tuple[RunReader, RunWriter]) -> None:
        """They are of its finite values, and None without any; the last value may be any."""
        reader, writer = run
        writer.points(new_series(writer), [1.0, 3.0, float("inf")], [0, 1, 2], [1.0] * 3)
        writer.points(new_series(writer, "bad"), [float("nan")], [0], [1.0])

        assert reader.aspects(SERIES) == [float("inf"), 1.0, 3.0, 2.0, 1.0]
        assert list(reader.aspects("bad"))[1:] == [None] * 4

    # Files

    @pytest.mark.parametrize("size", [0, 3, 100_000])
    def test_content_is_stored_as_it_was(self, run: tuple[RunReader, RunWriter], tmp_path: Path, size: int) -> None:
        """Of bytes, and of a file that is changed afterwards; it is read, opened and copied out."""
        reader, writer = run
        content, source = bytes(range(256)) * (size // 256 + 1), tmp_path / "source.bin"
        content = content[:size]
        source.write_bytes(content)
        files = [writer.ingest(File(content=content, extension="bin")), *writer.ingest_all([str(source)])]
        changes = [
            Change(
                f"f{n}", FileRef.kind, (Assign(f"f{n}", FileRef.kind, file.to_text()),), content=tuple(incoming([file]))
            )
            for n, file in enumerate(files)
        ]
        writer.write(changes)
        source.write_bytes(b"changed")
        writer.wait()

        for number in range(2):
            file = FileRef.from_text(str(reader.atom(f"f{number}")[1]))
            reader.copy_file(file, tmp_path / "copy")
            with reader.open_file(file, is_checked=True) as stream:
                assert content == stream.read()
            assert (content, "bin", size) == (reader.read_file(file), file.extension, file.size)
            assert content == (tmp_path / "copy").read_bytes()
            assert len(reader.digest(file)) == 64

    def test_stored_file_is_adopted_by_another_run(self, store: Store, run: tuple[RunReader, RunWriter]) -> None:
        """It stays when the run that it came from is deleted."""
        reader, writer = run
        content = b"y" * 50_000
        file = writer.ingest(File(content=content, extension="bin"))
        writer.write(
            [Change("f", FileRef.kind, (Assign("f", FileRef.kind, file.to_text()),), content=tuple(incoming([file])))]
        )
        other, second = begin(store)
        taken = second.adopt(reader, file)
        second.write(
            [Change("g", FileRef.kind, (Assign("g", FileRef.kind, taken.to_text()),), content=tuple(incoming([taken])))]
        )
        writer.stop()
        second.stop()
        store.delete([("DIGITS-1", reader.run)])

        found = store.reader(other)
        assert content == found.read_file(FileRef.from_text(str(found.atom("g")[1])))

    def test_missing_source_is_refused(self, run: tuple[RunReader, RunWriter], tmp_path: Path) -> None:
        """And nothing is stored for it."""
        _reader, writer = run

        with pytest.raises(FileNotFoundError):
            writer.ingest(File(str(tmp_path / "nothing")))
