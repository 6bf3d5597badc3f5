"""Delivery: each alert goes to every target once, also if several processes notice its event.

A run that is watched has a key, which a new session of it replaces. The process that sends an alert first takes its
claim, which one process alone can get in a store, and notes afterwards that it is done. A claim ends after the time
that sending may take; if it is not done by then its process has died, and the next one takes a claim of its own:

    claim (until T) --> send --> done          others leave it alone
    claim (until T) --> dies                   after T: claim 2 (until T2) --> send --> done

So an alert is lost only if its processes die MOST_CLAIMS times, and it comes twice only where a process died after a
target had taken it. Both have the same `key`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence

from naiad import clock
from naiad.alert import Alert, Target
from naiad.alerts.wanted import AlertsWanted
from naiad.container_kinds import RUN, RunId
from naiad.errors import NaiadError, NeedsServer, PluginWarning, StorageError, warn_once
from naiad.ids import new_uid
from naiad.kinds import ALERTS, SYS
from naiad.plugins import results
from naiad.query.criteria import both
from naiad.query.tree import Exists, FieldName, OneOf
from naiad.storage.base import Store

ATTEMPTS = 3
PAUSE_SECONDS = 1.0
SWEEP_SECONDS = 10.0
CLAIM_SECONDS = 30.0
"""How long a claim holds for each target: a little longer than three attempts of 5 seconds take."""
MOST_CLAIMS = 5
ENDS = {"failed": "failed", "killed": "was killed"}


def claim(store: Store, run: RunId, key: str, event: str, targets: int = 1) -> bool:
    """Take the right to send an alert; False where another process has it, or the store takes nothing."""
    source = f"alert {run.uid} {key} {event}"
    try:
        for number in range(1, MOST_CLAIMS + 1):
            own = source if number == 1 else f"{source} {number}"
            until = f"{clock.now() + targets * CLAIM_SECONDS:.3f}"
            if store.bind_source(own, RunId(new_uid(), RUN), until):  # one uid wins
                return True
            # Bound by another process: it is done, or under way, or died.
            if store.find_source(f"{source} done") or not _has_ended(store, own):
                return False
    except NeedsServer:
        return True  # of a run behind a server: it is noticed by its own process alone
    except StorageError:
        return False
    return False


def finish(store: Store, run: RunId, key: str, event: str) -> None:
    """Note that an alert was sent, so that its claim needs no other process any more."""
    with contextlib.suppress(NeedsServer, StorageError):
        store.bind_source(f"alert {run.uid} {key} {event} done", RunId(new_uid(), RUN), event)


def _has_ended(store: Store, source: str) -> bool:
    """Whether the time of a claim is over; one without a time counts as done."""
    found = store.find_source(source)
    try:
        return found is not None and float(found.id) < clock.now()
    except ValueError:
        return False


def deliver(alert: Alert, targets: Sequence[Target], until: float = float("inf")) -> bool:
    """Send an alert to all targets, trying each a few times until a moment; trouble becomes one warning a target.

    Returns:
        Whether it is settled: False if it reached none of them because the time was over.
    """
    reached, is_late = 0, False
    for number, target in enumerate(targets, 1):
        for attempt in range(ATTEMPTS):
            problem = next(results("naiad_alert", alert=alert, target=target), "no plugin takes it")
            if not problem or attempt == ATTEMPTS - 1:
                break
            if clock.monotonic() + PAUSE_SECONDS > until:
                is_late = True
                break
            clock.sleep(PAUSE_SECONDS)
        if problem:
            key = ("alert", alert.uid, alert.event, alert.path, number)
            warn_once(
                key, f"The alert about {alert.id} could not be sent to target {number}: {problem}.", PluginWarning
            )
        reached += not problem
    return reached > 0 or not is_late


def missed(store: Store, wanted: AlertsWanted) -> int:
    """Send the alerts of watched runs that were killed, or failed without one, and return how many were sent."""
    name = FieldName(ALERTS, SYS[ALERTS])
    ended = OneOf(FieldName("sys/state", SYS["sys/state"]), tuple(ENDS))
    columns = [ALERTS, "sys/state", "sys/project", "sys/name"]
    found = store.catalog().search(RUN, None, both([Exists(name), ended]), columns=columns)
    count = 0
    for row in found.rows:
        cells = {found.fields[number][0]: cell for number, cell in row.cells.items() if number in found.fields}
        run, key = RunId(row.uid, RUN), str(cells[ALERTS])
        # The claim before the delivery: of several processes that find the run, one sends.
        if claim(store, run, key, "ended", len(wanted.targets)):
            deliver(ended_alert(store, run, row.id, cells, key), wanted.targets)
            finish(store, run, key, "ended")
            count += 1
    return count


def ended_alert(store: Store, run: RunId, name: str, sys: Mapping[str, object], key: str) -> Alert:
    """Return the alert about a run that has failed or was killed, of its `sys` fields."""
    state, title = str(sys.get("sys/state")), str(sys.get("sys/name") or "")
    text = f"Run {name}{_quoted(title)} {ENDS.get(state, state)}."
    project, own = str(sys.get("sys/project") or ""), f"{run.uid}-{key}-ended"
    return Alert(state, text, name, run.uid, project, title, str(store), clock.now(), own)


def _quoted(title: str) -> str:
    return f" ({title})" if title not in ("", "Untitled") else ""


class Sweeper:
    """A daemon thread that sends the missed alerts of a store now and then; for pages, `naiad top` and servers."""

    def __init__(self, store: Store, wanted: AlertsWanted, seconds: float = SWEEP_SECONDS) -> None:
        self._store = store
        self._wanted = wanted
        self._seconds = seconds
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, name="naiad-alerts", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; an alert that is on its way is not waited for."""
        self._end.set()

    def _work(self) -> None:
        while not self._end.is_set():
            try:
                missed(self._store, self._wanted)
            except (NaiadError, OSError) as error:
                message = f"The alerts of {self._store} were not looked at: {error}"
                warn_once(("alerts", str(self._store)), message, PluginWarning)
            self._end.wait(self._seconds)
