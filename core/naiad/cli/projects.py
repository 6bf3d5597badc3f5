"""`naiad projects`: the projects of a store."""

from __future__ import annotations

import click

from naiad.cli.document import json_option, print_document
from naiad.cli.place import existing_store
from naiad.cli.rows import Cell, print_rows
from naiad.container_kinds import MODEL, RUN
from naiad.project import known_projects
from naiad.storage.opening import Named

HEADER = ("KEY", "PROJECT", "RUNS", "MODELS")


@click.command()
@json_option
@click.pass_obj
def projects(store: Named, is_json: bool) -> None:
    """List projects by name, with their numbers of runs and models.

    The columns are key, name, runs and models. Items in the trash are not counted. A project that was copied from
    another store may have no key.

    Example: naiad projects
    """
    place = existing_store(store)
    keys = {name: key for key, name in place.projects().items()}
    counts = {each.name: each.counts for each in place.catalog().projects()}
    names = sorted(known_projects(place))
    runs, models = ({name: counts.get(name, {}).get(kind.name, 0) for name in names} for kind in (RUN, MODEL))
    if is_json:
        facts = [{"key": keys.get(name), "name": name, "runs": runs[name], "models": models[name]} for name in names]
        print_document(facts)
    else:
        rows = ((keys.get(name, ""), name, runs[name], models[name]) for name in names)
        cells = ([Cell(key, "bold"), Cell(name), Cell(f"{n}"), Cell(f"{m}")] for key, name, n, m in rows)
        print_rows(HEADER, cells, nothing="No projects.")
