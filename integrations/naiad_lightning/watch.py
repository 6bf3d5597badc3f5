"""Watching a model: statistics of its gradients and weights as series, taken right after the optimizer has stepped."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from naiad.errors import InvalidArgument, shown
from naiad.histogram import MOST_BINS, Histogram

What = Literal["gradients", "parameters", "all"]


class MetricLogger(Protocol):
    """A logger as far as a watch goes."""

    @property
    def is_silent(self) -> bool:
        """Whether nothing is logged in this process."""

    @property
    def log_metrics(self) -> Any:
        """Log numbers and histograms at a step."""


class Watch:
    """Logs norm, mean and standard deviation of each parameter that an optimizer changes, every so many steps.

    At that moment gradients are those that the optimizer has used: summed over accumulated batches and processes,
    unscaled, clipped. Works in spawned processes too, where it begins anew when the logger arrives there.
    """

    def __init__(self, logger: MetricLogger, model: Any, log: What, log_freq: int, bins: int) -> None:
        if log not in ("gradients", "parameters", "all"):
            raise InvalidArgument(f"log= is 'gradients', 'parameters' or 'all', not {shown(log)}.")
        if log_freq < 1:
            raise InvalidArgument(f"log_freq= is a number of steps above 0, not {shown(log_freq)}.")
        if not 0 <= bins <= MOST_BINS:
            raise InvalidArgument(f"bins= is a number from 0 to {MOST_BINS:,}, not {shown(bins)}.")
        self._logger = logger
        self._model = model
        self._log = log
        self._every = log_freq
        self._bins = bins
        self._begin()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_hook"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()

    def remove(self) -> None:
        """Watch no longer."""
        self._hook.remove()

    def _begin(self) -> None:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        self._steps: dict[int, int] = {}  # by the identity of the optimizer
        self._hook = register_optimizer_step_post_hook(self._after_step)

    def _after_step(self, optimizer: Any, _args: Any, _options: Any) -> None:
        if self._logger.is_silent:
            return
        done = self._steps[id(optimizer)] = self._steps.get(id(optimizer), 0) + 1
        if (done - 1) % self._every == 0:
            names = {id(parameter): name for name, parameter in self._model.named_parameters()}
            own = [each for group in optimizer.param_groups for each in group["params"] if id(each) in names]
            trainer = getattr(self._model, "_trainer", None)
            step = done - 1 if trainer is None else trainer.global_step
            self._take("gradients", {names[id(each)]: each.grad for each in own if each.grad is not None}, step)
            self._take("parameters", {names[id(each)]: each for each in own}, step)

    def _take(self, what: str, tensors: dict[str, Any], step: int) -> None:
        if tensors and self._log in (what, "all"):
            points: dict[str, Any] = {f"{what}/{name}/{key}": value for name, key, value in statistics(tensors)}
            if self._bins:
                for name, tensor in tensors.items():
                    points[f"{what}/{name}/histogram"] = Histogram.of(tensor.detach().float(), self._bins)
            self._logger.log_metrics(points, step=step)


def statistics(tensors: dict[str, Any]) -> list[tuple[str, str, float]]:
    """Return name, statistic and value; all of them leave the device in one go."""
    import torch

    keys = ("norm", "mean", "std")
    with torch.no_grad():
        rows = [
            torch.stack([t.norm(), t.mean(), t.std(correction=0)])
            for t in (t.detach().float() for t in tensors.values())
        ]
        values = torch.stack(rows).tolist()
    return [
        (name, key, value)
        for name, row in zip(tensors, values, strict=True)
        for key, value in zip(keys, row, strict=True)
    ]
