"""The modules of Neptune's client: for each the names it has here, and the module of ours that holds them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

__all__ = ["MODULES", "Module", "module_of"]

HERE = "naiad.as_neptune"


class Module(NamedTuple):
    """One module of Neptune's."""

    home: str
    """The module of ours that holds its names."""
    wanted: tuple[str, ...] = ()
    """The names; all that the home lists in `__all__` if empty."""
    is_package: bool = False
    then: str = ""
    """A function of the home, called when the module has its names."""

    def names(self) -> dict[str, Any]:
        """Return the names of a module with their objects."""
        home = import_module(self.home)
        # By getattr, so that a name that the home has lost raises here, and not in the user's program later.
        return {name: getattr(home, name) for name in self.wanted or home.__all__}

    def imported(self) -> None:
        """Apply the side effects of importing a module."""
        if self.then:
            hook: Callable[[], None] = getattr(import_module(self.home), self.then)
            hook()


class Integration(NamedTuple):
    """A module of `neptune.integrations` that belongs to a framework: a package of its own has the names."""

    framework: str
    is_package: bool = True

    def names(self) -> dict[str, Any]:
        """Return the names of the published package, else those of naiad's integration."""
        found: dict[str, Any] = import_module(f"{HERE}.integrations").names_of(self.framework)
        return found

    def imported(self) -> None:
        """Do nothing beside."""


ATOMS = ("Artifact", "Boolean", "Datetime", "File", "Float", "GitRef", "Integer", "String")
SERIES = ("FileSeries", "FloatSeries", "StringSeries")
CONTAINERS = ("Model", "ModelVersion", "Project", "Run")
FRAMEWORKS = [
    "aws",
    "detectron2",
    "fastai",
    "kedro",
    "lightgbm",
    "mosaicml",
    "optuna",
    "prophet",
    "pytorch",
    "pytorch_lightning",
    "sacred",
    "sklearn",
    "tensorboard",
    "tensorflow_keras",
    "transformers",
    "xgboost",
]


def _of(home: str, *wanted: str, is_package: bool = False, then: str = "") -> Module:
    return Module(f"{HERE}.{home}", wanted, is_package, then)


def _packages(home: str, table: dict[str, tuple[str, ...]]) -> dict[str, Module]:
    """Rows for modules of the same home; one with others below it is a package."""
    return {
        name: _of(home, *wanted, is_package=any(other.startswith(f"{name}.") for other in table))
        for name, wanted in table.items()
    }


def _containers(room: str) -> dict[str, Module]:
    table = {
        room: ("MetadataContainer", *CONTAINERS),
        f"{room}.metadata_container": ("MetadataContainer",),
        f"{room}.model": ("Model",),
        f"{room}.model_version": ("ModelVersion",),
        f"{room}.project": ("Project",),
        f"{room}.run": ("Run",),
    }
    return _packages("containers", table) | {
        f"{room}.abstract": _of("typing", "NeptuneObject", "NeptuneObjectCallback", "SupportsNamespaces"),
        f"{room}.structure_version": _of("internal", "StructureVersion"),
        f"{room}.utils": _of("tables", "parse_dates", "prepare_nql_query"),
    }


MODULES: dict[str, Module | Integration] = {
    "neptune": _of(
        "containers",
        *("ANONYMOUS_API_TOKEN", "__version__", *CONTAINERS),
        *("init_model", "init_model_version", "init_project", "init_run"),
        is_package=True,
    ),
    **_packages(
        "attributes",
        {
            "neptune.attributes": (
                *ATOMS,
                *SERIES,
                "FileSet",
                "NotebookRef",
                "RunState",
                "StringSet",
                "create_attribute_from_type",
            ),
            "neptune.attributes.attribute": ("Attribute",),
            "neptune.attributes.atoms": (*ATOMS, "NotebookRef", "RunState"),
            **{f"neptune.attributes.atoms.{name.lower()}": (name,) for name in ATOMS if name != "GitRef"},
            "neptune.attributes.atoms.atom": ("Atom",),
            "neptune.attributes.atoms.copiable_atom": ("CopiableAtom",),
            "neptune.attributes.atoms.git_ref": ("GitRef",),
            "neptune.attributes.atoms.notebook_ref": ("NotebookRef",),
            "neptune.attributes.atoms.run_state": ("RunState",),
            "neptune.attributes.file_set": ("FileSet",),
            "neptune.attributes.namespace": ("Namespace", "NamespaceBuilder"),
            "neptune.attributes.series": SERIES,
            "neptune.attributes.series.fetchable_series": ("FetchableSeries",),
            "neptune.attributes.series.file_series": ("FileSeries",),
            "neptune.attributes.series.float_series": ("FloatSeries",),
            "neptune.attributes.series.series": ("Series",),
            "neptune.attributes.series.string_series": ("StringSeries",),
            "neptune.attributes.sets": ("StringSet",),
            "neptune.attributes.sets.set": ("Set",),
            "neptune.attributes.sets.string_set": ("StringSet",),
            "neptune.attributes.utils": ("create_attribute_from_type",),
        },
    ),
    "neptune.attributes.constants": _of("paths"),
    "neptune.common": _of("nothing", is_package=True),
    "neptune.common.envs": _of("envs", "API_TOKEN_ENV_NAME", "NEPTUNE_RETRIES_TIMEOUT_ENV"),
    "neptune.common.exceptions": _of("common_exceptions"),
    "neptune.common.experiments": _of("internal", "LegacyExperiment"),
    "neptune.common.utils": _of("internal", "IS_MACOS", "IS_WINDOWS"),
    "neptune.common.warnings": _of("warnings"),
    "neptune.constants": _of("constants"),
    "neptune.envs": _of("envs"),
    "neptune.exceptions": _of("exceptions"),
    "neptune.handler": _of("handler"),
    "neptune.integrations": _of("nothing", is_package=True),
    **{f"neptune.integrations.{name}": Integration(name) for name in FRAMEWORKS},
    "neptune.integrations.pandas": _of("tables", "to_pandas", is_package=True),
    "neptune.integrations.python_logger": Module("naiad.integrations.python_logger", ("NeptuneHandler",)),
    "neptune.integrations.utils": _of("internal", "RunType", "expect_not_an_experiment", "join_paths", "verify_type"),
    "neptune.internal": _of("nothing", is_package=True),
    "neptune.internal.container_type": _of("internal", "ContainerType"),
    "neptune.internal.state": _of("internal", "ContainerState"),
    "neptune.internal.types": _of("nothing", is_package=True),
    "neptune.internal.types.file_types": _of("types", "FileType"),
    "neptune.internal.types.stringify_value": _of("types", "StringifyValue"),
    "neptune.internal.utils": _of(
        "internal",
        *("verify_collection_type", "verify_optional_callable", "verify_type", "verify_value"),
        is_package=True,
    ),
    "neptune.internal.utils.paths": _of("internal", "join_paths", "parse_path", "path_to_str"),
    "neptune.logging": _of("logging", "Logger", is_package=True),
    "neptune.logging.logger": _of("logging", "Logger"),
    "neptune.management": _of("management", is_package=True),
    "neptune.management.exceptions": _of("management_exceptions"),
    "neptune.management.internal": _of("nothing", is_package=True),
    "neptune.management.internal.utils": _of("internal", "normalize_project_name"),
    **_containers("neptune.metadata_containers"),
    **_containers("neptune.objects"),
    "neptune.table": _of("tables", "Table", "TableEntry"),
    **_packages(
        "types",
        {
            "neptune.types": (*ATOMS, *SERIES, "FileSet", "StringSet"),
            "neptune.types.atoms": ATOMS,
            **{f"neptune.types.atoms.{name.lower()}": (name,) for name in ATOMS if name != "GitRef"},
            "neptune.types.atoms.atom": ("Atom",),
            "neptune.types.atoms.git_ref": ("GitRef", "GitRefDisabled"),
            "neptune.types.file_set": ("FileSet",),
            "neptune.types.mode": ("Mode",),
            "neptune.types.model_version_stage": ("ModelVersionStage",),
            "neptune.types.namespace": ("Namespace",),
            "neptune.types.series": SERIES,
            "neptune.types.series.file_series": ("FileSeries",),
            "neptune.types.series.float_series": ("FloatSeries",),
            "neptune.types.series.series": ("Series",),
            "neptune.types.series.series_value": ("SeriesValue",),
            "neptune.types.series.string_series": ("StringSeries",),
            "neptune.types.sets": ("StringSet",),
            "neptune.types.sets.set": ("Set",),
            "neptune.types.sets.string_set": ("StringSet",),
            "neptune.types.type_casting": ("cast_value", "cast_value_for_extend"),
            "neptune.types.value": ("Value",),
            "neptune.types.value_copy": ("ValueCopy",),
            "neptune.types.value_visitor": ("ValueVisitor",),
        },
    ),
    "neptune.typing": _of("typing"),
    "neptune.utils": _of("utils"),
    "neptune.version": _of("internal", "__version__", "version"),
    # Until 1.0 everything was below `neptune.new`, and many published programs still import it from there.
    "neptune.new": _of("new", is_package=True, then="warn_of_name"),
    "neptune.new.project": _of("containers", "Project"),
    "neptune.new.run": _of("containers", "Run"),
    "neptune.new.runs_table": _of("tables", "Table", "TableEntry"),
    "kedro_neptune": _of("kedro"),
}
"""Every module, by its name in Neptune's client; `neptune.new.x` is `neptune.x` unless it has a row of its own."""


def module_of(fullname: str) -> Module | Integration | None:
    """Return the module of this name; None if Neptune's client has no such module, or naiad does not answer it."""
    # The own row first: some modules of `neptune.new` have names that `neptune` has lost.
    return MODULES.get(fullname) or MODULES.get(fullname.replace("neptune.new.", "neptune.", 1))
