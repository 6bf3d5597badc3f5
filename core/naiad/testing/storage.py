"""Conformance tests for stores: a back end derives from `StoreTests`. They need pytest.

    class TestMyStore(StoreTests):
        def make_store(self, folder):
            return MyStore(folder)

The tests write as fields do, through `RunWriter`, and compare what readers and the catalog return.
"""

from __future__ import annotations

import copy
import threading

import pytest

from naiad.container_kinds import MODEL, MODEL_VERSION, PROJECT, RUN
from naiad.errors import (
    BeingWritten,
    ContainerNotFound,
    ContainerProtected,
    ModelKeyTaken,
    ProjectExists,
)
from naiad.kinds import PROTECTED
from naiad.storage.base import Store
from naiad.storage.edits import edit, sys_changes
from naiad.testing.catalogs import CatalogTests
from naiad.testing.runs import RunTests, begin, known


class StoreTests(RunTests, CatalogTests):
    """The tests of a store, with those of its runs and its catalog; a class derived from it makes the store."""

    # Ids

    def test_nothing_is_there_at_first(self, store: Store) -> None:
        """An empty store has no run, no project and an address."""
        assert not store.has_begun()
        assert (store.projects(), store.catalog().summaries(kind=None, is_trashed=None)) == ({}, [])
        assert store.url()
        with pytest.raises(ContainerNotFound):
            store.find("DIGITS-1")

    def test_numbers_of_a_project_count_up(self, store: Store) -> None:
        """Ids are counted for each project, and each is new."""
        reserved = [store.reserve_run(project) for project in ("digits", "digits", "other", "digits")]

        assert [each.id for each in reserved] == ["DIGITS-1", "DIGITS-2", "OTHER-1", "DIGITS-3"]
        assert len({each.run for each in reserved}) == 4
        assert all(each.is_new for each in reserved)
        assert store.projects() == {"DIGITS": "digits", "OTHER": "other"}
        assert store.has_begun()

    def test_threads_never_get_the_same_id(self, store: Store) -> None:
        """Ids are taken exclusively."""
        found: list[str] = []
        threads = [threading.Thread(target=lambda: found.append(store.reserve_run("digits").id)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(set(found)) == 16

    def test_custom_id_means_one_run_of_a_project(self, store: Store) -> None:
        """Who gives the same custom id joins the same run; in another project it is another one."""
        first, other = store.reserve_run("digits", "job"), store.reserve_run("other", "job")
        store.writer(first.run, first_ops=known(id=first.id)).stop()
        again = store.reserve_run("digits", "job")

        assert (first.run, first.id, False) == again[:3]
        assert other.run != first.run

    def test_run_is_found_by_its_custom_id(self, store: Store) -> None:
        """In its project alone, once it was begun."""
        reservation = store.reserve_run("digits", "mine")
        store.writer(reservation.run, first_ops=known(id=reservation.id, project="digits")).stop()

        assert store.find_custom("digits", "mine") == reservation.run
        assert store.find_custom("other", "mine") is None
        assert store.find_custom("digits", "yours") is None

    def test_models_versions_and_projects_have_ids_of_their_own(self, store: Store) -> None:
        """A model key is taken once; versions are counted; a project is its key."""
        model = store.reserve_model("digits", "CNN")
        store.writer(model.run, first_ops=known(id=model.id)).stop()
        project = store.reserve_project("digits")

        assert (model.id, model.run.kind) == ("DIGITS-CNN", MODEL)
        assert [store.reserve_version(model.id).id for _ in range(2)] == ["DIGITS-CNN-1", "DIGITS-CNN-2"]
        assert (project.id, project.run.kind) == ("DIGITS", PROJECT)
        with pytest.raises(ModelKeyTaken):
            store.reserve_model("digits", "CNN")
        with pytest.raises(ProjectExists):
            store.reserve_project("elsewhere", "DIGITS")

    def test_source_means_one_container(self, store: Store) -> None:
        """A container that was made of a source is found by it, and has the id wished for if that is free."""
        with store.lock_source("a"):
            first = store.reserve_source("a", RUN, "digits", "SAN-7")
            store.writer(first.run, first_ops=known(id=first.id)).stop()
        with store.lock_source("a"):
            again = store.reserve_source("a", RUN, "digits", "SAN-7")
        with store.lock_source("b"):
            other = store.reserve_source("b", RUN, "digits", "SAN-7")

        assert (first.id, first.is_new) == ("SAN-7", True)
        assert (first.run, "SAN-7", False) == (again.run, again.id, again.is_new)
        assert other.is_new
        assert other.id != "SAN-7"
        assert "SAN" in store.projects()
        assert store.find_source("a") == again
        assert store.find_source("c") is None
        assert store.bind_source("c", first.run, first.id)
        assert not store.bind_source("b", first.run, first.id)

    def test_source_may_be_a_model_or_a_version(self, store: Store) -> None:
        """Without an id, models and versions get one."""
        named = store.reserve_source("m", MODEL, "digits", "SAN-CNN")
        version = store.reserve_source("v", MODEL_VERSION, "digits", "SAN-CNN-3")
        unnamed = [store.reserve_source(f"u{kind.name}", kind, "digits") for kind in (MODEL, MODEL_VERSION)]

        assert [named.id, version.id] == ["SAN-CNN", "SAN-CNN-3"]
        assert all(each.run.kind.id_form.match(each.id) for each in unnamed)

    def test_released_run_leaves_nothing(self, store: Store) -> None:
        """A container that could not be begun is not there."""
        reservation = store.reserve_run("digits", "job")
        store.release(reservation)

        assert not store.exists(reservation.run)
        assert store.reserve_run("digits", "job").is_new

    def test_run_is_found_by_id_and_uid_and_kind(self, store: Store) -> None:
        """Both names mean it, for its own kind or any."""
        run, writer = begin(store)
        writer.stop()

        assert [run, run, run] == [store.find("DIGITS-1"), store.find(run.uid), store.find("DIGITS-1", RUN)]
        assert (store.exists(run), store.id_of(run)) == (True, "DIGITS-1")
        assert store.url(run) != store.url()
        with pytest.raises(ContainerNotFound):
            store.find("DIGITS-1", MODEL)

    def test_copy_of_a_store_is_the_same_store(self, store: Store) -> None:
        """It is copied as it is pickled on the way to another process."""
        run, writer = begin(store)
        writer.stop()
        again = copy.deepcopy(store)

        assert run == again.find("DIGITS-1")
        assert again.reader(copy.deepcopy(run)).value("sys/id") == "DIGITS-1"

    # The end of runs and projects

    def test_run_that_is_written_is_not_deleted(self, store: Store) -> None:
        """Then nothing is deleted, and afterwards the id is never given again."""
        runs = [begin(store) for _ in range(2)]
        runs[0][1].stop()
        with pytest.raises(BeingWritten):
            store.delete([("DIGITS-1", runs[0][0]), ("DIGITS-2", runs[1][0])])
        assert store.exists(runs[0][0])
        runs[1][1].stop()
        store.delete([("DIGITS-1", runs[0][0]), ("DIGITS-2", runs[1][0])])

        assert [store.exists(run) for run, _writer in runs] == [False, False]
        assert store.reserve_run("digits").id == "DIGITS-3"
        with pytest.raises(ContainerNotFound):
            store.find("DIGITS-1")

    def test_protected_run_is_not_deleted(self, store: Store) -> None:
        """Then nothing is deleted."""
        runs = [begin(store) for _ in range(2)]
        for _run, writer in runs:
            writer.stop()
        edit(store, runs[1][0], sys_changes({PROTECTED: True}))
        with pytest.raises(ContainerProtected):
            store.delete([("DIGITS-1", runs[0][0]), ("DIGITS-2", runs[1][0])])
        assert [store.exists(run) for run, _writer in runs] == [True, True]
        edit(store, runs[1][0], sys_changes({PROTECTED: False}))
        store.delete([("DIGITS-2", runs[1][0])])

        assert [store.exists(run) for run, _writer in runs] == [True, False]

    def test_moved_run_is_found_by_its_former_id(self, store: Store) -> None:
        """It has the next id of the other project, and moving it again changes nothing."""
        run, writer = begin(store)
        with pytest.raises(BeingWritten):
            store.move(run, "archive")
        writer.stop()

        assert [store.move(run, "archive") for _ in range(2)] == ["ARCHIVE-1", "ARCHIVE-1"]
        assert [store.find(name) for name in ("DIGITS-1", "ARCHIVE-1")] == [run, run]
        assert [each.id for each in store.catalog().summaries("archive")] == ["ARCHIVE-1"]
        assert (store.id_of(run), store.reserve_run("digits").id) == ("ARCHIVE-1", "DIGITS-2")

    def test_project_has_fields_of_its_own(self, store: Store) -> None:
        """Before anything is written to them, they follow from its name."""
        begin(store)[1].stop()

        assert store.find_project("digits") is None
        blank = store.project_reader("digits").values("sys")
        assert (blank["sys/id"], blank["sys/name"]) == ("DIGITS", "digits")
        reservation = store.reserve_project("digits")
        store.writer(reservation.run, first_ops=known(id=reservation.id)).stop()
        assert reservation.run == store.find_project("digits")

    def test_key_of_a_forgotten_project_is_free(self, store: Store) -> None:
        """Another project may have it."""
        run, writer = begin(store)
        writer.stop()
        store.delete([("DIGITS-1", run)])
        store.forget_project("digits")

        assert store.projects() == {}
        assert store.reserve_run("digits").id == "DIGITS-1"
