"""The watch of one run: a thread that looks now and then at how its metrics stand, and sends alerts.

It reads the run as any reader does, the index and the tail of the journal; no call that logs does anything for it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping

from naiad import clock
from naiad.alert import Alert
from naiad.alerts.delivery import claim, deliver, ended_alert, finish
from naiad.alerts.wanted import AlertsWanted
from naiad.container_kinds import RunId
from naiad.errors import NaiadError, PluginWarning, warn_once
from naiad.ids import new_uid
from naiad.kinds import POINTS
from naiad.scalars import unpack_text
from naiad.settings import number
from naiad.storage.base import Store

LOOK_SECONDS = 10.0
END_SECONDS = 5.0
"""How long the end of a run may wait until its alert is sent."""


class AlertWatch:
    """Watches one run of this process. `key` is that of the session, which the run has too."""

    def __init__(self, store: Store, run: RunId, key: str, wanted: AlertsWanted) -> None:
        self._store = store
        self._run = run
        self._key = key
        self._wanted = wanted
        self._reader = store.reader(run)
        self._seconds = number("ALERT_LOOK_SECONDS", LOOK_SECONDS, least=0.05)
        self._counts: dict[str, int] = {}
        self._grown: dict[str, float] = {}
        self._is_stalled: set[str] = set()
        self._is_not_finite: set[str] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, name="naiad-alerts", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self, state: str, seconds: float) -> None:
        """End with the run; of a run that has failed send the alert, within so many seconds.

        One that cannot be sent in time is sent by the next that looks at the store.
        """
        self._end.set()
        if state != "failed":
            return
        until = clock.monotonic() + min(seconds, END_SECONDS)
        sender = threading.Thread(target=self._fail, args=(until,), name="naiad-alert", daemon=True)
        sender.start()
        sender.join(max(0.0, until - clock.monotonic()))

    def _fail(self, until: float) -> None:
        sys = self._sys()
        if claim(self._store, self._run, self._key, "ended", len(self._wanted.targets)):
            facts = {**sys, "sys/state": "failed"}
            alert = ended_alert(self._store, self._run, sys.get("sys/id", self._run.uid), facts, self._key)
            if deliver(alert, self._wanted.targets, until):
                finish(self._store, self._run, self._key, "ended")

    def _work(self) -> None:
        while not self._end.wait(self._seconds):
            try:
                for alert in self._look():
                    deliver(alert, self._wanted.targets)
            except (NaiadError, OSError) as error:
                message = f"The alerts of run {self._run.uid} were not looked at: {error}"
                warn_once(("alerts", self._run.uid), message, PluginWarning)

    def _look(self) -> list[Alert]:
        """Return the alerts that are due since the last look."""
        now = clock.monotonic()
        kinds = self._reader.kinds()
        counts = {
            path: count
            for path, count in self._reader.counts().items()
            if kinds.get(path) == POINTS and not path.startswith("monitoring/") and count
        }
        grown = [path for path, count in counts.items() if count != self._counts.get(path)]
        self._counts = counts
        alerts = [alert for path in grown if path not in self._is_not_finite for alert in self._not_finite(path)]
        for path in grown:
            self._grown[path] = now
            self._is_stalled.discard(path)
        if self._wanted.stall_seconds is not None:
            alerts += [
                self._stalled(path, self._wanted.stall_seconds)
                for path, at in self._grown.items()
                if now - at >= self._wanted.stall_seconds and path not in self._is_stalled
            ]
        return alerts

    def _not_finite(self, path: str) -> list[Alert]:
        """Return the alert about the first value of a series that is not finite, if it has one."""
        if int(self._reader.chart(path, 1).finite.sum()) >= self._counts[path]:
            return []
        points = self._reader.points(path)
        for step, value in zip(points.steps.tolist(), points.values.tolist(), strict=True):
            if not math.isfinite(value):
                self._is_not_finite.add(path)
                return [self._alert("nan", f'"{path}" is {value} at step {step:g}', path, step, str(value))]
        return []

    def _stalled(self, path: str, seconds: float) -> Alert:
        self._is_stalled.add(path)
        return self._alert("stalled", f'"{path}" has had no new point for {seconds:g} s', path)

    def _alert(self, event: str, what: str, path: str, step: float | None = None, value: str | None = None) -> Alert:
        sys = self._sys()
        name = sys.get("sys/id", self._run.uid)
        return Alert(
            event, f"Run {name}: {what}.", name, self._run.uid, sys.get("sys/project", ""), sys.get("sys/name", ""),
            str(self._store), clock.now(), new_uid(), path, step, value,
        )  # fmt: skip

    def _sys(self) -> Mapping[str, str]:
        values = self._reader.values("sys")
        return {path: unpack_text(each) for path, each in values.items() if isinstance(each, str | bytes)}
