"""Series of histograms: their verbs, and where they are shown. Kinds, modes and verbs: tests/conformance."""

from __future__ import annotations

import json

import numpy as np
import pytest

import naiad
from naiad.errors import DamagedData, NaiadTypeError, UnsupportedValueWarning, WrongVerb
from naiad.ops import Strings
from naiad.storage.base import Change
from naiad.types import Histogram, HistogramSeries

ONE, TWO = Histogram([0, 1, 2], [5, 3]), Histogram([0, 0.1], densities=[10.0])
LARGE = Histogram(np.linspace(-1, 1, 1001), np.arange(1000))


def test_points_come_back_exactly_ordered_by_step(run: naiad.Run) -> None:
    run["grads/w"].append(TWO, step=7)
    run["grads/w"].extend([ONE, LARGE], steps=[1, 7])

    frame = run["grads/w"].fetch_values()

    assert [1, 7, 7] == frame["step"].tolist()
    assert [ONE, TWO, LARGE] == frame["value"].tolist()
    assert LARGE == run["grads/w"].fetch_last()


def test_dict_of_histograms_makes_a_series_for_each(run: naiad.Run) -> None:
    run["grads"].append({"w": ONE, "b": TWO}, step=3)

    assert (ONE, TWO) == (run["grads/w"].fetch_last(), run["grads/b"].fetch_last())


@pytest.mark.parametrize("value", [0.5, "text", [1, 2], np.histogram([1, 2]), (ONE,)])
def test_other_values_are_refused_with_path_and_value(run: naiad.Run, value: object) -> None:
    run["grads/w"].append(ONE)

    with pytest.raises(NaiadTypeError, match=r'"grads/w" is a series of histograms, so .* cannot be added'):
        run["grads/w"].append(value)

    assert [ONE] == run["grads/w"].fetch_values()["value"].tolist()


def test_refused_extend_leaves_no_points(run: naiad.Run) -> None:
    run["grads/w"].append(ONE)

    with pytest.raises(NaiadTypeError, match="so 3 cannot be added"):
        run["grads/w"].extend([TWO, 3])

    assert [ONE] == run["grads/w"].fetch_values()["value"].tolist()
    run["grads/w"].append(TWO)
    assert [0, 1] == run["grads/w"].fetch_values()["step"].tolist()


def test_histogram_goes_into_no_other_series(run: naiad.Run) -> None:
    run["loss"].append(0.5)
    run["notes"].append("a")

    with pytest.warns(UnsupportedValueWarning, match='"loss" cannot hold'):
        run["loss"].append(ONE)
    with pytest.warns(UnsupportedValueWarning, match='"notes" cannot hold'):
        run["notes"].append(ONE)

    assert [0.5] == run["loss"].fetch_values()["value"].tolist()


def test_single_histogram_cannot_be_assigned(run: naiad.Run) -> None:
    with pytest.raises(NaiadTypeError, match="Add it with append"):
        run["grads/w"] = ONE

    assert not run.exists("grads/w")
    run["grads/w"] = HistogramSeries([ONE])
    with pytest.raises(WrongVerb, match="a HistogramSeries"):
        run["grads/w"].fetch()


def test_value_is_short_in_tables_and_found_by_queries(run: naiad.Run) -> None:
    run["grads/w"].extend([ONE, LARGE])
    run["empty"] = HistogramSeries([])
    run.wait()

    with naiad.init_project(mode="read-only") as project:
        table = project.fetch_runs_table(query='grads/w:histogramSeries CONTAINS "1,000 bins"')
        [row] = table.to_rows()

    assert "1,000 bins from -1 to 1, 499,500 values" == row.get_attribute_value("grads/w")
    assert row.get_attribute_value("empty") is None
    assert "histogramSeries" == row.get_attribute_type("grads/w")


def test_notebook_shows_a_chart_of_the_last_and_a_line_for_each(run: naiad.Run) -> None:
    run["grads/w"].extend([ONE, LARGE])

    page = run.get_structure()["grads"]["w"]._repr_html_()

    assert "2 histograms" in page
    assert "<path d=" in page
    assert "2 bins from 0 to 2, 8 values" in page
    assert "1,000 bins from -1 to 1, 499,500 values" in run["grads"]._repr_html_()


def test_empty_series_is_shown_without_a_chart(run: naiad.Run) -> None:
    run["grads/w"] = HistogramSeries([])

    assert "0 histograms" in run.get_structure()["grads"]["w"]._repr_html_()
    assert [] == run["grads/w"].fetch_values()["value"].tolist()


def test_neptunes_order_of_steps_holds(store: object) -> None:
    assert store
    with naiad.init_run(limits="neptune", mode="sync") as run:
        run["grads/w"].append(ONE, step=2)
        with pytest.raises(naiad.errors.StepOrderError):
            run["grads/w"].append(TWO, step=1)

        assert [ONE] == run["grads/w"].fetch_values()["value"].tolist()


def test_nonsense_in_a_journal_is_reported_as_damage(run: naiad.Run) -> None:
    text = json.dumps({"bin_edges": "B:AQA=", "counts": "B:AA=="})
    op = Strings("grads/w", [text], [0], [1.0], False, 1.0, HistogramSeries.kind)
    run._session.writer.write([Change(op.path, op.kind, (op,))])

    with pytest.raises(DamagedData, match="it tells of no Histogram"):
        run["grads/w"].fetch_values()
