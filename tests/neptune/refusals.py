"""Write down, as JSON, which errors refused calls raise: run with the real client, and under the alias.

    client/bin/python tests/neptune/refusals.py tests/neptune/client_refusals.json

The client runs in its debug mode. Of an error its names in `neptune.exceptions` and among Python's own are noted.
"""

from __future__ import annotations

import contextlib
import json
import sys
import warnings
from collections.abc import Callable
from typing import Any

import neptune
from neptune import exceptions
from neptune.types import Artifact, File, Float, StringSet

warnings.simplefilter("ignore")
OFF = {"capture_stdout": False, "capture_stderr": False, "capture_hardware_metrics": False}
DEBUG: dict[str, Any] = {"mode": "debug", "git_ref": False, "source_files": [], **OFF}
NAMES = [name for name in dir(exceptions) if isinstance(getattr(exceptions, name), type)]

with contextlib.redirect_stdout(sys.stderr):
    run = neptune.init_run(**DEBUG)
    run["i"] = 1
    run["b"] = True
    run["str"] = "x"
    run["f"].append(1.0)
    run["s"].append("a")
    run["file"].upload(File.from_content("a"))
    stopped = neptune.init_run(**DEBUG)
    stopped.stop()


def project() -> Any:
    return neptune.init_project(mode="debug", project="a/b")


def version() -> Any:
    return neptune.init_model_version(model="A-B", mode="debug")


CASES: dict[str, Callable[[], Any]] = {
    "append on int": lambda: run["i"].append(1),
    "upload on int": lambda: run["i"].upload(File.from_content("a")),
    "fetch missing": run["nope"].fetch,
    "fetch_last missing": run["nope"].fetch_last,
    "download missing": run["nope"].download,
    "clear missing": run["nope"].clear,
    "pop missing": lambda: run.pop("nope"),
    "del missing": lambda: run.__delitem__("nope"),
    "bad mode": lambda: neptune.init_run(mode="bad"),
    "collision": lambda: neptune.init_run(with_id="A-1", custom_run_id="x", mode="debug"),
    "no key": lambda: neptune.init_model(mode="debug"),
    "no model": lambda: neptune.init_model_version(mode="debug"),
    "legacy arg": lambda: neptune.init_run(backend="x"),
    "unknown arg": lambda: neptune.init_run(nothing=1),
    "stopped get": lambda: stopped["a"],
    "stopped set": lambda: stopped.__setitem__("a", 1),
    "stopped fetch": stopped.fetch,
    "below leaf": lambda: run.__setitem__("i/x", 1),
    "exists below leaf": lambda: run.exists("i/x"),
    "str into float series": lambda: run["f"].append("x"),
    "lengths": lambda: run["g"].extend([1, 2], steps=[1]),
    "fetch series": run["f"].fetch,
    "fetch_last atom": run["i"].fetch_last,
    "dict over leaf": lambda: run.__setitem__("i", {"a": 1}),
    "dict root": lambda: run.assign(5),
    "exists 5": lambda: run.exists(5),
    "str into int": lambda: run.__setitem__("i", "b"),
    "none into float": lambda: run["f"].append(None),
    "legacy method": lambda: run.log_metric,
    "attr": lambda: run.nothing,
    "handler attr": lambda: run["i"].get_structure,
    "artifact hash": lambda: Artifact("zz"),
    "offline project": lambda: neptune.init_project(mode="offline"),
    "float string": lambda: Float("x"),
    "int list into str": lambda: run.__setitem__("str", [1]),
    "log empty": lambda: run["f"].log([]),
    "log step": lambda: run["f"].log([1, 2], step=1),
    "remove missing": lambda: run["nope"].remove("x"),
    "add int": lambda: run["sys/tags"].add(5),
    "as_image": lambda: File.as_image(object()),
    "as_html": lambda: File.as_html(object()),
    "from_content": lambda: File.from_content(5),
    "file none": File,
    "stringset": lambda: StringSet([1]),
    "assign tags": lambda: run["sys/tags"].assign("a"),
    "protected": lambda: version().__setitem__("sys/stage", "x"),
    "stage": lambda: version().change_stage("x"),
    "extend empty": lambda: run["e"].extend([]),
    "fetch_runs limit": lambda: project().fetch_runs_table(limit=0),
    "fetch_runs both": lambda: project().fetch_runs_table(query="a", id="b"),
    "fetch_runs state": lambda: project().fetch_runs_table(state="zz"),
}


def refusal(call: Callable[[], Any]) -> list[str]:
    """The names of the error that a call raises; none if it raises none."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            call()
    except Exception as error:  # noqa: BLE001 (which one it is is the question)
        ours = [name for name in NAMES if isinstance(error, getattr(exceptions, name)) and name != "NeptuneException"]
        python = [each.__name__ for each in type(error).__mro__ if each.__module__ == "builtins"]
        return ours + [name for name in python if name not in ("Exception", "BaseException", "object")]
    return []


with open(sys.argv[1], "w", encoding="utf-8") as file:  # the client prints at its exit
    file.write(json.dumps({name: refusal(call) for name, call in CASES.items()}, indent=1) + "\n")
