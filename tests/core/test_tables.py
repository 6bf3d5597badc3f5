"""Tables: what `fetch_runs_table` and its like find, show and refuse."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import naiad
import naiad.storage.sql.packed_rows
import naiad.storage.sql.rows
import naiad.table
from naiad.errors import FieldConflict, InvalidQuery, NaiadWarning
from naiad.exceptions import MetadataInconsistency, NeptuneInvalidQueryException
from naiad.storage.local.store import Store
from naiad.table import Table
from naiad.types import File
from naiad.typing import ProgressBarCallback

BORN = datetime(2024, 2, 6, 5, tzinfo=timezone.utc)


def begin(number: int) -> None:
    with naiad.init_run(project="p", name=f"run {number}", tags=["all", f"t{number}"]) as run:
        run["lr"] = number / 10
        run["epochs"] = 2**53 + number if number == 1 else number
        run["born"] = BORN
        run["flag"] = number == 1
        run["train/loss"].extend([4.0, 1.0 / number, 2.0])
        run["train/log"].extend(["begun", f"ended {number}"])
        run["monitoring/x/cpu"] = 0.5
        run["model"].upload(File.from_content(f"weights {number}"))
        if number == 3:
            run["only"] = "here"


@pytest.fixture
def project(store: Path) -> naiad.Project:
    for number in (1, 2, 3):
        begin(number)
    with naiad.init_run(project="another"):
        pass
    return naiad.init_project("p", mode="read-only")


def ids(table: Table) -> list[str]:
    return [row.get_attribute_value("sys/id") for row in table]


def test_columns_are_sys_then_others_then_monitoring(project: naiad.Project) -> None:
    frame = project.fetch_runs_table().to_pandas()
    names = list(frame.columns)

    groups = [{"sys": 0, "monitoring": 2}.get(name.split("/")[0], 1) for name in names]
    assert sorted(groups) == groups
    assert ["born", "epochs", "flag", "lr", "only", "train/log", "train/loss", "monitoring/x/cpu"] == [
        name for name in names if not name.startswith("sys/")
    ]
    assert sorted(name for name in names if name.startswith("sys/")) == names[: groups.index(1)]
    assert ["P-3", "P-2", "P-1"] == frame["sys/id"].tolist()
    assert pd.RangeIndex(3).equals(frame.index)


def test_cells_of_a_frame(project: naiad.Project) -> None:
    frame = project.fetch_runs_table(sort_by="lr", ascending=True).to_pandas()

    assert [0.1, 0.2, 0.3] == frame["lr"].tolist()
    assert [2**53 + 1, 2, 3] == frame["epochs"].tolist()
    assert [True, False, False] == frame["flag"].tolist()
    assert [2.0] * 3 == frame["train/loss"].tolist()
    assert ["ended 1", "ended 2", "ended 3"] == frame["train/log"].tolist()
    assert [datetime(2024, 2, 6, 5)] * 3 == [each.to_pydatetime() for each in frame["born"]]
    assert ["all,t1", "all,t2", "all,t3"] == frame["sys/tags"].tolist()
    assert ["finished"] * 3 == frame["sys/state"].tolist()
    assert [True, True, False] == frame["only"].isna().tolist()


@pytest.mark.parametrize(("alike", "wide"), [(0, 5_000), (100, 5_000), (100, 0)], ids=["columns", "rows", "wide rows"])
def test_frame_of_many_columns_and_rows_is_the_same(project: naiad.Project, alike: int, wide: int) -> None:
    with naiad.init_run(project="p") as run:
        run["lr"], run["train/loss"] = "auto", 0.5  # of other kinds than in the other runs
        run["nan"].append(float("nan"))
        run["never"] = float("inf")
    frame = project.fetch_runs_table(query="sys/state = finished").to_pandas()
    with pytest.MonkeyPatch.context() as few:
        few.setattr(naiad.table, "MANY_COLUMNS", 0)
        few.setattr(naiad.storage.sql.rows, "SMALL_ROWS", 0)
        few.setattr(naiad.storage.sql.packed_rows, "FEWEST_ALIKE", alike)
        few.setattr(naiad.storage.sql.packed_rows, "MANY_CELLS", wide)
        same = project.fetch_runs_table(query="sys/state = finished").to_pandas()
        numbers = project.fetch_runs_table(columns=["monitoring/x/cpu"], sort_by="monitoring/x/cpu").to_pandas()

    pd.testing.assert_frame_equal(frame, same)
    assert ["sys/id", "monitoring/x/cpu"] == [*numbers.columns]


def test_aspects_of_series_are_columns_and_sort(project: naiad.Project) -> None:
    names = [f"train/loss:{aspect}" for aspect in ("last", "min", "max", "average", "variance")]
    frame = project.fetch_runs_table(columns=names, sort_by="train/loss:min", ascending=True).to_pandas()
    values = [[4.0, 1.0 / number, 2.0] for number in (3, 2, 1)]

    assert ["P-3", "P-2", "P-1"] == frame["sys/id"].tolist()
    assert set(names) | {"sys/id"} == set(frame.columns)
    for name, fact in zip(names, (lambda v: v[-1], min, max, np.mean, np.var), strict=True):
        np.testing.assert_allclose([fact(each) for each in values], frame[name])
    assert ["P-2", "P-3"] == ids(
        project.fetch_runs_table(query="min(train/loss:floatSeries) < 0.6", sort_by="lr", ascending=True)
    )


def test_integers_beside_missing_ones_keep_their_digits(project: naiad.Project) -> None:
    with naiad.init_run(project="p"):
        pass
    column = project.fetch_runs_table(sort_by="epochs").to_pandas()["epochs"]

    assert [2**53 + 1, 3, 2, pd.NA] == column.tolist()


@pytest.mark.parametrize("columns", [[], ["nothing"], ["sys/id"]], ids=str)
def test_id_sorted_column_and_those_asked_for_are_always_there(project: naiad.Project, columns: list[str]) -> None:
    more = sorted({*columns} - {"sys/id"})
    assert ["sys/creation_time", "sys/id", *more] == list(project.fetch_runs_table(columns=columns).to_pandas().columns)
    frame = project.fetch_runs_table(columns=columns, sort_by="lr").to_pandas()
    assert ["sys/id", "lr", *more] == list(frame.columns)


def test_nothing_found_has_the_columns_of_what_could_be_found(project: naiad.Project) -> None:
    named = project.fetch_runs_table(query="lr > 9", columns=["sys/name", "lr", "train/*:min", "nothing"]).to_pandas()
    everything = project.fetch_runs_table(query="lr > 9").to_pandas()

    assert ["sys/creation_time", "sys/id", "sys/name", "lr", "nothing", "train/loss:min"] == list(named.columns)
    assert list(project.fetch_runs_table().to_pandas().columns) == list(everything.columns)
    assert (0, 0) == (len(named), len(everything))
    assert np.float64 == named["lr"].dtype


def test_wildcards_stand_for_columns(project: naiad.Project) -> None:
    def columns(*names: str) -> list[str]:
        return list(project.fetch_runs_table(columns=names, sort_by="sys/id").to_pandas().columns)[1:]

    assert ["train/log", "train/loss"] == columns("train/*")
    assert ["train/loss:max"] == columns("train/*:max")
    assert ["lr", "train/loss"] == columns("t*s", "lr")
    assert [] == columns("model*", "x*")
    assert list(project.fetch_runs_table(sort_by="sys/id").to_pandas().columns)[1:] == columns("*")


def test_fields_that_could_not_match_are_warned_about_once(project: naiad.Project) -> None:
    with naiad.init_run(project="p") as run:
        run["lr"] = "high"
    for query, expected, note in (
        ("lr > 0.15", ["P-3", "P-2"], '1 run does not match, because "lr" is of another type there: string in 1.'),
        ("lr:int > 0", [], '4 runs do not match, because "lr" is of another type there: float in 3, string in 1.'),
        ("lrr > 0 OR lr = high", ["P-4"], 'No run has the field "lrr". Nearby: "lr".'),
    ):
        naiad.errors.forget_warnings()
        with pytest.warns(NaiadWarning) as caught:
            found = [ids(project.fetch_runs_table(query=query)) for _ in range(2)]
        assert [expected] * 2 == found
        assert note in [str(each.message) for each in caught]
        assert len({str(each.message) for each in caught}) == len(caught)


def test_field_that_nobody_has_is_compared_with_thousands(project: naiad.Project) -> None:
    """The path that was meant may be behind those of a run with very many fields."""
    with naiad.init_run(project="p") as run:
        run["layers"] = {f"w{number:05d}": number for number in range(6_000)}
        run["z/rate"] = 1
    naiad.errors.forget_warnings()

    with pytest.warns(NaiadWarning, match='No run has the field "z/rat". Nearby: "z/rate"'):
        assert [] == ids(project.fetch_runs_table(query="z/rat > 0"))


def test_field_that_nobody_has_sorts_the_newest_first(project: naiad.Project) -> None:
    naiad.errors.forget_warnings()
    with pytest.warns(NaiadWarning, match='No run has the field "lrr"'):
        assert ["P-3", "P-2", "P-1"] == ids(project.fetch_runs_table(sort_by="lrr"))


def test_state_is_one_word_everywhere(project: naiad.Project) -> None:
    with pytest.raises(ZeroDivisionError), naiad.init_run(project="p") as run:
        1 / 0
    with naiad.init_run(with_id="P-4", mode="read-only") as run:
        word = run["sys/state"].fetch()
    table = project.fetch_runs_table(query=f"sys/state = {word}")

    assert ["failed"] == table.to_pandas()["sys/state"].tolist() == [word]
    assert ["P-4"] == ids(table) == ids(project.fetch_runs_table(state="failed"))


CRITERIA: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["P-3", "P-2", "P-1"]),
    ({"limit": 2}, ["P-3", "P-2"]),
    ({"id": "P-1"}, ["P-1"]),
    ({"id": ["P-1", "P-3", "P-9"]}, ["P-3", "P-1"]),
    ({"id": "P-9"}, []),
    ({"state": "inactive"}, ["P-3", "P-2", "P-1"]),
    ({"state": ["Active", "FAILED"]}, []),
    ({"tag": ["all", "t2"]}, ["P-2"]),
    ({"tag": ["t1", "t2"]}, []),
    ({"owner": "nobody"}, []),
    ({"id": ["P-1", "P-2"], "tag": "t2"}, ["P-2"]),
    ({"query": ""}, ["P-3", "P-2", "P-1"]),
    ({"query": "lr:float > 0.15"}, ["P-3", "P-2"]),
    ({"query": "lr > 0.15"}, ["P-3", "P-2"]),
    ({"query": "lr IN (0.1, 0.3)"}, ["P-3", "P-1"]),
    ({"query": "lr NOT IN (0.1, 0.3) AND epochs IN (2, 9007199254740993)"}, ["P-2"]),
    ({"query": "epochs IN (9007199254740993, 3)"}, ["P-3", "P-1"]),
    ({"query": "epochs:int IN (9007199254740992)"}, []),
    ({"query": "lr BETWEEN 0.1 AND 0.2"}, ["P-2", "P-1"]),
    ({"query": "born BETWEEN 2024-02-01 AND 2024-02-28 AND flag = true"}, ["P-1"]),
    ({"query": "train/loss = 2 AND min(train/loss) < 0.4"}, ["P-3"]),
    ({"query": "train/loss:min BETWEEN 0.4 AND 0.6"}, ["P-2"]),
    ({"query": 'train/log = "ended 2" OR only = here'}, ["P-3", "P-2"]),
    ({"query": "model EXISTS AND only NOT EXISTS"}, ["P-2", "P-1"]),
    ({"query": "sys/id IN (P-1, P-3) AND sys/tags CONTAINS t3"}, ["P-3"]),
    ({"query": "sys/creation_time > -1d AND sys/state = finished"}, ["P-3", "P-2", "P-1"]),
    ({"query": 'only:string EXISTS OR sys/tags:stringSet CONTAINS "t1"'}, ["P-3", "P-1"]),
    ({"query": "born:datetime = 2024-02-06T14:00+09 AND NOT flag:bool = true"}, ["P-3", "P-2"]),
    ({"query": 'sys/name:string MATCHES "run [12]$"'}, ["P-2", "P-1"]),
    ({"query": "sys/state:experimentState = idle AND model:file EXISTS"}, ["P-3", "P-2", "P-1"]),
    ({"query": "train/loss:floatSeries >= 2", "sort_by": "train/loss:min"}, ["P-1", "P-2", "P-3"]),
    ({"sort_by": "only"}, ["P-3", "P-2", "P-1"]),
    ({"trashed": True}, []),
    ({"trashed": None}, ["P-3", "P-2", "P-1"]),
]


def test_criteria_find_the_runs(project: naiad.Project) -> None:
    for given, expected in CRITERIA:
        assert expected == ids(project.fetch_runs_table(**given)), given


def test_trashed_clause_holds_for_all_alternatives_of_a_query(project: naiad.Project) -> None:
    naiad.management.trash_objects("p", ["P-2"])

    assert ["P-1"] == ids(project.fetch_runs_table(query="lr:float = 0.1 OR lr:float = 0.2"))
    assert ["P-2"] == ids(project.fetch_runs_table(trashed=True))


def test_table_is_read_more_than_once_and_stays_as_it_was_fetched(project: naiad.Project) -> None:
    table = project.fetch_runs_table()
    begin(4)

    assert ids(table) == ids(table) == [row["sys/id"].get() for row in table.to_rows()]
    pd.testing.assert_frame_equal(table.to_pandas(), table.to_pandas())
    assert 3 == len(table)
    assert 4 == len(project.fetch_runs_table())


def test_entry_gives_values_types_and_files(project: naiad.Project, tmp_path: Path) -> None:
    row = project.fetch_runs_table(id="P-2").to_rows()[0]

    assert {"all", "t2"} == row.get_attribute_value("sys/tags")
    assert datetime(2024, 2, 6, 5) == row["born"].get()
    assert (2.0, 0.5) == (row["train/loss"].get(), row["train/loss:min"].get())
    assert ("floatSeries", "experimentState", "file") == tuple(
        row.get_attribute_type(path) for path in ("train/loss", "sys/state", "model")
    )
    row.download_file_attribute("model", str(tmp_path / "model"))
    row["model"].download(tmp_path / "again")
    assert "weights 2" == (tmp_path / "model").read_text() == (tmp_path / "again").read_text()
    for refused in (row["model"].get, row["lr"].download):
        with pytest.raises(MetadataInconsistency):
            refused()
    with pytest.raises(MetadataInconsistency, match="of kind file, so it cannot be downloaded as a file_set"):
        row.download_file_set_attribute("model")
    with pytest.raises(ValueError, match='Run P-2 has no field "only"'):
        row.get_attribute_value("only")
    assert FieldConflict is MetadataInconsistency


def test_running_runs_are_as_they_are_now(project: naiad.Project, run: naiad.Run) -> None:
    own = naiad.init_project(run["sys/project"].fetch(), mode="read-only")
    for value in (1.0, 2.0):
        run["live"].append(value)
        assert (value, "running") == tuple(
            own.fetch_runs_table().to_rows()[0][path].get() for path in ("live", "sys/state")
        )


class Bar(ProgressBarCallback):
    told: list[tuple[int, int | None]] = []

    def update(self, *, by: int, total: int | None = None) -> None:
        self.told.append((by, total))


def test_progress_bar_of_ones_own_is_told(project: naiad.Project) -> None:
    project.fetch_runs_table(progress_bar=Bar)

    assert [(3, 3)] == Bar.told


def test_standard_bar_is_shown_while_many_runs_are_read(
    store: Path, monkeypatch: pytest.MonkeyPatch, project: naiad.Project
) -> None:
    monkeypatch.setattr("naiad.storage.local.catalog.BATCH", 2)
    monkeypatch.setattr("naiad.progress._is_seen", lambda: True)
    monkeypatch.setattr("naiad.progress.TqdmProgressBar", Bar)
    monkeypatch.setattr(Bar, "told", [])
    project.fetch_runs_table(progress_bar=False)
    assert [] == Bar.told
    Store.locate(store).catalog()._discard()
    project.fetch_runs_table()
    assert 4 == sum(by for by, _of in Bar.told)
    assert {4} == {of for _by, of in Bar.told}


def test_notebook_shows_a_small_escaped_table(project: naiad.Project) -> None:
    with naiad.init_run(project="p", name="<script>alert(1)</script>") as run:
        run["many"] = {f"k{number}": "x" * 300 for number in range(2_000)}
    page = project.fetch_runs_table()._repr_html_()

    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page
    assert "more columns" in page
    assert len(page.encode()) <= 30_000
    assert ">0.3<" in project.fetch_runs_table(columns=["lr"])._repr_html_()


def test_limit_takes_numbers_of_numpy(project: naiad.Project) -> None:
    assert ["P-3", "P-2"] == ids(project.fetch_runs_table(limit=np.int64(2)))


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"query": 5}, TypeError, "query= takes a str, not 5"),
    ({"query": "lr >"}, NeptuneInvalidQueryException, "Column 5 of the query"),
    ({"query": "", "id": "P-1"}, ValueError, "query= cannot be given together"),
    ({"id": 5}, TypeError, "id= takes a str or a list of str, not 5"),
    ({"id": ["P-1", None]}, TypeError, "id= takes a str or a list of str, not None"),
    ({"id": ["x"] * 10_001}, ValueError, "at most 10,000"),
    ({"tag": {"a": 1}}, TypeError, "tag= takes"),
    ({"owner": b"me"}, TypeError, "owner= takes"),
    ({"state": "sleeping"}, ValueError, "state= takes .* not 'sleeping'"),
    ({"columns": "lr"}, TypeError, "columns= takes a list of str"),
    ({"columns": ["lr", 1]}, TypeError, "columns= takes a list of str, not 1"),
    ({"limit": 0}, ValueError, "limit= must be a number above 0"),
    ({"limit": -1}, ValueError, "above 0"),
    ({"limit": 2**70}, ValueError, "limit="),
    ({"limit": True}, TypeError, "limit= takes an int"),
    ({"limit": np.True_}, TypeError, "limit= takes an int"),
    ({"limit": 1.5}, TypeError, "limit= takes an int"),
    ({"sort_by": None}, TypeError, "sort_by= takes a str"),
    ({"sort_by": "lr:min"}, ValueError, '"lr" is not a series'),
    ({"sort_by": "sys/tags"}, ValueError, "cannot be used for sorting"),
    ({"sort_by": "model"}, ValueError, "cannot be used for sorting"),
    ({"sort_by": "train/log"}, ValueError, "cannot be used for sorting"),
    ({"ascending": "yes"}, TypeError, "ascending= takes True or False"),
    ({"trashed": 1}, TypeError, "trashed= takes True, False or None"),
    ({"progress_bar": 3}, TypeError, "progress_bar= takes"),
]


def test_wrong_arguments_are_refused_at_the_call(project: naiad.Project) -> None:
    for given, error, message in WRONG:
        with pytest.raises(error, match=message):
            project.fetch_runs_table(**given)
    with pytest.raises(TypeError):
        project.fetch_runs_table("positional")  # type: ignore[misc]
    with pytest.raises(InvalidQuery):
        project.fetch_models_table(query="x")


def test_stopped_project_fetches_nothing(project: naiad.Project) -> None:
    project.stop()
    with pytest.raises(naiad.exceptions.InactiveProjectException):
        project.fetch_runs_table()


def test_empty_project_has_an_empty_table(store: Path) -> None:
    table = naiad.init_project("p").fetch_runs_table() if _made("p") else None

    assert table is not None
    assert (0, (0, 0)) == (len(table), table.to_pandas().shape)


def _made(project: str) -> bool:
    return bool(naiad.management.create_project(project))


def test_models_and_their_versions(store: Path) -> None:
    for key in ("CNN", "RNN"):
        with naiad.init_model(key=key, project="p") as model:
            model["size"] = len(key)
        for number in range(2):
            with naiad.init_model_version(model=f"P-{key}") as version:
                version["accuracy"] = number / 2
    with naiad.init_model(with_id="P-RNN", mode="read-only") as model:
        versions = model.fetch_model_versions_table(query="accuracy:float > 0.1", columns=["accuracy"])

        assert ["P-RNN-2"] == ids(versions)
        assert ["P-RNN-2", "P-RNN-1"] == ids(model.fetch_model_versions_table(sort_by="accuracy"))
    with naiad.init_project("p", mode="read-only") as project:
        assert ["P-RNN", "P-CNN"] == ids(project.fetch_models_table())
        assert [] == ids(project.fetch_runs_table())


def test_run_copied_into_another_store_is_found_there_after_rebuilding(
    project: naiad.Project, store: Path, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    with naiad.init_run(project="p", store=there):
        pass
    folder = Store(store).find_directory("P-2").path
    shutil.copytree(folder, there / "runs" / folder.name)
    Store(there).catalog().rebuild()

    with naiad.init_project("p", store=there, mode="read-only") as other:
        assert [0.2] == [row["lr"].get() for row in other.fetch_runs_table(query="lr:float EXISTS")]


def test_catalog_of_settled_folders_is_not_listed_again(
    project: naiad.Project, monkeypatch: pytest.MonkeyPatch, store: Path
) -> None:
    clock: Callable[[], float] = naiad.clock.now
    monkeypatch.setattr(naiad.clock, "now", lambda: clock() + 10)
    expected = ids(project.fetch_runs_table())
    monkeypatch.setattr(Store, "folders", None)

    assert expected == ids(project.fetch_runs_table())
