"""Tags."""

from __future__ import annotations

import numpy as np
import pytest

import naiad
from naiad import types
from naiad.errors import NaiadTypeError, UnsupportedValueWarning


@pytest.mark.parametrize("path", ["sys/tags", "sys/group_tags"])
def test_tags_are_added_removed_and_cleared(run: naiad.Run, path: str) -> None:
    run[path].add("a")
    run[path].add(["b", "c", "a"])
    run[path].add({"d"})
    run[path].remove("b")
    run[path].remove(["never there", "c"])

    assert {"a", "d"} == run[path].fetch()

    run[path].clear()

    assert set() == run[path].fetch()


@pytest.mark.parametrize("tag", ["", "ü", "with, comma", "\ud800", np.str_("np")], ids=ascii)
def test_tag_is_kept_exactly(run: naiad.Run, tag: str) -> None:
    run["sys/tags"].add(tag)

    assert {str(tag)} == run["sys/tags"].fetch()


def test_tag_that_is_no_text_is_refused_with_all_of_its_call(run: naiad.Run) -> None:
    with pytest.raises(NaiadTypeError, match="3"):
        run["sys/tags"].add(["a", 3])

    assert set() == run["sys/tags"].fetch()


def test_assigned_tags_replace_all_others(run: naiad.Run) -> None:
    run["sys/tags"].add("old")
    run["sys/tags"] = types.StringSet(["new"])

    assert {"new"} == run["sys/tags"].fetch()


def test_tags_elsewhere_are_left_out_with_one_warning_naming_both_paths(run: naiad.Run) -> None:
    with pytest.warns(UnsupportedValueWarning, match='"sys/tags" and "sys/group_tags"'):
        run["my/tags"].add("a")
    run["my/tags"].add("b")

    assert not run.exists("my")


def test_tags_are_no_part_of_a_fetched_namespace(run: naiad.Run) -> None:
    run["sys/tags"].add("a")

    assert "tags" not in run["sys"].fetch()


@pytest.mark.usefixtures("store")
def test_tags_of_several_handles_on_one_run_add_up() -> None:
    with naiad.init_run(tags=["a"], custom_run_id="shared") as one, naiad.init_run(custom_run_id="shared") as two:
        two["sys/tags"].add("b")
        one["sys/tags"].add("c")

        assert {"a", "b", "c"} == one["sys/tags"].fetch() == two["sys/tags"].fetch()
