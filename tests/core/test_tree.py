"""The tree of what exists: conflicts, namespaces that come and go, suggestions, printing."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from naiad.errors import FieldConflict
from naiad.tree import Tree, lines_of, nested


def tree_of(*paths: str) -> Tree[str]:
    tree: Tree[str] = Tree()
    for path in paths:
        tree.check(path)
        tree.put(path, "leaf")
    return tree


def test_namespaces_exist_while_something_is_below_them() -> None:
    tree = tree_of("a/b/c", "a/d")
    tree.remove("a/b/c")

    assert not tree.is_namespace("a/b")
    assert tree.is_namespace("a")

    tree.remove("a/d")

    assert not tree.is_namespace("a")
    assert tree.is_namespace("")


def test_a_field_cannot_lie_below_a_field() -> None:
    tree = tree_of("a/b")

    with pytest.raises(FieldConflict, match='"a/b/c/d" cannot exist, because "a/b" is a'):
        tree.check("a/b/c/d")


def test_a_field_cannot_lie_where_a_namespace_is() -> None:
    tree = tree_of("a/b/c")

    with pytest.raises(FieldConflict, match='"a/b/c" exists'):
        tree.check("a")


def test_expected_leaf_is_made_when_it_is_first_asked_for() -> None:
    made = []
    tree: Tree[str] = Tree()

    def make(path: str) -> str:
        made.append(path)
        tree.put(path, path.upper())
        return path.upper()

    tree.expect({"a/b": "float", "a/c": "int", "d": "float"}, make)

    assert ["a/b", "a/c", "d"] == tree.paths()
    assert tree.is_namespace("a")
    assert not tree.takes(["a/b"])
    assert [] == made
    assert "A/B" == tree.get("a/b") == tree.get("a/b")
    assert ["a/b"] == made
    assert ["A/B"] == tree.made() == tree.made("a")
    tree.drop_unmade({"a/c": "float", "d": "float"})
    assert ["a/b", "d"] == tree.paths()
    tree.remove("d")
    assert None is tree.get("d")
    assert ["a/b"] == made


def test_expected_leaves_that_an_interrupt_leaves_out_are_made_after_the_next_look() -> None:
    tree: Tree[str] = Tree()
    kinds = {f"m/{number}": "int" for number in range(4)}

    def make(path: str) -> str | None:
        kind = tree.unmade.get(path)
        if kind is not None:
            tree.put(path, f"{path} made")
        return tree.get(path)

    class Interrupted(dict[str, str]):
        """The paths, of which only two can be gone through."""

        def __iter__(self) -> Iterator[str]:
            yield from ("m/0", "m/1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tree.expect(Interrupted(kinds), make)
    before = tree.get("m/1"), tree.holds("m/2")
    tree.expect({path: kind for path, kind in kinds.items() if not tree.holds(path)}, make)

    assert ("m/1 made", False) == before
    assert [f"{path} made" for path in kinds] == [*map(tree.get, kinds)]
    assert {} == tree.unmade


def test_like_named_siblings_are_no_conflict() -> None:
    tree = tree_of("a/b")
    tree.check("a/bc")
    tree.check("a/c/b")


def test_paths_below_a_namespace_come_without_its_like_named_neighbours() -> None:
    tree = tree_of("a/b", "ab/c", "a/d/e", "x")

    assert ["a/b", "a/d/e"] == tree.paths("a")
    assert ["x"] == tree.paths("x")
    assert [] == tree.paths("none")


def test_near_paths_are_found_for_a_typing_error() -> None:
    tree = tree_of("train/loss", "train/loss_epoch", "params/lr")

    assert "train/loss" == tree.near("train/los")[0]
    assert ["train/loss", "train/loss_epoch"] == tree.near("train")
    assert [] == tree.near("something/else/entirely")


def test_near_paths_are_found_behind_thousands_of_others() -> None:
    """The one that was meant may be logged after very many paths of the same length."""
    tree = tree_of(*(f"s/{i:05d}" for i in range(6_000)), *(f"g/{i:05d}" for i in range(6_000)), "sys/tags")

    assert "g/05999" == tree.near("g/05999x")[0]
    assert ["sys/tags"] == tree.near("sys/tag")


def test_near_paths_are_found_quickly_among_many() -> None:
    tree = tree_of(*(f"metrics/layer_{i}/weight" for i in range(50_000)))
    began = time.thread_time()

    tree.near("metrics/layer_x/weight")

    assert time.thread_time() - began < 2


def test_completions_are_relative_and_contain_namespaces() -> None:
    tree = tree_of("a/b/c", "a/d")

    assert ["b", "b/c", "d"] == tree.completions("a")
    assert ["a", "a/b", "a/b/c", "a/d"] == tree.completions()


def test_a_path_of_five_hundred_parts_needs_no_recursion() -> None:
    deep = "/".join("a" * 500)
    tree = tree_of(deep)

    assert [deep] == tree.paths("a")
    assert 500 == len(list(lines_of({deep: 1}, is_coloured=False)))


def test_nested_dicts_hold_what_is_below_a_prefix() -> None:
    assert {"b": 1, "c": {"d": 2}} == nested({"a/b": 1, "a/c/d": 2}, "a")
    assert {} == nested({})


def test_lines_are_sorted_and_indented_by_four_spaces() -> None:
    lines = list(lines_of({"b": 1.0, "a/z": "x", "a/c/d": 2}, is_coloured=False))

    assert ["'a':", "    'c':", "        'd': int", "    'z': str", "'b': float"] == lines


def test_names_are_blue_where_colour_is_wanted() -> None:
    assert ["\033[34m'a'\033[0m: int"] == list(lines_of({"a": 1}, is_coloured=True))
