"""Models and their versions: results of runs, with a stage for each version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from naiad import clock, options, trash
from naiad.container import Container, first_ops, user_name
from naiad.container_kinds import MODEL, MODEL_VERSION
from naiad.errors import InvalidArgument, MissingParameter, shown
from naiad.kinds import SYS
from naiad.ops import Assign, Strings
from naiad.query.tree import FieldName, OneOf
from naiad.scalars import unpack_text
from naiad.storage.base import RunReader, Store
from naiad.storage.opening import Place
from naiad.table import Table, fetch_table
from naiad.types import ModelVersionStage

if TYPE_CHECKING:
    from naiad.typing import ProgressBarType

WRITABLE = frozenset({"sys/name", "sys/description", "sys/tags", "sys/group_tags"})
STAGES = "sys/stage_history"
UNNAMED = "MODEL"
"""The key of a model in debug mode that was to be an existing one."""


class Model(Container):
    """A model: fields that its versions share.

    Args:
        with_id: the id of an existing model, such as "DIGITS-CNN", or the name of its folder.
        name: a name, shown beside the id.
        key: the key of a new model, unique in its project: capital letters, digits and _. The id of the model is the
            key of the project, `-` and this key.
        project: the project of a new model; by default NAIAD_PROJECT, else the name of the folder that holds the store.
        api_token: of a server, `naiad_...`; a folder needs none.
        mode: "async" (default, or NAIAD_MODE), "sync", "read-only" or "debug", as for a run; "offline" is for runs
            only.
        flush_period: no effect, because a call has stored its data when it returns.
        proxies: no effect.
        async_lag_callback: no effect.
        async_lag_threshold: no effect.
        async_no_progress_callback: no effect.
        async_no_progress_threshold: no effect.
        store: a folder or the address of a server. Default: NAIAD_STORE, else the nearest `.naiad` in or above the
            working directory.
        strict: raise for values that no field accepts, instead of leaving them out with a warning. Default:
            NAIAD_STRICT.
        limits: "neptune" cuts long texts and rejects steps that do not increase, as Neptune did.
        on_error: "warn" continues if the disk fails; "raise" raises.

    Raises:
        MissingParameter: neither `with_id` nor `key` was given.
        ModelKeyTaken: the project has a model with this key.
        ModelNotFound: the store has no model `with_id`.

    >>> with init_model(key="CNN", name="small and fast") as model:
    ...     model["signature"] = "28 x 28 -> 10"
    """

    _kind = MODEL
    _writable = WRITABLE

    def __init__(
        self,
        with_id: str | None = None,
        *,
        name: str | None = None,
        key: str | None = None,
        project: str | None = None,
        api_token: str | None = None,
        mode: str | None = None,
        flush_period: float = 5,
        proxies: dict[str, str] | None = None,
        async_lag_callback: Any = None,
        async_lag_threshold: float = 1800.0,
        async_no_progress_callback: Any = None,
        async_no_progress_threshold: float = 300.0,
        store: Place = None,
        strict: bool | None = None,
        limits: str | None = None,
        on_error: str = "warn",
        **unknown: Any,
    ) -> None:
        options.check_opening(self._kind, locals())
        self._settings = options.settings(mode, strict, limits, on_error)
        options.refuse_offline(MODEL, self._mode)
        options.require_existing(MODEL, self._mode, with_id)
        _require(MODEL.opener, "key", "CNN", key, with_id)
        if key is not None:
            options.model_key(key)
            options.require_agreement(with_id, "key", key, with_id is None or with_id.rpartition("-")[2] == key)
        place = self._open_store(store)
        if with_id is not None and self._mode != "debug":
            self._go_on(place.find(with_id, MODEL), None, {"name": name})
            return
        project = options.project_name(project) or place.default_project()
        reservation = place.reserve_model(project, key or UNNAMED)
        self._enter(reservation, first_ops(_texts(reservation.id, project, name), flags=("trashed",)), {"name": name})

    def fetch_model_versions_table(
        self,
        *,
        query: str | None = None,
        columns: Sequence[str] | None = None,
        limit: int | None = None,
        sort_by: str = "sys/creation_time",
        ascending: bool = False,
        progress_bar: ProgressBarType | None = None,
    ) -> Table:
        """Find versions of this model; the arguments are those of `Project.fetch_runs_table`.

        A model in the trash has none: it hides its versions, which are there again when it is restored.
        """
        self._session.require_active()
        ids = () if trash.is_in_trash(self._store, self._run) else (self._id,)
        own = OneOf(FieldName("sys/model_id", SYS["sys/model_id"]), ids)
        return fetch_table(
            self._store, None, MODEL_VERSION, query=query, columns=columns, limit=limit,
            sort_by=sort_by, ascending=ascending, progress_bar=progress_bar, also=[own],
        )  # fmt: skip


class ModelVersion(Container):
    """One version of a model, and its stage.

    Args:
        with_id: the id of an existing version, such as "DIGITS-CNN-3", or the name of its folder.
        name: a name, shown beside the id.
        model: for a new version, the id of its model, such as "DIGITS-CNN".
        project: not needed: a version belongs to the project of its model.
        api_token: of a server, `naiad_...`; a folder needs none.
        mode: "async" (default, or NAIAD_MODE), "sync", "read-only" or "debug", as for a run; "offline" is for runs
            only.
        flush_period: no effect, because a call has stored its data when it returns.
        proxies: no effect.
        async_lag_callback: no effect.
        async_lag_threshold: no effect.
        async_no_progress_callback: no effect.
        async_no_progress_threshold: no effect.
        store: a folder or the address of a server. Default: NAIAD_STORE, else the nearest `.naiad` in or above the
            working directory.
        strict: raise for values that no field accepts, instead of leaving them out with a warning. Default:
            NAIAD_STRICT.
        limits: "neptune" cuts long texts and rejects steps that do not increase, as Neptune did.
        on_error: "warn" continues if the disk fails; "raise" raises.

    Raises:
        MissingParameter: neither `with_id` nor `model` was given.
        ModelNotFound: the store has no model of this id.
        ModelVersionNotFound: the store has no version `with_id`.

    >>> with init_model_version(model="DIGITS-CNN") as version:
    ...     version["accuracy"] = 0.98
    ...     version.change_stage("staging")
    """

    _kind = MODEL_VERSION
    _writable = WRITABLE

    def __init__(
        self,
        with_id: str | None = None,
        *,
        name: str | None = None,
        model: str | None = None,
        project: str | None = None,
        api_token: str | None = None,
        mode: str | None = None,
        flush_period: float = 5,
        proxies: dict[str, str] | None = None,
        async_lag_callback: Any = None,
        async_lag_threshold: float = 1800.0,
        async_no_progress_callback: Any = None,
        async_no_progress_threshold: float = 300.0,
        store: Place = None,
        strict: bool | None = None,
        limits: str | None = None,
        on_error: str = "warn",
        **unknown: Any,
    ) -> None:
        options.check_opening(self._kind, locals())
        self._settings = options.settings(mode, strict, limits, on_error)
        options.refuse_offline(MODEL_VERSION, self._mode)
        options.require_existing(MODEL_VERSION, self._mode, with_id)
        _require(MODEL_VERSION.opener, "model", "DIGITS-CNN", model, with_id)
        options.project_name(project)
        if model is not None:
            options.model_id(model)
            # The id of a version begins with that of its model.
            options.require_agreement(with_id, "model", model, with_id is None or with_id.rpartition("-")[0] == model)
        place = self._open_store(store)
        if with_id is not None and self._mode != "debug":
            self._go_on(place.find(with_id, MODEL_VERSION), None, {"name": name})
            return
        parent, project = self._parent(place, model, project)
        reservation = place.reserve_version(parent)
        texts = _texts(reservation.id, project, name) | {"model_id": parent, "stage": ModelVersionStage.NONE.value}
        self._enter(reservation, first_ops(texts, flags=("trashed",)), {"name": name})

    def _parent(self, place: Store, model: str | None, project: str | None) -> tuple[str, str]:
        """Id and project of the model that a new version belongs to."""
        if self._mode == "debug":
            project = project or place.default_project()
            return place.reserve_model(project, UNNAMED).id, project
        assert model is not None  # or _require has raised
        found = place.reader(place.find(model, MODEL))
        return _text(found, "sys/id"), _text(found, "sys/project")

    def change_stage(self, stage: str) -> None:
        """Set the stage of the version. It is on disk when this returns.

        `version["sys/stage_history"].fetch_values()` returns all stages that were set, with their times.

        Args:
            stage: "none", "staging", "production" or "archived".

        Raises:
            InvalidArgument: there is no such stage.
            InactiveModelVersion: the version was stopped.
        """
        try:
            wanted = ModelVersionStage(stage)
        except ValueError:
            stages = ", ".join(repr(each.value) for each in ModelVersionStage)
            raise InvalidArgument(
                f"There is no stage {shown(stage)}.\nThe stages are {stages}.", argument="stage", value=stage
            ) from None
        # Both ops in one frame, so that no reader sees a stage without its entry in the history.
        self._session.write(*stage_ops(wanted.value), wait=True)


def stage_ops(stage: str) -> tuple[Assign, Strings]:
    """Return the ops by which a version of a model takes a stage, and remembers when."""
    now = clock.now()
    return Assign("sys/stage", SYS["sys/stage"], stage), Strings(STAGES, [stage], [round(now * 1e6)], [now], False, now)


def _require(opener: str, parameter: str, example: str, given: str | None, with_id: str | None) -> None:
    if given is None and with_id is None:
        raise MissingParameter(
            f'{opener}() needs {parameter}= to make a new one: {opener}({parameter}="{example}").\n'
            "To open one that exists, give with_id=.",
            parameter=parameter,
        )


def _text(reader: RunReader, path: str) -> str:
    value = reader.value(path)
    return unpack_text(value) if isinstance(value, bytes) else str(value)


def _texts(name: str, project: str, shown_name: str | None) -> dict[str, str | None]:
    return {
        "id": name,
        "project": project,
        "name": "Untitled" if shown_name is None else shown_name,
        "description": "",
        "owner": user_name(),
    }


init_model = Model
"""Open a model; the same as the class."""

init_model_version = ModelVersion
"""Open a version of a model; the same as the class."""
