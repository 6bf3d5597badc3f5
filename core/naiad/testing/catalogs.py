"""Conformance tests for the catalog of a store. They need pytest."""

from __future__ import annotations

import math

import pytest

from naiad.container_kinds import MODEL, RUN
from naiad.errors import InvalidArgument
from naiad.kinds import ATOM_OF, LINES, POINTS, TAGS
from naiad.ops import Plain, Strings, Tags
from naiad.query.parser import parse
from naiad.query.tree import And, Compare, Contains, Exists, FieldName, HasOthers, Not
from naiad.storage.base import Change, RunReader, RunWriter, Store
from naiad.storage.catalog import ABSENT, MOST_SORTED
from naiad.testing.runs import SERIES, StoreFixtures, assign, begin, new_series


class CatalogTests(StoreFixtures):
    """The tests of `Catalog`; see `naiad.testing.storage`."""

    # Catalog

    def test_summaries_show_the_facts_of_runs(self, store: Store) -> None:
        """The newest first; those of a project, with tags, in a state, of a kind."""
        run, writer = begin(store, name="one")
        writer.write([Change("sys/tags", TAGS, (Tags("sys/tags", ["x", "y"], [], clear=False),))])
        writer.stop("failed")
        _run, second = begin(store, "other", name="two")
        catalog = store.catalog()
        [one] = catalog.summaries("digits")

        assert (run, "DIGITS-1", "digits", "one", "failed") == (one.run, one.id, one.project, one.name, one.state)
        assert (one.tags, one.owner, one.trashed) == (("x", "y"), "me", False)
        assert [each.name for each in catalog.summaries(state="running")] == ["two"]
        assert [each.name for each in catalog.summaries(tags=["x"])] == ["one"]
        assert [each.name for each in catalog.summaries(limit=1)] == [each.name for each in catalog.summaries()][:1]
        assert catalog.summaries(kind=MODEL) + catalog.summaries(is_trashed=True) == []
        second.stop()

    def test_search_filters_sorts_and_limits(self, store: Store) -> None:
        """By values of atoms, tags and series; runs without a value to sort by come last."""
        for lr in (0.1, 0.3, 0.2):
            _run, writer = begin(store)
            writer.write([assign("lr", ATOM_OF[float], lr)])
            writer.points(new_series(writer), [lr, lr / 2], [0, 1], [1.0, 1.0])
            writer.write([Change("t", TAGS, (Tags("t", ["all", str(lr)], [], clear=False),))])
            writer.stop()
        # A run without the field, to come last.
        begin(store)[1].stop()
        catalog, lr_name = store.catalog(), FieldName("lr", ATOM_OF[float])

        def ids(*what: object, **how: object) -> list[str]:
            return [row.id for row in catalog.search(RUN, "digits", *what, **how).rows]  # type: ignore[arg-type]  # as given

        by_rate = {"sort_by": "lr", "is_ascending": True}
        assert ids(None, **by_rate) == ["DIGITS-1", "DIGITS-3", "DIGITS-2", "DIGITS-4"]
        assert ids(Compare(lr_name, "<", 0.25), **by_rate) == ["DIGITS-1", "DIGITS-3"]
        assert ids(Not(Compare(lr_name, ">", 0.0))) == ["DIGITS-4"]
        assert ids(Contains(FieldName("t", TAGS), "0.3")) == ["DIGITS-2"]
        assert ids(None, sort_by="loss:min", limit=2) == ["DIGITS-2", "DIGITS-3"]
        assert catalog.search(RUN, "elsewhere", None).rows == []

    def test_search_without_types_and_fields_that_cannot_match(self, store: Store) -> None:
        """A clause without a type matches each kind that it can; one that cannot match is reported and never raises."""
        values: tuple[Plain, ...] = (0.1, 3, "x")
        for value in values:
            _run, writer = begin(store)
            writer.write([assign("lr", ATOM_OF[type(value)], value)])
            writer.stop()
        _run, writer = begin(store)
        writer.points(new_series(writer, "lr"), [0.5, 2.0], [0, 1], [1.0, 1.0])
        writer.stop()
        catalog = store.catalog()

        def found(query: str, **how: object) -> tuple[list[str], list[tuple[str, dict[str, int]]]]:
            result = catalog.search(RUN, "digits", parse(query), sort_by="sys/id", is_ascending=True, **how)  # type: ignore[arg-type]  # as given
            return [row.id for row in result.rows], [(each.path, dict(each.kinds)) for each in result.unmatched]

        text = [("lr", {ATOM_OF[str]: 1})]
        assert found("lr >= 2") == (["DIGITS-2", "DIGITS-4"], text)
        assert found("lr IN (0.1, 3, x)") == (["DIGITS-1", "DIGITS-2", "DIGITS-3"], [])
        assert found("lr BETWEEN 0 AND 2") == (["DIGITS-1", "DIGITS-4"], text)
        assert found("lr EXISTS AND NOT lr = x") == (["DIGITS-1", "DIGITS-2", "DIGITS-4"], [])
        assert found("absent > 1") == ([], [("absent", {})])
        unsorted = catalog.search(RUN, "digits", None, sort_by="nothing")
        assert [row.id for row in unsorted.rows] == [f"DIGITS-{number}" for number in (4, 3, 2, 1)]
        assert [each.path for each in unsorted.unmatched] == ["nothing"]
        empty = catalog.search(RUN, "digits", parse("lr > 9"), columns=["l*", "sys/id"])
        assert {path for path, _kind in empty.fields.values()} == {"lr", "sys/id"}

    def test_found_rows_have_the_cells_that_were_asked_for(self, store: Store) -> None:
        """Of a series all aspects, in the order of `ASPECTS`."""
        run, writer = begin(store)
        writer.points(new_series(writer), [1.0, 3.0], [0, 1], [1.0, 1.0])
        writer.write([assign("n", ATOM_OF[int], 2**53 + 1)])
        writer.stop()
        catalog = store.catalog()
        found = catalog.search(RUN, None, None, columns=["loss:min", "n"])

        assert [(run.uid, "DIGITS-1")] == [(row.uid, row.id) for row in found.rows]
        cells = {key: found.rows[0].cells[number] for number, key in found.fields.items()}
        assert cells == {("loss", POINTS): [3.0, 1.0, 3.0, 2.0, 1.0], ("n", ATOM_OF[int]): 2**53 + 1}
        assert cells.items() <= dict(catalog.cells(run)).items()

    @pytest.fixture
    def many(self, store: Store) -> Store:
        """Seven finished runs: of three rates and two tags, the last without a rate; and one of another project."""
        for number in range(7):
            _run, writer = begin(store, name=f"n{number}")
            if number < 6:
                writer.write([assign("lr", ATOM_OF[float], (0.1, 0.3, 0.2)[number % 3])])
            writer.write([Change("t", TAGS, (Tags("t", ["all", f"t{number % 2}"], [], clear=False),))])
            writer.points(new_series(writer), [float(number), number / 2], [0, 1], [1.0, 1.0])
            writer.stop()
        begin(store, "other")[1].stop()
        return store

    def test_grid_is_sorted_by_several_columns_and_paged(self, many: Store) -> None:
        """Pages join without a gap, also past the runs that have a value to sort by."""
        catalog = many.catalog()

        def ids(sort: list[tuple[str, bool]], limit: int | None = None, offset: int = 0) -> list[str]:
            found = catalog.grid(RUN, "digits", None, sort=sort, limit=limit, offset=offset)
            return [each.partition("-")[2] for each in found.ids]

        by_rate = [("lr", True), ("loss:min", False)]
        assert ids(by_rate) == ["4", "1", "6", "3", "5", "2", "7"]
        for sort in (by_rate, [("lr", True)], [("loss:max", False)], []):
            assert [each for at in range(0, 8, 2) for each in ids(sort, 2, at)] == ids(sort)
            assert len(set(ids(sort))) == 7

    def test_grid_is_sorted_by_a_bounded_number_of_columns(self, many: Store) -> None:
        """SQLite ended the process at very many."""
        catalog = many.catalog()
        most = [("lr", True), ("loss:min", False)] * (MOST_SORTED // 2)

        assert catalog.grid(RUN, "digits", None, sort=most, limit=1).ids == ["DIGITS-4"]
        with pytest.raises(InvalidArgument, match=f"{MOST_SORTED} columns, and 22"):
            catalog.grid(RUN, "digits", None, sort=[("lr", True)] * 22)

    @pytest.mark.parametrize("project", ["digits", None])
    def test_found_containers_are_sorted_by_several_columns(self, many: Store, project: str | None) -> None:
        """Under any condition, whichever place its parameters have in the statement."""
        low = Compare(FieldName("lr", ATOM_OF[float]), "<", 0.25)
        for tree in (low, And((low, Exists(FieldName("t", TAGS)))), And((Exists(FieldName("t", TAGS)), low))):
            by_rate = [("lr", True), ("loss:min", False), ("sys/id", True)]
            found = many.catalog().grid(RUN, project, tree, sort=by_rate, limit=3)

            assert found.ids == ["DIGITS-4", "DIGITS-1", "DIGITS-6"]

    def test_grid_has_a_cell_for_each_container(self, many: Store) -> None:
        """By path and kind; `ABSENT` where there is no such field."""
        found = many.catalog().grid(RUN, "digits", None, sort=[("sys/id", True)], columns=["lr", "loss:min", "nothing"])

        assert found.columns.keys() == {("lr", ATOM_OF[float]), ("loss", POINTS)}
        assert found.columns["lr", ATOM_OF[float]][:6] == [0.1, 0.3, 0.2] * 2
        assert found.columns["lr", ATOM_OF[float]][6] is ABSENT
        assert found.columns["loss", POINTS][4][:3] == [2.0, 2.0, 4.0]
        assert (set(found.projects), set(found.states)) == ({"digits"}, {"finished"})

    def test_containers_are_counted(self, many: Store) -> None:
        """With and without a condition, in one project or all; those in the trash apart."""
        catalog = many.catalog()
        _run, writer = begin(many)
        writer.write([assign("sys/trashed", ATOM_OF[bool], True)])
        writer.stop()
        high = Compare(FieldName("lr", ATOM_OF[float]), ">", 0.15)

        assert [catalog.count(RUN, *what) for what in (("digits", None), (None, None), ("digits", high))] == [8, 9, 4]
        [first, second] = sorted(catalog.projects())
        assert (first.name, dict(first.counts), first.trashed, first.latest) == ("digits", {"run": 7}, 1, 1_000_008)
        assert (second.name, dict(second.counts), second.trashed) == ("other", {"run": 1}, 0)

    def test_fields_of_a_project_are_listed(self, many: Store) -> None:
        """Not those that only other projects have."""
        catalog = many.catalog()

        assert {("lr", ATOM_OF[float]), ("loss", POINTS), ("t", TAGS)} <= set(catalog.fields(RUN, "digits"))
        assert "lr" not in {path for path, _kind in catalog.fields(RUN, "other")}
        assert catalog.fields(MODEL, None) == []

    def test_common_values_come_with_their_number(self, many: Store) -> None:
        """The most frequent first; each string of a set by itself."""
        catalog = many.catalog()

        assert catalog.common_values(RUN, "digits", "lr") == (
            3,
            [(ATOM_OF[float], 0.1, 2), (ATOM_OF[float], 0.2, 2), (ATOM_OF[float], 0.3, 2)],
        )
        assert catalog.common_values(RUN, "digits", "t", limit=2) == (3, [(TAGS, "all", 7), (TAGS, "t0", 4)])
        assert catalog.common_values(RUN, "digits", "t", "T1") == (1, [(TAGS, "t1", 3)])
        assert catalog.common_values(RUN, "digits", "nothing") == (0, [])

    def test_containers_are_grouped(self, many: Store) -> None:
        """By several columns, with the extremes and the mean of others; by string sets as a whole."""
        catalog = many.catalog()
        found = catalog.groups(RUN, "digits", None, ["lr"], ["loss:max"])
        by_tags = catalog.groups(RUN, "digits", None, ["t", "lr"], ["loss:max"], 1)

        assert found.total == 4
        assert sorted(zip(found.keys, found.counts, strict=True), key=str) == [
            ((0.1,), 2), ((0.2,), 2), ((0.3,), 2), ((None,), 1),
        ]  # fmt: skip
        assert found.numbers["loss:max"][found.keys.index((0.1,))] == (2, 0.0, 3.0, 1.5)
        assert (by_tags.total, by_tags.counts) == (7, [1])
        assert by_tags.keys[0][0] in {("all", "t0"), ("all", "t1")}

    def test_groups_have_facts_of_more_columns_than_one_statement_joins(self, store: Store) -> None:
        """In the order of the columns; a group without a value has none, however many others have."""
        for number in range(3):
            _run, writer = begin(store)
            writer.write([assign("g", ATOM_OF[int], number % 2)])
            writer.write([assign(f"x{n:03}", ATOM_OF[int], 10 * number + n) for n in range(130) if n != 120 or number])
            writer.stop()
        columns = [f"x{n:03}" for n in range(130)]
        found = store.catalog().groups(RUN, None, None, ["g"], columns)

        assert (found.keys, found.counts, list(found.numbers)) == ([(0,), (1,)], [2, 1], columns)
        assert found.numbers["x007"] == [(2, 7.0, 27.0, 17.0), (1, 17.0, 17.0, 17.0)]
        assert found.numbers["x120"] == [(1, 140.0, 140.0, 140.0), (1, 130.0, 130.0, 130.0)]

    def test_sets_with_other_strings_are_found(self, store: Store) -> None:
        """A set without strings has no others."""
        for tags in (["a"], ["a", "b"], ["b"], []):
            _run, writer = begin(store)
            writer.write([Change("t", TAGS, (Tags("t", [*tags], [], clear=False),))])
            writer.stop()
        catalog, field = store.catalog(), FieldName("t", TAGS)

        def among(*texts: str) -> int:
            return catalog.count(RUN, None, HasOthers(field, texts))

        assert (among(), among("a"), among("a", "b"), among("c")) == (3, 2, 0, 3)
        assert catalog.count(RUN, None, And((Contains(field, "a"), Not(HasOthers(field, ("a",)))))) == 1

    def test_groups_by_last_texts_and_by_a_path_of_two_kinds(self, store: Store) -> None:
        """A series of texts counts by its last one; True, where others have a number, is 1."""
        for number, value in enumerate([True, 0.5, 2.5]):
            _run, writer = begin(store, name=f"run {number}")
            writer.write([
                Change("log", LINES, (Strings("log", [f"line {number % 2}"], [0], [1.0], fresh=True),)),
                assign("x", ATOM_OF[type(value)], value),
            ])  # fmt: skip
            writer.stop()
        catalog = store.catalog()
        by_text = catalog.groups(RUN, None, None, ["log"])
        by_number = catalog.groups(RUN, None, None, ["x"])

        assert dict(zip(by_text.keys, by_text.counts, strict=True)) == {("line 0",): 2, ("line 1",): 1}
        assert sorted(by_number.keys) == [(0.5,), (1.0,), (2.5,)]
        assert not any(value is True for (value,) in by_number.keys)

    def test_equal_integers_and_floats_are_one_value(self, store: Store) -> None:
        """As a group, and in an order by several columns; integers that a float only approaches differ."""
        values = [1, 1.0, 2.5, 2**60, 2**60 + 1, float(2**60), 1e300, float("nan")]
        for number, value in enumerate(values):
            _run, writer = begin(store)
            other = assign("y", ATOM_OF[float], float(number if number != 1 else -1))
            writer.write([assign("x", ATOM_OF[type(value)], value), other])
            writer.stop()
        catalog = store.catalog()
        found = catalog.groups(RUN, None, None, ["x"])
        sorts = [("x", True), ("y", True)], [("x", False), ("y", False)]
        rising, falling = (catalog.grid(RUN, None, None, sort=sort, limit=8).ids for sort in sorts)

        expected = {1: 2, 2.5: 1, 2**60: 2, 2**60 + 1: 1, 1e300: 1, None: 1}
        assert {key: count for (key,), count in zip(found.keys, found.counts, strict=True)} == expected
        assert rising == [f"DIGITS-{number}" for number in (2, 1, 3, 4, 6, 5, 7, 8)]
        assert falling == [f"DIGITS-{number}" for number in (7, 5, 6, 4, 3, 1, 2, 8)]

    def test_numbers_that_are_nan_are_one_group_beside_tags(self, store: Store) -> None:
        """As they are without tags: with those that have no number."""
        for value in (math.nan, math.nan, 1.0, None):
            _run, writer = begin(store)
            writer.write([Change("t", TAGS, (Tags("t", ["a"], [], clear=False),))])
            if value is not None:
                writer.write([assign("x", ATOM_OF[float], value)])
            writer.stop()
        for by in (["t", "x"], ["x"]):
            found = store.catalog().groups(RUN, None, None, by)

            assert {key[-1]: count for key, count in zip(found.keys, found.counts, strict=True)} == {None: 3, 1.0: 1}

    @pytest.mark.parametrize("limit", [None, 9])
    def test_texts_are_sorted_by_all_of_their_characters(self, store: Store, limit: int | None) -> None:
        """Also those that are alike as far as an index has them."""
        texts = ["a" * length + end for length in (199, 200, 201) for end in ("", "b")]
        for text in texts:
            _run, writer = begin(store)
            writer.write([assign("x", ATOM_OF[str], text)])
            writer.stop()
        expected = [f"DIGITS-{1 + texts.index(text)}" for text in sorted(texts)]

        def ids(*, is_ascending: bool) -> list[str]:
            found = store.catalog().search(RUN, None, None, sort_by="x", is_ascending=is_ascending, limit=limit)
            return [row.id for row in found.rows]

        assert ids(is_ascending=True) == expected
        assert ids(is_ascending=False) == expected[::-1]

    def test_unknown_column_to_sort_by_gives_the_newest_first(self, many: Store) -> None:
        """In either direction, as a grid does."""
        catalog = many.catalog()
        for is_ascending in (False, True):
            found = catalog.search(RUN, "digits", None, sort_by="nothing", is_ascending=is_ascending)
            shown = catalog.grid(RUN, "digits", None, sort=[("nothing", is_ascending)])

            assert [row.id for row in found.rows] == shown.ids == [f"DIGITS-{number}" for number in range(7, 0, -1)]

    def test_changes_since_a_mark_are_told(self, store: Store) -> None:
        """New, changed and deleted containers, each once; after a mark without a meaning all may have changed."""
        run, writer = begin(store, name="one")
        other, quiet = begin(store, name="two")
        quiet.stop()
        catalog = store.catalog()
        mark = catalog.changes().mark
        nothing = catalog.changes(mark)
        writer.write([assign("x", ATOM_OF[int], 1)])
        changed = catalog.changes(nothing.mark)
        third, last = begin(store, name="three")
        last.stop()
        writer.stop()
        store.delete([("DIGITS-2", other)])
        later = catalog.changes(changed.mark)

        assert (nothing.is_all, [*nothing.rows], [*nothing.removed]) == (False, [], [])
        assert ([row.uid for row in changed.rows], changed.new) == ([run.uid], frozenset())
        assert {row.uid: row.state for row in later.rows} == {run.uid: "finished", third.uid: "finished"}
        assert (later.new, [uid for uid, _id in later.removed]) == (frozenset([third.uid]), [other.uid])
        assert {row.uid for row in catalog.changes(mark).rows} == {run.uid, third.uid}
        assert catalog.changes("elsewhere").is_all

    def test_points_of_all_series_are_counted(self, run: tuple[RunReader, RunWriter]) -> None:
        """Of numbers and of texts, by path."""
        reader, writer = run
        writer.points(new_series(writer), [1.0, 2.0], [0, 1], [1.0, 1.0])
        writer.write([Change("log", LINES, (Strings("log", ["a"], [0], [1.0], fresh=True),))])

        assert reader.counts() == {SERIES: 2, "log": 1}

    def test_catalog_follows_later_writes(self, store: Store) -> None:
        """Each call sees the runs as they are then."""
        run, writer = begin(store, name="before")
        catalog = store.catalog()
        names = [each.name for each in catalog.summaries()]
        writer.write([assign("sys/name", ATOM_OF[str], "after")])
        names += [each.name for each in catalog.summaries()]
        writer.stop()
        store.delete([("DIGITS-1", run)])

        assert (names, catalog.summaries()) == (["before", "after"], [])
