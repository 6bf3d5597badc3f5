"""Plugins: found, loaded and asked under a guard, so that none of them can do harm."""

from __future__ import annotations

import ast
import inspect
import json
import os
import subprocess
import sys
import textwrap
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import pytest
from click.testing import CliRunner

import naiad
from naiad import File, hookspecs, plugins
from naiad.alert import Alert
from naiad.background import Capture
from naiad.cli import main
from naiad.cli.program import Program
from naiad.errors import NaiadValueError, PluginWarning, UnsupportedValue, forget_warnings
from naiad.importer import Importer, Progress, Source
from naiad.importers import import_runs
from naiad.integration import Integration, Row
from naiad.ops import Plain
from naiad.plugins import Plugins
from naiad.records import Record, Value
from naiad.types import Float
from naiad.utils import describe

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
    return list(found.results("naiad_convert", {"value": "something"}))


def test_answers_come_from_the_last_loaded_first(install: Install) -> None:
    found = install(one=GOOD, two=SILENT, three=GOOD.replace("1.5", "2.5"))

    assert [2.5, 1.5] == ask(found)


def test_later_plugins_are_asked_only_when_needed(install: Install) -> None:
    found = install(bad=IN_HOOK, good=GOOD)

    assert 1.5 == next(found.results("naiad_convert", {"value": "something"}))


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

    others = {"PIL", "pandas", "pytorch_lightning"}
    frameworks = {entry.name for entry in entry_points(group="naiad")} - {"csv"}  # that one is Python's own
    assert set() == modules & (frameworks | others)


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


class Molecule:
    """Of a library that naiad does not know."""


def test_naiad_convert_is_asked_where_no_field_takes_a_value(run: naiad.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, naiad_convert=lambda value: 1.5 if isinstance(value, Molecule) else None)

    run["mass"] = Molecule()
    run["all"] = {"first": Molecule()}
    run["masses"].append(Molecule(), step=3)
    run["mass"] = Molecule()

    assert (1.5, {"first": 1.5}) == (run["mass"].fetch(), run["all"].fetch())
    assert [(3.0, 1.5)] == list(run["masses"].fetch_values()[["step", "value"]].itertuples(index=False, name=None))


def test_naiad_convert_to_a_mapping_makes_a_field_for_each_item(
    run: naiad.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, naiad_convert=lambda value: {"mass": 18, "of": {"H": 2}} if isinstance(value, Molecule) else None)

    run["water"] = Molecule()

    assert {"mass": 18, "of": {"H": 2}} == run["water"].fetch()


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
        ("naiad_describe", {"subject": 1}),
        ("naiad_integration", {}),
    ],
)
def test_answer_of_a_wrong_type_counts_as_none(
    monkeypatch: pytest.MonkeyPatch, hook: str, facts: dict[str, object]
) -> None:
    only(monkeypatch, **{hook: lambda: {1, 2}})

    with pytest.warns(PluginWarning, match=r"'only' failed in .*: TypeError: it returned \{1, 2\}"):
        assert None is plugins.first(hook, **facts)


def test_naiad_integration(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (Row("end", "{base}/score", "float", "assign", "the score"),)
    made = Integration("only", "Pytest", {"pytest": "pytest"}, ">=1", "only:Adapter", rows)
    only(monkeypatch, naiad_integration=lambda: made)

    listed, shown = (CliRunner().invoke(main, ["plugins", *more]).stdout for more in ([], ["only"]))

    assert f"only\t\t\tloaded\tpytest {pytest.__version__}\tnaiad_integration\n" == listed
    assert "{base}/score\tfloat\tassign\tend\t\tthe score\n" == shown


def test_naiad_describe(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, naiad_describe=lambda subject: {"layers": len(subject)} if isinstance(subject, list) else None)

    assert {"layers": 2} == describe([1, 2])
    with pytest.raises(UnsupportedValue, match="No plugin can describe 7"):
        describe(7)


class Watching(Capture):
    """Writes at its start and its end, and notes both."""

    name = "watching"

    def __init__(self, fails: str = "") -> None:
        self.fails = fails

    def start(self, run: naiad.Run) -> None:
        self.run = run
        run["watched/start"] = True
        if self.fails == "start":
            raise OSError("no sensor")

    def stop(self) -> None:
        self.run["watched/stop"] = True
        if self.fails == "stop":
            raise OSError("no sensor")


def reopened(run: naiad.Run) -> naiad.Run:
    return naiad.init_run(with_id=run._id, mode="read-only")


def test_naiad_captures(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may write from their start to the end of their stop, and see what the user asked for, the token excepted."""
    asked: list[dict[str, object]] = []
    only(monkeypatch, naiad_captures=lambda options: asked.append(options) or [Watching()])
    plugins.installed()

    run = naiad.init_run(capture_traceback=False, api_token="secret")
    run.stop()

    assert [(False, None)] == [(each["capture_traceback"], each["capture_hardware_metrics"]) for each in asked]
    assert [] == [name for each in asked for name, value in each.items() if value == "secret"]
    with reopened(run) as read:
        assert {"start": True, "stop": True} == read["watched"].fetch()
    assert 1 == len(asked), "a run for reading has no captures"


@pytest.mark.parametrize("doing", ["start", "stop"])
def test_capture_that_fails_costs_one_warning(store: Path, monkeypatch: pytest.MonkeyPatch, doing: str) -> None:
    only(monkeypatch, naiad_captures=lambda options: [Watching(doing)])
    plugins.installed()

    with pytest.warns(PluginWarning, match=f"The capture 'watching' failed to {doing}: OSError") as warned:  # noqa: PT031 (a whole life)
        run = naiad.init_run()
        run["loss"].append(0.5)
        run.stop()

    assert 1 == len(warned)
    with reopened(run) as read:
        assert ("finished", 0.5) == (read["sys/state"].fetch(), read["loss"].fetch_last())


def test_captures_that_are_none_are_refused(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, naiad_captures=lambda options: ["hardware"])
    plugins.installed()

    with pytest.warns(PluginWarning, match=r"'only' failed in naiad_captures: TypeError: it returned \['hardware'\]"):
        naiad.init_run().stop()


def life_of_a_run(monkeypatch: pytest.MonkeyPatch, **hooks: Callable[..., object]) -> naiad.Run:
    only(monkeypatch, **hooks)
    plugins.installed()
    run = naiad.init_run()
    run["loss"].append(0.5)
    run.stop()
    return run


def test_naiad_run_started(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = life_of_a_run(monkeypatch, naiad_run_started=lambda run: run["seen"].assign("started"))

    with reopened(run) as read:
        assert "started" == read["seen"].fetch()


def test_naiad_run_stopping(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run can be written to still, and stopping it again from there does nothing."""

    def stop(run: naiad.Run) -> None:
        run["seen"] = run.get_state()
        run.stop()

    run = life_of_a_run(monkeypatch, naiad_run_stopping=stop)

    with reopened(run) as read:
        assert ("stopping", 0.5) == (read["seen"].fetch(), read["loss"].fetch_last())


def test_naiad_run_stopping_is_told_the_exception(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    only(monkeypatch, naiad_run_stopping=lambda run, exception: told.append(exception))
    plugins.installed()
    problem = ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"), naiad.init_run():
        raise problem
    with naiad.init_run():
        pass

    assert [problem, None] == told


def test_naiad_alert(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin is called before the targets of naiad itself, and passes those that it does not serve."""
    source = """
        @hookimpl
        def naiad_alert(alert, target):
            return f"{alert.event} at {target}" if target == "chat:team" else None
    """
    monkeypatch.setattr(plugins, "_plugins", install(chat=source))
    event = Alert("failed", "Run P-1 failed.", "P-1", "uid", "p", "", "", 0.0)

    found = [plugins.first("naiad_alert", alert=event, target=target) for target in ("chat:team", "chat:other")]
    assert ["failed at chat:team", None] == found


def test_naiad_commands(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command of a plugin is found by its name, and listed."""
    source = """
        import click

        @click.command()
        def hello():
            click.echo("from a plugin")

        @hookimpl
        def naiad_commands(cli):
            cli.add_command(hello)
    """
    monkeypatch.setattr(plugins, "_plugins", install(greeting=source))
    program = Program("naiad")

    assert CliRunner().invoke(program, ["hello"]).output == "from a plugin\n"
    assert "hello" in CliRunner().invoke(Program("naiad"), ["--help"]).output


def test_naiad_run_stopped(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was logged is readable by then."""
    seen = []

    def look(run: naiad.Run) -> None:
        with reopened(run) as read:
            seen.append(read["loss"].fetch_last())

    life_of_a_run(monkeypatch, naiad_run_stopped=look)

    assert [0.5] == seen


@pytest.mark.parametrize("hook", ["naiad_run_started", "naiad_run_stopping", "naiad_run_stopped"])
@pytest.mark.parametrize("problem", [OSError("no net"), NaiadValueError("no")], ids=["any", "ours"])
def test_plugin_that_fails_in_the_life_of_a_run_costs_one_warning(
    store: Path, monkeypatch: pytest.MonkeyPatch, hook: str, problem: Exception
) -> None:
    def fail(run: naiad.Run) -> None:
        raise problem

    with pytest.warns(PluginWarning, match=f"'only' failed in {hook}") as warned:
        run = life_of_a_run(monkeypatch, **{hook: fail})

    assert 1 == len(warned)
    with reopened(run) as read:
        assert ("finished", 0.5) == (read["sys/state"].fetch(), read["loss"].fetch_last())


def test_no_plugin_is_asked_during_ten_thousand_appends(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    hooks = {
        name: eval(f"lambda {', '.join(inspect.signature(hook).parameters)}: asked.append({name!r})", {"asked": asked})
        for name, hook in HOOKS.items()
    }
    only(monkeypatch, **hooks)
    plugins.installed()
    with naiad.init_run() as run:
        at_start = list(asked)
        for step in range(10_000):
            run["loss"].append(0.5, step=step)
        during = asked[len(at_start) :]

    assert ["naiad_captures", "naiad_run_started"] == at_start
    assert [] == during
    assert ["naiad_run_stopping", "naiad_run_stopped"] == asked[len(at_start) :]


def test_run_loads_no_plugin_where_none_but_ours_is_installed(store: Path) -> None:
    """Reading the entry points takes longer than all the rest of a short script."""
    code = "import sys, naiad; naiad.init_run().stop(); print(*sys.modules)"
    modules = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())

    assert set() == modules & {"pluggy", "importlib.metadata"}


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

    assert shown == source[source.index("from collections") :]


@pytest.mark.parametrize(
    "name", ["naiad_scipy/plugin.py", "naiad_scipy/callback.py", "naiad_scipy/__init__.py", "test_mapping.py"]
)
def test_docs_show_the_integration_as_it_is(name: str) -> None:
    page = (ROOT / "core/PLUGINS.md").read_text(encoding="utf-8")
    source = (ROOT / "examples/integration_example" / name).read_text(encoding="utf-8")

    assert f"```python\n# {name}\n{source}```" in page


def test_integration_of_the_docs_passes_its_own_test(tmp_path: Path) -> None:
    pytest.importorskip("scipy", reason="the example is an integration for SciPy")
    source = ROOT / "examples/integration_example"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", "test_mapping.py"]
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}

    done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stdout


USE = """
from datetime import timedelta
import naiad
from naiad.plugins import installed

plugin, = [plugin for plugin in installed() if plugin.name == "durations"]
print(plugin.distribution, plugin.version, plugin.state)

with naiad.init_run(mode="sync") as run:
    run["train/duration"] = timedelta(minutes=5)
    run_id = run["sys/id"].fetch()
with naiad.init_run(with_id=run_id, mode="read-only") as run:
    print(run["train/duration"].fetch(), 0 <= run["durations/elapsed"].fetch() < 60)
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

    environment = {"NAIAD_STORE": str(tmp_path / "store")}
    printed = subprocess.check_output([python, "-W", "error", "-c", USE], text=True, env=environment)
    assert "naiad-durations 1.0 loaded\n300.0 True\n" == printed


def test_command_lists_plugins() -> None:
    result = CliRunner().invoke(main, ["plugins"])

    names = [line.split("\t")[0] for line in result.stdout.splitlines()]
    assert sorted(plugin.name for plugin in plugins.installed()) == names
    assert f"numpy\tnaiad\t{naiad.__version__}\tloaded\t\tnaiad_image" in result.stdout.splitlines()


@pytest.mark.parametrize("name", ["kedro", "keras", "lightning", "sklearn"])
def test_command_prints_the_mapping_of_an_integration(name: str) -> None:
    (integration,) = (each for each in plugins.results("naiad_integration") if each.name == name)

    printed = CliRunner().invoke(main, ["plugins", name]).stdout
    document = json.loads(CliRunner().invoke(main, ["plugins", name, "--json"]).stdout)

    assert [row.path for row in integration.rows] == [line.split("\t")[0] for line in printed.splitlines()]
    assert [row.meaning for row in integration.rows] == [row["meaning"] for row in document["rows"]]


def test_command_says_which_integrations_there_are() -> None:
    result = CliRunner().invoke(main, ["plugins", "numpy"])

    assert 2 == result.exit_code
    there = ", ".join(sorted(each.name for each in plugins.results("naiad_integration")))
    assert f"no integration 'numpy'. The integrations are: {there}." in result.stderr


def test_command_says_when_a_framework_is_too_old_or_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    old = Integration("only", "Pytest", {"pytest": "pytest"}, "<1", "only:Adapter", ())
    only(monkeypatch, naiad_integration=lambda: old)

    (row,) = json.loads(CliRunner().invoke(main, ["plugins", "--json"]).stdout)

    assert f"pytest {pytest.__version__} (needs <1)" in CliRunner().invoke(main, ["plugins"]).stdout
    found = {"distribution": "pytest", "version": pytest.__version__, "supported": False}
    assert {"name": "Pytest", "versions": "<1", "installed": [found]} == row["framework"]


def test_command_says_what_went_wrong(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_entries", lambda: [EntryPoint("bad", "no_such_module", "naiad")])

    result = CliRunner().invoke(main, ["plugins", "--json"])

    (row,) = json.loads(result.stdout)
    assert ("bad", "failed", []) == (row["name"], row["state"], row["hooks"])
    assert "to load: ModuleNotFoundError: No module named 'no_such_module'" == row["problem"]
    assert "Warning: The plugin 'bad' failed to load" in result.stderr


def test_naiad_importer(monkeypatch: pytest.MonkeyPatch, store: Path, tmp_path: Path) -> None:
    """A plugin's importer is offered by the command, and its records become a run."""
    (tmp_path / "result.txt").write_text("0.5")
    found = Importer("lab", "files of the laboratory", lambda path, options: Source([LabRun(str(path))]))
    only(monkeypatch, naiad_importer=lambda: found)

    done = CliRunner().invoke(main, ["--store", str(store), "import", "lab", str(tmp_path / "result.txt")])

    assert 0 == done.exit_code, done.output
    with naiad.init_run(with_id="LAB-1", store=store, mode="read-only") as run:
        assert 0.5 == run["score"].fetch()


@dataclass(frozen=True)
class LabRun:
    """The run of a result."""

    path: str
    kind = "run"
    id = "LAB-1"
    project = "ws/lab"
    parent = ""
    created = None
    size = 3
    facts: ClassVar[dict[str, str]] = {"room": "2"}

    @property
    def identity(self) -> str:
        return f"lab:{self.path}"

    def records(self, progress: Progress) -> Iterator[Record]:
        yield Value("score", Float.kind, float(Path(self.path).read_text()))


class OddRun(LabRun):
    """A run whose importer gives values of wrong types."""

    def records(self, progress: Progress) -> Iterator[Record]:
        """Yield one value that fits and several that do not."""
        wrong: list[tuple[str, Plain]] = [("float", "0.5"), ("int", True), ("int", 2**70), ("bool", 1), ("string", 5)]
        yield Value("score", "float", 0.5)
        yield from (Value(f"wrong/{number}", kind, value) for number, (kind, value) in enumerate(wrong))


def test_values_of_an_importer_that_fit_no_field_are_lost_alone(
    monkeypatch: pytest.MonkeyPatch, store: Path, tmp_path: Path
) -> None:
    (tmp_path / "result.txt").write_text("0.5")
    found = Importer("lab", "files of the laboratory", lambda path, options: Source([OddRun(str(path))]))
    only(monkeypatch, naiad_importer=lambda: found)

    [report] = import_runs("lab", tmp_path / "result.txt", store=store).runs

    assert [f"wrong/{number}" for number in range(5)] == [each.path for each in report.skipped]
    assert "'0.5' cannot be the value of a field of kind float" == report.skipped[0].reason
    with naiad.init_run(with_id="LAB-1", store=store, mode="read-only") as run:
        assert (0.5, False) == (run["score"].fetch(), run.exists("wrong"))
