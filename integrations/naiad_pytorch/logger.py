"""The logger of a model that a plain loop of PyTorch trains. It never raises into the loop."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from naiad import __version__
from naiad.errors import MissingField, NaiadTypeError, shown
from naiad.file import File
from naiad.guard import Attempt, Place, place
from naiad.names import Names
from naiad.watch import Watch, What, check, histogram, statistics, watched
from naiad_pytorch.plugin import INTEGRATION

with INTEGRATION.needed_by("NaiadLogger"):
    import torch

from naiad_pytorch import graph


class NaiadLogger:
    """Logs gradients, weights, learning rates, summary, graph and checkpoints of a model.

    Losses and metrics are logged with the run itself: `run[logger.base_namespace]["loss"].append(loss)`. Gradients and
    weights are taken right after an optimizer has stepped, so no line of the loop changes. The run is never stopped. In
    distributed training only rank 0 logs; all ranks may create the logger and call it.

    Args:
        run: the run, or a handler of a namespace in it.
        model: the model; for a compiled or distributed model, the module inside it is described.
        base_namespace: the namespace to log to, below `run`; "" for `run` itself.
        log_model_diagram: draw the graph of the first forward pass; a warning if graphviz is missing.
        log_gradients: log the norm of the gradients of each parameter.
        log_parameters: log the norm of each parameter.
        log_freq: the number of optimizer steps between two points.
        bins: also log histograms with this many bins of all tensors whose norms are logged; each tensor is copied to
            the CPU.
        log_learning_rate: log the learning rate of each group of parameters.
        log_summary: describe the model.
        initial_step: the number of steps made before, if the training is continued; the curves continue from there.

    Raises:
        MissingPackage: PyTorch is not installed.
        NaiadTypeError: `run` is neither a container nor a handler, or `model` is not a module.
        InvalidArgument: `log_freq` or `bins` are out of range.

    >>> logger = NaiadLogger(run, model=model, log_gradients=True, log_freq=10, bins=64)
    """

    def __init__(
        self,
        run: Place,
        *,
        model: torch.nn.Module,
        base_namespace: str = "training",
        log_model_diagram: bool = False,
        log_gradients: bool = False,
        log_parameters: bool = False,
        log_freq: int = 100,
        bins: int = 0,
        log_learning_rate: bool = True,
        log_summary: bool = True,
        initial_step: int = 0,
    ) -> None:
        self._base = place("NaiadLogger", run, base_namespace)
        if not isinstance(model, torch.nn.Module):
            raise NaiadTypeError(f"model= takes a module of PyTorch, not {shown(model)}.", value=model)
        check("all", log_freq, bins)
        self.run = run
        self.model = model
        self._base_namespace = base_namespace
        self._attempt = partial(Attempt, "NaiadLogger", self._base)
        self._watch: Watch | None = None
        self._drawing: Any = None
        # After the checks, so that a mistake is an error on every rank.
        if not _logs_here():
            return
        # The hooks go on the module inside, which runs whether the user calls it or the wrapper.
        inner = _unwrapped(model)
        with self._attempt("log the version"):
            self._base.get_root_object()["source_code/integrations/neptune-pytorch"] = __version__
        if log_summary:
            with self._attempt("describe the model"):
                self._describe(inner)
        if log_model_diagram:
            self._drawing = inner.register_forward_hook(self._draw)
        if log_gradients or log_parameters or log_learning_rate:
            # Both are walked through together, since one pass over the parameters serves both.
            log: What | None = "all" if log_gradients and log_parameters else None
            log = log or ("gradients" if log_gradients else "parameters" if log_parameters else None)
            series = _Series(self._base, log, bins, log_learning_rate, initial_step)
            self._watch = Watch(series, inner, log_freq)

    @property
    def base_namespace(self) -> str:
        """The namespace below which everything goes."""
        return self._base_namespace

    def log_checkpoint(self, checkpoint_name: str | None = None, state: Any = None) -> None:
        """Upload the state of the model, or another one.

        Args:
            checkpoint_name: its name, without `.pt`; by default checkpoints are numbered, continuing those of the run.
            state: an object for `torch.save` instead of `model.state_dict()`, such as a dict that also has the state of
                the optimizer.
        """
        if _logs_here():
            with self._attempt("upload a checkpoint"):
                self._save(f"model/checkpoints/{checkpoint_name or self._next_checkpoint()}.pt", state)

    def log_model(self, model_name: str | None = None) -> None:
        """Upload the state of the model to `model/<model_name>.pt`, `model/model.pt` without a name."""
        if _logs_here():
            with self._attempt("upload the model"):
                self._save(f"model/{model_name or 'model'}.pt", None)

    def remove(self) -> None:
        """Stop logging gradients, weights and learning rates; this also happens when the model is deleted."""
        if self._watch is not None:
            self._watch.remove()
        self._stop_drawing()

    def _describe(self, model: torch.nn.Module) -> None:
        sizes = [(each.numel(), each.requires_grad) for each in model.parameters()]
        self._base["model/summary"] = str(model)
        self._base["model/num_parameters"] = sum(size for size, _ in sizes)
        self._base["model/num_trainable_parameters"] = sum(size for size, is_trained in sizes if is_trained)

    def _draw(self, module: torch.nn.Module, _inputs: Any, output: Any) -> None:
        with self._attempt("draw the model"):
            if graph.is_differentiable(output):
                # Before drawing: if that fails, it would fail again for each batch.
                self._stop_drawing()
                image = graph.png(output, dict(module.named_parameters()))
                self._base["model/visualization"].upload(File.from_content(image, extension="png"))

    def _stop_drawing(self) -> None:
        if self._drawing is not None:
            self._drawing.remove()

    def _save(self, path: str, state: Any) -> None:
        with TemporaryDirectory(prefix="naiad-") as folder:
            file = Path(folder, "state.pt")
            torch.save(_unwrapped(self.model).state_dict() if state is None else state, file)
            self._base[path].upload(str(file), progress_bar=False)

    def _next_checkpoint(self) -> str:
        there: Collection[str] = ()
        with suppress(MissingField):  # there is none yet
            there = self._base["model/checkpoints"].sources()
        return next(name for number in count(1) if f"{(name := f'checkpoint_{number}')}.pt" not in there)


NeptuneLogger = NaiadLogger
"""The same class, by the name that Neptune's users know."""


class _Series:
    """Receives the parameters of the model after a step, and logs them. It does not hold the model."""

    def __init__(self, base: Place, log: What | None, bins: int, has_learning_rate: bool, initial_step: int) -> None:
        self._attempt = partial(Attempt, "NaiadLogger", base)
        self._names = Names(base)
        self._log = log
        self._bins = bins
        self._has_learning_rate = has_learning_rate
        self._first = initial_step
        self._optimizers: dict[int, str] = {}  # their names, by identity

    @property
    def is_silent(self) -> bool:
        return not _logs_here()

    def log_watched(self, _model: Any, optimizer: Any, parameters: Mapping[str, Any], step: int) -> None:
        found: dict[str, Any] = {}
        with self._attempt("log gradients, weights and learning rates"):
            if self._has_learning_rate:
                name = self._name_of(optimizer)
                for number, group in enumerate(optimizer.param_groups):
                    found[f"learning_rate/{name}/{group.get('name', number)}"] = float(group["lr"])
            for what, tensors in watched(parameters, self._log) if self._log else ():
                norms = (row[0] for row in statistics(tensors))
                found.update(zip((f"plots/{what}/{each}" for each in tensors), norms, strict=True))
                if self._bins:
                    histograms = {name: histogram(tensor, self._bins) for name, tensor in tensors.items()}
                    found.update({f"histograms/{what}/{name}": each for name, each in histograms.items()})
            self._names.append_each(found, self._first + step, self._attempt)

    def _name_of(self, optimizer: Any) -> str:
        if id(optimizer) not in self._optimizers:
            name = type(optimizer).__name__
            # A GAN has two of one class, whose curves must not be one.
            same = sum(each.partition("-")[0] == name for each in self._optimizers.values())
            self._optimizers[id(optimizer)] = f"{name}-{same}" if same else name
        return self._optimizers[id(optimizer)]


def _logs_here() -> bool:
    """Whether this process logs: of a distributed training only the first does."""
    distributed = torch.distributed
    return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0


def _unwrapped(model: torch.nn.Module) -> torch.nn.Module:
    """Return the user's module within one that is compiled or distributed, so that names are the user's."""
    wrappers = (torch.nn.parallel.DistributedDataParallel, torch.nn.DataParallel)
    while isinstance(model, wrappers) or hasattr(model, "_orig_mod"):
        model = model.module if isinstance(model, wrappers) else model._orig_mod
    return model
