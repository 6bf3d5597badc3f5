"""A run of a database that has not changed is not looked at again, and every change of it is seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from postgres_server import Cluster, wait_for

import naiad
from naiad.kinds import ATOM_OF
from naiad.ops import Assign
from naiad.ship import shipper
from naiad.storage.base import Change
from naiad.storage.postgres.scratch import Scratch
from naiad.storage.postgres.store import PostgresStore
from naiad.storage.receiving import Receiver

PROJECT = "unchanged-reads"


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The looks at tails of runs, from now on."""
    found: list[object] = []
    update: Callable[[Scratch, Any], None] = Scratch.update

    def counted(self: Scratch, raw: Any) -> None:
        found.append(self)
        update(self, raw)

    monkeypatch.setattr(Scratch, "update", counted)
    return found


@pytest.mark.usefixtures("cluster_token")
def test_unchanged_run_is_looked_at_once_and_each_change_is_seen(
    cluster: Cluster, opened: list[tuple[PostgresStore, Receiver]], looks: list[object]
) -> None:
    """Points that come while it runs, its end, and a change that another replica makes."""
    (store, _), (other, _) = opened
    with naiad.init_run(store=cluster.url, project=PROJECT, capture_hardware_metrics=False, git_ref=False) as run:
        run["loss"].extend([0.5, 0.25])
        run.sync(remote=True)
        reader = store.reader(store.find(run["sys/id"].fetch()))

        assert [0.5, 0.25] == reader.points("loss").values.tolist()

        run["loss"].append(0.125)
        run.sync(remote=True)

        assert [0.5, 0.25, 0.125] == reader.points("loss").values.tolist()
        assert "running" == reader.state()
    shipper.of_process.close()
    wait_for(lambda: "running" != reader.state(), "the end of the run")
    wait_for(lambda: cluster.has_folded(reader.run.uid), "its fold")
    wait_for(lambda: cluster.is_settled(reader.run.uid), "its last fold")
    assert 3 == reader.count("loss")
    del looks[:]

    for _ in range(5):
        assert [0.5, 0.25, 0.125] == reader.points("loss").values.tolist()

    assert [] == looks

    writer = other.writer(reader.run, role="editor")
    writer.write([Change("note", ATOM_OF[str], (Assign("note", ATOM_OF[str], "seen"),))])

    assert "seen" == reader.value("note")
    assert looks
