"""Checkpoints: mirrors the files of ModelCheckpoint callbacks into the run.

Only files that have changed on disk are uploaded. Files that a callback has given up are removed from the run too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from naiad.errors import FieldConflict, FileWarning, warn_once

if TYPE_CHECKING:
    from naiad.handler import Handler

Stamp = tuple[str, int, int]


@dataclass(frozen=True)
class Checkpoint:
    """A file that a callback keeps now."""

    path: str
    name: str
    aliases: str
    """`best`, `last`, both or nothing."""
    score: float | None


def checkpoints_of(callback: Any) -> list[Checkpoint]:
    """Return the files that a callback keeps now, for any callback that saves.

    Of two files of one name, such as an old one of another folder, the last that Lightning would name counts.
    """
    best_k = getattr(callback, "best_k_models", None) or {}
    best, last = getattr(callback, "best_model_path", ""), getattr(callback, "last_model_path", "")
    folder = getattr(callback, "dirpath", None)
    paths = dict.fromkeys(path for path in (last, *best_k, best) if path)
    return [
        Checkpoint(
            path,
            name_of(path, folder),
            ", ".join(alias for alias, at in (("best", best), ("last", last)) if at == path),
            None if best_k.get(path) is None else float(best_k[path]),
        )
        for path in paths
    ]


def name_of(path: str, folder: str | None) -> str:
    """Return where a checkpoint goes: its path below the callback's folder, without the extension.

    >>> name_of("/tmp/models/fold/epoch=3.ckpt", "/tmp/models")
    'fold/epoch=3'
    """
    name = os.path.splitext(os.path.normpath(path))[0]
    if folder is not None:
        below = os.path.relpath(name, os.path.normpath(folder))
        name = os.path.basename(name) if below.startswith(os.pardir) else below
    return name.replace(os.sep, "/").lstrip("/")


@dataclass
class Checkpoints:
    """The checkpoints in the run, by callback.

    The first callback writes to Neptune's paths, each further one to a namespace of its own.
    """

    keeps_all: bool
    """Whether files stay in the run that callbacks have given up."""
    _labels: dict[str, str] = field(default_factory=dict)  # by the callback's state_key
    _stamps: dict[str, Stamp] = field(
        default_factory=dict
    )  # of each file, when it was uploaded, by its path in the run
    _owned: dict[str, set[str]] = field(default_factory=dict)  # names by label
    _said: dict[str, object] = field(default_factory=dict)  # what was assigned, by path

    def expect(self, callbacks: Iterable[Any]) -> None:
        """Begin with a new trainer: learn in which order the user gave its callbacks, before the first of them saves.

        They own none of the files that callbacks of another trainer have left in the run, even if they are alike.
        """
        self._owned.clear()
        for callback in callbacks:
            self._label(callback)

    def mirror(self, model: Handler, callback: Any, moment: dict[str, float]) -> None:
        """Update the run to the files that the callback keeps now.

        Args:
            model: the namespace for everything about the model.
            callback: the callback that may have saved.
            moment: epoch and step, which are those of the file that was saved last; and the metrics of now.
        """
        label = self._label(callback)
        base = f"{label}/" if label else ""
        kept = checkpoints_of(callback)
        for each in kept:
            if self._upload(model, f"{base}checkpoints/{each.name}", each.path):
                self._describe(model, f"{base}checkpoints_info/{each.name}", callback, each, moment)
            self._say(model, f"{base}checkpoints_info/{each.name}/aliases", each.aliases)
        # After the uploads: a kill in between leaves a checkpoint too many rather than one too few.
        self._drop(model, label, base, {each.name for each in kept})
        score = getattr(callback, "best_model_score", None)
        self._say(model, f"{base}best_model_path", getattr(callback, "best_model_path", None) or None)
        self._say(model, f"{base}best_model_score", None if score is None else float(score))

    def _label(self, callback: Any) -> str:
        """Return the namespace of a callback: "" for the first, else its monitor or number."""
        key = str(getattr(callback, "state_key", type(callback).__name__))
        if key not in self._labels:
            number = len(self._labels) + 1
            wish = str(getattr(callback, "monitor", None) or f"callback_{number}").replace("/", "_")
            taken = set(self._labels.values()) | {"checkpoints", "checkpoints_info", "summary"}
            self._labels[key] = "" if number == 1 else wish if wish not in taken else f"{wish}_{number}"
        return self._labels[key]

    def _upload(self, model: Handler, place: str, path: str) -> bool:
        """Upload a file unless the run has it; return whether it was uploaded."""
        try:
            status = os.stat(path)
        except OSError:
            if "://" in path:
                warn_once(("checkpoint", path), f"{path} is not a local file, so it was not uploaded.", FileWarning)
            return False  # else the callback has removed it in the meantime
        if not os.path.isfile(path):
            warn_once(("checkpoint", path), f"{path} is a folder, so it was not uploaded.", FileWarning)
            return False
        # Callbacks report all of their files after each save; without this each would be uploaded again every time.
        stamp = (path, status.st_mtime_ns, status.st_size)
        if self._stamps.get(place) == stamp:
            return False
        model[place].upload(path)
        self._stamps[place] = stamp
        return True

    def _describe(self, model: Handler, place: str, callback: Any, each: Checkpoint, moment: dict[str, float]) -> None:
        """Log the score of a file, and for a new one its epoch and step."""
        monitor, score = getattr(callback, "monitor", None), each.score
        if getattr(callback, "_last_checkpoint_saved", None) == each.path:  # others may be files of an earlier training
            self._say(model, f"{place}/epoch", moment.get("epoch"))
            self._say(model, f"{place}/step", moment.get("step"))
            score = moment.get(str(monitor)) if score is None else score
        self._say(model, f"{place}/monitor", monitor)
        self._say(model, f"{place}/mode", getattr(callback, "mode", None) if monitor else None)
        self._say(model, f"{place}/score", score)

    def _say(self, model: Handler, place: str, value: object) -> None:
        if value is not None and self._said.get(place) != value:
            model[place] = value
            self._said[place] = value

    def _drop(self, model: Handler, label: str, base: str, names: set[str]) -> None:
        """Remove files from the run that this callback has deleted."""
        owned = self._owned.setdefault(label, set())
        owned |= {name for name in names if f"{base}checkpoints/{name}" in self._stamps}
        if self.keeps_all:
            return
        for name in owned - names:
            del self._stamps[f"{base}checkpoints/{name}"]
            about = f"{base}checkpoints_info/{name}"
            self._said = {place: value for place, value in self._said.items() if not place.startswith(f"{about}/")}
            for gone in (f"{base}checkpoints/{name}", about):
                with suppress(FieldConflict):  # somebody has removed it already
                    del model[gone]
        owned &= names
