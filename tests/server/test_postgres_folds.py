"""Folds of a database: the rows that they leave, what readers see meanwhile, and their upkeep."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_client import ask, points
from postgres_server import Cluster, wait_for
from server_client import QUIET
from sqlalchemy.engine import Engine

import naiad
from naiad import clock
from naiad.container_kinds import RUN, RunId
from naiad.ids import new_uid
from naiad.storage.local.index.index import Index
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.store import Store as Folder
from naiad.storage.opening import database, database_upkeep
from naiad.storage.postgres import folding
from naiad.storage.postgres.connection import RunDatabase, open_database
from naiad.storage.postgres.folding import Folder as RunFolder
from naiad.storage.postgres.objects import Objects
from naiad.storage.receiving import Upkeep
from naiad.storage.remote.store import RemoteStore

pytestmark = pytest.mark.usefixtures("cluster_token")


@pytest.fixture
def cluster(own_cluster: Cluster) -> Cluster:
    return own_cluster


@pytest.fixture
def engine(cluster: Cluster) -> Iterator[Engine]:
    """The database, for this process."""
    found = open_database(cluster.postgres.url)
    yield found
    found.dispose()


@pytest.fixture
def folds(cluster: Cluster, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """The folds of the database in this process."""
    for name, value in cluster.objects.environment.items():
        monkeypatch.setenv(name, value)
    return RunFolder(engine, Objects(cluster.objects.url))


def test_rows_of_many_folds_are_merged_when_the_run_is_over(cluster: Cluster, folds: RunFolder, tmp_path: Path) -> None:
    """Each fold of a run that goes on adds rows, and a reader decodes all of them."""
    rows = "select count(*) from naiad.run_pack p join naiad.run on number = run where uid = %s"
    run = naiad.init_run(store=cluster.url, project="merged", **QUIET)
    uid, most = run._run.uid, 0
    for each in range(16):
        run["loss"].extend([float(step) for step in range(each * 50, each * 50 + 50)])
        run["acc"].append(each / 16)
        run.sync(remote=True)
        [(number,)] = cluster.ask("select number from naiad.run where uid = %s", uid)
        assert "" == folds.fold(number)
        [(most,)] = cluster.ask(rows, uid)
    run.stop()
    wait_for(lambda: cluster.is_settled(uid) and cluster.ask(rows, uid) == [(1,)], "the merge")
    store = RemoteStore(cluster.url, Folder(tmp_path / "empty"))
    found = store.reader(store.find(uid))

    assert most > 11
    assert list(range(800)) == found.points("loss").values.tolist()
    assert [each / 16 for each in range(16)] == found.points("acc").values.tolist()
    assert 800 == found.count("loss")


def folded(cluster: Cluster, folds: RunFolder, run: naiad.Run) -> int:
    """Fold what the run has logged; return its number."""
    run.sync(remote=True)
    [(number,)] = cluster.ask("select number from naiad.run where uid = %s", run._run.uid)
    assert "" == folds.fold(number, until=clock.monotonic() + 60)  # after a worker that is folding it
    return int(number)


def test_series_in_many_pieces_are_merged_at_the_end_of_a_run_whose_rows_are_few(
    cluster: Cluster, folds: RunFolder
) -> None:
    """Each fold has put some points of every series into one row, and a reader of one series decodes all of these."""
    run = naiad.init_run(store=cluster.url, project="scattered", **QUIET)
    number = 0
    for each in range(16):
        for name in range(40):
            run[f"loss{name}"].extend([float(each)] * 45)
        number = folded(cluster, folds, run)
    rows = "select count(*) from naiad.{} where run = %s"
    [(packs,)] = cluster.ask(rows.format("run_pack"), number)
    assert packs > 11
    run.stop()

    wait_for(lambda: cluster.ask(rows.format("run_pack"), number) == [(0,)], "the merge")
    assert [(40,)] == cluster.ask(rows.format("run_chunk"), number)


def test_series_of_a_run_that_goes_on_stay_in_few_pieces(cluster: Cluster, folds: RunFolder, tmp_path: Path) -> None:
    """A run of weeks has a fold each minute, and a reader of a series decodes all pieces of it."""
    run = naiad.init_run(store=cluster.url, project="weeks", **QUIET)
    most = number = 0
    pieces = "select (select count(*) from naiad.run_pack where run = %s), count(*) from naiad.run_chunk where run = %s"
    for each in range(100):
        run["loss"].extend([float(step) for step in range(each * 20, each * 20 + 20)])
        run["acc"].append(each / 16)
        run["said"].append(f"line {each}")
        number = folded(cluster, folds, run)
        most = max(most, *cluster.ask(pieces, number, number)[0])
    reader = RemoteStore(cluster.url, Folder(tmp_path / "empty")).reader(RunId(run._run.uid, RUN))

    assert 20 < most <= 64 + 2
    assert list(range(2_000)) == reader.points("loss").values.tolist()
    assert [each / 16 for each in range(100)] == reader.points("acc").values.tolist()
    assert [f"line {each}" for each in range(100)] == list(reader.texts("said").texts)
    run.stop()


def test_chart_of_very_many_points_reads_few_rows(
    cluster: Cluster, folds: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 chunks share a coarser pyramid, so that their own ones are not read."""
    monkeypatch.setattr(folding, "MERGE_FOLDS", 1 << 30)  # chunks of 600 points would be merged
    run = naiad.init_run(store=cluster.url, project="coarse", **QUIET)
    coarse = "select pieces, count from naiad.run_coarse where run = %s"
    values: list[float] = []
    number = 0
    while not number or not cluster.ask(coarse, number):
        new = [float(step % 977) for step in range(len(values), len(values) + 600)]
        run["loss"].extend(new)
        values += new
        number = folded(cluster, folds, run)
    new = [float(step % 977) for step in range(len(values), len(values) + 1_200)]
    run["loss"].extend(new)
    values += new
    folded(cluster, folds, run)
    [(pieces, count)] = cluster.ask(coarse, number)
    assert 64 == pieces
    assert count >= 64 * 600
    covered = "naiad.run_chunk where run = %s and (key & 16777215) < 64"
    kept = cluster.ask(f"select key, pyramid from {covered}", number)
    cluster.ask(f"update {covered.replace(' where', ' set pyramid = null where')}", number)
    reader = RemoteStore(cluster.url, Folder(tmp_path / "empty")).reader(RunId(run._run.uid, RUN))
    found = reader.chart("loss", 2)
    # Zoomed in on the points behind the window, whose own pyramids are not read either.
    own, receiving = database(cluster.postgres.url, cluster.objects.url)
    zoomed = own.reader(RunId(run._run.uid, RUN)).chart("loss", len(values) // 256, start=count + 10.0)
    for key, pyramid in kept:
        cluster.ask("update naiad.run_chunk set pyramid = %s where run = %s and key = %s", pyramid, number, key)
    inside = own.reader(RunId(run._run.uid, RUN)).chart("loss", len(values) // 256, start=600.0, stop=1_000.0)
    own.close()
    receiving.close()
    run.stop()
    wait_for(lambda: cluster.is_settled(run._run.uid) and cluster.ask(coarse, number) == [], "the merge")

    for each in (zoomed, inside):
        assert (len(values), sum(values)) == (each.finite.sum(), pytest.approx(float((each.mean * each.finite).sum())))
    assert 0 < (zoomed.steps < count).sum() < 10
    assert 2 < (zoomed.steps >= count).sum()
    assert 100 < len(inside.steps)
    assert (len(values), 0.0, 976.0) == (found.finite.sum(), found.minimum.min(), found.maximum.max())
    assert sum(values) == pytest.approx(float((found.mean * found.finite).sum()))


def test_damaged_rows_are_not_merged_and_stop_no_fold(cluster: Cluster, folds: RunFolder) -> None:
    """What comes after the damage is stored; the damage is in the result of verify, as before."""
    run = naiad.init_run(store=cluster.url, project="unmerged", **QUIET)
    uid = run._run.uid
    for each in range(12):
        run["loss"].extend([float(each)] * 50)
        run.sync(remote=True)
        [(number,)] = cluster.ask("select number from naiad.run where uid = %s", uid)
        assert "" == folds.fold(number)
    cluster.ask(
        "update naiad.run_pack set data = set_byte(data, length(data) / 2, 255 - get_byte(data, length(data) / 2))"
        " where run = %s and id = 1 returning id",
        number,
    )
    run["lr"] = 0.25
    run.stop()
    wait_for(lambda: cluster.is_settled(uid), "the fold")

    assert [(0, None)] == cluster.ask("select failures, problem from naiad.run where uid = %s", uid)
    assert "finished" == ask(cluster, f"/api/v1/containers/{run._id}")["state"]


def test_reader_sees_one_moment_while_a_fold_commits(cluster: Cluster, engine: Engine, folds: RunFolder) -> None:
    """Else the points of the fold would be in the rows and in the tail."""
    run = naiad.init_run(store=cluster.url, project="moment", **QUIET)
    run["loss"].extend([0.5] * 100)
    run.sync(remote=True)
    [(number,)] = cluster.ask("select number from naiad.run where uid = %s", run._run.uid)
    index = Index(RunDirectory(Path()), RunDatabase(engine, number))
    folds.fold(number)
    run["loss"].extend([0.5] * 100)
    run.sync(remote=True)
    with index.view() as connection:
        before = index.head(connection)
        assert "" == folds.fold(number)
        during = index.head(connection)
    with index.view() as connection:
        after = index.head(connection)
    run.stop()

    assert (100, before.folds) == (before.points, during.folds)
    assert (200, before.folds + 1) == (after.points, after.folds)


def test_run_whose_writer_fell_silent_is_looked_at_once_more_and_then_left_alone(cluster: Cluster) -> None:
    """The program was killed, and nothing of it comes any more: it must not be folded for ever."""
    uid = new_uid()
    ask(cluster, "/api/v1/runs", {"uid": uid, "kind": "run", "project": "silent", "created": 1.0})
    ask(cluster, "/api/v1/journal", {**points(uid, 0), "writers": [[uid, "writer0", True]]})
    [(number,)] = cluster.ask("select number from naiad.run where uid = %s", uid)
    cluster.ask("update naiad.writer set seen_at = now() - interval '2 minutes' where run = %s", number)
    cluster.ask("update naiad.due set at = now() where run = %s", number)

    due = "select at = 'infinity', waiting from naiad.due where run = %s"
    wait_for(lambda: cluster.ask(due, number) == [(True, 0)], "the end of the looks at it")


@pytest.fixture
def upkeep(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Upkeep]:
    for name, value in cluster.objects.environment.items():
        monkeypatch.setenv(name, value)
    found = database_upkeep(cluster.postgres.url, cluster.objects.url)
    yield found
    found.close()


def test_everything_is_verified_and_content_without_a_run_is_freed(
    cluster: Cluster, upkeep: Upkeep, tmp_path: Path
) -> None:
    cluster.empty()
    upkeep.collect(0)  # of the tests before
    (tmp_path / "model.bin").write_bytes(bytes(100_000))
    run = naiad.init_run(store=cluster.url, project="kept", **QUIET)
    run["model"].upload(str(tmp_path / "model.bin"))
    run["loss"].extend([0.5] * 1_000)
    run.sync(remote=True)
    name = run["sys/id"].fetch()
    run.stop()
    wait_for(lambda: [(0,)] == cluster.ask("select count(*) from naiad.inbox"), "the fold")
    assert ([], []) == (list(upkeep.verify()), upkeep.collect(0))
    [content] = cluster.ask("select sha256 from naiad.content")
    for table in ("run_chunk", "run_pack"):
        cluster.ask(f"update naiad.{table} set data = data || '\\x00'::bytea")

    damages = list(upkeep.verify())
    assert damages
    assert {each for each, _what in damages} == {name}
    cluster.ask("delete from naiad.run where id = %s", name)
    assert [content[0]] == [place.rpartition("/")[2] for place, _size in upkeep.collect(0, is_dry=True)]
    assert [100_000] == [size for _place, size in upkeep.collect(0)]
    assert [] == upkeep.collect(0)
