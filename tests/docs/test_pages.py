"""The pages for contributors lead to files that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "core").glob("*.md"))
ROOTS = (ROOT / "core/naiad", ROOT / "core", ROOT)
FILE = re.compile(r"`([\w*/.]+(?:\.py|/))`")
FUNCTION = re.compile(r"`(\w+)\(\)` in `([\w/.]+\.py)`")
ELSEWHERE = {"naiad/", "plugin.py", "callback.py", "logger.py", "hooks.py"}
ELSEWHERE |= {"blobs/", "versions/", "journal/", "models/", "projects/", "runs/"}  # folders of a store
ELSEWHERE |= {"index/", "integrity/"}  # rooms, named beside their own folder


def named_files(page: Path) -> Iterator[str]:
    """Yield what a page names as a file or folder of the source."""
    yield from FILE.findall(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    missing = {name for name in named_files(page) if not any(list(root.glob(name.rstrip("/"))) for root in ROOTS)}

    assert set() == missing - ELSEWHERE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))

    assert [] == [link for link in links if not (page.parent / link).exists()]


def test_the_way_in_leads_to_every_page() -> None:
    way_in = (ROOT / "core/README.md").read_text(encoding="utf-8")

    assert [] == [page.name for page in PAGES if page.name != "README.md" and f"]({page.name})" not in way_in]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_functions_that_a_page_places_in_a_file_are_there(page: Path) -> None:
    placed = FUNCTION.findall(page.read_text(encoding="utf-8"))

    assert [] == [
        (name, file)
        for name, file in placed
        if f"def {name}(" not in (ROOT / "core/naiad" / file).read_text(encoding="utf-8")
    ]


def test_the_write_path_is_eleven_files() -> None:
    text = (ROOT / "core/ARCHITECTURE.md").read_text(encoding="utf-8")
    path = re.findall(r"^\| \d+ \| `([^`]+)`", text, re.MULTILINE)

    assert 11 == len(path) == len(set(path))
