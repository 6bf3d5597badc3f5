"""Checkpoints of real trainings: which are in the run, what is said of them, and what is uploaded again."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import naiad
from naiad.errors import FileWarning
from naiad.handler import Handler
from naiad_lightning import NaiadLogger
from naiad_lightning.checkpoints import Checkpoints, checkpoints_of, name_of


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths in the run that something is uploaded to, in order."""
    done: list[str] = []
    upload = Handler.upload
    monkeypatch.setattr(Handler, "upload", lambda self, *given: done.append(self._path) or upload(self, *given))
    return done


def files(run: Any, place: str = "training/model/checkpoints") -> list[str]:
    """The names in a namespace."""
    tree = run.get_structure()
    for part in place.split("/"):
        tree = tree.get(part, {})
    return sorted(tree)


@pytest.mark.parametrize(
    ("path", "folder", "name"),
    [
        ("/a/b/epoch=1-loss=0.25.ckpt", "/a/b", "epoch=1-loss=0.25"),
        ("/a/b/deep/x.ckpt", "/a/b/", "deep/x"),
        ("/elsewhere/x.ckpt", "/a/b", "x"),
        ("/ab/x.ckpt", "/a", "x"),
        ("a/x.ckpt", None, "a/x"),
    ],
)
def test_name_is_the_path_below_the_folder_without_extension(path: str, folder: str | None, name: str) -> None:
    assert name == name_of(path, folder)


def test_any_callback_that_saves_is_understood() -> None:
    assert [] == checkpoints_of(SimpleNamespace())
    (only,) = checkpoints_of(SimpleNamespace(last_model_path="/m/x.ckpt", best_model_path="/m/x.ckpt", dirpath="/m"))
    assert ("x", "best, last", None) == (only.name, only.aliases, only.score)


def test_files_that_callbacks_keep_are_mirrored(fit: Any, lightning: Any, tmp_path: Path, uploads: list[str]) -> None:
    logger = NaiadLogger()
    best = lightning.callbacks.ModelCheckpoint(
        monitor="val/loss", filename="{epoch}", save_top_k=2, save_last=True, auto_insert_metric_name=False
    )

    fit(logger, max_epochs=4, callbacks=[best])

    run = logger.run
    assert ["2", "3", "last"] == files(run)
    info = run["training/model/checkpoints_info"].fetch()
    assert {"2", "3", "last"} == set(info)
    assert ("best", 3, 16, "val/loss", "min") == tuple(
        info["3"][fact] for fact in ("aliases", "epoch", "step", "monitor", "mode")
    )
    assert ("last", 3) == (info["last"]["aliases"], info["last"]["epoch"])
    assert float(best.best_model_score) == info["3"]["score"] == run["training/model/best_model_score"].fetch()
    assert best.best_model_path == run["training/model/best_model_path"].fetch()
    names = [path.removeprefix("training/model/checkpoints/") for path in uploads if "checkpoints/" in path]
    assert ["0", "1", "2", "3"] == [name for name in names if name != "last"]
    run["training/model/checkpoints/3"].download(str(tmp_path / "again.ckpt"))
    assert Path(best.best_model_path).read_bytes() == (tmp_path / "again.ckpt").read_bytes()


@pytest.mark.parametrize(("policy", "expected"), [(False, []), (True, ["1"]), ("all", ["0", "1"])])
def test_policy_says_what_stays(policy: Any, expected: list[str], fit: Any, lightning: Any) -> None:
    logger = NaiadLogger(log_model_checkpoints=policy)
    callback = lightning.callbacks.ModelCheckpoint(filename="{epoch}", auto_insert_metric_name=False)

    fit(logger, max_epochs=2, callbacks=[callback])

    assert expected == files(logger.run)
    assert expected == files(logger.run, "training/model/checkpoints_info")


def test_each_callback_has_its_own_place(fit: Any, lightning: Any, tmp_path: Path) -> None:
    """The first in the user's order writes to Neptune's paths, whichever saves first."""
    logger = NaiadLogger()
    kinds = lightning.callbacks.ModelCheckpoint
    callbacks = [
        kinds(tmp_path / "a", monitor="val/loss", filename="best"),
        kinds(tmp_path / "b", every_n_train_steps=1, filename="newest"),
        kinds(tmp_path / "c", monitor="val/loss", mode="max", filename="worst"),
    ]

    fit(logger, callbacks=callbacks)

    assert ["best"] == files(logger.run)
    assert ["newest"] == files(logger.run, "training/model/callback_2/checkpoints")
    assert ["worst"] == files(logger.run, "training/model/val_loss/checkpoints")
    assert str(tmp_path / "c/worst.ckpt") == logger.run["training/model/val_loss/best_model_path"].fetch()


def test_link_to_the_last_one_is_noticed_at_the_end(fit: Any, lightning: Any) -> None:
    logger = NaiadLogger()
    callback = lightning.callbacks.ModelCheckpoint(monitor="val/loss", filename="best", save_last="link")

    fit(logger, callbacks=[callback])

    assert ["best", "last"] == files(logger.run)


def test_later_fit_leaves_the_files_of_an_earlier_one(fit: Any, lightning: Any, tmp_path: Path) -> None:
    logger = NaiadLogger()
    for name in ("first", "second"):
        fit(logger, callbacks=[lightning.callbacks.ModelCheckpoint(tmp_path, filename=name, save_weights_only=True)])

    assert ["first", "second"] == files(logger.run)


def test_unchanged_file_is_not_uploaded_again(run: naiad.Run, tmp_path: Path, uploads: list[str]) -> None:
    path = tmp_path / "m.ckpt"
    path.write_bytes(b"one")
    callback = SimpleNamespace(last_model_path=str(path), dirpath=str(tmp_path), state_key="k")
    checkpoints = Checkpoints(keeps_all=False)
    for _ in range(2):
        checkpoints.mirror(run["model"], callback, {})
    path.write_bytes(b"two!")
    checkpoints.mirror(run["model"], callback, {})

    assert ["model/checkpoints/m"] * 2 == uploads


@pytest.mark.parametrize(
    ("attribute", "path", "match"),
    [("last_model_path", "", "is a folder"), ("best_model_path", "s3://bucket/m.ckpt", "is not a local file")],
)
def test_what_is_no_local_file_is_left_out_with_a_warning(
    attribute: str, path: str, match: str, run: naiad.Run, tmp_path: Path
) -> None:
    callback = SimpleNamespace(**{attribute: path or str(tmp_path)}, state_key="k")

    with pytest.warns(FileWarning, match=match):
        Checkpoints(keeps_all=False).mirror(run["model"], callback, {})

    assert [] == files(run, "model/checkpoints")


def test_file_that_is_gone_is_skipped(run: naiad.Run, tmp_path: Path) -> None:
    callback = SimpleNamespace(last_model_path=os.fspath(tmp_path / "gone.ckpt"), state_key="k")

    Checkpoints(keeps_all=False).mirror(run["model"], callback, {})

    assert [] == files(run, "model/checkpoints")
