"""Mappings: which row a path belongs to, and what a check of a real run finds."""

from __future__ import annotations

import subprocess
import sys

import pytest

import naiad
from naiad.errors import MissingPackage
from naiad.integration import Integration, Row, row_of
from naiad.testing.mapping import check_mapping

LOSS = Row("epoch", "{base}/epoch/{metric}", "float_series", "append", "")
ANY = Row("batch", "{base}/{metric:path}", "float_series", "append", "")
LR = Row("epoch", "{base}/epoch/lr", "float_series", "append", "", when="scheduler and log_lr")
PARAMS = Row("start", "{base}/params/{name:path}", "atom", "assign", "")
CLASSES = Row("end", "{base}/class_{i}/score", "float", "assign", "")


@pytest.mark.parametrize(
    ("row", "path", "base"),
    [
        (LOSS, "a/b/epoch/loss", "a/b"),
        (LOSS, "epoch/loss", ""),
        (ANY, "a/train/loss", "a"),
        (CLASSES, "a/class_12/score", "a"),
        (LOSS, "{x}/epoch/loss", "{x}"),
    ],
)
def test_row_fits_paths_of_its_template(row: Row, path: str, base: str) -> None:
    assert row.fits(path, base)


@pytest.mark.parametrize(
    ("row", "path", "base"),
    [
        (LOSS, "a/epoch/train/loss", "a"),
        (LOSS, "b/epoch/loss", "a"),
        (LOSS, "a/epoch", "a"),
        (LOSS, "x/epoch/loss", "."),
        (CLASSES, "a/class_/score", "a"),
    ],
)
def test_row_fits_no_others(row: Row, path: str, base: str) -> None:
    assert not row.fits(path, base)


def test_most_specific_row_of_the_kind_has_the_path() -> None:
    rows = (ANY, LOSS, LR, PARAMS)

    assert LR == row_of(rows, "a/epoch/lr", "float_series", "a")
    assert LOSS == row_of(rows, "a/epoch/loss", "float_series", "a")
    assert ANY == row_of(rows, "a/params/x", "float_series", "a")
    assert PARAMS == row_of(rows, "a/params/x", "int", "a")
    assert None is row_of(rows, "epoch", "float_series", "a")


def test_row_needs_all_that_it_names() -> None:
    assert (False, False, True) == tuple(LR.is_on(when) for when in ((), ("log_lr",), ("log_lr", "scheduler")))
    assert LOSS.is_on(())


INTEGRATION = Integration(
    "toy", "Toy 2", {"toy": "toy"}, ">=2,<3", "toy:Adapter", (LOSS, LR, PARAMS), base="training", extra="toy"
)


def test_check_passes_for_what_the_rows_say(run: naiad.Run) -> None:
    run["training/params"] = {"lr": 0.1, "model/layers": 3}
    run["training/epoch/loss"].append(0.5)

    check_mapping(INTEGRATION, run)


def test_check_names_each_difference(run: naiad.Run) -> None:
    run["training/epoch/lr"].append(0.5)
    run["training/epoch/loss"] = 0.5
    run["training/parms/lr"] = 0.5
    run["mine"] = True

    with pytest.raises(AssertionError) as caught:
        check_mapping(INTEGRATION, run, when={"log_lr", "no_such_option"}, besides={"mine"})

    assert [
        "The mapping of Toy 2 and the run differ:",
        "when='no_such_option' is in no row",
        "training/epoch/loss (float): its row, {base}/epoch/{metric}, says float_series",
        "training/epoch/lr (float_series): its row, {base}/epoch/lr, is for when='scheduler and log_lr'",
        "training/parms/lr (float): no row fits",
        "{base}/epoch/{metric} (float_series): epoch wrote nothing there",
        "{base}/params/{name:path} (atom): start wrote nothing there",
    ] == str(caught.value).splitlines()


def test_missing_framework_is_named_with_its_remedy() -> None:
    message = (
        "ToyCallback needs Toy 2, and importing toy failed: No module named 'toy'\n"
        'Install it with: pip install "naiad[toy]"'
    )
    with pytest.raises(MissingPackage) as caught, INTEGRATION.needed_by("ToyCallback"):
        import toy  # noqa: F401 (it is not there)

    assert (message, "toy") == (str(caught.value), caught.value.package)


def test_missing_framework_of_others_is_installed_by_its_own_name() -> None:
    others = Integration("toy", "Toy 2", {"toy": "toy-learn"}, ">=2,<3", "toy:Adapter", ())

    with pytest.raises(MissingPackage, match=r'pip install "toy-learn>=2,<3"$'), others.needed_by("ToyCallback"):
        import toy  # noqa: F401 (it is not there)


def test_check_leaves_out_what_fits_a_pattern(run: naiad.Run) -> None:
    run["training"] = {"params/lr": 0.1, "plots/roc.png": 1, "plots/fold/pr.png": 2}
    run["training/epoch/loss"].append(0.5)
    run["data/version"] = "a"

    check_mapping(INTEGRATION, run, besides={"{base}/plots/{name:path}.png", "data/*"})
    with pytest.raises(AssertionError, match="training/plots/fold/pr.png"):
        check_mapping(INTEGRATION, run, besides={"{base}/plots/{name}.png", "data/version"})


def test_other_trouble_of_a_framework_stays_what_it_is() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_backend") as caught, INTEGRATION.needed_by("ToyCallback"):
        import no_such_backend  # noqa: F401 (it is not there)

    assert ModuleNotFoundError is type(caught.value)


def test_versions_are_compared_as_versions() -> None:
    assert [True, True, False, False] == [INTEGRATION.supports(each) for each in ("2.10", "2.0.1rc1", "3.0", "1.9")]


@pytest.mark.parametrize("name", ["kedro", "keras", "lightning", "sklearn"])
def test_looking_at_an_integration_imports_no_framework(name: str) -> None:
    code = f"import sys, naiad_{name}, naiad_{name}.plugin; print(dir(naiad_{name}), *sys.modules)"
    modules = set(subprocess.check_output([sys.executable, "-W", "error", "-c", code], text=True).split())

    assert set() == modules & {"kedro", "keras", "lightning", "pytorch_lightning", "sklearn", "torch", "jax", "numpy"}
