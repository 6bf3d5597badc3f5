"""Arguments of `init_run` and its like: checks, defaults, and warnings for those without effect."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, NoReturn

from naiad import api_tokens, paths
from naiad.container_kinds import (
    LONGEST_KEY,
    MODEL,
    MODEL_VERSION,
    RUN,
    ContainerKind,
    is_model_key,
    kind_of_id,
)
from naiad.errors import (
    InvalidArgument,
    LegacyUsage,
    NaiadError,
    NaiadPathError,
    NaiadTypeError,
    NaiadWarning,
    RunIdCollision,
    shown,
    warn_once,
)
from naiad.settings import setting
from naiad.storage.base import Store

MODES = ("async", "sync", "offline", "read-only", "debug")
LONGEST_ID = 128

_TEXT = (str, type(None))
_FLAG = (bool, type(None))
# Checked by hand, since these come from users' programs: an error three layers further down would name none of the
# arguments.
_TYPES: dict[str, tuple[type, ...]] = {
    "store": (str, os.PathLike, Store, type(None)),
    "with_id": _TEXT,
    "project": _TEXT,
    "api_token": _TEXT,
    "custom_run_id": _TEXT,
    "key": _TEXT,
    "model": _TEXT,
    "workspace": _TEXT,
    "mode": _TEXT,
    "name": _TEXT,
    "description": _TEXT,
    "monitoring_namespace": _TEXT,
    "capture_stdout": (bool, str, type(None)),
    "capture_stderr": (bool, str, type(None)),
    "capture_hardware_metrics": _FLAG,
    "fail_on_exception": (bool,),
    "capture_traceback": (bool,),
    "children": (bool,),
    "strict": _FLAG,
    "limits": _TEXT,
    "on_error": (str,),
    "rewind_to": (int, float, type(None)),
    "flush_period": (int, float),
    "async_lag_threshold": (int, float),
    "async_no_progress_threshold": (int, float),
    "dependencies": (str, type(None), os.PathLike),
}
_STREAM = (None, True, False, "fd")
_CHOICES: dict[str, tuple[object, ...]] = {
    "capture_stdout": _STREAM,
    "capture_stderr": _STREAM,
    "limits": (None, "neptune"),
    "on_error": ("warn", "raise"),
}

_NO_EFFECT = {
    "proxies": "no network is used",
    "async_lag_callback": "a logging call has stored its data when it returns, so there is no lag",
    "async_no_progress_callback": "a logging call has stored its data when it returns, so there is no lag",
}


class RunOptions(NamedTuple):
    """The arguments of `Run` that are complete in themselves, checked and with their defaults."""

    settings: dict[str, Any]
    project: str | None
    custom_run_id: str | None
    tags: list[str]
    monitoring_namespace: str | None


def of_run(given: Mapping[str, Any], unknown: Mapping[str, object]) -> RunOptions:
    """Check the arguments of a run, warn about those without effect, and return the others with their defaults.

    Raises:
        NaiadTypeError, InvalidArgument, NaiadPathError: one of them is of a wrong type or value.
        RunIdCollision: two of them name a run.
    """
    refuse_unknown("Run", unknown)
    check(**given)
    with_id, custom_run_id = given["with_id"], given["custom_run_id"]
    if with_id is not None and custom_run_id is not None:
        raise RunIdCollision(
            f"with_id={with_id!r} and custom_run_id={custom_run_id!r} both name a run.\nGive one of them."
        )
    if with_id is None and custom_run_id is None:
        custom_run_id = setting("CUSTOM_RUN_ID")
    namespace = given["monitoring_namespace"] or setting("MONITORING_NAMESPACE")
    found = RunOptions(
        settings=settings(given["mode"], given["strict"], given["limits"], given["on_error"]),
        project=project_name(given["project"]),
        custom_run_id=custom_id(custom_run_id),
        tags=tags_of(given["tags"]),
        monitoring_namespace=paths.parse(namespace) if namespace else None,
    )
    warn_without_effect(**given)
    return found


def check(**arguments: object) -> None:
    """Check the types of arguments by their names; a token for a server is remembered for it.

    Raises:
        NaiadTypeError, InvalidArgument: one of them is of a wrong type or value.
    """
    if arguments.get("api_token") is not None:
        api_tokens.remember(arguments["api_token"], arguments.get("store"))
    for name, value in arguments.items():
        if name in _TYPES and not isinstance(value, _TYPES[name]):
            wanted = " or ".join("None" if each is type(None) else each.__name__ for each in _TYPES[name])
            raise NaiadTypeError(f"{name}= takes {wanted}, not {shown(value)}.", argument=name, value=value)
        if name in _CHOICES and value not in _CHOICES[name]:
            choices = " or ".join(map(repr, _CHOICES[name]))
            raise InvalidArgument(f"{name}= takes {choices}, not {value!r}.", argument=name, value=value)


def warn_without_effect(**arguments: Any) -> None:
    """Warn once about each argument that has no effect."""
    for name, value in arguments.items():
        if name in _NO_EFFECT and value is not None:
            warn_once(name, f"{name}= has no effect: {_NO_EFFECT[name]}.", NaiadWarning)


def refuse_unknown(caller: str, unknown: Mapping[str, object]) -> None:
    """Raise for arguments that do not exist, with a word about those of Neptune's first API."""
    for name in unknown:
        # Named apart, since the message can say what has taken their place.
        if name in ("project_qualified_name", "backend"):
            raise LegacyUsage(
                f"{name}= belongs to Neptune's API before 1.0, which naiad does not support.\n"
                "Use init_run(project=..., with_id=...)."
            )
        raise TypeError(f"{caller}() got an unexpected keyword argument {name!r}")


def mode_of(mode: str | None) -> str:
    """Return the mode given, or that of NAIAD_MODE or NEPTUNE_MODE, or async."""
    found = mode or setting("MODE", "async")
    if found not in MODES:
        names = ", ".join(map(repr, MODES))
        raise InvalidArgument(f"There is no mode {found!r}.\nThe modes are {names}.", argument="mode", value=found)
    return str.__str__(found)  # of an enum its value, not its name


def check_opening(kind: ContainerKind, arguments: Mapping[str, Any]) -> None:
    """Check the arguments for opening a container, and warn about those without effect."""
    given = {name: value for name, value in arguments.items() if name not in ("self", "unknown")}
    refuse_unknown(kind.opener, arguments["unknown"])
    check(**given)
    warn_without_effect(**given)


def settings(mode: str | None, strict: bool | None, limits: str | None, on_error: str) -> dict[str, Any]:
    """Return the arguments that a container passes on to other processes."""
    return {"mode": mode_of(mode), "strict": is_strict(strict), "limits": limits, "on_error": on_error}


def require_existing(kind: ContainerKind, mode: str, with_id: str | None) -> None:
    """Raise if read-only mode has no container to read.

    Raises:
        NeedExisting: the error of that kind.
    """
    if mode == "read-only" and with_id is None:
        raise kind.need_existing(
            f'mode="read-only" needs a {kind.noun} to read.\n'
            f'Name it: {kind.opener}(with_id="{kind.example}", mode="read-only").'
        )


def refuse_offline(kind: ContainerKind, mode: str) -> None:
    """Raise for a mode that Neptune has for runs alone."""
    if mode == "offline":
        # In the words of Neptune's client, which programs look for.
        raise NaiadError(f"{kind.title} can't be initialized in OFFLINE mode; leave mode= out.")


def require_agreement(with_id: str | None, name: str, value: str, agree: bool) -> None:
    """Raise if an argument for a new container contradicts the id of an existing one."""
    if not agree:
        raise InvalidArgument(
            f"with_id={with_id!r} and {name}={value!r} contradict each other.\nGive one of them.",
            argument=name,
            value=value,
        )


def model_key(key: str) -> str:
    """Check the key of a new model.

    Raises:
        InvalidArgument: it has other characters than capital letters, digits and _, no letter, or too many.
    """
    if is_model_key(key):
        return key
    hint = f" Try {key.upper()!r}." if is_model_key(key.upper()) else ""
    raise InvalidArgument(
        f"{shown(key)} cannot be the key of a model.\n"
        f"A key has at most {LONGEST_KEY} capital letters, digits and _, at least one of them a letter.{hint}",
        argument="key",
        value=key,
    )


def model_id(model: str) -> str:
    """Check the id of a model as `model=` takes it; whether it exists is another question.

    Raises:
        InvalidArgument: it is the id of something else.
    """
    kind = kind_of_id(model)
    # An id of no known form is not refused here: the store finds it, or names those that look alike.
    if kind in (RUN, MODEL_VERSION):
        raise InvalidArgument(
            f"model= takes the id of a model, such as {MODEL.example!r}, not of a {kind.noun}: {shown(model)}.",
            argument="model",
            value=model,
        )
    return model


def is_strict(strict: bool | None) -> bool:
    """Return the argument, or NAIAD_STRICT as a boolean."""
    if strict is not None:
        return strict
    return (setting("STRICT") or "").lower() in ("1", "true", "yes", "on")


def custom_id(given: str | None) -> str | None:
    """Check a custom run id.

    Raises:
        NaiadPathError: it is empty, too long, or could be taken for a path.
    """
    if given is None:
        return None
    if (
        not given.strip()
        or given in (".", "..")
        or len(given) > LONGEST_ID
        or not given.isprintable()
        or set(given) & set("/\\")
    ):
        raise NaiadPathError(
            f"{shown(given)} cannot be a custom run id.\n"
            f"Give an id of at most {LONGEST_ID} characters, without slashes and control characters.",
            path=given,
        )
    return given


def project_name(given: str | None) -> str | None:
    """Check the name of a project. It may have slashes: Neptune's are `workspace/project`.

    Raises:
        NaiadPathError: it is blank or too long, or has a part "..", or a character that no listing can show.
    """
    if not given:
        return None
    is_dotted = any(part in (".", "..") for part in given.split("/"))
    if not given.strip() or is_dotted or len(given) > LONGEST_ID or not given.isprintable():
        refuse_name(given)
    return given


def refuse_name(given: str) -> NoReturn:
    """Raise the error for an invalid project name.

    Raises:
        NaiadPathError: always.
    """
    raise NaiadPathError(
        f"{shown(given)} cannot be the name of a project.\n"
        f'Give a name of at most {LONGEST_ID} characters, such as "digits" or "workspace/digits".',
        path=given,
    )


def rewound_nothing(step: float) -> InvalidArgument:
    """Return the error for a rewind of a run that is new."""
    return InvalidArgument(
        f"rewind_to={step!r} needs a run that is there.\nName it with with_id= or custom_run_id=.",
        argument="rewind_to",
        value=step,
    )


def tags_of(tags: object) -> list[str]:
    """Return `tags=` as a list: one tag, or a collection of them."""
    if tags is None:
        return []
    # A str is a collection of characters, and is meant as one tag.
    found = [tags] if isinstance(tags, str) or not isinstance(tags, Iterable) else list(tags)
    wrong = [tag for tag in found if not isinstance(tag, str)]
    if wrong:
        raise NaiadTypeError(f"tags= takes a str or a list of str, not {shown(wrong[0])}.", argument="tags")
    return [tag for tag in found if isinstance(tag, str)]
