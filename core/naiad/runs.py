"""The run: one execution of a program, from `init_run()` to `stop()`."""

from __future__ import annotations

import getpass
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from naiad import clock, coerce, life, options, paths, plugged
from naiad.background import Capture
from naiad.capture.captures import Captures
from naiad.capture.wanted import Wanted, wanted
from naiad.containers import Container
from naiad.errors import InactiveRun, LimitWarning, MissingField, NaiadError, NeedExistingRun, RunIdCollision, warn_once
from naiad.fields.series import Series
from naiad.fields.string_set import TAG_PATHS
from naiad.ids import host_name
from naiad.ops import Assign, Op, Tags
from naiad.scope import ContainerScope
from naiad.settings import setting
from naiad.store.derived import KINDS
from naiad.store.folder import RunFolder
from naiad.store.reader import Reader
from naiad.store.store import BEGIN_SECONDS, Store
from naiad.temporary import remove_temporary_store, temporary_store
from naiad.writer import STOP_SECONDS, Writer

__all__ = ["Run", "init_run"]

Names = str | os.PathLike[str]
LONGEST_CAPTURE = 5.0
"""Seconds of those for stopping a run that what it captures may take."""


class Run(Container):
    """One execution of a program and everything logged about it.

    Opening makes a new run, or goes on with the one that `with_id` or `custom_run_id` names; going on changes nothing
    by itself, and several processes may do it at once. Every argument of Neptune's `init_run` is accepted.

    Args:
        with_id: the id of a run to go on with, such as "RUN-12", or the name of its folder.
        project: the project that a new run belongs to; else NAIAD_PROJECT, else the folder that holds the store.
        api_token: not needed.
        custom_run_id: a name of your own for the run; processes that give the same one write the same run. Else
            NAIAD_CUSTOM_RUN_ID.
        mode: "async" (also NAIAD_MODE), "offline", which is the same, "sync" (each call returns when its data is on
            disk, or raises), "read-only", or "debug" (a store in a temporary folder, removed at the end; `with_id` is
            not looked for).
        name: shown beside the id.
        description: a longer text.
        tags: one or several.
        source_files: files, folders and patterns of code to keep; the running script by default, [] for nothing.
        capture_stdout: keep what is printed, a point a line, whoever prints it: this program, a library of it, or a
            program that it starts. On by default, but in notebooks off.
        capture_stderr: the same for standard error.
        capture_hardware_metrics: look at processor, memory, disk, network and cards every ten seconds
            (NAIAD_HARDWARE_SECONDS). On by default, but in notebooks off.
        fail_on_exception: mark the run as failed if an exception ends the program or the `with` block. Python tells
            nobody of `sys.exit(1)` outside of a block, and in a notebook an exception ends a cell, not the run: both
            leave it finished, unless `with` is used.
        monitoring_namespace: where naiad itself logs; `monitoring/<hash>` by default.
        flush_period: no effect, as data does not wait to be sent.
        proxies: no effect.
        capture_traceback: keep the traceback of that exception.
        git_ref: keep commit and uncommitted changes of the repository of the script, or of `GitRef(path)`; False or
            `GitRef.DISABLED` for not.
        dependencies: "infer" keeps the versions of all installed packages, a path keeps that file.
        async_lag_callback: no effect.
        async_lag_threshold: no effect.
        async_no_progress_callback: no effect.
        async_no_progress_threshold: no effect.
        store: the folder to keep runs in; else NAIAD_STORE, else the nearest `.naiad` here or above, else a new one
            here.
        strict: raise for values that no field accepts instead of leaving them out with a warning. Else NAIAD_STRICT.
        limits: "neptune" cuts long texts and refuses steps that do not grow, as Neptune did.
        on_error: "warn" keeps training going when the disk fails; "raise" raises.

    Raises:
        RunNotFound: the store has no run `with_id`.
        StoreNotWritable: the store cannot be written.

    >>> with Run(name="baseline") as run:
    ...     run["train/loss"].append(0.7)
    """

    _captures: list[Capture] | None = None  # of plugins, in the process that opened the run to write to it
    _own_captures: Captures | None = None

    def __init__(
        self,
        with_id: str | None = None,
        *,
        project: str | None = None,
        api_token: str | None = None,
        custom_run_id: str | None = None,
        mode: str | None = None,
        name: str | None = None,
        description: str | None = None,
        tags: str | Iterable[str] | None = None,
        source_files: str | list[str] | None = None,
        capture_stdout: bool | None = None,
        capture_stderr: bool | None = None,
        capture_hardware_metrics: bool | None = None,
        fail_on_exception: bool = True,
        monitoring_namespace: str | None = None,
        flush_period: float = 5,
        proxies: dict[str, str] | None = None,
        capture_traceback: bool = True,
        git_ref: Any = None,
        dependencies: Names | None = None,
        async_lag_callback: Any = None,
        async_lag_threshold: float = 1800.0,
        async_no_progress_callback: Any = None,
        async_no_progress_threshold: float = 300.0,
        store: Names | None = None,
        strict: bool | None = None,
        limits: str | None = None,
        on_error: str = "warn",
        **unknown: Any,
    ) -> None:
        given = dict(locals())
        options.refuse_unknown("Run", unknown)
        options.check(**{key: value for key, value in given.items() if key not in ("self", "unknown", "given")})
        if with_id is not None and custom_run_id is not None:
            raise RunIdCollision(
                f"with_id={with_id!r} and custom_run_id={custom_run_id!r} both name a run.\nGive one of them."
            )
        self._fail_on_exception = fail_on_exception
        self._capture_traceback = capture_traceback
        named = monitoring_namespace or setting("MONITORING_NAMESPACE")
        self._monitoring_namespace = paths.parse(named) if named else None
        self._settings: dict[str, Any] = {
            "mode": options.mode_of(mode),
            "strict": options.is_strict(strict),
            "limits": limits,
            "on_error": on_error,
        }
        facts = {"name": name, "description": description, "tags": options.tags_of(tags)}
        if custom_run_id is None and with_id is None:
            custom_run_id = setting("CUSTOM_RUN_ID")
        custom_run_id = options.custom_id(custom_run_id)
        project = options.project_name(project)
        options.say_what_is_missing(**given)
        asked_for = wanted(given)
        self._begin(with_id, project, custom_run_id, store, facts)
        if not self._scope.is_read_only:
            self._capture(asked_for)
            hidden = ("self", "unknown", "given", "api_token")
            self._captures = plugged.started(self, {name: given[name] for name in given if name not in hidden})

    def __repr__(self) -> str:
        return f"<Run {self._id}>"

    # Opening

    def _begin(
        self,
        with_id: str | None,
        project: str | None,
        custom_run_id: str | None,
        store: Any,
        facts: dict[str, Any],
    ) -> None:
        mode = self._settings["mode"]
        if mode == "read-only" and with_id is None:
            raise NeedExistingRun(
                'mode="read-only" needs a run to read.\nName it: init_run(with_id="RUN-12", mode="read-only").'
            )
        if mode == "debug":
            place, with_id = temporary_store(), None
        else:
            place = Store.locate(store)
        self._temporary = place.root if mode == "debug" else None
        if with_id is not None:
            self._resume(place.find_run(with_id), None, facts)
            return
        project = project or place.default_project()
        ticket = place.new_run(project, custom_run_id)
        if not ticket.is_new and _is_begun(ticket.folder):
            self._resume(ticket.folder, ticket.id, facts)
            return
        try:
            self._attach(ticket.folder, ticket.id, "owner", _first_ops(ticket.id, project, custom_run_id, facts))
        except BaseException:
            if ticket.is_new:
                place.abandon(ticket)
            raise

    def _resume(self, folder: RunFolder, run_id: str | None, facts: dict[str, Any]) -> None:
        self._attach(folder, run_id, "owner", [])
        for path in ("name", "description"):
            if facts[path] is not None:
                self["sys"][path] = facts[path]
        if facts["tags"]:
            self["sys/tags"].add(facts["tags"])

    def _attach(self, folder: RunFolder, run_id: str | None, role: str, first_ops: list[Op]) -> None:
        """Open reader and writer on the folder; the first ops, those of a new run, are all that is in it then."""
        mode = self._settings["mode"]
        self._folder = folder
        self._end_state = "finished"
        self._is_new = bool(first_ops)
        writer = None
        if mode != "read-only":
            writer = Writer.open(
                folder,
                role=role,
                first_ops=first_ops,
                on_error=self._settings["on_error"],
            )
        reader = Reader(folder)
        self._id = run_id or _id_of(reader)
        scope = ContainerScope(
            f"Run {self._id}",
            folder.uid,
            reader,
            writer,
            is_strict=self._settings["strict"],
            has_limits=self._settings["limits"] == "neptune",
            is_sync=mode == "sync",
            inactive=InactiveRun,
        )
        if first_ops:
            scope.know([(op.path, op.kind) for op in first_ops if isinstance(op, Assign)], is_new=True)
            scope.know([(path, "string_set") for path in TAG_PATHS], is_new=True)
            scope.know(KINDS.items(), is_new=True)
        else:
            scope.refresh()
        self._open(scope)

    def _capture(self, wanted: Wanted) -> None:
        """Begin to capture what was asked for."""
        self._own_captures = Captures(self, wanted if self._is_new else wanted.when_resumed())
        self._own_captures.start()

    def __reduce__(self) -> tuple[Any, ...]:
        """Cross to another process as the folder; it is opened there when the run is first used."""
        return _restored, (self._folder.path, self._settings, self._monitoring_namespace)

    # What it is

    @property
    def monitoring_namespace(self) -> str:
        """Where naiad itself logs for this process and thread."""
        if self._monitoring_namespace is None:
            import hashlib  # loads OpenSSL, which a run without monitoring does not need

            identity = f"{host_name()}{os.getpid()}{threading.get_native_id()}"
            self._monitoring_namespace = f"monitoring/{hashlib.sha256(identity.encode()).hexdigest()[-8:]}"
        return self._monitoring_namespace

    def get_url(self) -> str:
        """Return the address of the run's folder, which a browser or file manager opens."""
        return self._folder.path.absolute().as_uri()

    # The end

    def _end(self, seconds: float | None) -> None:
        until = clock.monotonic() + (STOP_SECONDS if seconds is None else seconds)
        captures = None if self._is_inherited else self._captures
        try:
            if captures is not None:
                plugged.stopping(self, captures)
            if self._own_captures is not None and not self._is_inherited:
                self._own_captures.stop(min(LONGEST_CAPTURE, max(0.0, until - clock.monotonic())))
            self._say_what_was_left_out()
        finally:
            self._close(max(0.0, until - clock.monotonic()))
        if captures is not None:
            plugged.stopped(self)

    def _close(self, seconds: float | None) -> None:
        super()._end(seconds)
        try:
            if not self._scope.is_read_only:
                self._scope.writer.stop(self._end_state, seconds)
        finally:
            if self._temporary is not None and not self._is_inherited:
                remove_temporary_store(self._temporary)

    def _fail(self, error: BaseException) -> None:
        """An exception ends the program or the `with` block: mark the run, keep the traceback."""
        state = life.end_state(error)
        if state is None or self._is_inherited or self._scope.is_read_only or self._state != "started":
            return
        try:
            self._mark_failed(state, error)
        except NaiadError as problem:  # nothing may hide the exception itself
            warn_once((self._scope.key, "failed"), f"{self._scope.title} could not be marked as failed: {problem}")

    def _mark_failed(self, state: str, error: BaseException) -> None:
        if self._fail_on_exception:
            self._end_state = state
            writer = self._scope.writer
            writer.log([Assign("sys/failed", "bool", True, writer.now())])
        if self._capture_traceback:
            self[f"{self.monitoring_namespace}/traceback"].extend(_traceback_lines(error))

    def _say_what_was_left_out(self) -> None:
        if not self._scope.has_limits:
            return
        counts = {
            path: field.left_out
            for path in self._scope.tree.paths()
            if isinstance(field := self._scope.tree.get(path), Series) and field.left_out
        }
        for path, count in counts.items():
            message = f'{count} points of "{path}" were left out in all, because their steps or times did not grow.'
            warn_once((self._scope.key, path, "left out"), message, LimitWarning)


class DistantRun(Run):
    """A run that came from another process. The first look at it opens it here, and then it is a Run like any other."""

    def __getattr__(self, name: str) -> Any:
        """Open the run, now that something of it is needed."""
        if name.startswith("__"):
            raise AttributeError(name)
        self.__class__ = Run  # type: ignore[assignment]  # the only difference is this method
        self._attach(self._folder, None, "guest", [])
        return getattr(self, name)


init_run = Run
"""Open a run; the same as the class."""


def _restored(path: Path, settings: dict[str, Any], monitoring_namespace: str | None) -> Run:
    """Return the run of a folder: the open one of this process, or one that opens when it is used."""
    for container in life.open_containers():
        if isinstance(container, Run) and container._folder.path == path:
            return container
    run = DistantRun.__new__(DistantRun)
    run._folder = RunFolder(path)
    run._settings = settings
    run._monitoring_namespace = monitoring_namespace
    run._fail_on_exception = run._capture_traceback = False
    run._temporary = None
    return run


def _is_begun(folder: RunFolder) -> bool:
    """Whether the process that took the id of a run has said what the run is; False if it died before."""
    reader = Reader(folder)
    until = clock.monotonic() + BEGIN_SECONDS
    while "sys/id" not in reader.kinds():
        if clock.monotonic() > until:
            return False
        clock.sleep(0.005)
    return True


def _first_ops(run_id: str, project: str, custom_run_id: str | None, facts: dict[str, Any]) -> list[Op]:
    """What is known of a run from its beginning."""
    at = clock.now()
    texts = {
        "sys/id": run_id,
        "sys/project": project,  # a run that is copied to another store still knows it
        "sys/custom_run_id": custom_run_id,
        "sys/name": "Untitled" if facts["name"] is None else facts["name"],
        "sys/description": facts["description"] or "",
        "sys/owner": _user_name(),
        "sys/hostname": host_name(),
    }
    tags = [coerce.pack_text(tag) for tag in facts["tags"]]
    return [
        *(Assign(path, "string", coerce.pack_text(text), at) for path, text in texts.items() if text is not None),
        Assign("sys/creation_time", "datetime", round(at * 1e6), at),
        Assign("sys/failed", "bool", False, at),
        Assign("sys/trashed", "bool", False, at),
        Tags("sys/tags", tags, [], False, at),
        Tags("sys/group_tags", [], [], False, at),
    ]


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without an entry in the password database, as in many containers
        return str(os.getuid())


def _id_of(reader: Reader) -> str:
    try:
        return str(reader.value("sys/id"))
    except MissingField:  # damaged, or another process is making the run at this moment
        return Store(reader.folder.path.parent.parent).id_of(reader.folder)


def _traceback_lines(error: BaseException) -> list[str]:
    import traceback  # loads a tokenizer, which a run that goes well never needs

    header = [
        f"An uncaught exception occurred while run was active on worker {host_name()}.",
        "Marking run as failed",
    ]
    return header + "".join(traceback.format_exception(error)).splitlines()
