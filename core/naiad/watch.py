"""Watching a model of PyTorch: its gradients and weights, taken right after an optimizer has stepped.

At that moment gradients are those that the optimizer has used: summed over accumulated batches and processes, unscaled,
clipped. torch is imported where a watch begins.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Literal, Protocol

from naiad.errors import InvalidArgument, shown
from naiad.histogram import MOST_BINS, Histogram

What = Literal["gradients", "parameters", "all"]
STATISTICS = ("norm", "mean", "std")


class Receiver(Protocol):
    """The logger that a watch reports to."""

    @property
    def is_silent(self) -> bool:
        """Whether nothing is logged in this process."""

    def log_watched(self, model: Any, optimizer: Any, parameters: Mapping[str, Any], step: int) -> None:
        """Log the parameters that an optimizer has just changed, by their names in the model."""


class Watch:
    """Reports the parameters that an optimizer changes, every so many of its steps.

    It ends with the model: a search builds many, and each watch costs every step of every optimizer. Works in spawned
    processes too, where it begins anew when the receiver arrives there.
    """

    def __init__(self, receiver: Receiver, model: Any, log_freq: int) -> None:
        self._receiver = receiver
        self._every = log_freq
        self._begin(model)

    def __getstate__(self) -> dict[str, Any]:
        return {"_receiver": self._receiver, "_every": self._every, "model": self._model()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_receiver"], state["model"], state["_every"])  # type: ignore[misc]  # begins anew

    def remove(self) -> None:
        """Watch no longer."""
        self._hook.remove()

    def _begin(self, model: Any) -> None:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        self._steps: MutableMapping[Any, int] = weakref.WeakKeyDictionary()  # by optimizer
        self._hook = hook = register_optimizer_step_post_hook(self._after_step)
        self._model = weakref.ref(model, lambda _: hook.remove())

    def _after_step(self, optimizer: Any, _args: Any, _options: Any) -> None:
        model = self._model()
        if model is None or self._receiver.is_silent:
            return
        done = self._steps.get(optimizer, 0)
        if done % self._every == 0:
            own = {id(each) for group in optimizer.param_groups for each in group["params"]}
            changed = {name: each for name, each in model.named_parameters() if id(each) in own}
            if changed:
                self._receiver.log_watched(model, optimizer, changed, done)
        self._steps[optimizer] = done + 1


def check(log: str, log_freq: int, bins: int = 0) -> None:
    """Raise InvalidArgument for arguments that no watch has."""
    if log not in ("gradients", "parameters", "all"):
        raise InvalidArgument(f"log= must be 'gradients', 'parameters' or 'all', not {shown(log)}.")
    if log_freq < 1:
        raise InvalidArgument(f"log_freq= must be a number of steps above 0, not {shown(log_freq)}.")
    if not 0 <= bins <= MOST_BINS:
        raise InvalidArgument(f"bins= must be a number from 0 to {MOST_BINS:,}, not {shown(bins)}.")


def watched(parameters: Mapping[str, Any], log: What) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield "gradients" and "parameters", as far as they are watched, with their tensors by name."""
    found = {
        "gradients": {name: each.grad for name, each in parameters.items() if each.grad is not None},
        "parameters": dict(parameters),
    }
    yield from ((what, tensors) for what, tensors in found.items() if tensors and log in (what, "all"))


def points(parameters: Mapping[str, Any], log: What, bins: int) -> dict[str, Any]:
    """Return statistics of the watched tensors, and histograms if there are bins, by their paths."""
    found: dict[str, Any] = {}
    for what, tensors in watched(parameters, log):
        for name, row in zip(tensors, statistics(tensors), strict=True):
            found.update({f"{what}/{name}/{key}": value for key, value in zip(STATISTICS, row, strict=True)})
        if bins:
            found.update({f"{what}/{name}/histogram": histogram(tensor, bins) for name, tensor in tensors.items()})
    return found


def statistics(tensors: Mapping[str, Any]) -> list[list[float]]:
    """Return norm, mean and standard deviation of each tensor; all of them leave the device in one go."""
    import torch

    with torch.no_grad():
        rows = [
            torch.stack([t.norm(), t.mean(), t.std(correction=0)])
            for t in (t.detach().float() for t in tensors.values())
        ]
        found: list[list[float]] = torch.stack(rows).tolist()
    return found


def histogram(tensor: Any, bins: int) -> Histogram:
    """Return how the values of a tensor are distributed; it is copied to the CPU for that."""
    return Histogram.of(tensor.detach().float(), bins)
