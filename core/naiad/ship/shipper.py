"""The shipper: one daemon thread of a process that ships the runs which this process writes.

    append ------> journal (local disk)          nothing here is on the path of a verb: the thread reads files
                      |
    "naiad-ship":  shipment of each run ---> server      0.2 s after the begin, then when the server wishes (1 to 30 s)
                      | no answer, 5xx, 429:             1 to 60 s with full jitter, or Retry-After; one warning a run
                      | 401, 403:                        one warning with the remedy, then every 60 s
    stop() ------> waits for a round that began after it, at most 10 s; the rest stays in the folder

A run that cannot be shipped is never lost: `naiad sync` ships it later, from this folder or from a copy.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from naiad import clock, forks
from naiad.errors import NaiadError, NotAuthorized, ServerError, ServerWarning, warn_once
from naiad.settings import number
from naiad.ship.client import Client
from naiad.ship.shipment import OwnWriter, Shipment
from naiad.storage.local import outbox
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.remote import Remote

FIRST_SECONDS = 0.2
HELD_SECONDS = 0.1
"""Until the next look at a record that was reserved and not written yet."""
UPLOAD_SECONDS = 0.25
"""Until the next look at a large upload."""
IDLE_SECONDS = 1.0
"""Between two looks at the files while there is nothing to send."""
LEAST, MOST = 1.0, 60.0
"""Seconds between two tries while the server does not answer."""
REFUSED_SECONDS = 60.0
TRIES = 3
"""Failures in a row after which nobody waits for a server."""
BEAT_SECONDS = 25.0
"""A writer that the server has not heard of for 60 s counts as silent."""
KEEP_DAYS = 7.0
EXPIRE_SECONDS = 3600.0
DAY = 86_400.0


@dataclass(eq=False)
class Line:
    """The shipment of one run, its next time, and how it went."""

    shipment: Shipment
    due: float
    begun: int = 0
    """How many rounds have begun."""
    clean: int = 0
    """The last of them after which the server had everything."""
    failed: int = 0
    """The last of them that ended without an answer."""
    failures: int = 0
    """In a row."""
    wanted: int = 0
    """A round for which somebody waits, so that it begins at once."""
    sent_at: float = 0.0
    has_said_over: bool = False
    """Whether the server was told that no writer of this process is left."""
    expired_at: float = 0.0
    is_over: bool = False
    problem: NaiadError | None = None
    writers: list[OwnWriter] = field(default_factory=list)


class Shipper:
    """The runs that one process ships, and the thread for it, which is there while there are any."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._lines: dict[str, Line] = {}
        self._clients: dict[str, Client] = {}
        self._thread: threading.Thread | None = None
        forks.follow(self)

    def forked(self) -> None:
        """In a forked child: ship nothing of the parent's. The child's own writers come here when they begin."""
        self._changed = threading.Condition()
        self._lines, self._clients, self._thread = {}, {}, None

    def close(self) -> None:
        """Ship nothing more; the runs stay in their folders."""
        with self._changed:
            self._lines.clear()
            self._changed.notify_all()

    def client(self, url: str) -> Client:
        """Return the connection of this process to a server."""
        with self._changed:
            return self._clients.setdefault(url, Client(url))

    def ship(
        self, folder: RunDirectory, remote: Remote, writer: OwnWriter, on_registered: Callable[[str], object] = id
    ) -> None:
        """Ship the files of a writer of this process, and those that dead ones have left in its run."""
        # Outside the condition, which it takes itself.
        client = self.client(remote.url)
        with self._changed:
            line = self._lines.get(folder.uid)
            if line is None or line.is_over:
                shipment = Shipment(folder, remote, client, on_registered=on_registered)
                line = self._lines[folder.uid] = Line(shipment, clock.monotonic() + FIRST_SECONDS)
            line.shipment.add(writer)
            line.writers.append(writer)
            # The thread ends when nothing is left to ship; a new run starts another one.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="naiad-ship", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, uid: str, seconds: float, url: str | None = None) -> NaiadError | None:
        """Wait until the server has all that is in the run's files now; return the obstacle, None if there was none.

        A few failures end the waiting early, because a server that is away may be so for hours. With `url` only a run
        of that server is waited for.
        """
        until = clock.monotonic() + seconds
        line = self._lines.get(uid)
        if line is None or url not in (None, line.shipment.client.url):
            return None
        ends = line.shipment.ends()  # more may come faster than it is shipped, and is not waited for
        with self._changed:
            return self._wait(line, ends, until, seconds)

    def _wait(self, line: Line, ends: dict[str, int], until: float, seconds: float) -> NaiadError | None:
        wanted = self._hurry(line)
        # A round that began before this call may have read the files before the last write, so a new one is waited
        # for.
        while line.clean < wanted and not (line.begun >= wanted and line.shipment.has(ends)):
            left = until - clock.monotonic()
            if left <= 0 or self._thread is None or not self._thread.is_alive():
                return line.problem or ServerError(
                    f"The server {line.shipment.client.url} did not take everything within {seconds:g} s."
                )
            if line.failed < wanted:
                self._changed.wait(min(left, MOST))
            elif not _may_pass(line):
                return line.problem
            else:
                self._changed.wait(min(left, LEAST))
                wanted = self._hurry(line)
        return None

    def flush_all(self, url: str, seconds: float) -> None:
        """Wait until a server has all that this process has written to its runs; trouble is left to their own calls."""
        until = clock.monotonic() + seconds
        with self._changed:
            lines = list(self._lines.items())
        for uid, line in lines:
            if line.shipment.client.url == url:
                self.flush(uid, max(0.0, until - clock.monotonic()))

    def _hurry(self, line: Line) -> int:
        """Let the next round begin now, and return its number."""
        line.due, line.wanted = clock.monotonic(), line.begun + 1
        self._changed.notify_all()
        return line.wanted

    def waiting(self, uid: str) -> tuple[int, int]:
        """Return how many points and bytes of a run the server does not have, as far as that is known here."""
        line = self._lines.get(uid)
        return (0, 0) if line is None else tuple(line.shipment.waiting())  # type: ignore[return-value]  # a pair

    def remote(self, uid: str) -> Remote | None:
        """Return the remote of a run that is shipped here."""
        line = self._lines.get(uid)
        return None if line is None else line.shipment.remote

    # The thread

    def _run(self) -> None:
        while True:
            with self._changed:
                line = self._due()
                if line is None:
                    return
                wait = line.due - clock.monotonic()
                if wait > 0:
                    self._changed.wait(wait)
                    continue
                line.begun += 1
            # Without the condition: a request may take a minute, and verbs of other threads register runs meanwhile.
            self._go(line)

    def _due(self) -> Line | None:
        """Return the run that comes next; None if there is none to ship, and the thread ends."""
        for uid in [uid for uid, line in self._lines.items() if line.is_over]:
            del self._lines[uid]
        found = min(self._lines.values(), key=lambda line: line.due, default=None)
        if found is None:
            self._thread = None
            for client in self._clients.values():
                client.close()
        return found

    def _go(self, line: Line) -> None:
        """One round: one request, or none."""
        shipment = line.shipment
        problem: NaiadError | None = None
        wait, is_clean = 1.0, False
        try:
            wait, is_clean = self._ship(line)
        except NaiadError as error:
            problem = error
        except OSError as error:  # of the local disk
            problem = ServerError(f"The run in {shipment.folder.path} cannot be shipped: {error}")
        if problem is not None:
            line.failures += 1
            wait = _back_off(problem, line.failures)
            self._warn(line, problem)
        else:
            line.failures = 0
        with self._changed:
            line.problem = problem
            line.due = clock.monotonic() + (0.0 if line.wanted > line.begun else wait)
            if problem is not None:
                line.failed = line.begun
            elif is_clean:
                line.clean = line.begun
            self._changed.notify_all()

    def _ship(self, line: Line) -> tuple[float, bool]:
        """Return the seconds until the next round, and whether the server has everything."""
        shipment, now = line.shipment, clock.monotonic()
        is_over = all(writer.is_over for writer in line.writers)
        is_released = all(writer.is_released for writer in line.writers)  # until then files come into the outbox
        done = shipment.step()
        # Nothing was sent: then a sign of life goes alone. The end of a writer is told at once, as the state of the
        # run follows from it.
        if not done.after and (now - line.sent_at >= BEAT_SECONDS or is_over != line.has_said_over):
            done = shipment.beat()
        if done.after:
            line.sent_at, line.has_said_over = now, is_over
        if done.has_more:
            return 0.0, False
        if now - line.expired_at >= EXPIRE_SECONDS:
            line.expired_at = now
            outbox.remove_sent(shipment.folder, clock.now() - keep_seconds())
        if is_released and shipment.note_done():
            line.is_over = True
        if done.is_held:
            return HELD_SECONDS, False
        if done.is_uploading:
            return max(done.after, UPLOAD_SECONDS), False
        return done.after or IDLE_SECONDS, done.is_whole

    def _warn(self, line: Line, problem: NaiadError) -> None:
        """Warn once in a run."""
        message = (
            f"The run in {line.shipment.folder.path} is not shipped: {problem}\n"
            "The run continues in this folder, and naiad tries again. After the program has ended: naiad sync"
            f"{address_remedy(line.shipment.remote, line.shipment.folder)}"
        )
        with contextlib.suppress(ServerWarning):  # where warnings are errors, they must not end this thread
            warn_once(problem_key(line.shipment.folder.uid, problem), message, ServerWarning)


def address_remedy(remote: Remote, folder: RunDirectory) -> str:
    """Return a line with the command for a run that was never registered: the address of its server may be wrong."""
    if remote.uid:
        return ""
    return f"\nIf {remote.url} is not the address of your server: naiad sync {folder.uid} --to URL"


def problem_key(uid: str, problem: NaiadError) -> tuple[str, str, bool]:
    """Return the key under which a run warns of a problem: once of a server that is away, once of a refused token."""
    return uid, "ship", isinstance(problem, NotAuthorized)


def _may_pass(line: Line) -> bool:
    """Whether another try within a second is worth it."""
    is_final = isinstance(line.problem, NotAuthorized) or not isinstance(line.problem, ServerError)
    return not is_final and line.failures < TRIES


def keep_seconds() -> float:
    """Return how long a confirmed file of an outbox is kept: NAIAD_KEEP_SHIPPED, in days."""
    return number("KEEP_SHIPPED", KEEP_DAYS) * DAY


def _back_off(problem: NaiadError, failures: int) -> float:
    """Return the seconds until the next try."""
    if isinstance(problem, NotAuthorized) or not isinstance(problem, ServerError):
        return REFUSED_SECONDS
    given = getattr(problem, "retry_after", None)
    # Full jitter: the clients of a server that was restarted do not come back all at once.
    drawn = random.uniform(LEAST, min(MOST, 2.0**failures))
    return max(drawn, float(given)) if given else drawn


of_process = Shipper()
"""The shipper of this process."""
