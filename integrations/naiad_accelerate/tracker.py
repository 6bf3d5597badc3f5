"""The tracker of Accelerate. Once the run is open, it never raises into a training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from naiad.errors import InvalidArgument
from naiad.file import File
from naiad.guard import SILENCE, Attempt, Place, place
from naiad.names import Names, replace
from naiad.reservation import ReservedRun, reserve
from naiad.utils import flatten, stringify_unsupported
from naiad_accelerate.plugin import INTEGRATION

with INTEGRATION.needed_by("NaiadTracker"):
    import accelerate
    from accelerate.tracking import GeneralTracker, on_main_process

if TYPE_CHECKING:
    import pandas as pd


class NaiadTracker(GeneralTracker):
    """Logs the values of `accelerator.log` to a run or a namespace. Only the main process logs.

    A run that you pass is never stopped; a run that the tracker opens is stopped by `accelerator.end_training()`.

    Args:
        run_name: the project of a new run; Accelerate passes the name given to `init_trackers`.
        run: a run, or a handler of a namespace in it.
        base_namespace: the namespace to log to, below the run; "" for the run itself.
        run_arguments: arguments of `init_run` for a new run, such as `tags=`, or `with_id=` to resume a run.

    Raises:
        MissingPackage: Accelerate is not installed.
        NaiadTypeError: `run` is neither a container nor a handler.
        InvalidArgument: `run` is combined with arguments for a new run.

    >>> accelerator = Accelerator(log_with=NaiadTracker(run=run))  # or log_with="naiad", after import naiad_accelerate
    >>> accelerator.init_trackers("digits", config={"lr": 0.1})
    """

    name = "naiad"
    requires_logging_directory = False
    main_process_only = True

    def __init__(
        self,
        run_name: str | None = None,
        *,
        run: Place | None = None,
        base_namespace: str = "",
        **run_arguments: Any,
    ) -> None:
        super().__init__()
        self._base_namespace = base_namespace
        self._is_own = run is None
        self._reserved: ReservedRun | None = None
        self._place: Place | None = None
        if run is None:
            self._reserved = reserve("NaiadTracker", {"project": run_name, **run_arguments})
        # They would be ignored in silence otherwise, since the run exists.
        elif run_arguments:
            raise InvalidArgument(
                f"run= is already open, so it cannot be combined with {', '.join(sorted(run_arguments))}."
            )
        else:
            self._enter(run)

    @property
    def tracker(self) -> Any:
        """The run; in processes that do not log, an object that does nothing."""
        return SILENCE if self._place is None else self._place.get_root_object()

    @on_main_process
    def start(self) -> None:
        """Open the run; Accelerate calls this in `init_trackers`."""
        # Here and not before: Accelerate makes trackers on every process, and only the main one starts them.
        if self._place is None and self._reserved is not None:
            self._enter(self._reserved.open())
        with self._attempt("log the version"):
            self.tracker["source_code/integrations/accelerate"] = accelerate.__version__

    @on_main_process
    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        """Log the configuration, in place of an earlier one."""
        with self._attempt("log the configuration"):
            replace(self._base["parameters"], stringify_unsupported(dict(values)))

    @on_main_process
    def log(self, values: Mapping[str, Any], step: float | None = None) -> None:
        """Append each value to its series; dicts make namespaces."""
        # One by one, so that a value that cannot be logged takes no other with it.
        self._names.append_each(dict(flatten(values, "")), step, self._attempt)

    @on_main_process
    def log_images(self, values: Mapping[str, Iterable[Any]], step: float | None = None) -> None:
        """Append images, such as arrays and pictures, to series of files."""
        for name, images in values.items():
            with self._attempt(f"log {name}"):
                for image in images:
                    self._names.append({name: File.as_image(image)}, step)

    @on_main_process
    def log_table(
        self,
        table_name: str,
        columns: Sequence[str] | None = None,
        data: Sequence[Sequence[Any]] | None = None,
        dataframe: pd.DataFrame | None = None,
        step: float | None = None,
    ) -> None:
        """Append a table, as a page, to a series of files. It is given by `columns` and `data`, or as a DataFrame."""
        with self._attempt(f"log {table_name}"):
            if dataframe is None:
                import pandas as pd

                dataframe = pd.DataFrame(data, columns=None if columns is None else list(columns))
            self._names.append({table_name: File.as_html(dataframe)}, step)

    @on_main_process
    def finish(self) -> None:
        """Stop the run if it was opened here; `accelerator.end_training()` calls this."""
        if self._is_own:
            self.tracker.stop()

    @property
    def _base(self) -> Place:
        assert self._place is not None, "Accelerate starts a tracker before it logs"
        return self._place

    def _enter(self, run: Place) -> None:
        self._place = place("NaiadTracker", run, self._base_namespace)
        self._attempt = partial(Attempt, "NaiadTracker", self._place)
        self._names = Names(self._place)
