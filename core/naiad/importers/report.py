"""The report of an import: counts and reasons, by run and by kind."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

MOST_REASONS = 200
"""Reasons that one report keeps of one run; further ones are only counted."""


@dataclass
class Counts:
    """How much of one kind there was: values, points, files and texts of sets count one each."""

    fields: int = 0
    found: int = 0
    imported: int = 0
    present: int = 0
    """In the run already."""
    skipped: int = 0


@dataclass
class Reason:
    """Why something was skipped."""

    path: str
    kind: str
    reason: str
    count: int = 1
    is_loss: bool = True
    where: str = ""


@dataclass
class Checks:
    """Fingerprints of the source and of the store, and the paths where they differ."""

    source: str = ""
    store: str = ""
    fields: int = 0
    differing: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    """Paths that were edited or removed in naiad since."""

    @property
    def are_equal(self) -> bool:
        """Whether the store has the content of the source."""
        return not self.differing


@dataclass
class RunReport:
    """The result for one run, or other container, of a source."""

    identity: str
    source_id: str
    container: str = ""
    parent: str = ""
    """Of a run: its parent at the source, by id or identity."""
    id: str = ""
    project: str = ""
    status: str = ""
    """new, updated, unchanged, left alone, failed; of a dry run the first three mean what would become of it."""
    is_renumbered: bool = False
    kinds: dict[str, Counts] = field(default_factory=dict)
    skipped: list[Reason] = field(default_factory=list)
    more_skipped: int = 0
    lost: int = 0
    notes: list[str] = field(default_factory=list)
    checks: Checks = field(default_factory=Checks)
    error: str = ""

    def of(self, kind: str) -> Counts:
        """Return the counts of a kind."""
        return self.kinds.setdefault(kind, Counts())

    def skip(self, reason: Reason) -> None:
        """Note something that is skipped. `found` counts it already."""
        if reason.kind:
            self.of(reason.kind).skipped += reason.count
        if reason.is_loss:
            self.lost += reason.count
        # Bounded: a damaged file of a million points has a million reasons, and the report crosses between processes.
        if len(self.skipped) < MOST_REASONS:
            self.skipped.append(reason)
        else:
            self.more_skipped += 1

    def note(self, text: str) -> None:
        """Note something that is no loss."""
        if text not in self.notes and len(self.notes) < MOST_REASONS:
            self.notes.append(text)

    @property
    def is_whole(self) -> bool:
        """Whether nothing was lost."""
        return not (self.lost or self.error or self.checks.differing)


@dataclass
class Report:
    """The result for one source."""

    format: str
    path: str
    store: str
    is_dry: bool = False
    runs: list[RunReport] = field(default_factory=list)
    problems: list[Reason] = field(default_factory=list)
    """Damaged and foreign files, and others that belong to no run."""
    notes: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether everything that was found is in the store."""
        return all(run.is_whole for run in self.runs) and not any(each.is_loss for each in self.problems)

    def totals(self) -> dict[str, Counts]:
        """Return the counts of each kind over all runs."""
        totals: dict[str, Counts] = {}
        for run in self.runs:
            for kind, counts in run.kinds.items():
                sums = totals.setdefault(kind, Counts())
                for name, value in vars(counts).items():
                    setattr(sums, name, getattr(sums, name) + value)
        return totals

    def as_document(self) -> dict[str, Any]:
        """Return the report as plain data, for JSON."""
        return {
            "format": self.format,
            "path": self.path,
            "store": self.store,
            "dry_run": self.is_dry,
            "complete": self.is_whole,
            "lost": sum(run.lost for run in self.runs) + sum(each.count for each in self.problems if each.is_loss),
            "totals": {kind: asdict(counts) for kind, counts in sorted(self.totals().items())},
            "runs": [
                {**asdict(run), "checks": {**asdict(run.checks), "equal": run.checks.are_equal}} for run in self.runs
            ],
            "problems": [asdict(each) for each in self.problems],
            "notes": list(self.notes),
        }
