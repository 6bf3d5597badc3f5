"""Configuration of the integration: `naiad.yml` or `neptune.yml`, found without editing the project's settings."""

from __future__ import annotations

import difflib
import glob
import inspect
import os
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kedro.config import MissingConfigException

from naiad.errors import InvalidArgument, PluginWarning, shown, warn_once
from naiad.reservation import reserve
from naiad.run import Run
from naiad.secrets import redacted
from naiad.settings import setting
from naiad.types import GitRef
from naiad_kedro.plugin import INTEGRATION

SETTINGS = (".yml", ".yaml", ".json", ".toml", ".ini", ".cfg", ".env")
"""Files that may have secrets in them where they are asked for as `source_files`."""
FILES = ("naiad", "neptune")
"""Names of the file, without extension, and of the one key in it. The first that is there counts."""

_here: ContextVar[Config | None] = ContextVar("naiad_kedro_config", default=None)


@dataclass(frozen=True)
class Config:
    """How the pipelines of a project are logged."""

    project_path: Path
    is_written: bool = False
    """Whether the project has a file that says so; without one it may still mention naiad in its catalog."""
    is_enabled: bool = True
    base_namespace: str = INTEGRATION.base
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Of `init_run`."""

    @classmethod
    def here(cls) -> Config:
        """Return the configuration of the context that was made last in this thread."""
        return _here.get() or cls(Path.cwd())

    @classmethod
    def read(cls, context: Any) -> Config:
        """Read the configuration of a context and remember it for the context's catalog.

        Raises:
            InvalidArgument: a setting is unknown.
        """
        config = cls(Path(context.project_path))
        for name in FILES:
            found = _loaded(context.config_loader, name)
            if found is not None:
                config = cls._parse(config.project_path, name, found)
                break
        # Kedro gives no context to the hook that makes the catalog, which follows in this thread.
        _here.set(config)
        return config

    @classmethod
    def _parse(cls, project_path: Path, name: str, found: Mapping[str, Any]) -> Config:
        if not set(found) <= {name} or not isinstance(found.get(name) or {}, Mapping):
            raise InvalidArgument(
                f'{name}.yml must have one key, "{name}", with the settings below it, not {shown(found)}.'
            )
        values = {key: _expanded(value) for key, value in (found.get(name) or {}).items()}
        values.pop("api_token", None)  # a store needs none
        is_enabled = _as_bool(values.pop("enabled", True))
        base = values.pop("base_namespace", INTEGRATION.base)
        if not isinstance(base, str | None):
            raise InvalidArgument(f"base_namespace in {name}.yml takes a text, not {shown(base)}.")
        if "upload_source_files" in values:  # Neptune's name for it
            values["source_files"] = values.pop("upload_source_files")
        for key in values:
            _refuse_unknown(key, name)
        # The template leaves settings empty, and a variable that is not set is an empty text: both mean the default.
        given = {key: value for key, value in values.items() if value not in (None, "", [])}
        return cls(project_path, True, is_enabled, base or "", given)

    def open_run(self) -> Run:
        """Open the run of one execution. Where neither file nor environment name a store, it lies in the project."""
        given = {**self._code(), **self.arguments}
        if "source_files" in self.arguments:
            files = given["source_files"]
            wanted = [self._inside(file) for file in ([files] if isinstance(files, str) else files)]
            given["source_files"] = _without_secrets(wanted)
        if given.get("dependencies", "infer") != "infer":
            given["dependencies"] = self._inside(given["dependencies"])
        if given.get("store"):
            given["store"] = self._inside(given["store"])
        # A run that is gone on with has a project already.
        if "with_id" not in given and not setting("PROJECT"):
            given.setdefault("project", _name_of(self.project_path))
        return reserve("naiad.yml", given, start=self.project_path).open()

    def _code(self) -> dict[str, Any]:
        """Return the source files that a new run stores by default.

        The running script is left out, because it is Kedro itself.
        """
        if "with_id" in self.arguments or (setting("CAPTURES") or "").lower() == "off":
            return {}
        return {"source_files": [], "git_ref": GitRef(str(self.project_path))}

    def _inside(self, path: str) -> str:
        """Return a path or pattern that means something in the project, wherever the program was started."""
        return os.path.join(self.project_path, path)


def _without_secrets(patterns: list[str]) -> list[str]:
    """Return patterns of files as they are, or if some of the files have a secret in them, the names of the others."""
    found = dict.fromkeys(file for pattern in patterns for file in glob.iglob(pattern, recursive=True))
    # By their content: a project may keep its credentials in any file of conf/.
    secret = [file for file in found if file.endswith(SETTINGS) and os.path.isfile(file) and _has_secret(file)]
    if not secret:
        return patterns
    names = ", ".join(map(shown, secret))
    warn_once(("kedro", "secrets", names), f"Not uploaded, because it contains a secret: {names}.", PluginWarning)
    return [file for file in found if file not in secret and os.path.isfile(file)]


def _has_secret(file: str) -> bool:
    try:
        text = Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError:  # who keeps the file says so
        return False
    return os.path.basename(file).startswith("credentials") or redacted(text) != text


def _name_of(folder: Path) -> str | None:
    """Return the name of a folder as that of a project, or None if it cannot be one."""
    name = folder.resolve().name
    return name if name.strip() and name.isprintable() else None


def _loaded(loader: Any, name: str) -> Mapping[str, Any] | None:
    """Load a configuration by name, or return None.

    The file pattern of an unknown name is registered first.
    """
    patterns = getattr(loader, "config_patterns", None)
    if patterns is not None:
        # A loader refuses names whose patterns it does not have; a project that set some keeps its own.
        patterns.setdefault(name, [f"{name}*", f"{name}*/**"])
    try:
        found: Mapping[str, Any] = loader[name]
    except (MissingConfigException, KeyError):  # a loader of the user's own may know no such name
        return None
    return found


def _expanded(value: object) -> object:
    """Replace a text such as "$NEPTUNE_PROJECT" by the environment's value, "" if unset."""
    return os.environ.get(value[1:], "") if isinstance(value, str) and value.startswith("$") else value


def _as_bool(value: object) -> bool:
    return value.strip().lower() not in ("false", "no", "0") if isinstance(value, str) else bool(value)


def _refuse_unknown(key: str, name: str) -> None:
    known = ["enabled", "base_namespace", "upload_source_files", *inspect.signature(Run).parameters]
    if key not in known or key == "unknown":
        near = difflib.get_close_matches(key, known, 1)
        raise InvalidArgument(
            f'{name}.yml has a setting "{key}", which neither the integration nor init_run has.'
            + (f' Did you mean "{near[0]}"?' if near else "")
        )
