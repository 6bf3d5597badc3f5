"""The documentation builds strictly, has an entry for every public name, and its own search answers questions."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lunr
import pytest

from naiad.cli import main

ROOT = Path(__file__).parents[2]

QUESTIONS = {
    "resume a run after pre-emption": "how-to/resume",
    "NaN in the middle of training": "faq",
    "DDP makes several runs": "how-to/distributed",
    "checkpoints of every epoch fill the disk": "how-to/disk",
    "does logging slow training": "faq",
    "read runs from a script": "how-to/queries",
    "move a project to another machine": "how-to/move",
    "secrets in the diff": "how-to/secrets",
    "offline cluster without internet": "how-to/cluster",
    "delete a run and free disk space": "how-to/disk",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "-f",
        ROOT / "core/mkdocs.yml",
        "-d",
        folder,
    ]
    done = subprocess.run(
        build, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False, timeout=110
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def entries(site: Path) -> set[str]:
    """The names that have an entry in the reference."""
    head, _, packed = (site / "objects.inv").read_bytes().partition(b"zlib.\n")
    assert head
    return {line.split(" ")[0] for line in zlib.decompress(packed).decode().splitlines()}


def public_names() -> Iterator[str]:
    for module in ("types", "utils", "typing", "management", "attributes"):
        yield from (f"naiad.{module}.{name}" for name in importlib.import_module(f"naiad.{module}").__all__)
    errors = importlib.import_module("naiad.errors")
    yield from (
        f"naiad.errors.{name}"
        for name, each in vars(errors).items()
        if isinstance(each, type) and each.__module__ == errors.__name__ and not name.startswith("_")
    )
    hooks = importlib.import_module("naiad.hookspecs")
    yield from (f"naiad.hookspecs.{name}" for name in vars(hooks) if name.startswith("naiad_"))
    for owner in ("Run", "Project", "Model", "ModelVersion"):
        yield f"naiad.{owner}"
        yield from _members(f"naiad.{owner}", getattr(importlib.import_module("naiad"), owner))
    yield from _members("naiad.handler.Handler", importlib.import_module("naiad.handler").Handler)
    for folder in (ROOT / "integrations").glob("naiad_*"):
        yield from (f"{folder.name}.{name}" for name in importlib.import_module(folder.name).__all__)


def _members(owner: str, cls: Any) -> Iterator[str]:
    for name in dir(cls):
        if (
            not name.startswith("_")
            and callable(getattr(cls, name))
            and getattr(cls, name).__module__.startswith("naiad")
        ):
            yield f"{owner}.{name}"


def test_every_public_name_has_an_entry(entries: set[str]) -> None:
    assert [] == sorted({*public_names()} - entries)


def test_every_command_has_an_entry(site: Path) -> None:
    commands = (site / "reference/commands.html").read_text(encoding="utf-8")

    assert "Sentinel" not in commands  # click's marker for an option without a default
    assert [] == [
        name
        for name in main.list_commands(main.make_context("naiad", [], resilient_parsing=True))
        if f'id="naiad-{name}"' not in commands
    ]


def test_every_setting_has_an_entry() -> None:
    """Of the library, the pages and the server."""
    settings = (ROOT / "core/docs/reference/settings.md").read_text(encoding="utf-8")
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "core").rglob("*.py"))
    read = set(re.findall(r'environ(?:\.get\(|\[)"(NAIAD_\w+)"', source))
    read |= {f"NAIAD_{name}" for name in re.findall(r'\b(?:setting|number)\("([A-Z_]+)"', source)}

    assert [] == sorted(name for name in read if f"`{name}`" not in settings and not name.startswith("NAIAD_AS_"))


@pytest.fixture(scope="module")
def index(site: Path) -> Any:
    """The index that the page of the search makes from the texts of the site, made once for all questions."""
    documents = json.loads((site / "search/search_index.json").read_text(encoding="utf-8"))["docs"]
    for document in documents:
        document["text"] = re.sub(r"<[^>]+>", " ", document["text"])
    return lunr.lunr(ref="location", fields=[{"field_name": "title", "boost": 10}, "text"], documents=documents)


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_search_of_the_documentation_answers(question: str, index: Any) -> None:
    found = [match["ref"] for match in index.search(question)][:5]

    assert any(place.startswith(QUESTIONS[question]) for place in found), found
    page = (ROOT / "core/docs" / f"{QUESTIONS[question]}.md").read_text(encoding="utf-8")
    assert re.search(r"^```(?:python|console)", page, re.MULTILINE), (
        "the page has no snippet, which test_snippets.py would run"
    )


def test_no_page_asks_for_anything_from_elsewhere(site: Path) -> None:
    loaded = re.compile(r'<(?:script|img|link|iframe)\b[^>]*(?:src|href)="(https?:)?//')
    pages = [page for page in site.rglob("*.html") if loaded.search(page.read_text(encoding="utf-8"))]

    assert [] == pages
