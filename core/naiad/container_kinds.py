"""The four kinds of containers: the names, the form of the ids and the errors of each; and the name of one of them."""

from __future__ import annotations

import re
from typing import NamedTuple

from msgspec import Struct

from naiad.errors import (
    ContainerNotFound,
    InactiveContainer,
    InactiveModel,
    InactiveModelVersion,
    InactiveProject,
    InactiveRun,
    ModelNotFound,
    ModelVersionNotFound,
    NeedExisting,
    NeedExistingModel,
    NeedExistingModelVersion,
    NeedExistingRun,
    ProjectNotFound,
    RunNotFound,
)


class ContainerKind(Struct, frozen=True, eq=False):
    """A kind of container. `name` is the one that data has for it, `title` the one that people read."""

    name: str
    title: str
    folder: str
    example: str
    not_found: type[ContainerNotFound]
    inactive: type[InactiveContainer]
    need_existing: type[NeedExisting]
    form: str
    """How its ids are written: the id they are counted below, and the name below that, as a pattern."""

    @property
    def id_form(self) -> re.Pattern[str]:
        """The pattern, compiled when it is first needed."""
        return re.compile(self.form)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Cross to another process by name: there is one object of each kind in a process."""
        return kind_named, (self.name,)

    @property
    def opener(self) -> str:
        """The function that opens one."""
        return f"init_{self.name}"

    @property
    def listing(self) -> str:
        """The command that lists them."""
        return "naiad ls" if self.name == "run" else f"naiad ls {self.folder}"

    @property
    def noun(self) -> str:
        """The title as it stands inside a sentence."""
        return self.title.lower()


def kind_named(name: str) -> ContainerKind:
    """Return the kind of a name, such as `model_version`."""
    return next(kind for kind in KINDS if kind.name == name)


_MODEL_KEY = r"[A-Z0-9_]*[A-Z][A-Z0-9_]*"


class RunId(NamedTuple):
    """The name of a run, or of another container, in its store. Where it lies is known to the back end alone."""

    uid: str
    kind: ContainerKind


RUN = ContainerKind(
    "run", "Run", "runs", "DIGITS-12", RunNotFound, InactiveRun, NeedExistingRun,
    r"([^\W_]+)-([0-9]+)\Z",
)  # fmt: skip
MODEL = ContainerKind(
    "model", "Model", "models", "DIGITS-CNN", ModelNotFound, InactiveModel, NeedExistingModel,
    rf"([^\W_]+)-({_MODEL_KEY})\Z",
)  # fmt: skip
MODEL_VERSION = ContainerKind(
    "model_version", "Model version", "versions", "DIGITS-CNN-3", ModelVersionNotFound, InactiveModelVersion,
    NeedExistingModelVersion, rf"([^\W_]+-{_MODEL_KEY})-([0-9]+)\Z",
)  # fmt: skip
PROJECT = ContainerKind(
    "project", "Project", "projects", "DIGITS", ProjectNotFound, InactiveProject, NeedExisting,
    r"([^\W_]+)\Z",
)  # fmt: skip

KINDS = (RUN, MODEL, MODEL_VERSION, PROJECT)
BY_FOLDER = {kind.folder: kind for kind in KINDS}
LONGEST_KEY = 32


def kind_of_id(name: str) -> ContainerKind | None:
    """The kind that an id is written for.

    >>> kind_of_id("DIGITS-CNN").name
    'model'
    """
    return next((kind for kind in KINDS if re.match(kind.form, name)), None)


def is_model_key(key: str) -> bool:
    """Whether a model may have this key: capital letters, digits and _, with at least one letter."""
    return len(key) <= LONGEST_KEY and re.match(MODEL.form, f"P-{key}") is not None


def is_project_key(key: str) -> bool:
    """Whether a project may have this key: 1 to 10 capital letters and digits, with at least one letter."""
    return re.fullmatch(r"[A-Z0-9]{1,10}", key) is not None and not key.isdigit()
