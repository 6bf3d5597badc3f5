"""Neptune's four containers: naiad's, with Neptune's names and views."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import naiad
from naiad import ANONYMOUS_API_TOKEN
from naiad.as_neptune import views
from naiad.as_neptune.alias import VERSION, announce
from naiad.as_neptune.attributes import shown
from naiad.as_neptune.exceptions import legacy_usage
from naiad.as_neptune.handler import Handler
from naiad.as_neptune.kinds import ContainerType
from naiad.as_neptune.tables import Table, as_neptune
from naiad.as_neptune.typing import NeptuneObject
from naiad.container import Container
from naiad.handler import Handler as NaiadHandler

__all__ = [
    "ANONYMOUS_API_TOKEN",
    "LEGACY_FUNCTIONS",
    "MetadataContainer",
    "Model",
    "ModelVersion",
    "Project",
    "Run",
    "__version__",
    "init_model",
    "init_model_version",
    "init_project",
    "init_run",
]

__version__ = VERSION
LEGACY_FUNCTIONS = (
    "append_tag",
    "append_tags",
    "create_experiment",
    "delete_artifacts",
    "get_experiment",
    "log_artifact",
    "log_image",
    "log_metric",
    "log_text",
    "remove_property",
    "remove_tag",
    "send_artifact",
    "send_image",
    "send_metric",
    "send_text",
    "set_property",
    "stop",
)
LEGACY_METHODS = (
    "create_experiment",
    "send_metric",
    "log_metric",
    "send_text",
    "log_text",
    "send_image",
    "log_image",
    "send_artifact",
    "log_artifact",
    "delete_artifacts",
    "download_artifact",
    "download_sources",
    "download_artifacts",
    "reset_log",
    "get_parameters",
    "get_properties",
    "set_property",
    "remove_property",
    "get_hardware_utilization",
    "get_numeric_channels_values",
)


@NeptuneObject.register
class MetadataContainer(Container):
    """The common base of runs, projects, models and model versions under the alias."""

    LEGACY_METHODS: ClassVar[tuple[str, ...]] = ()
    container_type: ClassVar[ContainerType]
    handler_class: ClassVar[type[NaiadHandler]] = Handler
    _id: str  # of naiad's classes; it outlives stop()

    def __getattr__(self, name: str) -> Any:
        """Raise for a method of Neptune's API before 1.0."""
        # Asked only where nothing else answers, so these names cost the methods of today nothing.
        if name in self.LEGACY_METHODS:
            raise legacy_usage(f"{name}()")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def _sys_id(self) -> str:
        """The id that users see, by the name under which packages look for it."""
        return self._id

    def get_structure(self) -> dict[str, Any]:
        """Return the tree as nested dicts, with fields as leaves."""
        return _shown_below(super().get_structure())

    def get_attribute(self, path: str) -> Any:
        """Return the field at a path, or None."""
        return shown(super().get_attribute(path))

    def define(self, path: str, value: Any, *, wait: bool = False) -> Any:
        """Store a value at a path where nothing is yet, and return the new field."""
        return shown(super().define(path, value, wait=wait))

    def _say_where(self) -> None:
        """Print where the data goes if the place has changed since the program began."""
        if self._mode != "debug":
            # The address of a project is the store; that of others is two levels below it.
            folder = Path(unquote(urlsplit(self._address()).path))
            announce(str(folder if self.container_type is ContainerType.PROJECT else folder.parents[1]))


def _shown_below(tree: dict[str, Any]) -> dict[str, Any]:
    return {name: _shown_below(leaf) if isinstance(leaf, dict) else shown(leaf) for name, leaf in tree.items()}


def _like(original: Any) -> Callable[[Any], Any]:
    """Give a method the signature and the documentation of naiad's."""
    return wraps(original)


class Run(MetadataContainer, naiad.Run):
    """A run."""

    LEGACY_METHODS = LEGACY_METHODS
    container_type = ContainerType.RUN

    @_like(naiad.Run.__init__)
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._say_where()


class Project(MetadataContainer, naiad.Project):
    """A project; one that does not exist is made."""

    container_type = ContainerType.PROJECT

    @_like(naiad.Project.__init__)
    def __init__(self, project: str | None = None, **options: Any) -> None:
        # Before the base class opens it, which raises where there is no project.
        views.make_project(project, options.get("mode"), options.get("store"))
        super().__init__(project, **options)
        self._say_where()

    @_like(naiad.Project.fetch_runs_table)
    def fetch_runs_table(self, **options: Any) -> Table:
        """Find runs of this project."""
        return as_neptune(super().fetch_runs_table, options)

    @_like(naiad.Project.fetch_models_table)
    def fetch_models_table(self, **options: Any) -> Table:
        """Find models of this project."""
        return as_neptune(super().fetch_models_table, options)


class Model(MetadataContainer, naiad.Model):
    """A model."""

    container_type = ContainerType.MODEL

    @_like(naiad.Model.__init__)
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._say_where()

    @_like(naiad.Model.fetch_model_versions_table)
    def fetch_model_versions_table(self, **options: Any) -> Table:
        """Find versions of this model."""
        return as_neptune(super().fetch_model_versions_table, options)


class ModelVersion(MetadataContainer, naiad.ModelVersion):
    """A version of a model."""

    container_type = ContainerType.MODEL_VERSION

    @_like(naiad.ModelVersion.__init__)
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._say_where()


init_run = Run
init_project = Project
init_model = Model
init_model_version = ModelVersion
