"""The hooks: signatures and their documentation. This file is the manual for plugin authors.

Mark a function of the same name with `hookimpl`, and name its module in the entry-point group `naiad`. A function
may leave out arguments it does not need. All hooks are called at boundaries, never for each logged point.
"""

from __future__ import annotations

from collections.abc import Mapping

import pluggy

from naiad.alert import Alert, Target
from naiad.background import Capture, Loggable
from naiad.files.tracked import ArtifactDriver
from naiad.importer import Importer
from naiad.integration import Commands, Integration
from naiad.scalars import Scalar
from naiad.value import Value

__all__ = ["hookimpl", "hookspec"]

hookspec = pluggy.HookspecMarker("naiad")
"""Marks the hooks below."""
hookimpl = pluggy.HookimplMarker("naiad")
"""Marks a function of a plugin as an answer to the hook of its name."""


@hookspec(firstresult=True)
def naiad_convert(value: object) -> Scalar | Mapping[str, object] | Value | None:
    """Turn a framework's own object into a value that a field accepts, or return None to pass.

    Called when a user assigns, appends or uploads an object that no field takes as it is. A mapping becomes one
    field for each of its items. The answer is not converted again.
    """


@hookspec(firstresult=True)
def naiad_image(subject: object, autoscale: bool) -> bytes | None:
    """Draw an object as an image and return it as the bytes of a PNG, or return None to pass.

    Called by `File.as_image`. To reject a subject with a message, such as an array without pixels, raise an error of
    `naiad.errors`.

    Args:
        subject: the user's object.
        autoscale: bring values between 0 and 1 to the range of a pixel; meant for arrays.
    """


@hookspec(firstresult=True)
def naiad_html(subject: object, options: Mapping[str, object]) -> str | None:
    """Write an object as an HTML page and return it, or return None to pass.

    Called by `File.as_html`. The page must draw without internet, and text from the subject must be escaped in it.

    Args:
        subject: the user's object.
        options: the user's keywords, for any plugin; ignore those you do not support.
    """


@hookspec(firstresult=True)
def naiad_artifact_driver(scheme: str) -> ArtifactDriver | None:
    """Return the driver of a storage's files, or None to pass.

    Called by `track_files` for its location, and for each tracked file when it is downloaded.

    Args:
        scheme: of the location, in lower case, such as `s3`; `file` for paths without one.
    """


@hookspec
def naiad_integration() -> Integration | None:
    """Return the description of an integration: its adapter and its mapping.

    Called by `naiad plugins`, by docs and by tests, never by a run. It must import nothing of the framework.
    """


@hookspec
def naiad_importer() -> Importer | None:
    """Return the importer of a foreign format, which `naiad import` and `naiad.importers` then offer by its name.

    Called when something is imported. The importer imports the packages that it needs when it opens a place.
    """


@hookspec(firstresult=True)
def naiad_describe(subject: object) -> Mapping[str, object] | None:
    """Describe a model or an estimator as a namespace of plain values, or return None to pass.

    Called by `naiad.utils.describe`, whose result can be assigned: `run["model"] = describe(model)`.
    """


@hookspec
def naiad_captures(options: Mapping[str, object]) -> list[Capture] | None:
    """Return background sources for a run that is being opened, or None. They are started and stopped with the run.

    Args:
        options: the user's arguments of `init_run`, by name, such as `capture_hardware_metrics`; None for those that
            were not given.
    """


@hookspec
def naiad_run_started(run: Loggable) -> None:
    """Do something with a run that this process has just opened to write to, new or not.

    Like the next two hooks, it is not called for read-only runs, nor in child processes that use a run of their parent.
    """


@hookspec
def naiad_run_stopping(run: Loggable, exception: BaseException | None) -> None:
    """Do something with a run that is about to be stopped; it can still be written to.

    Args:
        run: the run.
        exception: the exception that ends the program or the `with` block; None if the run is stopped in order.
    """


@hookspec
def naiad_run_stopped(run: Loggable) -> None:
    """Act on a run after it was stopped. All of it is on disk; only its name and address can be read."""


@hookspec(firstresult=True)
def naiad_alert(alert: Alert, target: Target) -> str | None:
    """Send an alert to one target: return "" if it was sent, the trouble as a text if not, or None to pass.

    Called by a thread when a run fails, a value is not finite or a metric stalls. After a failure it is called again, a
    few times.
    A target is a secret: never log it, nor put it into the text.

    Args:
        alert: the event; `alert.document()` is all of it for JSON.
        target: an address such as `https://...`, or the words of a command.
    """


@hookspec
def naiad_commands(cli: Commands) -> None:
    """Add commands to the program `naiad`: `cli.add_command(command)` for each, a command of the library click.

    Called for a command that is not one of naiad's own, and for the list of commands. It must import nothing heavy; a
    command imports its libraries when it runs.
    """
