"""What requests share: answers that hold until a container changes, and the files of the pages in memory."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import naiad
from naiad import clock
from naiad.storage.opening import locate
from naiad_web.server import site as sites
from naiad_web.server import tables
from naiad_web.server.access import Access
from naiad_web.server.answers import Answer
from naiad_web.server.pages import Pages
from naiad_web.server.site import Site, Sites

QUIET = {
    "capture_stdout": False, "capture_stderr": False, "capture_hardware_metrics": False, "git_ref": False,
    "source_files": [],
}  # fmt: skip


def site_of(folder: Path) -> Site:
    access = Access("t" * 43)
    granted = access.grant("t" * 43)
    assert granted is not None
    return Sites(locate(folder), access).site(granted)


def log_run(folder: Path) -> None:
    with naiad.init_run(store=str(folder), project="p", **QUIET) as run:
        run["params/lr"] = 0.1


def test_answer_holds_until_a_run_changes(tmp_path: Path) -> None:
    """Counting 100,000 runs is too slow to be done for each viewer, and a new run has to show all the same."""
    log_run(tmp_path / "store")
    site, made = site_of(tmp_path / "store"), []

    def ask() -> None:
        site.fresh("count", lambda: made.append(None))
        site._mark._until = 0.0  # as if a second had passed

    ask()
    ask()
    assert len(made) == 1
    log_run(tmp_path / "store")
    ask()

    assert len(made) == 2


def test_answer_is_made_anew_after_a_minute(tmp_path: Path) -> None:
    """A query for the last hour means another hour by then."""
    log_run(tmp_path / "store")
    site, made = site_of(tmp_path / "store"), []
    site.fresh("hour", lambda: made.append(None))
    site._answers["hour"]._until = clock.monotonic() - 1
    site.fresh("hour", lambda: made.append(None))

    assert len(made) == 2


def test_group_without_a_number_has_the_runs_that_it_counts(tmp_path: Path) -> None:
    """NaN is no number: with those that lack the field."""
    for value in (1, 1.0, float("nan"), None):
        with naiad.init_run(store=str(tmp_path / "store"), project="p", **QUIET) as run:
            if value is not None:
                run["x"] = value
    site = site_of(tmp_path / "store")
    found = tables.groups(site, tables.GroupsWanted(project="p", by=["x"]))
    values = found["by"][0]["values"]
    pages = [tables.table(site, tables.TableWanted(project="p", group=[("x", value)])) for value in values]

    assert sorted(zip(values, found["counts"], strict=True), key=str) == [(1, 2), (None, 2)]
    assert [json.loads(page.body)["total"] for page in pages] == found["counts"]


def test_group_of_tags_has_no_run_with_further_tags(tmp_path: Path) -> None:
    """Nor one with fewer; a run whose tags were removed is with those that never had one."""
    for tags in ([], ["a"], ["a"], ["a", "b"], ["b"], None):
        with naiad.init_run(store=str(tmp_path / "store"), project="p", **QUIET) as run:
            if tags is not None:
                run["sys/tags"].add(["x", *tags])
                run["sys/tags"].remove("x")
    site = site_of(tmp_path / "store")
    found = tables.groups(site, tables.GroupsWanted(project="p", by=["sys/tags"]))
    values = found["by"][0]["values"]
    pages = [tables.table(site, tables.TableWanted(project="p", group=[("sys/tags", value)])) for value in values]

    assert sorted(zip(values, found["counts"], strict=True)) == [([], 2), (["a"], 2), (["a", "b"], 1), (["b"], 1)]
    assert [json.loads(page.body)["total"] for page in pages] == found["counts"]


def test_answers_in_memory_are_bounded(tmp_path: Path) -> None:
    log_run(tmp_path / "store")
    site = site_of(tmp_path / "store")
    for number in range(20):
        site.fresh(number, lambda: Answer(bytes(sites.MOST_BYTES // 5)))

    assert len(site._answers) <= 6


def test_page_is_sent_compressed_and_an_edit_shows(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("let a = 1;\n" * 100)
    pages = Pages(tmp_path)
    first = pages.answer("/static/a.js", encodings="gzip, br")
    plain = pages.answer("/static/a.js")

    assert gzip.decompress(first.body) == plain.body == b"let a = 1;" * 100
    assert (first.headers["content-encoding"], "content-encoding" in plain.headers) == ("gzip", False)
    assert pages.answer("/static/a.js", first.headers["etag"]).status_code == 304
    (tmp_path / "a.js").write_text("let a = 2;")
    (tmp_path / "b.js").write_text("let b = 1;")
    assert pages.answer("/static/a.js", first.headers["etag"]).body == b"let a = 2;"
    assert pages.answer("/static/b.js").status_code == 200
    (tmp_path / "b.js").unlink()
    assert pages.answer("/static/b.js").status_code == 404


def test_files_of_a_page_are_kept_until_one_is_edited(tmp_path: Path) -> None:
    """A browser that has them asks for none of the forty again; after an edit the page names them anew."""
    (tmp_path / "index.html").write_text('<script src="/static/a.js"></script>')
    (tmp_path / "a.js").write_text("let a = 1;")
    pages = Pages(tmp_path)
    name = bytes(pages.answer("/p/x/runs").body).split(b'"')[1].decode()

    assert "immutable" in pages.answer(name).headers["cache-control"]
    assert pages.answer("/static/a.js").headers["cache-control"] == "no-cache"
    assert pages.answer("/static/v-0/a.js").headers["cache-control"] == "no-cache"
    assert pages.answer("/static/v-/a.js").headers["cache-control"] == "no-cache"
    (tmp_path / "a.js").write_text("let a = 23;")
    assert name.encode() not in pages.answer("/").body
    assert pages.answer(name).body == b"let a = 23;"
