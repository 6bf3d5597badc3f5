from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

import naiad
from naiad import html


def is_small_and_safe(page: str) -> bool:
    ElementTree.fromstring(page)
    return len(page.encode()) <= html.MOST_BYTES and not re.search(r"<script|onload|javascript:", page)


def test_a_run_shows_each_field_with_its_value(run: naiad.Run) -> None:
    run["params/lr"] = 0.125
    run["loss"].extend([0.5, 0.25])
    page = run._repr_html_()

    assert is_small_and_safe(page)
    assert all(f">{text}<" in page for text in ("params/lr", "0.125", "loss", "0.25", "FloatSeries"))


def test_a_namespace_shows_what_is_below_it(run: naiad.Run) -> None:
    run["a/b"] = 1
    run["c"] = 2

    assert ">b<" in run["a"]._repr_html_()
    assert ">c<" not in run["a"]._repr_html_()


def test_what_users_wrote_is_escaped(run: naiad.Run) -> None:
    run["<script>x</script>"] = "</td><script>alert(1)</script>"
    run["s"].append("<img src=x onerror=alert(1)>")

    for page in (run._repr_html_(), run["<script>x<"]._repr_html_(), run["s"]._repr_html_()):
        assert is_small_and_safe(page)
        assert "<img" not in page


def test_a_run_of_thousands_of_fields_stays_small(run: naiad.Run) -> None:
    run.assign({f"p{i}": "€" * 300 for i in range(2000)})
    page = run._repr_html_()

    assert is_small_and_safe(page)
    assert " more</p>" in page


def test_a_series_is_drawn_whatever_its_values(run: naiad.Run) -> None:
    series = {
        "long": [math.sin(i / 100) for i in range(100_000)],
        "one": [1.0],
        "flat": [2.0] * 5,
        "odd": [math.nan, math.inf, 1.0, -1.0],
        "far": [-1.7e308, 1.7e308],
        "none": [math.nan],
    }
    for name, values in series.items():
        run[name].extend(values)
        page = run[name]._repr_html_()

        assert is_small_and_safe(page)
        assert ("<svg" in page) == (name != "none")
        assert "nan," not in page


def test_a_stopped_run_can_still_be_shown(run: naiad.Run) -> None:
    run["lr"] = 0.5
    handler = run["lr"]
    run.stop()

    assert ">0.5<" in run._repr_html_()
    assert ">0.5<" in handler._repr_html_()


def test_a_grid_of_anything_is_escaped_and_says_what_is_left_out() -> None:
    page = html.block("Table", html.grid(["<a>", "b"], [[i, "<" * 300] for i in range(1000)]))

    assert is_small_and_safe(page)
    assert "&lt;a&gt;" in page
    assert " more</p>" in page


@pytest.mark.parametrize("kind", [int, str, bool])
def test_an_atom_shows_its_value(run: naiad.Run, kind: type) -> None:
    run["it"] = kind(1)

    assert f">{kind(1)}<" in run["it"]._repr_html_()
