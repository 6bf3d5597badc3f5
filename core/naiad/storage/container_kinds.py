"""The four kinds of containers: where each lies in a store, what it is called, and which errors speak of it."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class ContainerKind:
    """A kind of container. `name` is the one that data has for it, `title` the one that people read."""

    name: str
    title: str
    folder: str
    example: str
    not_found: type[ContainerNotFound]
    inactive: type[InactiveContainer]
    need_existing: type[NeedExisting]

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


RUN = ContainerKind("run", "Run", "runs", "DIGITS-12", RunNotFound, InactiveRun, NeedExistingRun)
MODEL = ContainerKind("model", "Model", "models", "DIGITS-CNN", ModelNotFound, InactiveModel, NeedExistingModel)
MODEL_VERSION = ContainerKind(
    "model_version",
    "Model version",
    "versions",
    "DIGITS-CNN-3",
    ModelVersionNotFound,
    InactiveModelVersion,
    NeedExistingModelVersion,
)
PROJECT = ContainerKind("project", "Project", "projects", "DIGITS", ProjectNotFound, InactiveProject, NeedExisting)

KINDS = (RUN, MODEL, MODEL_VERSION, PROJECT)
BY_FOLDER = {kind.folder: kind for kind in KINDS}
