"""The run: one execution of a program, from `init_run()` to `stop()`."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from naiad import clock, exits, lifecycle, options, spawns
from naiad.alerts.wanted import AlertsWanted, alerts_wanted
from naiad.background import Capture, Loggable
from naiad.capture.wanted import Wanted, wanted
from naiad.children import Parent, children, find_parent, require_no_circle
from naiad.container import Container, first_ops, user_name
from naiad.container_kinds import RUN, RunId
from naiad.errors import ContainerNotFound, LimitWarning, NaiadError, NaiadTypeError, shown, warn_once
from naiad.fields.series import Series
from naiad.ids import host_name, new_writer_id
from naiad.kinds import ALERTS, PARENT_UID, SYS
from naiad.ops import Assign
from naiad.plugins import call_all, guarded
from naiad.progress import is_notebook
from naiad.scalars import pack_text
from naiad.settings import is_quiet, setting
from naiad.storage.base import STOP_SECONDS, Store
from naiad.storage.catalog import Summary
from naiad.storage.opening import Place

if TYPE_CHECKING:
    from naiad.alerts.watch import AlertWatch  # loaded by runs that are watched or captured
    from naiad.capture.captures import Captures

Names = str | os.PathLike[str]
ERROR = 2
"""The descriptor of standard error."""
LONGEST_CAPTURE = 5.0
"""Seconds of those for stopping a run that what it captures may take."""


class Run(Container):
    """One execution of a program and everything logged about it.

    Opening creates a run, or resumes the run that `with_id` or `custom_run_id` names. Resuming changes nothing by
    itself, and several processes may do it at the same time. If a spawned worker imports the script of its parent
    again, it joins the run that the script opens. Every argument of Neptune's `init_run` is accepted.

    Args:
        with_id: the id of a run to resume, such as "RUN-12", or the name of its folder.
        project: the project of a new run; by default NAIAD_PROJECT, else the name of the folder that holds the store.
        api_token: of a server, `naiad_...`; a folder needs none.
        alerts: where alerts go when the run fails, a value is not finite or a metric stalls, as a dict:
            `{"webhooks": ["https://..."], "commands": [["notify-send", "naiad"]], "stall_seconds": 600}`; else
            NAIAD_ALERT_WEBHOOK and NAIAD_ALERT_COMMAND, else `~/.config/naiad/alerts.json`. False for none.
        rewind_to: hide the points of this run above a step, so that a job that continues from a checkpoint leaves one
            curve. Nothing is deleted: `fetch_values(include_rewound=True)` returns all points. Series below
            `monitoring/` are not rewound.
        custom_run_id: an id of your own. Processes that pass the same one write the same run. Default:
            NAIAD_CUSTOM_RUN_ID.
        mode: "async" (default, or NAIAD_MODE); "offline", the same without contacting a server; "sync", in which each
            call returns when its data is on disk, or raises; "read-only"; or "debug", a store in a temporary folder
            that is removed at the end and in which `with_id` is ignored.
        name: a name, shown beside the id.
        description: a description.
        tags: a tag, or a list of tags.
        parent: the run that this one is a child of, or its id; for a new run, NAIAD_PARENT by default. The parent may
            run in another process, or have ended. Store and project default to those of the parent.
        source_files: files, folders and patterns of code to store; by default the running script, [] for nothing.
        capture_stdout: store the printed output, one point per line; on by default, except in notebooks. Output to a
            file is captured completely, including that of libraries and child processes. On a pipe or terminal, the
            output of Python in this and in forked processes is captured; "fd" captures all of it through a helper
            process, with which programs that configure their terminal, such as curses, do not work.
        capture_stderr: the same for standard error.
        capture_hardware_metrics: store CPU, memory, disk, network and GPU usage every ten seconds
            (NAIAD_HARDWARE_SECONDS); on by default, except in notebooks.
        fail_on_exception: mark the run as failed if an exception, or `sys.exit` with another code than 0, ends the
            program or the `with` block. An exception in a notebook cell, and `raise SystemExit(...)` in a function, are
            detected only with `with`.
        monitoring_namespace: the namespace of captured output and hardware; `monitoring/<hash>` by default.
        flush_period: no effect, because a call has stored its data when it returns.
        proxies: no effect.
        capture_traceback: store the traceback of that exception.
        git_ref: store the commit and the uncommitted changes of the script's repository, or of that of `GitRef(path)`;
            False or `GitRef.DISABLED` stores neither.
        dependencies: "infer" stores the versions of all installed packages; a path stores that file.
        async_lag_callback: no effect.
        async_lag_threshold: no effect.
        async_no_progress_callback: no effect.
        async_no_progress_threshold: no effect.
        store: a folder, the address of a server (`https://...`), or an object of another back end
            (`naiad.storage.base.Store`). Default: NAIAD_STORE, else the nearest `.naiad` in or above the working
            directory, else a new one: at the root of the git repository, else in the folder of the script if the
            working directory is below it, else in the working directory. Runs for a server are first written to the
            folder that is chosen without store= and NAIAD_STORE.
        strict: raise for values that no field accepts, instead of leaving them out with a warning. Default:
            NAIAD_STRICT.
        limits: "neptune" cuts long texts and rejects steps that do not increase, as Neptune did.
        on_error: "warn" continues if the disk fails; "raise" raises.

    Raises:
        RunNotFound: the store has no run `with_id`, or no run `parent`.
        StoreNotWritable: the store cannot be written.

    >>> with Run(name="baseline") as run:
    ...     run["train/loss"].append(0.7)
    """

    _kind = RUN
    _writes_late = False  # who goes on with a run is seen at once
    _kept = (*Container._kept, "_monitoring_namespace")
    _fail_on_exception = _capture_traceback = False  # of a run that came from another process
    _monitoring_namespace: str | None = None
    _captures: list[Capture] | None = None  # of plugins, in the process that opened the run to write to it
    _own_captures: Captures | None = None
    _alerts: AlertWatch | None = None
    _exception: BaseException | None = None  # what ends the run, if it is no orderly stop

    def __init__(
        self,
        with_id: str | None = None,
        *,
        project: str | None = None,
        api_token: str | None = None,
        rewind_to: float | None = None,
        custom_run_id: str | None = None,
        mode: str | None = None,
        name: str | None = None,
        description: str | None = None,
        tags: str | Iterable[str] | None = None,
        parent: Run | str | None = None,
        source_files: str | list[str] | None = None,
        capture_stdout: bool | str | None = None,
        capture_stderr: bool | str | None = None,
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
        alerts: Mapping[str, Any] | bool | None = None,
        store: Place = None,
        strict: bool | None = None,
        limits: str | None = None,
        on_error: str = "warn",
        **unknown: Any,
    ) -> None:
        given = {key: value for key, value in locals().items() if key not in ("self", "unknown")}
        found = options.of_run(given, unknown)
        if not isinstance(given["parent"], Run | str | None):
            message = f"parent= takes a run or its id, not {shown(parent)}."
            raise NaiadTypeError(message, argument="parent", value=parent)
        self._fail_on_exception = fail_on_exception
        self._capture_traceback = capture_traceback
        self._settings, self._monitoring_namespace = found.settings, found.monitoring_namespace
        asked_for = wanted(given)
        alerted = None if alerts is None else alerts_wanted(alerts)
        if isinstance(parent, Run) and store is None:
            store = parent._store
        if rewind_to is not None and with_id is None and found.custom_run_id is None:
            raise options.rewound_nothing(rewind_to)
        facts = {"name": name, "description": description, "tags": found.tags, "parent": parent}
        self._begin(with_id, found.project, found.custom_run_id, store, facts)
        if parent is not None and not self._is_new and not self._is_inherited:
            self._change_parent(parent)
        if rewind_to is not None and not self._is_new and not self._is_inherited:
            self._session.rewind("", rewind_to, is_first=True, but=filter(None, [self._monitoring_namespace]))
        if not self._session.is_read_only and not self._is_inherited:
            self._start(asked_for, alerts_wanted() if alerts is None else alerted)
            hidden = ("api_token", "alerts")  # addresses of webhooks are secrets
            self._captures = _notify_started(self, {name: given[name] for name in given if name not in hidden})

    def _start(self, captured: Wanted, alerted: AlertsWanted | None) -> None:
        """Begin everything that goes on beside the program while the run is open."""
        self._announce("continues" if not self._is_new else "begins")
        spawns.note(self._run.uid)
        lifecycle.watch_termination()
        self._tell_of_others()
        self._capture(captured)
        if alerted is not None:
            self._watch(alerted)

    def _begin(
        self,
        with_id: str | None,
        project: str | None,
        custom_run_id: str | None,
        store: Place,
        facts: dict[str, Any],
    ) -> None:
        mode = self._mode
        options.require_existing(RUN, mode, with_id or custom_run_id)
        place = self._open_store(store)
        uid = spawns.run_of_parent() if "multiprocessing.spawn" in sys.modules else None
        parents = None if uid is None else self._run_of_parent(place, uid)
        if parents is not None:
            self._join(parents)
            return
        if with_id is not None and mode != "debug":
            found = place.find(with_id, RUN) if mode == "read-only" else place.find_to_write(with_id, RUN)
            self._go_on(found, None, facts)
            return
        parent = self._parent_in(place, facts["parent"] or setting("PARENT"))
        project = project or (parent and parent.project) or place.default_project()
        if mode == "read-only":
            self._go_on(self._named(place, project, str(custom_run_id)), None, facts)
            return
        reservation = place.reserve_run(project, custom_run_id)
        texts = {
            "id": reservation.id,
            "project": project,  # a run that is copied to another store still knows it
            "custom_run_id": custom_run_id,
            "name": "Untitled" if facts["name"] is None else facts["name"],
            "description": facts["description"] or "",
            "owner": user_name(),
            "hostname": host_name(),
            **(parent.texts() if parent else {}),
        }
        chosen = [name for name in ("name", "description") if facts[name] is not None] + [
            *(parent.texts() if parent else ())
        ]
        ops = first_ops(texts, facts["tags"], ("failed", "trashed"), may_join=custom_run_id is not None, chosen=chosen)
        self._enter(reservation, ops, facts)

    def _run_of_parent(self, place: Store, uid: str) -> RunId | None:
        """Return the run of the process that spawned this one; None if the store does not have it."""
        if self._mode != "debug":  # whose store is a new one
            with suppress(ContainerNotFound):
                return place.find_to_write(uid, RUN)
        return None

    def _parent_in(self, place: Store, given: Run | str | None) -> Parent | None:
        """Find the run that was given as a parent; debug mode takes any name."""
        if given is None:
            return None
        name = given._run.uid if isinstance(given, Run) else given
        if self._mode == "debug":
            return Parent(given.id if isinstance(given, Run) else name, name)
        return find_parent(place, name)

    def _change_parent(self, given: Run | str) -> None:
        """Let a run that was there before belong to another one."""
        parent = self._parent_in(self._store, given)
        if parent is None or self._session.reader.values("sys").get(PARENT_UID) == parent.uid:
            return
        if self._session.is_read_only:
            self._session.decline()
            return
        require_no_circle(self._store, self._run, parent)
        self._session.writer.write(parent.changes())

    def _named(self, place: Store, project: str, custom_run_id: str) -> RunId:
        """Find the run of a project with a custom id.

        Raises:
            RunNotFound: there is none.
        """
        found = place.find_custom(project, custom_run_id)
        if found is None:
            raise RUN.not_found(
                f"Store {place} has no run with custom_run_id={custom_run_id!r} in project {project!r}.\n"
                "List its runs with: naiad ls",
                run_id=custom_run_id,
            )
        return found

    @property
    def custom_run_id(self) -> str | None:
        """The custom id of the run, or None."""
        if not self.exists("sys/custom_run_id"):
            return None
        return str(self["sys/custom_run_id"].fetch())

    @property
    def parent(self) -> str | None:
        """The id of the parent run; None if there is none."""
        return str(self["sys/parent"].fetch()) if self.exists("sys/parent") else None

    def children(self) -> Iterator[Summary]:
        """Yield the facts of each child run outside the trash, newest first.

        `init_run(with_id=child.id, ...)` opens one.
        """
        self._session.require_active()
        yield from children(self._store, self._run.uid)

    def _join(self, run: RunId) -> None:
        """Open the run of the parent process as its guest."""
        self._is_inherited = self._writes_late = True  # type: ignore[misc]  # of this one run
        self._attach(run, None, "guest", [])

    def wait(self, *, disk_only: bool = False) -> None:
        """Return when everything logged before, and the source code, is on disk.

        Args:
            disk_only: makes no difference; there is nothing but the disk.

        Raises:
            SyncFailed: the disk did not take it.
        """
        self._session.require_active()
        if self._own_captures is not None and not self._is_inherited:
            self._own_captures.wait_for_source()
        super().wait(disk_only=disk_only)

    def _capture(self, wanted: Wanted) -> None:
        """Begin the captures that the options select."""
        if wanted.is_nothing:
            return
        from naiad.capture.captures import Captures

        self._own_captures = Captures(self, wanted if self._is_new else wanted.when_resumed())
        self._own_captures.start()

    def _watch(self, wanted: AlertsWanted) -> None:
        """Begin to watch for alerts; the key lets others notice that this session was killed."""
        from naiad.alerts.watch import AlertWatch

        key = new_writer_id()
        self._session.write(Assign(ALERTS, SYS[ALERTS], pack_text(key)))
        self._alerts = AlertWatch(self._store, self._run, key, wanted)
        self._alerts.start()

    # What it is

    @property
    def monitoring_namespace(self) -> str:
        """The namespace of captured output and hardware of this process and thread."""
        if self._monitoring_namespace is None:
            import hashlib  # loads OpenSSL, which a run without monitoring does not need

            identity = f"{host_name()}{os.getpid()}{threading.get_native_id()}"
            self._monitoring_namespace = f"monitoring/{hashlib.sha256(identity.encode()).hexdigest()[-8:]}"
        return self._monitoring_namespace

    # The end

    def _end(self, seconds: float | None) -> None:
        until = clock.monotonic() + (STOP_SECONDS if seconds is None else seconds)
        # A forked child stops its own part only: captures and plugins belong to the process that opened the run.
        captures = None if self._is_inherited else self._captures
        try:
            if captures is not None:
                _notify_stopping(self, captures, self._exception)
            self._exception = None  # it holds all frames it went through, with their data
            if self._own_captures is not None and not self._is_inherited:
                self._own_captures.stop(min(LONGEST_CAPTURE, max(0.0, until - clock.monotonic())))
            self._say_what_was_left_out()
        finally:
            super()._end(max(0.0, until - clock.monotonic()))
            if self._alerts is not None and not self._is_inherited:
                self._alerts.end(self._end_state, max(0.0, until - clock.monotonic()))
        if captures is not None:
            call_all("naiad_run_stopped", run=self)
            self._announce(self._end_state)

    def _tell_of_others(self) -> None:
        """Warn once in a notebook if other runs are open: a cell was run again."""
        if not is_notebook():
            return
        others = [each.id for each in lifecycle.open_containers() if isinstance(each, Run) and each is not self]
        if others:
            warn_once(
                ("open runs",),
                f"{self._id} is open at the same time as {', '.join(others[:5])}, which was not stopped.\n"
                "Stop a run with run.stop(), or use `with`, before you execute a cell that opens a run again.",
            )

    def _announce(self, word: str) -> None:
        """Write one line on the terminal, which the run never captures.

        It goes to the descriptor, past what watches `sys.stderr`. NAIAD_QUIET=1 silences it.
        """
        if not os.isatty(ERROR) or is_quiet():
            return
        where = self.get_url().removeprefix("file://")
        waits = self._store.waits_in()
        hint = f"kept in {waits} until the server has it" if waits else f"look at it with: naiad show {self._id}"
        line = f"naiad: {self._id} {word} in {where}; {hint}\n"
        with suppress(OSError):  # the terminal has gone
            os.write(ERROR, re.sub(r"[^\x20-\uffff\n]|[\x7f-\x9f]", "?", line).encode("utf-8", "replace"))

    def _fail(self, error: BaseException) -> None:
        """An exception ends the program or the `with` block: mark the run, keep the traceback."""
        state = lifecycle.end_state(error)
        if state is None or self._is_inherited or self._session.is_read_only or self._state != "started":
            return
        self._exception = error
        try:
            self._mark_failed(state, error)
        except NaiadError as problem:  # nothing may hide the exception itself
            warn_once((self._session.key, "failed"), f"{self._session.title} could not be marked as failed: {problem}")

    def _exit(self, code: int) -> None:
        """Keep the exit code of the process, beside the facts about it."""
        if self._is_inherited or self._session.is_read_only or self._state != "started":
            return
        if code or self._session.tree.is_namespace(self.monitoring_namespace):
            with suppress(NaiadError):  # nothing may keep the program from ending
                self[f"{self.monitoring_namespace}/exit_code"] = code

    def _terminate(self) -> None:
        if not self._is_inherited and self._state != "stopped" and self._session.has_writer:
            self._end_state = "terminated"
            self._session.writer.note_end("terminated")

    def _mark_failed(self, state: str, error: BaseException) -> None:
        if isinstance(error, SystemExit):
            self._exit(exits.code_of(error))
        if self._fail_on_exception:
            # SIGTERM came first: the exception is only how the program leaves because of it.
            self._end_state = "terminated" if self._end_state == "terminated" else state
            self._session.write(Assign("sys/failed", SYS["sys/failed"], True))
        if self._capture_traceback:
            self[f"{self.monitoring_namespace}/traceback"].extend(_traceback_lines(error))

    def _say_what_was_left_out(self) -> None:
        if not self._session.has_limits:
            return
        fields = self._session.tree.made()
        counts = {field.path: field.left_out for field in fields if isinstance(field, Series) and field.left_out}
        for path, count in counts.items():
            message = f'{count} points of "{path}" were left out in all, because their steps or times did not grow.'
            warn_once((self._session.key, path, "left out"), message, LimitWarning)


init_run = Run
"""Open a run; the same as the class."""


def _notify_started(run: Loggable, options: Mapping[str, object]) -> list[Capture]:
    """Start the captures of plugins, notify them of the run, and return the captures."""
    running = []
    for capture in (capture for found in call_all("naiad_captures", options=options) for capture in found):
        with guarded(_title(capture), "to start"):
            capture.start(run)
            running.append(capture)
    call_all("naiad_run_started", run=run)
    return running


def _notify_stopping(run: Loggable, captures: Iterable[Capture], exception: BaseException | None) -> None:
    """Notify plugins that a run will stop, and stop their captures. It is still writable."""
    call_all("naiad_run_stopping", run=run, exception=exception)
    for capture in captures:
        with guarded(_title(capture), "to stop"):
            capture.stop()


def _title(capture: Capture) -> str:
    return f"The capture {(capture.name or type(capture).__name__)!r}"


def _traceback_lines(error: BaseException) -> list[str]:
    import traceback  # loads a tokenizer, which a run that goes well never needs

    header = [
        f"An uncaught exception occurred while run was active on worker {host_name()}.",
        "Marking run as failed",
    ]
    return header + "".join(traceback.format_exception(error)).splitlines()
