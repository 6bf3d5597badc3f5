"""Tables of CSV and parquet."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

import naiad
from naiad.errors import ImportRefused, InvalidArgument
from naiad.importers import import_runs
from naiad.importers.ledger import Ledger


def test_metrics_of_lightnings_csv_logger(store: Path, tmp_path: Path) -> None:
    loggers = pytest.importorskip("lightning.pytorch.loggers", reason="Lightning needs PyTorch")
    logger = loggers.CSVLogger(tmp_path, name="digits")
    logger.log_hyperparams({"lr": 0.1, "name": "small"})
    for step in range(5):
        logger.log_metrics({"train_loss": 1 / (step + 1), "epoch": step // 2}, step=step)
        if step % 2:
            logger.log_metrics({"val_acc": step / 10, "epoch": step // 2}, step=step)
    logger.save()

    report = import_runs("csv", Path(logger.log_dir) / "metrics.csv", store=store, map=("train_loss=train/loss",))

    assert report.is_whole
    with naiad.init_run(with_id=report.runs[0].id, store=store, mode="read-only") as run:
        assert [1 / (step + 1) for step in range(5)] == run["train/loss"].fetch_values()["value"].tolist()
        assert [1, 3] == run["val_acc"].fetch_values()["step"].tolist()
        assert {"lr": 0.1, "name": "small"} == run["hparams"].fetch()
    again = import_runs("csv", Path(logger.log_dir) / "metrics.csv", store=store, map=("train_loss=train/loss",))
    assert "unchanged" == again.runs[0].status


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_column_of_runs_makes_runs(store: Path, tmp_path: Path, form: str) -> None:
    frame = pd.DataFrame(
        {
            "name": ["a", "a", "b"],
            "step": [0, 1, 0],
            "when": pd.to_datetime(["2026-01-01T00:00:00Z"] * 3),
            "loss": [1.0, 0.5, 2.0],
            "note": ["x", None, "y"],
        }
    )
    path = tmp_path / f"table.{form}"
    frame.to_csv(path, index=False) if form == "csv" else frame.to_parquet(path)

    report = import_runs(form, path, store=store, run_column="name", time_column="when", map=("note=",))

    assert report.is_whole
    assert 2 == len(report.runs)
    with naiad.init_run(with_id=report.runs[0].id, store=store, mode="read-only") as run:
        assert "a" == run["sys/name"].fetch()
        values = run["loss"].fetch_values()
        assert ([0, 1], [1.0, 0.5]) == (values["step"].tolist(), values["value"].tolist())
        assert 1_767_225_600.0 == values["timestamp"][0].timestamp()
        assert not run.exists("note")


def test_value_that_is_no_number_is_reported(store: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("step,loss\n0,1.0\n1,high\nx,2.0\n")

    report = import_runs("csv", tmp_path / "t.csv", store=store)

    assert 2 == report.runs[0].lost
    assert ["row 2", "row 3"] == [each.where[-5:] for each in report.runs[0].skipped]


def test_wrong_columns_and_files_are_refused(store: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("step,loss\n0,1.0\n")
    (tmp_path / "t.parquet").write_bytes(b"no")
    with pytest.raises(InvalidArgument, match="The columns are step, loss"):
        import_runs("csv", tmp_path / "t.csv", store=store, step_column="epoch")
    with pytest.raises(InvalidArgument, match="COLUMN=PATH"):
        import_runs("csv", tmp_path / "t.csv", store=store, map=("x=y",))
    for place, form in ((tmp_path, "csv"), (tmp_path / "t.parquet", "parquet")):
        with pytest.raises(ImportRefused):
            import_runs(form, place, store=store)


def test_ledger_that_was_not_compressed_is_read() -> None:
    """Imports wrote it as JSON first, and a run keeps its ledger."""
    ledger = Ledger(renamed={"a\0b": "a_b"}, facts={"source": {"version": 1}})

    plain = gzip.decompress(ledger.to_bytes())

    assert plain.startswith(b"{")
    assert ledger == Ledger._parsed(plain)
