"""`naiad doctor`: facts about this installation, the store and its disk, and problems among them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from naiad import __version__, disk
from naiad.cli.document import json_option, print_document
from naiad.cli.rows import Cell, print_rows
from naiad.cli.terminal import print_note
from naiad.errors import NaiadError
from naiad.plugins import installed, results
from naiad.storage.opening import Named, folder

HEADER = ("SUBJECT", "FOUND", "PROBLEM")
SECRET = re.compile("TOKEN|KEY|SECRET|PASSWORD")
LITTLE = 1 << 30
"""Bytes of free space below which a store is called nearly full."""


class Fact(NamedTuple):
    """A subject, the finding, and the problem with it; no problem is an empty text."""

    subject: str
    found: str
    problem: str = ""


@click.command()
@json_option
@click.pass_obj
def doctor(store: Named, is_json: bool) -> None:
    """Report the installation, the store and its disk, and problems with them.

    The exit code is 1 if there is a problem. In a pipe, the columns are subject, finding and problem.

    Example: naiad doctor
    """
    facts = [*_installation(), *_place(store), *_settings()]
    problems = [fact for fact in facts if fact.problem]
    if is_json:
        print_document([fact._asdict() for fact in facts])
    else:
        print_rows(
            HEADER, ([Cell(fact.subject, "bold"), Cell(fact.found), Cell(fact.problem, "red")] for fact in facts)
        )
    count = "1 problem" if len(problems) == 1 else f"{len(problems) or 'no'} problems"
    print_note(f"{len(facts)} facts, {count}.")
    click.get_current_context().exit(1 if problems else 0)


def _installation() -> Iterator[Fact]:
    yield Fact("naiad", f"{__version__}, {Path(__file__).parents[1]}")
    yield Fact("python", f"{platform.python_version()}, {sys.executable}")
    system = platform.system()
    yield Fact("system", platform.platform(), "" if system == "Linux" else f"naiad is not tested on {system}.")
    for plugin in sorted(installed(), key=lambda each: each.name):
        # Of naiad's own plugins only those that are not loaded are news.
        if plugin.state != "loaded" or plugin.distribution != "naiad":
            problem = f"It failed {plugin.problem}" if plugin.problem else ""
            yield Fact(f"plugin {plugin.name}", f"{plugin.distribution} {plugin.version}, {plugin.state}", problem)
    for integration in sorted(results("naiad_integration"), key=lambda each: str(each.name)):
        for name, version in integration.installed().items():
            is_supported = integration.supports(version)
            problem = "" if is_supported else f"The integration supports {integration.versions}."
            yield Fact(integration.framework, f"{name} {version}", problem)
    if importlib.util.find_spec("neptune") is not None:
        yield Fact("neptune", f"{_version('neptune')}, answered by naiad under `naiad neptune` and naiad.as_neptune")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"


def _place(store: Named) -> Iterator[Fact]:
    try:
        place = folder(store)
    except NaiadError as error:
        yield Fact("store", "", str(error).replace("\n", " "))
        return
    origin = "--store" if store else "NAIAD_STORE" if os.environ.get("NAIAD_STORE") else "the nearest .naiad"
    if not place.exists():
        yield Fact("store", f"{place}, which the first run makes")
    elif not place.is_dir():
        yield Fact("store", str(place), "There is no folder at this path; name another with NAIAD_STORE.")
        return
    else:
        yield Fact("store", f"{place}, by {origin}")
    # A store that is not made yet will lie on the disk of the first folder above it that exists.
    existing = next(each for each in (place, *place.absolute().parents) if each.exists())
    yield from _disk(existing)


def _disk(existing: Path) -> Iterator[Fact]:
    is_writable = os.access(existing, os.W_OK | os.X_OK)
    yield Fact(
        "permission",
        "may be written" if is_writable else "may be read",
        "" if is_writable else "No run can be written here.",
    )
    way = "memory map" if disk.can_map(existing) else "write(), since a mapping is not safe here"
    yield Fact("file system", f"{disk.file_system(existing) or 'unknown'}; points go through {way}")
    if is_writable:
        yield _locks(existing)
    usage = shutil.disk_usage(existing)
    free = f"{usage.free / 2**30:,.1f} of {usage.total / 2**30:,.1f} GiB"
    yield Fact("free space", free, "The disk is nearly full." if usage.free < LITTLE else "")


def _locks(existing: Path) -> Fact:
    try:
        are_working = disk.can_lock(existing)
    except OSError as error:
        return Fact("locks", "could not be tried", f"A file could not be made: {error.strerror}.")
    if not are_working:
        return Fact("locks", "do not work here; a vanished writer is `unknown` until `naiad repair --take-over`")
    if not disk.is_local(existing):
        return Fact("locks", "work here; a writer on another machine is trusted by its signs of life only")
    return Fact("locks", "trusted: the death of a process on this machine can be proven")


def _settings() -> Iterator[Fact]:
    for name, text in sorted(os.environ.items()):
        # Reports are pasted into tickets, so a token must not be in one.
        if name.startswith(("NAIAD_", "NEPTUNE_")):
            yield Fact(name, "(set, not shown)" if SECRET.search(name) else text)
