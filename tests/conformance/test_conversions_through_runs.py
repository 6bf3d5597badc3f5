"""Objects of real libraries uploaded and appended through a run, compared with the files that come back by download."""

from __future__ import annotations

import importlib.util
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import naiad
from naiad.errors import forget_warnings
from naiad.types import File

os.environ.setdefault("MPLBACKEND", "Agg")

RNG = np.random.default_rng(1)
GREY = RNG.integers(0, 256, (6, 7), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (6, 7, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (6, 7, 4), dtype=np.uint8)
SHARES = RNG.random((6, 7))


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    forget_warnings()
    yield
    plt = importlib.import_module("matplotlib.pyplot") if importlib.util.find_spec("matplotlib") else None
    if plt is not None:
        plt.close("all")


def of(name: str) -> Any:
    return pytest.importorskip(name, reason=f"{name} is not installed")


def downloads(run: naiad.Run, value: Any, folder: Path) -> list[Path]:
    """The files that come back after `upload`, `append`, and a copy of the field in a run that goes on later."""
    run["file"].upload(value() if callable(value) else value)
    run["series"].append(value() if callable(value) else value)
    run["copy"] = run["file"]
    run.stop()
    with naiad.init_run(with_id=run._id, mode="read-only") as again:
        again["file"].download(folder)
        again["copy"].download(folder)
        again["series"].download(folder)
        extension = again["file"].fetch_extension()
    return [folder / f"{name}.{extension}" for name in ("file", "copy", "0")]


def pixels(path: Path) -> Any:
    assert path.suffix == ".png"
    with Image.open(path) as image:
        return np.asarray(image)


PIXELS: dict[str, tuple[Callable[[], Any], Any]] = {
    "numpy grey": (lambda: GREY, GREY),
    "numpy one channel": (lambda: GREY[:, :, None], GREY),
    "numpy colour": (lambda: COLOUR, COLOUR),
    "numpy alpha": (lambda: ALPHA, ALPHA),
    "numpy shares": (lambda: SHARES, (SHARES * 255).astype(np.uint8)),
    "numpy view": (lambda: COLOUR[::-1, ::2], COLOUR[::-1, ::2]),
    "numpy boolean": (lambda: GREY > 99, (GREY > 99) * np.uint8(255)),
    "torch": (lambda: of("torch").from_numpy(COLOUR), COLOUR),
    "torch in training": (lambda: of("torch").tensor(SHARES, requires_grad=True), (SHARES * 255).astype(np.uint8)),
    "jax": (lambda: of("jax.numpy").asarray(GREY), GREY),
    "tensorflow": (lambda: of("tensorflow").constant(GREY), GREY),
    "PIL L": (lambda: Image.fromarray(GREY), GREY),
    "PIL RGB": (lambda: Image.fromarray(COLOUR), COLOUR),
    "PIL RGBA": (lambda: Image.fromarray(ALPHA), ALPHA),
}


@pytest.mark.parametrize("name", PIXELS)
def test_image_comes_back_pixel_for_pixel(run: naiad.Run, tmp_path: Path, name: str) -> None:
    make, expected = PIXELS[name]

    for path in downloads(run, make(), tmp_path):
        np.testing.assert_array_equal(expected, pixels(path))


def figure() -> Any:
    plt = of("matplotlib.pyplot")
    made, axes = plt.subplots(figsize=(2, 1))
    axes.plot([1, 3, 2])
    return made


def grid() -> Any:
    seaborn, pandas = of("seaborn"), of("pandas")
    return seaborn.pairplot(pandas.DataFrame({"a": [1.0, 2, 4], "b": [3.0, 1, 2]}), height=1)


def drawn(made: Any) -> Any:
    """What matplotlib itself makes of a figure."""
    content = io.BytesIO()
    made.savefig(content, format="png", bbox_inches="tight")
    return np.asarray(Image.open(content))


@pytest.mark.parametrize("how", ["figure", "axes", "pyplot", "grid"])
def test_figure_comes_back_as_matplotlib_draws_it(run: naiad.Run, tmp_path: Path, how: str) -> None:
    made = grid() if how == "grid" else figure()
    value = {"axes": lambda: made.axes[0], "pyplot": lambda: of("matplotlib.pyplot")}.get(how, lambda: made)()

    expected = drawn(made.figure if how == "grid" else made)
    run["assigned"] = value

    np.testing.assert_array_equal(expected, np.asarray(Image.open(io.BytesIO(run["assigned"].fetch_content()))))
    for path in downloads(run, value, tmp_path):
        np.testing.assert_array_equal(expected, pixels(path))


def _bokeh() -> Any:
    plot = of("bokeh.plotting").figure(width=100, height=100, title="987654")
    plot.line([1, 2], [3, 4])
    return plot


def _altair() -> Any:
    altair, pandas = of("altair"), of("pandas")
    return altair.Chart(pandas.DataFrame({"x": [1, 2], "y": [1, 987654]})).mark_point().encode(x="x", y="y")


CHARTS: dict[str, tuple[Callable[[], Any], str]] = {
    "plotly": (lambda: of("plotly.graph_objects").Figure(data=[{"type": "bar", "y": [1, 987654, 2]}]), "987654"),
    "bokeh": (_bokeh, "987654"),
    "altair": (_altair, "987654"),
    "pandas": (lambda: of("pandas").DataFrame({"a": [1, 987654], "b": ["<x>", "y"]}), "987654"),
    "polars": (lambda: of("polars").DataFrame({"a": [1, 987654], "b": ["<x>", "y"]}), "987654"),
}


@pytest.mark.parametrize("name", CHARTS)
def test_chart_and_frame_come_back_as_a_page_with_their_data(run: naiad.Run, tmp_path: Path, name: str) -> None:
    make, datum = CHARTS[name]

    for path in downloads(run, make(), tmp_path):
        page = path.read_text(encoding="utf-8")
        assert ".html" == path.suffix
        assert datum in page
        assert '<script src="http' not in page


@pytest.mark.parametrize(
    ("make", "content", "extension"),
    [
        (lambda: b"\0bytes", b"\0bytes", "bin"),
        (lambda: io.BytesIO(b"\0stream"), b"\0stream", "bin"),
        (lambda: io.StringIO("ä"), "ä".encode(), "txt"),
        (lambda: File.from_content("x,y", extension="csv"), b"x,y", "csv"),
        (lambda: Path(__file__), Path(__file__).read_bytes(), "py"),
    ],
    ids=["bytes", "binary stream", "text stream", "File", "Path"],
)
def test_plain_content_comes_back_byte_for_byte(
    run: naiad.Run, tmp_path: Path, make: Callable[[], Any], content: bytes, extension: str
) -> None:
    for path in downloads(run, make, tmp_path):
        assert (content, f".{extension}") == (path.read_bytes(), path.suffix)
