"""Plugins: found, loaded and asked under a guard, so that none of them can do harm."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
import textwrap
import venv
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

import naiad
from naiad import File, hookspecs, plugins
from naiad.cli import main
from naiad.errors import NaiadValueError, PluginWarning, forget_warnings
from naiad.plugins import Plugins

ROOT = Path(__file__).parents[2]
HOOKS = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("naiad_")}

Install = Callable[..., Plugins]


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Plugins are loaded anew by each test, and warnings given anew."""
    monkeypatch.setattr(plugins, "_plugins", None)
    monkeypatch.delenv("NAIAD_PLUGINS", raising=False)
    forget_warnings()
    yield
    forget_warnings()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Write modules, each from its source, and load them as plugins of their names; `disabled` are not loaded."""

    def load(*disabled: str, **sources: str) -> Plugins:
        monkeypatch.syspath_prepend(tmp_path)
        found = Plugins(disabled)
        for name, source in sources.items():
            module = f"{tmp_path.name}_{name}".replace("-", "_")
            marker = "from naiad.hookspecs import hookimpl\n"
            (tmp_path / f"{module}.py").write_text(marker + textwrap.dedent(source), encoding="utf-8")
            found.load(EntryPoint(name, module, "naiad"))
        return found

    return load


GOOD = """
    @hookimpl
    def naiad_convert(value):
        return 1.5
"""
SILENT = """
    @hookimpl
    def naiad_convert(value):
        return None
"""
IN_IMPORT = "raise OSError('no library')"
IN_HOOK = """
    @hookimpl
    def naiad_convert(value):
        return value.no_such_attribute
"""
RUBBISH = """
    @hookimpl
    def naiad_convert(value):
        return object()
"""
UNPRINTABLE = """
    class Trouble(Exception):
        def __str__(self):
            raise ValueError

    @hookimpl
    def naiad_convert(value):
        raise Trouble
"""
UNKNOWN_HOOK = """
    @hookimpl
    def naiad_no_such_hook(value):
        return 1.5
"""
UNKNOWN_ARGUMENT = """
    @hookimpl
    def naiad_convert(value, run):
        return 1.5
"""
WRAPPER = """
    @hookimpl(wrapper=True)
    def naiad_convert(value):
        return (yield)
"""
BAD_IN_LOADING = {
    "import": IN_IMPORT,
    "syntax": "def",
    "hook": UNKNOWN_HOOK,
    "argument": UNKNOWN_ARGUMENT,
    "wrapper": WRAPPER,
}
BAD_IN_ASKING = {"hook": IN_HOOK, "rubbish": RUBBISH, "unprintable": UNPRINTABLE}


def ask(found: Plugins) -> list[object]:
    return list(found.answers("naiad_convert", {"value": "something"}))


def test_answers_come_from_the_last_loaded_first(install: Install) -> None:
    found = install(one=GOOD, two=SILENT, three=GOOD.replace("1.5", "2.5"))

    assert [2.5, 1.5] == ask(found)


def test_later_plugins_are_asked_only_when_needed(install: Install) -> None:
    found = install(bad=IN_HOOK, good=GOOD)

    assert 1.5 == next(found.answers("naiad_convert", {"value": "something"}))


@pytest.mark.parametrize("name", BAD_IN_LOADING)
def test_plugin_that_cannot_be_loaded_costs_one_warning(install: Install, name: str) -> None:
    with pytest.warns(PluginWarning, match="'bad' failed to load: ") as warned:
        found = install(bad=BAD_IN_LOADING[name], good=GOOD)

    assert [1.5] == ask(found)
    assert 1 == len(warned)
    assert {"bad": "failed", "good": "loaded"} == {each.name: each.state for each in found.known.values()}


@pytest.mark.parametrize("name", BAD_IN_ASKING)
def test_plugin_that_fails_when_asked_costs_one_warning(install: Install, name: str) -> None:
    found = install(good=GOOD, bad=BAD_IN_ASKING[name])

    with pytest.warns(PluginWarning, match="'bad' failed in naiad_convert: ") as warned:
        assert [[1.5], [1.5]] == [ask(found), ask(found)]

    assert 1 == len(warned)
    assert __file__ == warned[0].filename, "the warning points at the line that asked"
    assert ["", "failed"] == [next(iter(found.known.values())).problem, list(found.known.values())[-1].state]


def test_refusal_of_a_plugin_reaches_the_user(install: Install) -> None:
    found = install(
        strict="""
        from naiad.errors import NaiadValueError

        @hookimpl
        def naiad_convert(value):
            raise NaiadValueError("too odd")
        """
    )

    with pytest.raises(NaiadValueError, match="too odd"):
        ask(found)


def test_disabled_plugin_is_not_imported(install: Install) -> None:
    found = install("bad", bad=IN_IMPORT, good=GOOD)

    assert [1.5] == ask(found)
    assert ["disabled", "loaded"] == [each.state for each in found.known.values()]


def test_plugins_of_one_name_in_two_distributions_are_both_loaded(install: Install) -> None:
    found = install(numpy=GOOD)
    (ours,) = entry_points(group="naiad", name="numpy")

    found.load(ours)

    assert [("numpy", "loaded")] * 2 == [(each.name, each.state) for each in found.known.values()]


def test_module_named_twice_is_asked_once(install: Install) -> None:
    found = install(one=GOOD)
    module = [name for name in sys.modules if name.endswith("_one")][-1]

    with pytest.warns(PluginWarning, match="'two' failed to load: ValueError: Plugin already registered"):
        found.load(EntryPoint("two", module, "naiad"))

    assert [1.5] == ask(found)


def test_environment_disables_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAIAD_PLUGINS", " -numpy, -no_such_plugin,")

    states = {plugin.name: plugin.state for plugin in plugins.installed()}

    assert ("disabled", "loaded") == (states["numpy"], states["torch"])


def test_word_without_a_minus_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAIAD_PLUGINS", "numpy")

    with pytest.warns(PluginWarning, match="NAIAD_PLUGINS has 'numpy'"):
        states = {plugin.name: plugin.state for plugin in plugins.installed()}

    assert "loaded" == states["numpy"]


def test_plugin_may_ask_a_hook_while_it_is_imported(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install(asking="from naiad.plugins import installed\nseen = installed()\n" + textwrap.dedent(GOOD))
    source = next(name for name in sys.modules if name.endswith("_asking"))
    del sys.modules[source]
    monkeypatch.setattr(plugins, "_plugins", None)
    monkeypatch.setattr(plugins, "_entries", lambda: [EntryPoint("asking", source, "naiad")])

    assert ["asking"] == [plugin.name for plugin in plugins.installed()]
    assert ["asking"] == [plugin.name for plugin in sys.modules[source].seen]


def test_our_own_are_found_as_anyones_are() -> None:
    """Every module with a hook is named by an entry point, and loads."""
    files = [file for root in ("core", "integrations") for file in (ROOT / root).rglob("*.py")]
    with_hooks = {file for file in files if "\n@hookimpl" in file.read_text(encoding="utf-8")}
    ours = [plugin for plugin in plugins.installed() if plugin.distribution == "naiad"]
    entries = [entry_points(group="naiad", name=plugin.name)[plugin.name] for plugin in ours]

    assert with_hooks == {Path(str(entry.load().__file__)) for entry in entries}
    assert {"loaded"} == {plugin.state for plugin in ours}


def test_loading_all_of_ours_imports_no_framework() -> None:
    code = "import sys, naiad.plugins; assert naiad.plugins.installed(); print(*sys.modules)"
    modules = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())

    assert set() == modules & {entry.name for entry in entry_points(group="naiad")} | modules & {"PIL", "pandas"}


@pytest.mark.parametrize("code", ["import naiad", "from naiad.types import File; File('a.csv')"])
def test_plugins_cost_nothing_before_they_are_needed(code: str) -> None:
    modules = subprocess.check_output([sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"], text=True)

    assert set() == {"pluggy", "importlib.metadata", "naiad.hookspecs"} & set(modules.split())


def test_no_plugin_is_asked_for_points_and_plain_values(run: naiad.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_loaded", lambda: pytest.fail("a plugin was asked"))

    for step in range(3):
        run["train"].append({"loss": 0.5, "notes": "begun"}, step=step)
    run["parameters"] = {"lr": 0.1, "epochs": 3, "shuffle": True, "optimizer": "sgd"}


# Each hook has a test named after it, here or with the feature that asks it.


def only(monkeypatch: pytest.MonkeyPatch, **functions: Callable[..., object]) -> None:
    """Let a plugin with these functions be the only one."""
    module = ModuleType("only")
    for name, function in functions.items():
        setattr(module, name, hookspecs.hookimpl(function))
    monkeypatch.setitem(sys.modules, "only", module)
    monkeypatch.setattr(plugins, "_entries", lambda: [EntryPoint("only", "only", "naiad")])


@pytest.mark.parametrize("answer", [True, 1, 0.5, "text", {"a": 1}, File.from_content("text")], ids=repr)
def test_naiad_convert(monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
    only(monkeypatch, naiad_convert=lambda value: answer)

    assert answer is plugins.first("naiad_convert", value=object())


def test_naiad_convert_makes_uploads_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, naiad_convert=lambda value: File.from_content(f"{value}", extension="md"))

    assert b"{1}" == File.create_from({1}).content


def test_naiad_image(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, naiad_image=lambda subject, autoscale: b"%d %d" % (subject, autoscale))

    assert [b"7 1", b"7 0"] == [File.as_image(7).content, File.as_image(7, autoscale=False).content]


def test_naiad_html(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, naiad_html=lambda subject, options: f"<p>{subject} {options}")

    assert b"<p>7 {'wide': True}" == File.as_html(7, wide=True).content


@pytest.mark.parametrize(
    ("hook", "facts"),
    [
        ("naiad_convert", {"value": 1}),
        ("naiad_image", {"subject": 1, "autoscale": True}),
        ("naiad_html", {"subject": 1, "options": {}}),
    ],
)
def test_answer_of_a_wrong_type_counts_as_none(
    monkeypatch: pytest.MonkeyPatch, hook: str, facts: dict[str, object]
) -> None:
    only(monkeypatch, **{hook: lambda: {1, 2}})

    with pytest.warns(PluginWarning, match=r"'only' failed in .*: TypeError: it returned \{1, 2\}"):
        assert None is plugins.first(hook, **facts)


def test_every_hook_has_a_test() -> None:
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in (ROOT / "tests").rglob("test_*.py")]
    tests = {node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)}

    assert [] == [hook for hook in HOOKS if f"test_{hook}" not in tests]


def test_every_hook_has_its_row_in_the_docs() -> None:
    page = (ROOT / "core/PLUGINS.md").read_text(encoding="utf-8")
    rows = []
    for name, hook in HOOKS.items():
        call = f"{name}({', '.join(inspect.signature(hook).parameters)})"
        result = "first" if hook.naiad_spec["firstresult"] else "all"
        rows.append(f"| `{call}` | {result} | {inspect.getdoc(hook).splitlines()[0]} |")

    assert rows == [line for line in page.splitlines() if line.startswith("| `")]


def test_docs_show_the_example_as_it_is() -> None:
    page = (ROOT / "core/PLUGINS.md").read_text(encoding="utf-8")
    source = (ROOT / "examples/plugin_example/naiad_durations.py").read_text(encoding="utf-8")
    shown = page.partition("```python\n")[2].partition("```")[0]

    assert shown == source[source.index("from datetime") :]


USE = """
from datetime import timedelta
from naiad.plugins import first, installed

plugin, = [plugin for plugin in installed() if plugin.name == "durations"]
print(plugin.distribution, plugin.version, plugin.state, first("naiad_convert", value=timedelta(minutes=5)))
"""


def test_example_works_in_a_fresh_environment(tmp_path: Path) -> None:
    """The environment sees the packages of this one; only the example is installed into it."""
    source = tmp_path / "plugin"
    source.mkdir()
    for file in (ROOT / "examples/plugin_example").glob("*.*"):
        (source / file.name).write_bytes(file.read_bytes())
    venv.create(tmp_path / "fresh", with_pip=False)
    python = tmp_path / "fresh/bin/python"
    (own,) = (tmp_path / "fresh").glob("lib/python*/site-packages")
    ours = [path for path in sys.path if path.endswith("-packages")]
    (own / "ours.pth").write_text(
        "".join(f"import site; site.addsitedir({path!r})\n" for path in ours), encoding="utf-8"
    )

    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", python, "install"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--no-index", source], check=True)

    assert "naiad-durations 1.0 loaded 300.0\n" == subprocess.check_output([python, "-c", USE], text=True)


def test_command_lists_plugins() -> None:
    result = CliRunner().invoke(main, ["plugins"])

    names = [line.split("\t")[0] for line in result.stdout.splitlines()]
    assert sorted(plugin.name for plugin in plugins.installed()) == names
    assert f"numpy\tnaiad\t{naiad.__version__}\tloaded\tnaiad_image" in result.stdout.splitlines()


def test_command_says_what_went_wrong(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_entries", lambda: [EntryPoint("bad", "no_such_module", "naiad")])

    result = CliRunner().invoke(main, ["plugins", "--json"])

    (row,) = json.loads(result.stdout)
    assert ("bad", "failed", []) == (row["name"], row["state"], row["hooks"])
    assert "to load: ModuleNotFoundError: No module named 'no_such_module'" == row["problem"]
    assert "Warning: The plugin 'bad' failed to load" in result.stderr
