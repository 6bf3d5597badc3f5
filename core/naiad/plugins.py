"""Plugins: found by the entry-point group `naiad`, loaded on first need, each call under a guard.

A failing plugin costs one `PluginWarning` and nothing else. Call hooks at boundaries, never per point.
"""

from __future__ import annotations

import glob
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import NoneType, SimpleNamespace, UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

from msgspec import Struct

from naiad.errors import NaiadError, NaiadWarning, PluginWarning, shown, warn_once
from naiad.settings import setting

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

    from pluggy import HookImpl

GROUP = "naiad"


class Plugin(Struct):
    """One plugin, and how it stands."""

    name: str
    distribution: str = ""
    version: str = ""
    state: str = "loaded"  # or "disabled", or "failed": it could not be loaded, or a hook of it went wrong
    hooks: tuple[str, ...] = ()
    problem: str = ""  # the first thing that went wrong

    @property
    def key(self) -> str:
        """The identity of the plugin among those of the same name in other distributions."""
        return f"{self.name} of {self.distribution} {self.version}"

    def fail(self, doing: str, problem: Exception) -> None:
        """Note that something went wrong, and warn the first time it does."""
        what = f"{doing}: {format_problem(problem)}"
        self.state, self.problem = "failed", self.problem or what
        remedy = f"naiad continues without it; NAIAD_PLUGINS=-{self.name} disables it."
        warn_once(("plugin", self.key), f"The plugin {self.name!r} failed {what}\n{remedy}", PluginWarning)


class Plugins:
    """A set of plugins, loaded one by one. Those loaded last are called first."""

    def __init__(self, disabled: Iterable[str] = ()) -> None:
        from pluggy import PluginManager

        from naiad import hookspecs

        self.known: dict[str, Plugin] = {}
        self._disabled = frozenset(disabled)
        self._manager = PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)

    def load(self, entry: EntryPoint) -> None:
        """Import the module of an entry point and register it, unless its name is disabled."""
        plugin = Plugin(entry.name, *(_name_and_version(entry.dist) if entry.dist else ("", "")))
        self.known[plugin.key] = plugin
        if plugin.name in self._disabled:
            plugin.state = "disabled"
            return
        try:
            self._register(plugin, entry.load())
        except Exception as problem:  # noqa: BLE001 (the plugin guard: foreign code may fail in any way)
            plugin.fail("to load", problem)
            # It may have failed after it was registered, with some of its hooks in place.
            if self._manager.has_plugin(plugin.key):
                self._manager.unregister(name=plugin.key)

    def results(self, hook: str, facts: dict[str, object], may_refuse: bool = True) -> Iterator[Any]:
        """Call a hook plugin by plugin, and yield each result that is not None."""
        # Not through pluggy's own call: one failing implementation would end it for all that follow. Reversed, since
        # pluggy too calls those registered last first.
        for implementation in reversed(getattr(self._manager.hook, hook).get_hookimpls()):
            try:
                result = _result(hook, implementation, facts)
            except NaiadWarning:  # where the user made warnings errors
                raise
            except Exception as problem:  # the plugin guard: foreign code may fail in any way
                if may_refuse and isinstance(problem, NaiadError):  # worded for the user
                    raise
                _last.problem = problem
                self.known[implementation.plugin_name].fail(f"in {hook}", problem)
            else:
                if result is not None:
                    yield result

    def _register(self, plugin: Plugin, namespace: object) -> None:
        """Register the hooks of a plugin, or raise the first mistake in them."""
        self._manager.register(namespace, plugin.key)
        # Finds hooks with a name that no specification has: most often a typing error, which would never be called.
        self._manager.check_pending()
        callers = self._manager.get_hookcallers(namespace) or []
        own = [each for caller in callers for each in caller.get_hookimpls() if each.plugin is namespace]
        # A wrapper surrounds the calls of others, so that the guard could not tell whose error it is.
        if any(each.wrapper or each.hookwrapper for each in own):
            raise TypeError("it wraps a hook, and hooks of naiad cannot be wrapped")
        plugin.hooks = tuple(sorted(caller.name for caller in callers))


def first(hook: str, **facts: object) -> Any:
    """Call a hook and return the first result, or None if every plugin passes.

    >>> from fractions import Fraction
    >>> first("naiad_convert", value=Fraction(1, 4))  # a field takes it as it is, so no plugin is needed
    """
    return next(results(hook, **facts), None)


def results(hook: str, **facts: object) -> Iterator[Any]:
    """Call a hook and yield each result; the next plugin runs when the next result is needed.

    Raises:
        NaiadError: a plugin rejects the user's value.
    """
    return _loaded().results(hook, facts)


def forget_problem() -> None:
    """Forget the last exception of a hook in this thread."""
    _last.problem = None


def last_problem() -> Exception | None:
    """Return the last exception of a hook in this thread."""
    return getattr(_last, "problem", None)


def call_all(hook: str, **facts: object) -> list[Any]:
    """Call a hook of all plugins and return the results; their errors become warnings.

    For the life of a run. It must not cost the start of every script the loading of plugins that only convert, so
    they are loaded for it only where some come from other distributions.
    """
    return list(_loaded().results(hook, facts, may_refuse=False)) if _are_worth_loading() else []


@contextmanager
def guarded(who: str, doing: str) -> Iterator[None]:
    """Turn any exception of a plugin's object within this context into one warning."""
    try:
        yield
    except NaiadWarning:  # where the user made warnings errors
        raise
    except Exception as problem:  # noqa: BLE001 (the plugin guard: foreign code may fail in any way)
        message = f"{who} failed {doing}: {format_problem(problem)}\nnaiad continues without it."
        warn_once((who, doing), message, PluginWarning)


def installed() -> list[Plugin]:
    """Return all plugins of this environment, loaded or not, in the order in which they were loaded."""
    return list(_loaded().known.values())


# Re-entrant: a plugin that is being imported may ask a hook, in this same thread.
_lock = threading.RLock()
_last = threading.local()
_plugins: Plugins | None = None


def _loaded() -> Plugins:
    """Return the plugins of this environment, and load them the first time."""
    global _plugins
    with _lock:
        if _plugins is None:
            _plugins = Plugins(_disabled())  # known before it is full: a plugin may ask a hook while it is imported
            for entry in _entries():
                _plugins.load(entry)
        return _plugins


def _are_worth_loading() -> bool:
    """Whether plugins are loaded, or any but ours are installed.

    `importlib.metadata` has the same fact, but importing that takes longer than all of naiad (30 ms of CPU, this 3).
    """
    return _plugins is not None or _is_anyone_else_here(tuple(sys.path))


@cache
def _is_anyone_else_here(places: tuple[str, ...]) -> bool:
    # A glob over the file names of each folder on the path: 3 ms, and only the files of packages with entry points
    # are read.
    for place in places:
        if os.path.isfile(place):  # an archive; what is in it only importlib.metadata can tell
            return True
        for file in glob.iglob("*.*-info/entry_points.txt", root_dir=place or "."):
            if not file.startswith("naiad-") and f"[{GROUP}]" in Path(place, file).read_text("utf-8", "replace"):
                return True
    return False


def _entries() -> list[EntryPoint]:
    """Return the entry points of the group, ours first, so that others are called before them."""
    from importlib.metadata import entry_points

    return sorted(entry_points(group=GROUP), key=lambda entry: (not _is_ours(entry), entry.name))


def _is_ours(entry: EntryPoint) -> bool:
    return entry.dist is not None and _name_and_version(entry.dist)[0] == "naiad"


@cache
def _name_and_version(dist: Distribution) -> tuple[str, str]:
    # either of them parses all metadata of the distribution: 84 times for 28 plugins, a quarter of starting `naiad ui`
    metadata = dist.metadata
    return metadata["Name"], metadata["Version"]


def _disabled() -> list[str]:
    """Return the names that NAIAD_PLUGINS puts a minus before."""
    words = [word.strip() for word in (setting("PLUGINS") or "").split(",") if word.strip()]
    for word in words:
        if not word.startswith("-"):
            message = f"NAIAD_PLUGINS has {word!r}, which is ignored: a name with a minus before it disables a plugin."
            warn_once(("NAIAD_PLUGINS", word), message, PluginWarning)
    return [word[1:] for word in words if word.startswith("-")]


def format_problem(problem: Exception) -> str:
    """Return class and message of an exception."""
    from traceback import format_exception_only  # copes with errors that cannot be printed

    return format_exception_only(problem)[-1].strip()


def _result(hook: str, implementation: HookImpl, facts: dict[str, object]) -> object:
    """Call a hook of one plugin, and raise if the result has a wrong type."""
    result = implementation.function(*(facts[name] for name in implementation.argnames))
    if any(_is(result, promised) for promised in _promised(hook)):
        return result
    raise TypeError(f"it returned {shown(result)}")


@cache
def _promised(hook: str) -> tuple[object, ...]:
    """Return the types a result may have, from the annotation of the hook."""
    from naiad import hookspecs

    result = {"return": getattr(hookspecs, hook).__annotations__["return"]}
    alone = SimpleNamespace(__annotations__=result)  # arguments may be of types that only type checkers import
    found = get_type_hints(alone, vars(hookspecs))["return"]
    return get_args(found) if get_origin(found) in (Union, UnionType) else (found,)


def _is(result: object, promised: object) -> bool:
    """Whether a result has one of these types; of a list, each item."""
    if promised is None or promised is NoneType:
        return result is None
    if get_origin(promised) is list:
        (kind,) = get_args(promised)
        return isinstance(result, list) and all(isinstance(item, kind) for item in result)
    return isinstance(result, get_origin(promised) or promised)  # type: ignore[arg-type]  # what is left are classes
