"""`naiad ls`: the runs of a store, or its models or their versions."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from naiad.children import state_counts, states_text
from naiad.cli import completion as complete
from naiad.cli.document import json_option, print_document
from naiad.cli.place import existing_store, find_run
from naiad.cli.rows import Cell, Column, print_rows, print_texts
from naiad.cli.terminal import is_terminal, print_note
from naiad.cli.values import moment_text, tags_text
from naiad.container_kinds import BY_FOLDER, MODEL, MODEL_VERSION, RUN, ContainerKind
from naiad.query.criteria import children_of, top_level
from naiad.storage.catalog import NO_LOSSES
from naiad.storage.opening import Named

if TYPE_CHECKING:
    from naiad.storage.catalog import Summary

HEADER = ("ID", "STATE", "CREATED", "PROJECT", "NAME", "TAGS", "CHILDREN")
RANKS = (0, 1, 4, 6, 2, 5, 3)
"""The order in which columns are left out where a terminal is narrow: the highest first."""
WHOLE = ("STATE", "STAGE", "CREATED")
LISTED = [kind.folder for kind in (RUN, MODEL, MODEL_VERSION)]
UNKNOWN, DAMAGED = "unknown", "damaged"
STATES = ["running", "finished", "failed", "terminated", "killed", UNKNOWN, DAMAGED, "unreadable", "newer"]
"""Those of `naiad.types.RunState`, whose module takes long to load, and those of runs that cannot be read."""
STATE_STYLES = {
    "running": "green",
    "failed": "red",
    "killed": "red",
    "damaged": "red",
    "terminated": "yellow",
    "unknown": "yellow",
}


@click.command()
@click.argument("what", type=click.Choice(LISTED), default=RUN.folder, metavar="[WHAT]")
@click.option("--project", help="Only items of this project.", shell_complete=complete.projects)
@click.option("--tag", "tags", multiple=True, help="Only items with this tag; repeat it to require several.")
@click.option("--state", type=click.Choice(STATES), help="Only items in this state.")
@click.option("--parent", metavar="RUN", help="Only the children of this run.", shell_complete=complete.runs)
@click.option("--all", "are_all", is_flag=True, help="Also list the children of runs, each in a line.")
@click.option("--trashed", "is_trashed", is_flag=True, help="List the trash instead.")
@click.option("-n", "--limit", type=click.IntRange(min=1), help="At most this many.")
@json_option
@click.pass_obj
def ls(
    store: Named,
    what: str,
    project: str | None,
    tags: tuple[str, ...],
    state: str | None,
    parent: str | None,
    are_all: bool,
    is_trashed: bool,
    limit: int | None,
    is_json: bool,
) -> None:
    """List runs, newest first. WHAT lists models or versions instead.

    The columns are id, state, creation time, project, name, tags and children. For versions, the stage replaces the
    state.

    The children of a run are counted in its line, by state. They have lines of their own with --parent, --all and
    --trashed, and if --tag or --state selects them.

    A run that is written on another machine or in a container is "running" while its last sign of life is less than a
    minute old, and "unknown since" after that. If you are sure that its process is gone, run: naiad repair RUN
    --take-over

    "damaged" after the state means that some bytes are not as they were written; naiad verify RUN lists them.
    "incomplete" means that some logged values could not be stored; naiad show RUN counts them.

    Example: naiad ls --state failed --tag sweep -n 20
    """
    kind = BY_FOLDER[what]
    place = existing_store(store)
    condition = None
    if parent is not None:
        condition = children_of(find_run(place, parent, RUN).uid)
    # A selected child is what was asked for; hidden behind its parent the selection would look empty.
    elif kind is RUN and not (are_all or tags or state or is_trashed):
        condition = top_level(project)
    found = place.catalog().summaries(
        project=project,
        tags=tags,
        state=state,
        kind=kind,
        is_trashed=is_trashed,
        condition=condition,
        limit=limit,
        progress_bar=None,
    )
    counts = state_counts(place) if kind is RUN else {}
    if is_json:
        print_document([_summary(row, counts) for row in found])
        return
    _print(kind, found, counts)
    if not found:  # below the header of a terminal
        print_note(_nothing(kind, project, tags, state, parent, is_trashed))


def _print(kind: ContainerKind, found: Sequence[Summary], counts: Mapping[str, Mapping[str, int]]) -> None:
    """Print a line for each container, and in a terminal a header."""
    is_local = is_terminal()
    rows = [_texts(row, is_local) for row in found]
    children = [states_text(counts.get(row.uid, {})) for row in found] if counts else [""] * len(found)
    # A pipe has the same columns in any case, since programs count them; a terminal spares one that is empty.
    if kind is RUN and (not is_local or any(children)):
        rows = [[*row, text] for row, text in zip(rows, children, strict=True)]
    if is_local:
        shown = {"STATE": "STAGE" if kind is MODEL_VERSION else "STATE", "CREATED": f"CREATED ({_zone()})"}
        header = [
            Column(shown.get(title, title), rank, title in WHOLE) for title, rank in zip(HEADER, RANKS, strict=True)
        ]
        print_rows(header[: len(HEADER) if any(children) else -1], map(_cells, found, rows))
    else:
        print_texts(rows)


def _nothing(
    kind: ContainerKind,
    project: str | None,
    tags: Sequence[str],
    state: str | None,
    parent: str | None,
    is_trashed: bool,
) -> str:
    """Return the sentence for a listing without a row: which filters left nothing."""
    filters = [
        *([f"of project {project!r}"] if project is not None else []),
        *(f"with the tag {tag!r}" for tag in tags),
        *([f'in the state "{state}"'] if state is not None else []),
        *([f"below {parent}"] if parent is not None else []),
        *(["in the trash"] if is_trashed else []),
    ]
    return f"{' '.join([f'No {kind.noun}s', *filters])}."


def _zone() -> str:
    """Return the name of the local time zone; both of one with a summer time, since runs may be of either."""
    return "/".join(time.tzname) if time.daylight else time.tzname[0]


def _texts(row: Summary, is_local: bool) -> list[str]:
    """Return the texts of a row, in the order of the columns; those of its children come last."""
    state = row.stage or _state(row, is_local)
    return [
        row.id,
        state if row.losses is NO_LOSSES else ", ".join([state, *_marks(row)]),
        moment_text(row.created, is_local=is_local) if row.created else "",
        row.project,
        row.name or "",
        tags_text(row.tags) if row.tags else "",
    ]


def _cells(row: Summary, texts: Sequence[str]) -> list[Cell]:
    """Return the cells of a row for a terminal."""
    return list(map(Cell, texts, ("bold", _style(row), "dim", "", "", "cyan", "")))


def _state(row: Summary, is_local: bool) -> str:
    if row.state != UNKNOWN or row.seen is None:
        return row.state
    return f"unknown since {moment_text(row.seen, is_local=is_local)}"


def _marks(row: Summary) -> list[str]:
    """Words about the part of a row that is lost, beside its state."""
    is_damaged = bool(row.losses.damaged) and row.state != DAMAGED
    return [*([DAMAGED] if is_damaged else []), *(["incomplete"] if row.losses.dropped else [])]


def _style(row: Summary) -> str:
    # One colour for the cell: that of the worst word in it.
    state = DAMAGED if row.losses.damaged else UNKNOWN if row.losses.dropped else "" if row.stage else row.state
    return STATE_STYLES.get(state, "")


def _summary(row: Summary, counts: Mapping[str, Mapping[str, int]]) -> dict[str, object]:
    names = (
        *("id", "uid", "custom_run_id", "project", "name", "description", "state", "failed", "owner"),
        *("created", "modified", "seen", "size", "tags", "group_tags", "trashed"),
        *(("model_id", "stage") if row.kind is MODEL_VERSION else ()),
        *(("parent", "parent_uid") if row.kind is RUN else ()),
    )
    losses = {"damaged": list(row.losses.damaged), "incomplete": row.losses.dropped}
    known = {"kind": row.kind.name} | {name: getattr(row, name) for name in names} | losses
    return known | ({"children": dict(counts.get(row.uid, {}))} if row.kind is RUN else {})
