"""The model registry of MLflow, of its database and of its folder `models`: as models, versions and their stages.

A registered model belongs to no experiment, and a model of naiad to a project. It comes into the project of the run
that made its first version, and into one called "mlflow" if there is none.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from naiad.container_kinds import LONGEST_KEY, MODEL
from naiad.ids import project_key

TABLES: Final = ("registered_models", "model_versions")
STAGES: Final = ("none", "staging", "production", "archived")
DELETED: Final = "deleted_internal"
"""The stage of a version that was deleted: MLflow keeps its row without content."""
NOWHERE: Final = "mlflow"


@dataclass
class Registered:
    """A registered model or a version of one, as either store has it."""

    name: str
    version: int = 0
    """0 of the model itself."""
    description: str = ""
    created: float | None = None
    owner: str = ""
    stage: str = ""
    source: str = ""
    """The place of its files."""
    run: str = ""
    """The run of MLflow that made it."""
    tags: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    """Of a model: the versions that they mean."""

    @property
    def identity(self) -> str:
        """Its name among all sources."""
        return f"mlflow:model:{self.name}" + (f":{self.version}" if self.version else "")

    def values(self) -> Iterator[tuple[str, str]]:
        """Yield path and text of its single values."""
        if self.description:
            yield "sys/description", self.description
        if self.stage in STAGES:
            yield "sys/stage", self.stage
        if self.run:
            yield "run_id", self.run
        yield from ((f"tags/{key}", value) for key, value in self.tags.items())
        yield from ((f"aliases/{alias}", str(version)) for alias, version in self.aliases.items())


def keyed(found: list[Registered], projects: Mapping[str, str]) -> list[tuple[Registered, str, str]]:
    """Return each with the project and the id that it gets, from the projects of MLflow's runs."""
    homes: dict[str, str] = {}
    for each in sorted(found, key=lambda each: each.version):
        if each.version and projects.get(each.run):
            homes.setdefault(each.name, projects[each.run])
    names = dict.fromkeys(each.name for each in found)
    stems: dict[tuple[str, str], str] = {}  # names by project and key: two names can have one key
    ids: dict[str, str] = {}
    for name in names:
        home = homes.setdefault(name, NOWHERE)
        key, number = model_key(name), 1
        while stems.setdefault((home, key), name) != name:
            number += 1
            key = f"{model_key(name)[: LONGEST_KEY - 4]}_{number}"
        ids[name] = f"{project_key(home)}-{key}"
    return [(each, homes[each.name], ids[each.name] + (f"-{each.version}" if each.version else "")) for each in found]


def model_key(name: str) -> str:
    """Return the key of a model of this name: its letters and digits.

    >>> model_key("iris classifier v2"), model_key("42")
    ('IRIS_CLASSIFIER_V2', 'MODEL_42')
    """
    key = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")[:LONGEST_KEY]
    return key if MODEL.id_form.match(f"P-{key}") else f"MODEL_{key}"[:LONGEST_KEY].rstrip("_")


def of_database(connection: sqlite3.Connection, tables: set[str], columns: Mapping[str, set[str]]) -> list[Registered]:
    """Return the registry of a database; empty for one of a release before it had any."""
    if not set(TABLES) <= tables:
        return []
    found = [
        Registered(str(name), 0, str(text or ""), _seconds(at), tags=_pairs(connection, tables, str(name), 0))
        for name, text, at in connection.execute("SELECT name, description, creation_time FROM registered_models")
    ]
    if "registered_model_aliases" in tables:
        by_name = {each.name: each for each in found}
        for name, alias, version in connection.execute("SELECT name, alias, version FROM registered_model_aliases"):
            if name in by_name:
                by_name[name].aliases[str(alias)] = int(version)
    place = "coalesce(storage_location, source)" if "storage_location" in columns["model_versions"] else "source"
    chosen = f"SELECT name, version, description, creation_time, user_id, current_stage, {place}, run_id"
    for name, version, text, at, owner, stage, source, run in connection.execute(f"{chosen} FROM model_versions"):
        if str(stage or "").lower() != DELETED:
            tags = _pairs(connection, tables, str(name), int(version))
            owner, source, run = (str(each or "") for each in (owner, source, run))
            stage = str(stage or "none").lower()
            found.append(
                Registered(str(name), int(version), str(text or ""), _seconds(at), owner, stage, source, run, tags)
            )
    return found


def _pairs(connection: sqlite3.Connection, tables: set[str], name: str, version: int) -> dict[str, str]:
    table, condition = ("model_version_tags", " AND version = ?") if version else ("registered_model_tags", "")
    if table not in tables:
        return {}
    given = (name, version) if version else (name,)
    rows = connection.execute(f"SELECT key, value FROM {table} WHERE name = ?{condition}", given)
    return {str(key): str(value or "") for key, value in rows}


def _seconds(milliseconds: Any) -> float | None:
    return milliseconds / 1000 if isinstance(milliseconds, int) else None
