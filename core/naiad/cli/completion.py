"""Completion: offers of a shell for run ids, paths and projects."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from naiad.cli.place import existing_store
from naiad.cli.text import unsafe
from naiad.container_kinds import RUN
from naiad.errors import NaiadError
from naiad.storage.base import Store
from naiad.storage.catalog import Summary

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem  # loaded when a shell asks: each command names its completions

MOST = 500
"""Items that are offered at once."""

SILENT = (NaiadError, OSError)
"""Nothing is offered where there is no store, or no such run."""


def runs(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the ids of runs, models and versions with their names, and the custom ids that begin alike."""
    with contextlib.suppress(*SILENT):
        found = _store(ctx).catalog().summaries(kind=None, is_trashed=None)
        taken = set(_runs(ctx))
        names = ((row.id, row) for row in found if row.id not in taken)
        custom = ((row.custom_run_id, row) for row in found if incomplete and row.custom_run_id)
        return _items(((name, _help(row)) for name, row in [*names, *custom] if name), incomplete)
    return []


def paths(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the paths of the run that was named before."""
    with contextlib.suppress(*SILENT):
        store = _store(ctx)
        found = [store.reader(store.find(name)).kinds() for name in _runs(ctx)[:1]]
        return _items(((path, kind) for kinds in found for path, kind in sorted(kinds.items())), incomplete)
    return []


def runs_and_paths(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer both, where several runs and paths follow each other."""
    return [*runs(ctx, param, incomplete), *(paths(ctx, param, incomplete) if _runs(ctx) else [])]


def columns(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the paths of all runs, also after a comma."""
    before, comma, last = incomplete.rpartition(",")
    with contextlib.suppress(*SILENT):
        found = _store(ctx).catalog().search(RUN, None, None, limit=1)
        known = sorted({path for path, _kind in found.fields.values()})
        # The shell replaces the whole word, so each offer repeats what stands before the last comma.
        return _items(((f"{before}{comma}{path}", "") for path in known), f"{before}{comma}{last}")
    return []


def projects(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the names of projects."""
    with contextlib.suppress(*SILENT):
        return _items(((name, "") for name in sorted(_store(ctx).projects().values())), incomplete)
    return []


def _store(ctx: click.Context) -> Store:
    warnings.simplefilter("ignore")  # a message would stand in the middle of the line
    return existing_store(ctx.obj)


def _runs(ctx: click.Context) -> list[str]:
    """Return the runs that stand in the line already."""
    # The nearest first: `artifact diff` completes the path after RUN_B by that run, not by RUN_A.
    given = (ctx.params.get(name) for name in ("run", "runs", "run_b", "run_a", "words"))
    return [run for each in given if each for run in ([each] if isinstance(each, str) else each)]


def _help(row: Summary) -> str:
    return " ".join(part for part in (row.state, row.name) if part)


def _items(found: Iterable[tuple[str, str]], incomplete: str) -> list[CompletionItem]:
    """Return those that begin alike and fit into one line."""
    from click.shell_completion import CompletionItem

    right = ((text, about) for text, about in found if text.startswith(incomplete) and not unsafe().search(text))
    return [CompletionItem(text, help=unsafe().sub(" ", about)) for text, about in list(right)[:MOST]]
