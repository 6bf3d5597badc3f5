"""Checkpoints: the model after an epoch, as a file of the run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import keras

from naiad.errors import InvalidArgument, MissingField, shown

if TYPE_CHECKING:
    from naiad.container import Container
    from naiad.handler import Handler

POLICIES = (None, "last", "best", "all")


class Checkpoints:
    """Keeps models below one namespace: the last one, the best one, or one for each epoch.

    Which model is the best is Keras' own judgement: its `ModelCheckpoint` saves, and the saved file is uploaded.
    """

    def __init__(self, place: Handler | Container, policy: str | None, monitor: str, mode: str) -> None:
        if policy not in POLICIES:
            raise InvalidArgument(f'log_checkpoints= takes None, "last", "best" or "all", not {shown(policy)}.')
        if mode not in ("auto", "min", "max"):
            raise InvalidArgument(f'mode= takes "auto", "min" or "max", not {shown(mode)}.')
        self._place = place
        self._policy = policy
        self._monitor = monitor
        self._mode = mode
        self._seen: set[str] = set()  # names of metrics, until the one to look at has come
        self._saver: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the saver, which holds the model even after a failed fit."""
        return {**self.__dict__, "_saver": None}

    def begin_fit(self, model: Any) -> None:
        """Make ready for another fit; the best model so far may be one of an earlier fit of the run."""
        if self._policy is None:
            return
        best = None
        if self._policy == "best":
            self._seen.clear()
            with suppress(MissingField):
                best = self._place["best_score"].fetch()
        self._saver = keras.callbacks.ModelCheckpoint(
            "model.keras",
            monitor=self._monitor,
            mode=self._mode,
            save_best_only=self._policy == "best",
            initial_value_threshold=best,
        )
        self._saver.set_model(model)

    def save(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """Keep the model after an epoch, if it is one to keep."""
        if self._saver is None or (self._policy == "best" and not self._is_comparable(logs)):
            return
        # Saved beside the run and uploaded: ModelCheckpoint writes whole files, and decides by itself whether to.
        with TemporaryDirectory(prefix="naiad-") as folder:
            file = Path(folder, "model.keras")
            self._saver.filepath = str(file)
            self._saver.on_epoch_end(epoch, dict(logs))
            if file.exists():
                name = f"epoch_{epoch}" if self._policy == "all" else self._policy
                self._place[f"checkpoints/{name}"].upload(str(file), progress_bar=False)
                if self._policy == "best":
                    self._place.assign({"best_score": float(logs[self._monitor]), "best_epoch": epoch})

    def end_fit(self) -> None:
        """Raise if no value was logged by which the best model could be chosen."""
        saver, self._saver = self._saver, None
        if saver is not None and self._seen and self._monitor not in self._seen:
            names = ", ".join(sorted(self._seen))
            raise InvalidArgument(f"monitor={self._monitor!r} is not a metric of this fit. The metrics are {names}.")

    def _is_comparable(self, logs: Mapping[str, Any]) -> bool:
        """Whether there is a number to compare; a NaN taken for the best would never be beaten."""
        self._seen.update(logs)  # with validation_freq, some epochs have no validation
        return self._monitor in logs and not math.isnan(logs[self._monitor])
