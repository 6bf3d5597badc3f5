"""Compare every public name of Neptune's client with what answers it under the alias, and write the table of the docs.

.venv/bin/python tests/neptune/names.py > core/docs/neptune-names.md
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
CLIENT = HERE / "client_names.json"
Facts = dict[str, Any]
Signature = list[list[Any]]

LEFT_OUT = {
    "accept": "chose a method of the client's visitor; `ValueVisitor.visit(value)` does",
    "callback_name": "a part of the client's message; the class of the error tells the kind",
    "code": "a part of an answer of the server",
    "container_id": "a part of the client's message; the id is the attribute `run_id`",
    "container_type": "a part of the client's message; the class of the error tells the kind",
    "copy": "of namespaces; `run[a] = run[b]` copies one",
    "create_assignment_operation": "a step of the client's assignments",
    "description": "a part of an answer of the server",
    "details": "a part of an answer of the server",
    "extra_info": "a part of the client's message",
    "filter_unsupported_values": "nothing is filtered: NaN and Inf are kept",
    "getter": "a step of the client's requests",
    "is_unsupported_float_with_warn": "nothing is filtered: NaN and Inf are kept",
    "MAX_VALUE_LENGTH": "texts are not cut",
    "max_batch_size": "a step of the client's requests",
    "of_container_type": "chose one of the four subclasses for the client",
    "operation_cls": "a step of the client's requests",
    "process_assignment": "a step of the client's assignments",
    "resume_info": "a part of the client's message",
    "set_attribute": "changed the client's copy of the structure; naiad has no such copy",
    "supports_copy": "a step of the client's assignments; every kind can be copied",
    "truncated": "texts are not cut",
}
"""Members that are not there, and why."""
DIFFERENT = {"copy() takes other arguments": "`copy(path)` stores the value at another path too"}
"""Why a member takes something else."""
CONSTRUCTED = {
    "neptune.attributes": "fields are created by `create_attribute_from_type()` or by writing to a path",
    "neptune.metadata_containers": "the base class of the four containers; it cannot be opened itself",
    "neptune.table": "tables are created by the functions that fetch them",
    "neptune.types.atoms.atom": "a base class, which programs do not create; ours takes the `value`",
    "neptune.types.sets.set": "a base class, which programs do not create; here it is `StringSet`",
    "neptune.types": "the second argument of `File()` was an object of the client's own; use `File.from_content()`",
}
"""Why a class of a module is constructed otherwise."""
BETTER = {
    "Artifact": "any change of a file changes the hash; versions can be compared; gs:// and every fsspec scheme work",
    "Boolean": "a value that is not 0, 1, True or False is rejected instead of becoming True",
    "Datetime": "kept to the microsecond",
    "File": "takes bytes, streams, frames, arrays, tensors and paths as they are; no size limit",
    "FileSeries": "stores files of any kind and size, not only images",
    "FileSet": "stores the content at the moment of the call; single files can be read",
    "Float": "NaN and Inf are kept bit for bit",
    "FloatSeries": "NaN, Inf and steps in any order are kept; points are fetched ordered by step",
    "GitRef": "stored in every mode, also without a network",
    "Handler": "keeps NaN and the kinds of NumPy scalars, accepts any iterable; a rejected call leaves nothing behind",
    "Integer": "64 bits; a value that cannot be stored without loss is rejected instead of cut",
    "Model": "needs no network",
    "ModelVersion": "needs no network",
    "NeptuneHandler": "a log record that is created while one is stored does not loop",
    "NeptuneMissingRequiredInitParameter": "also a ValueError",
    "Project": "needs no network; a query sees what was logged a moment ago",
    "Run": "survives kill -9 with everything logged; resuming changes nothing; a fork writes to the same run",
    "String": "stored whole up to 16 MiB",
    "StringSeries": "stored whole up to 16 MiB per entry; steps may come in any order",
    "Table": "can be read more than once, and has a length",
    "init_model": "as `Model`",
    "init_model_version": "as `ModelVersion`",
    "init_project": "as `Project`",
    "init_run": "as `Run`",
    "stringify_unsupported": "ints beyond 64 bits keep every digit; NaN stays a number",
}
"""Where naiad keeps or allows more than the client, by name."""


OTHERWISE = {
    "as_html": "`File.as_html()` of an object that is not a chart: a TypeError instead of a ValueError",
    "assign tags": "one text assigned to `sys/tags`: stored as one tag",
    "artifact hash": "`Artifact()` of a text that is not a hash: a ValueError instead of an AssertionError",
    "dict root": "a value other than a dict assigned to the root: a TypeError instead of an AttributeError",
    "exists below leaf": "`exists()` of a path below a field: False",
    "extend empty": "`extend([])` to a new path: stores nothing",
    "int list into str": "a list assigned to a String: stored as text",
    "none into float": "None appended to a FloatSeries: left out with a warning",
    "str into float series": "a text appended to a FloatSeries: a TypeError instead of a ValueError",
}
"""Calls that the client refuses with an error that is not raised here: `refusals.py` makes them."""


class Verdict(NamedTuple):
    """What is to be said of one name."""

    module: str
    name: str
    verdict: str
    why: str


def client_facts() -> Facts:
    facts = json.loads(CLIENT.read_text(encoding="utf-8"))
    return {
        module: {name: facts[each["as"]][name] if "as" in each else each for name, each in names.items()}
        for module, names in facts.items()
    }


def homes() -> dict[str, dict[str, str]]:
    """Where the same was told before, by module and name."""
    facts = json.loads(CLIENT.read_text(encoding="utf-8"))
    return {
        module: {name: each["as"] for name, each in names.items() if "as" in each} for module, names in facts.items()
    }


def alias_facts() -> Facts:
    """What the alias says, read by the script that read the client."""
    code = (
        "import sys, runpy, warnings; warnings.simplefilter('ignore'); import naiad.as_neptune; "
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-c", code, str(HERE / "read_client.py"), str(CLIENT)]
    facts: Facts = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return facts


def differences(client: Facts, ours: Facts | None) -> list[str]:
    """Return what a program could notice, one phrase each."""
    if ours is None:
        return ["missing"]
    found = []
    if client["kind"] != ours["kind"]:
        found.append(f"is a {ours['kind']}")
    if "value" in client and client["value"] != ours.get("value"):
        found.append("has another value")
    if not accepts(ours.get("signature"), client.get("signature")):
        found.append("takes other arguments")
    for name, member in client.get("members", {}).items():
        known = ours.get("members", {}).get(name)
        if known is None:
            found.append(f"no {name}")
        elif "value" in member and known.get("value") != member["value"]:
            found.append(f"{name} has another value")
        elif not accepts(known.get("signature"), member.get("signature")):
            found.append(f"{name}() takes other arguments")
    return found


def accepts(ours: Signature | None, client: Signature | None) -> bool:
    """Whether every call that the client's signature allows is allowed by ours."""
    if client is None or ours is None or is_hidden(client):
        return True
    kinds = {kind for _name, kind, _is_optional in ours}
    plain = [each for each in client if not each[1].startswith("var_")]
    if {kind for _name, kind, _is_optional in client if kind.startswith("var_")} - kinds:
        return False
    ordered = [name for name, kind, _is_optional in ours if kind in ("any", "positional")]
    for place, name in enumerate(name for name, kind, _ in plain if kind in ("any", "positional")):
        if ordered[place : place + 1] != [name] and "var_positional" not in kinds:
            return False
    named = {name for name, kind, _is_optional in ours if kind in ("any", "keyword")}
    if {name for name, kind, _ in plain if kind != "positional"} - named and "var_keyword" not in kinds:
        return False
    needed = {name for name, kind, is_optional in ours if not is_optional and not kind.startswith("var_")}
    return needed <= {name for name, _kind, is_optional in plain if not is_optional}


def is_hidden(signature: Signature) -> bool:
    """Whether a decorator of the client's hides what its function takes; its documentation is what counts then."""
    return {"var_positional", "var_keyword"} == {kind for _name, kind, _is_optional in signature}


def verdicts() -> Iterator[Verdict]:
    """Yield what is to be said of each name, in the order of modules."""
    ours, known = alias_facts(), homes()
    for module, names in client_facts().items():
        for name, facts in names.items():
            if name not in known[module]:
                yield judged(module, name, facts, ours[module].get(name))


def judged(module: str, name: str, client: Facts, ours: Facts | None) -> Verdict:
    found = differences(client, ours)
    if "missing" in found:
        return Verdict(module, name, "missing", "")
    left_out = [each for each in found if each.removeprefix("no ") in LEFT_OUT]
    others = [reason(module, each) for each in found if each not in left_out]
    members = ", ".join(f"`{each.removeprefix('no ')}`" for each in left_out)
    without = [f"without {members}"] if left_out else []
    better = [BETTER[name]] if name in BETTER and not others else []
    verdict = "differs" if others else "better" if better else "same"
    return Verdict(module, name, verdict, "; ".join([*others, *better, *without]))


def reason(module: str, difference: str) -> str:
    """Return why something differs.

    Raises:
        KeyError: nobody has said it: that is a mistake, of the alias or of the tables above.
    """
    if difference == "takes other arguments":
        return next(why for home, why in CONSTRUCTED.items() if module.startswith(home))
    return DIFFERENT[difference]


def page() -> str:
    """Return the page of the documentation."""
    found = [*verdicts()]
    counts = {verdict: sum(1 for each in found if each.verdict == verdict) for verdict in ("same", "better", "differs")}
    members = {name for each in found for name in re.findall(r"`(\w+)`", each.why.partition("without ")[2])}
    parts = [
        "# Every name of Neptune's client",
        "",
        "Every public name of `neptune==1.14.0.post2`, read from the installed client, and its counterpart in naiad.",
        "*Same*: every call that the client accepts is accepted, and classes derive from each other in the same way.",
        "*Better*: naiad stores or accepts more. *Differs*: the reason is given. Members that do not exist are named",
        "after *without*, and explained at the end. `tests/neptune/names.py` generates this page; a test compares it",
        "with both packages.",
        "",
        f"Of {len(found)} names {counts['same']} are the same, {counts['better']} better, {counts['differs']} differ.",
        "",
    ]
    for module in dict.fromkeys(each.module for each in found):
        parts += [f"## `{module}`", "", "| name | verdict | why |", "|---|---|---|"]
        parts += [f"| `{each.name}` | {each.verdict} | {each.why} |" for each in found if each.module == module]
        parts.append("")
    parts += ["## Members that do not exist", "", "| member | why |", "|---|---|"]
    parts += [f"| `{name}` | {LEFT_OUT[name]} |" for name in sorted(members, key=str.lower)]
    parts += ["", "## Rejected calls", ""]
    parts += [
        "A call that the client rejects raises an error here that the same `except` clause catches, except for:",
        "",
    ]
    parts += [f"- {what}" for what in OTHERWISE.values()]
    return "\n".join([*parts, ""])


if __name__ == "__main__":
    sys.stdout.write(page())
