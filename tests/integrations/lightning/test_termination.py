"""SIGTERM during a fit: Lightning goes on to its checkpoint, and the run is terminated."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import naiad

PROGRAM = """
import sys, time, naiad, torch
import lightning.pytorch as pl
from lightning.pytorch.callbacks import OnExceptionCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel
from naiad_lightning import NaiadLogger

class Slow(BoringModel):
    def training_step(self, batch, batch_idx):
        print("step", flush=True)
        time.sleep(0.05)
        return super().training_step(batch, batch_idx)

logger = NaiadLogger(run=naiad.init_run(project="p"))
options = dict(accelerator="cpu", devices=1, max_epochs=100, enable_progress_bar=False, enable_model_summary=False)
trainer = pl.Trainer(logger=logger, callbacks=[OnExceptionCheckpoint(sys.argv[1])], **options)
trainer.fit(Slow())
"""


def test_checkpoint_is_written_and_the_run_is_terminated(store: Path, tmp_path: Path) -> None:
    assert store
    (tmp_path / "train.py").write_text(PROGRAM, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "train.py", str(tmp_path / "kept")], cwd=tmp_path, stdout=subprocess.PIPE, env=os.environ
    ) as process:
        assert process.stdout is not None
        assert any(b"step" in line for line in iter(process.stdout.readline, b""))
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        process.wait(60)

    assert list((tmp_path / "kept").glob("*.ckpt"))
    with naiad.init_run(with_id="P-1", mode="read-only") as run:
        assert "terminated" == run["sys/state"].fetch()
