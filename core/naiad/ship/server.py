"""A server to which the runs of a folder go: whether it answers, and when it may be asked again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from naiad import clock
from naiad.errors import NaiadError, ServerError, ServerUnreachable
from naiad.settings import number
from naiad.ship.client import Client

ANSWER_SECONDS = 3.0
"""For the first answer of a server; NAIAD_CONNECT_SECONDS changes it."""
FRESH_SECONDS = 1.0
"""After an answer of a server, for which it counts as there."""
LEAST_ALONE, MOST_ALONE = 5.0, 60.0
"""Seconds for which a server that does not answer is left alone: at first, and at most."""


@dataclass
class Server:
    """A server of the runs here: its connection, and whether it answers."""

    client: Client
    announce: Callable[[str], object]
    problem: ServerError | None = field(default=None, init=False)
    """The reason for which it is left alone."""
    due: float = field(default=0.0, init=False)
    """The time of the next request."""
    failures: int = field(default=0, init=False)
    """In a row."""
    answered_at: float = field(default=-1e9, init=False)
    is_announced: bool = field(default=False, init=False)

    def is_left_alone(self) -> bool:
        """Whether it has not answered, and gets no request yet."""
        return self.problem is not None and clock.monotonic() < self.due

    def look(self, uid: str) -> None:
        """Look whether it answers, unless that is clear.

        Raises:
            ServerError: it does not.
        """
        if self.is_left_alone():
            assert self.problem is not None
            raise type(self.problem)(str(self.problem), **self.problem.facts)
        if self.problem is not None or clock.monotonic() - self.answered_at >= FRESH_SECONDS:
            try:
                self.ask(uid)
            except ServerError as error:
                self.leave_alone(error)
                raise

    def find_journal(self, uid: str) -> None:
        """Look up the journal of a run there, which is a small request that changes nothing.

        Raises:
            RunNotFound: it answers that it has no such run.
            ServerError: it does not answer, or with an error.
        """
        self.client.get(f"runs/{uid}/journal", seconds=number("CONNECT_SECONDS", ANSWER_SECONDS))

    def ask(self, uid: str) -> None:
        """Send a small request; any answer will do, if it comes soon.

        Raises:
            ServerError: there is none.
        """
        try:
            self.find_journal(uid)
        except NaiadError as error:  # also that the run is not there, or the token is refused
            if is_silence(error):
                raise
        self.problem, self.answered_at = None, clock.monotonic()

    def leave_alone(self, problem: ServerError) -> None:
        """Send it nothing for a while, which grows with each time in a row."""
        self.problem = problem
        self.due = clock.monotonic() + min(MOST_ALONE, LEAST_ALONE * 2 ** min(self.failures, 10))
        self.failures += 1
        if not self.is_announced:
            self.is_announced = True
            self.announce(
                f"{problem}\nIts runs stay in this folder. Runs of other servers are sent without it.\n"
                "If its address is wrong or has changed, send them to another one: naiad sync RUN... --to URL"
            )

    def note_answers(self) -> None:
        """Note that it has answered everything."""
        self.problem, self.failures, self.answered_at = None, 0, clock.monotonic()
        if self.is_announced:
            self.is_announced = False
            self.announce(f"The server {self.client.url} answers again.")


def is_silence(error: NaiadError) -> bool:
    """Whether a server did not answer, or another one answered in its place that it does not."""
    return isinstance(error, ServerUnreachable) or getattr(error, "status", 0) in (502, 503, 504)
