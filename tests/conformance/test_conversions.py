"""What becomes of the objects of real libraries: images compared pixel for pixel, pages that need no internet."""

from __future__ import annotations

import base64
import importlib
import io
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from naiad import plugins
from naiad.errors import NaiadTypeError, NaiadValueError, NaiadWarning, PluginWarning, forget_warnings
from naiad.types import File

os.environ.setdefault("MPLBACKEND", "Agg")

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (5, 7, 4), dtype=np.uint8)
SHARES = (np.arange(35) / 34).reshape(5, 7)
NASTY = "<script>alert(1)</script>&\"'</table>"


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Warnings are given anew by each test, and pyplot has no figure."""
    forget_warnings()
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def decoded(file: File) -> Image.Image:
    """The image in a file, as another program reads it."""
    assert "png" == file.extension
    return Image.open(io.BytesIO(file.content))


def pixels(file: File) -> Any:
    return np.asarray(decoded(file))


# Arrays: shapes, and the rule of autoscale.

SHAPES = {
    "(H, W)": (GREY, "L"),
    "(H, W, 1)": (GREY[:, :, None], "L"),
    "(H, W, 3)": (COLOUR, "RGB"),
    "(H, W, 4)": (ALPHA, "RGBA"),
    "one pixel": (GREY[:1, :1], "L"),
    "not contiguous": (COLOUR[::-1, ::2], "RGB"),
    "read only": (np.broadcast_to(GREY[:1], (5, 7)), "L"),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("autoscale", [True, False])
def test_array_of_bytes_comes_back_as_it_was(name: str, autoscale: bool) -> None:
    array, mode = SHAPES[name]
    before = array.copy()

    file = File.as_image(array, autoscale=autoscale)

    assert mode == decoded(file).mode
    np.testing.assert_array_equal(array.reshape(pixels(file).shape), pixels(file))
    np.testing.assert_array_equal(before, array)


@pytest.mark.parametrize("shape", [(), (7,), (3, 5, 7), (5, 7, 2), (5, 7, 5), (1, 5, 7, 3)], ids=str)
def test_array_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    array = np.zeros(shape)

    with pytest.raises(NaiadValueError, match="cannot be converted to an image"):
        File.as_image(array)
    assert not File.is_convertable(array)


@pytest.mark.parametrize("shape", [(0, 7), (5, 0), (0, 0, 3)], ids=str)
def test_empty_array_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(NaiadValueError, match="has no pixels"):
        File.as_image(np.zeros(shape))


@pytest.mark.parametrize("dtype", ["complex128", "U1", "O", "datetime64[s]", [("r", "u1")]], ids=str)
def test_array_of_something_else_is_refused(dtype: Any) -> None:
    with pytest.raises(NaiadTypeError, match="cannot be converted to an image"):
        File.as_image(np.zeros((5, 7), dtype=dtype))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 127, 255]),
        ([0.2, 0.999, 0.3], [51, 254, 76]),
        ([0.0, 0.0, 0.0], [0, 0, 0]),
        ([0.0, 1.5, 254.9], [0, 1, 254]),
        ([0, 1, 1], [0, 255, 255]),
        ([0, 1, 2], [0, 1, 2]),
        ([0, 128, 255], [0, 128, 255]),
        ([False, True, True], [0, 255, 255]),
    ],
    ids=str,
)
def test_autoscale_leaves_colours_and_multiplies_shares(values: list[Any], expected: list[int]) -> None:
    np.testing.assert_array_equal([expected], pixels(File.as_image(np.array([values]))))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8", "int64", "uint64", "bool"])
def test_autoscale_makes_white_of_one_in_every_dtype(dtype: str) -> None:
    np.testing.assert_array_equal([[0, 255]], pixels(File.as_image(np.array([[0, 1]], dtype=dtype))))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "int64"])
def test_values_that_are_no_colours_wrap_with_one_warning(dtype: str) -> None:
    array = np.array([[-1, 0, 255, 256, 300]], dtype=dtype)

    with pytest.warns(NaiadWarning, match="An image has values from -1 to 300; ") as warned:
        files = [File.as_image(array), File.as_image(array)]

    assert (1, __file__) == (len(warned), warned[0].filename)
    for file in files:
        np.testing.assert_array_equal([[255, 0, 255, 0, 44]], pixels(file))


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.0, 0.5, 1.0], [0, 0, 1]), ([0, 1, 2], [0, 1, 2]), ([-1.5, 300.0, 2.9], [255, 44, 2])],
    ids=str,
)
def test_without_autoscale_fractions_are_only_cut(values: list[float], expected: list[int]) -> None:
    np.testing.assert_array_equal([expected], pixels(File.as_image(np.array([values]), autoscale=False)))


def test_nan_is_black_and_does_not_change_how_the_rest_is_scaled() -> None:
    array = np.array([[0.0, np.nan, 0.5, 1.0, np.inf]])

    with pytest.warns(NaiadWarning, match="NaN or infinite") as warned:
        file = File.as_image(array)

    assert 1 == len(warned)
    np.testing.assert_array_equal([[0, 0, 127, 255, 0]], pixels(file))


def test_warning_that_is_an_error_reaches_the_user_as_it_is() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        with pytest.raises(NaiadWarning, match="An image has values from 0 to 300"):
            File.as_image(np.array([[0, 300]]))


def test_image_of_nothing_but_nan_is_black() -> None:
    with pytest.warns(NaiadWarning, match="NaN"):
        file = File.as_image(np.full((2, 2), np.nan))

    np.testing.assert_array_equal(np.zeros((2, 2)), pixels(file))


def test_masked_pixels_are_black() -> None:
    array = np.ma.masked_greater(GREY, 100)

    np.testing.assert_array_equal(np.where(GREY > 100, 0, GREY), pixels(File.as_image(array)))


# Tensors.


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is not installed")


def test_torch_tensor_comes_back_as_it_was(torch: Any) -> None:
    for array in (GREY, COLOUR, ALPHA):
        np.testing.assert_array_equal(array, pixels(File.as_image(torch.from_numpy(array))))


@pytest.mark.parametrize(
    "dtype", ["float16", "bfloat16", "float32", "float64", "uint8", "int64", "bool", "float8_e5m2"]
)
def test_torch_tensor_of_every_dtype_is_scaled(torch: Any, dtype: str) -> None:
    tensor = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).to(getattr(torch, dtype))

    np.testing.assert_array_equal([[0, 255], [255, 0]], pixels(File.as_image(tensor)))


def test_torch_bfloat16_is_scaled_exactly(torch: Any) -> None:
    tensor = torch.linspace(0, 1, 35, dtype=torch.bfloat16).reshape(5, 7)

    expected = (tensor.float().numpy() * 255).astype(np.uint8)
    np.testing.assert_array_equal(expected, pixels(File.as_image(tensor)))


def test_torch_tensor_in_training_is_left_alone(torch: Any) -> None:
    parameter = torch.nn.Parameter(torch.full((5, 7), 0.5))
    made = parameter * 2

    for tensor, expected in ((parameter, 127), (made, 255)):
        np.testing.assert_array_equal(np.full((5, 7), expected), pixels(File.as_image(tensor)))
    assert parameter.requires_grad
    assert made.grad_fn is not None


def test_torch_tensor_that_is_sparse_or_a_view(torch: Any) -> None:
    sparse = torch.eye(3).to_sparse()
    view = torch.from_numpy(COLOUR.transpose(2, 0, 1).copy()).permute(1, 2, 0)

    np.testing.assert_array_equal(np.eye(3) * 255, pixels(File.as_image(sparse)))
    np.testing.assert_array_equal(COLOUR, pixels(File.as_image(view)))


def test_torch_tensor_with_channels_first_is_refused_with_a_remedy(torch: Any) -> None:
    with pytest.raises(NaiadValueError, match=r"shape \(3, 5, 7\) cannot be converted to an image(.|\n)*permute"):
        File.as_image(torch.zeros(3, 5, 7))


def test_torch_tensor_on_a_gpu(torch: Any) -> None:
    if not torch.cuda.is_available():
        pytest.skip("this machine has no CUDA device")

    tensor = torch.from_numpy(COLOUR).cuda()

    np.testing.assert_array_equal(COLOUR, pixels(File.as_image(tensor)))
    assert "cuda" == tensor.device.type


def test_torch_tensor_without_data_costs_one_warning(torch: Any) -> None:
    tensor = torch.zeros(5, 7, device="meta")

    with pytest.warns(PluginWarning, match="'torch' failed in naiad_image: "), pytest.raises(NaiadTypeError):
        File.as_image(tensor)


def test_jax_array_comes_back_as_it_was() -> None:
    jnp = pytest.importorskip("jax.numpy", reason="JAX is 600 MB, so it is not among the packages of the tests")

    np.testing.assert_array_equal(COLOUR, pixels(File.as_image(jnp.asarray(COLOUR))))
    np.testing.assert_array_equal([[0, 127]], pixels(File.as_image(jnp.array([[0, 0.5]], dtype="bfloat16"))))
    with pytest.raises(NaiadValueError):
        File.as_image(jnp.zeros((3, 5, 7)))


def test_tensorflow_tensor_comes_back_as_it_was() -> None:
    tf = pytest.importorskip(
        "tensorflow", reason="TensorFlow is over 1 GB, so it is not among the packages of the tests"
    )

    np.testing.assert_array_equal(COLOUR, pixels(File.as_image(tf.constant(COLOUR))))
    np.testing.assert_array_equal(COLOUR, pixels(File.as_image(tf.Variable(COLOUR))))


def test_what_looks_like_a_tensorflow_tensor_is_asked_for_its_array() -> None:
    class EagerTensor:
        def numpy(self) -> Any:
            return COLOUR

    EagerTensor.__module__ = "tensorflow.python.framework.ops"

    np.testing.assert_array_equal(COLOUR, pixels(File.as_image(EagerTensor())))


# Pillow.


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_pillow_image_keeps_its_mode_and_pixels(mode: str) -> None:
    image = Image.new(mode, (2, 1)) if mode == "I;16" else Image.fromarray(ALPHA).convert(mode)
    if mode == "I;16":
        image.putpixel((1, 0), 40_000)

    file = File.as_image(image)

    assert mode == decoded(file).mode
    np.testing.assert_array_equal(np.asarray(image), pixels(file))


@pytest.mark.parametrize(
    ("source", "mode", "kept"),
    [
        ("RGB", "CMYK", "RGB"),
        ("RGB", "YCbCr", "RGB"),
        ("RGB", "HSV", "RGB"),
        ("RGB", "RGBX", "RGB"),
        ("RGBA", "RGBa", "RGBA"),
    ],
)
def test_pillow_image_whose_mode_png_lacks_is_converted(source: str, mode: str, kept: str) -> None:
    image = Image.fromarray(ALPHA).convert(source).convert(mode)

    file = File.as_image(image)

    assert kept == decoded(file).mode
    np.testing.assert_array_equal(np.asarray(image.convert(kept)), pixels(file))


def test_pillow_image_of_integers_keeps_16_bits() -> None:
    image = Image.fromarray(np.array([[0, 40_000, 65_535]], dtype=np.int32))

    assert "I" == image.mode
    np.testing.assert_array_equal([[0, 40_000, 65_535]], pixels(File.as_image(image)))


def test_pillow_image_of_numbers_is_scaled_like_an_array() -> None:
    image = Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32))

    assert "F" == image.mode
    np.testing.assert_array_equal([[0, 127, 255]], pixels(File.as_image(image)))
    with pytest.warns(NaiadWarning, match="values from -1 to 70000"):
        File.as_image(Image.fromarray(np.array([[-1, 70_000]], dtype=np.int32)))


def test_pillow_image_opened_from_a_file() -> None:
    stream = io.BytesIO()
    Image.fromarray(COLOUR).save(stream, format="WEBP", lossless=True)

    np.testing.assert_array_equal(COLOUR, pixels(File.as_image(Image.open(stream))))


# Matplotlib and seaborn.


@pytest.fixture
def plt() -> Any:
    return importlib.import_module("matplotlib.pyplot")


def drawing(figure: Any) -> Any:
    """The pixels that Matplotlib itself makes of a figure."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", bbox_inches="tight")
    return np.asarray(Image.open(stream))


def curve(plt: Any) -> Any:
    figure, axes = plt.subplots()
    axes.plot([0.9, 0.5, 0.25], label="loss")
    axes.set_title("Ünïcode $x^2$")
    axes.legend()
    return figure


MATPLOTLIB: dict[str, Callable[[Any, Any], object]] = {
    "figure": lambda figure, plt: figure,
    "axes": lambda figure, plt: figure.axes[0],
    "pyplot": lambda figure, plt: plt,
}


@pytest.mark.parametrize("name", MATPLOTLIB)
def test_matplotlib_figure_is_drawn_as_matplotlib_draws_it(plt: Any, name: str) -> None:
    figure = curve(plt)
    subject = MATPLOTLIB[name](figure, plt)

    for file in (File.as_image(subject), File.create_from(subject), plugins.first("naiad_convert", value=subject)):
        np.testing.assert_array_equal(drawing(figure), pixels(file))
    assert [figure.number] == plt.get_fignums(), "it stays open"


def test_matplotlib_figure_of_several_kinds_of_axes(plt: Any) -> None:
    figure = plt.figure()
    left, right = figure.subfigures(1, 2)
    three = left.add_subplot(projection="3d")
    polar = right.add_subplot(projection="polar")
    picture = drawing(figure)

    for subject in (figure, left, right, three, polar):
        np.testing.assert_array_equal(picture, pixels(File.as_image(subject)))


def test_matplotlib_figure_without_pyplot() -> None:
    figure = importlib.import_module("matplotlib.figure").Figure()
    figure.subplots().plot([1, 2])

    np.testing.assert_array_equal(drawing(figure), pixels(File.as_image(figure)))


def test_pyplot_without_a_figure_is_refused(plt: Any) -> None:
    with pytest.raises(NaiadValueError, match="pyplot has no figure yet"):
        File.as_image(plt)


def test_matplotlib_figure_that_cannot_be_drawn_costs_one_warning(plt: Any) -> None:
    figure = curve(plt)
    figure.axes[0].set_title("$\\no_such_command$")

    with pytest.warns(PluginWarning, match="'matplotlib' failed in naiad_image: "), pytest.raises(NaiadTypeError):
        File.as_image(figure)


def test_matplotlib_page_shows_the_same_picture(plt: Any) -> None:
    figure = curve(plt)

    page = checked_page(File.as_html(figure))

    (source,) = page.sources
    np.testing.assert_array_equal(drawing(figure), np.asarray(Image.open(io.BytesIO(embedded(source)))))


GRIDS: dict[str, Callable[[Any, Any], Any]] = {
    "FacetGrid": lambda sns, frame: sns.FacetGrid(frame, col="kind").map(sns.scatterplot, "x", "y"),
    "PairGrid": lambda sns, frame: sns.PairGrid(frame[["x", "y"]]).map(sns.scatterplot),
    "JointGrid": lambda sns, frame: sns.JointGrid(frame, x="x", y="y").plot_joint(sns.scatterplot),
    "ClusterGrid": lambda sns, frame: sns.clustermap(frame[["x", "y"]]),
}


@pytest.mark.parametrize("name", GRIDS)
def test_seaborn_grid_is_drawn_as_matplotlib_draws_it(name: str) -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [3.0, 1.0, 2.0], "kind": ["a", "b", "a"]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seaborn 0.13 calls what newer packages have deprecated
        grid = GRIDS[name](importlib.import_module("seaborn"), frame)
        picture = drawing(grid.figure)

        for file in (File.as_image(grid), File.create_from(grid), plugins.first("naiad_convert", value=grid)):
            np.testing.assert_array_equal(picture, pixels(file))
        assert 1 == len(checked_page(File.as_html(grid)).sources)


# Pages.


class Page(HTMLParser):
    """What a page loads from elsewhere, and which elements and texts it has."""

    LOADING = {"src", "data", "poster", "background", "srcset"}

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.scripts: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attributes if name in self.LOADING]
        self.sources += [value or "" for name, value in attributes if (tag, name) == ("link", "href")]

    def handle_data(self, data: str) -> None:
        (self.scripts if self.cdata_elem == "script" else self.texts).append(data)

    @property
    def external(self) -> list[str]:
        return [source for source in self.sources if not source.startswith(("data:", "#"))]


def parsed(file: File) -> Page:
    assert "html" == file.extension
    page = Page()
    page.feed(file.content.decode())
    return page


def checked_page(file: File) -> Page:
    """A page that loads nothing and says its encoding."""
    page = parsed(file)
    assert [] == page.external
    assert "@import" not in "".join(page.texts)
    assert b"utf-8" in file.content[:3000].lower()
    return page


def embedded(source: str) -> bytes:
    return base64.b64decode(source.partition("base64,")[2])


def plotly_figure() -> Any:
    return importlib.import_module("plotly.graph_objects").Figure(
        {"data": [{"type": "scatter", "x": [1, 2], "y": [123456.75, 7], "name": "zażółć"}]}
    )


def bokeh_plot() -> Any:
    plot = importlib.import_module("bokeh.plotting").figure(title="zażółć")
    plot.line([1, 2], [123456.75, 7])
    return plot


def bokeh_layout() -> Any:
    return importlib.import_module("bokeh.layouts").row(bokeh_plot(), bokeh_plot())


def altair_chart() -> Any:
    frame = pd.DataFrame({"zażółć": [1, 2], "y": [123456.75, 7]})
    return importlib.import_module("altair").Chart(frame).mark_line().encode(x="zażółć:Q", y="y")


def altair_layers() -> Any:
    return (altair_chart() + altair_chart()) | altair_chart()


CHARTS: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "plotly": (plotly_figure, ("plotly.js v", "123456.75")),
    "bokeh": (bokeh_plot, ("Bokeh", "123456.75")),
    "bokeh layout": (bokeh_layout, ("Bokeh", "123456.75")),
    "altair": (altair_chart, ("vegaEmbed", "123456.75")),
    "altair layers": (altair_layers, ("vegaEmbed", "123456.75")),
}


@pytest.mark.parametrize("name", CHARTS)
def test_chart_is_a_page_that_draws_without_internet(name: str) -> None:
    make, expected = CHARTS[name]
    chart = make()

    for file in (File.as_html(chart), File.create_from(chart), plugins.first("naiad_convert", value=chart)):
        page = checked_page(file)
        script = "".join(page.scripts)
        assert all(text in script for text in expected)
        assert len(script) > 500_000, "the library itself is in the page"


@pytest.mark.parametrize("name", CHARTS)
def test_chart_is_no_image(name: str) -> None:
    chart = CHARTS[name][0]()

    assert (True, False, True) == (
        File.is_convertable(chart),
        File.is_convertable_to_image(chart),
        File.is_convertable_to_html(chart),
    )


def test_plotly_can_be_left_out_of_the_page() -> None:
    for make in (File.as_html, File.create_from):
        page = parsed(make(plotly_figure(), include_plotlyjs="cdn"))

        assert ["https"] == [source.partition(":")[0] for source in page.external]


def test_altair_chart_has_all_its_rows() -> None:
    chart = importlib.import_module("altair").Chart(pd.DataFrame({"x": range(6000)})).mark_point().encode(x="x")

    assert '"x": 5999' in "".join(checked_page(File.as_html(chart)).scripts)


def test_altair_chart_without_vl_convert_needs_internet_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("naiad.conversions.altair.find_spec", lambda name: None)

    with pytest.warns(NaiadWarning, match="pip install vl-convert-python"):
        file = File.as_html(altair_chart())

    assert [] != parsed(file).external
    assert "123456.75" in "".join(parsed(file).scripts)


# Frames.


def pandas_frame(**columns: list[Any]) -> Any:
    return pd.DataFrame(columns)


def polars_frame(**columns: list[Any]) -> Any:
    return importlib.import_module("polars").DataFrame(columns)


FRAMES = {"pandas": pandas_frame, "polars": polars_frame}


@pytest.mark.parametrize("name", FRAMES)
def test_frame_is_a_table_with_everything_in_it(name: str) -> None:
    frame = FRAMES[name](number=list(range(1500)), text=["x" * 5000] * 1500, zażółć=[None] * 1500)

    page = checked_page(File.as_html(frame))

    assert {"number", "text", "zażółć", "0", "1499", "x" * 5000} <= set(page.texts)
    assert 1501 == page.tags.count("tr")


@pytest.mark.parametrize("name", FRAMES)
def test_frame_with_many_columns_is_not_cut(name: str) -> None:
    frame = FRAMES[name](**{f"column{number}": [number] for number in range(300)})

    assert {f"column{number}" for number in range(300)} <= set(checked_page(File.as_html(frame)).texts)


@pytest.mark.parametrize("name", FRAMES)
def test_text_in_a_frame_is_text_in_its_page(name: str) -> None:
    frame = FRAMES[name](**{NASTY: [NASTY]})

    page = checked_page(File.as_html(frame))

    assert [] == page.scripts
    assert {"table", "tr", "th", "td", "html", "head", "body", "meta", "style"} >= set(page.tags) - {"thead", "tbody"}
    assert 2 == "".join(page.texts).count(NASTY)


@pytest.mark.parametrize("name", FRAMES)
def test_frame_is_uploaded_as_a_page_and_not_assigned(name: str) -> None:
    frame = FRAMES[name](a=[1])

    assert "html" == File.create_from(frame).extension
    assert not File.is_convertable_to_image(frame)
    assert None is plugins.first("naiad_convert", value=frame)


def test_frame_of_another_library_derived_from_pandas() -> None:
    class GeoDataFrame(pd.DataFrame):
        """As geopandas has it."""

    assert "html" == File.as_html(GeoDataFrame({"a": [1]})).extension


@pytest.mark.parametrize("name", FRAMES)
def test_empty_frame_is_an_empty_table(name: str) -> None:
    assert "table" in checked_page(File.as_html(FRAMES[name]())).tags


# What all of them have in common.


def test_arrays_are_uploaded_as_images_and_not_assigned() -> None:
    np.testing.assert_array_equal(COLOUR, pixels(File.create_from(COLOUR)))
    assert File.is_convertable(COLOUR)
    assert File.is_convertable_to_image(COLOUR)
    assert None is plugins.first("naiad_convert", value=COLOUR)


CODE = """
import sys
from naiad.types import File

for value in (None, 5, "text", b"bytes", {"a": 1}, object(), sys):
    for make in (File.as_image, File.as_html):
        try:
            make(value)
        except TypeError:
            pass
print(*sys.modules)
"""


def test_asking_about_other_objects_imports_no_framework() -> None:
    modules = set(subprocess.check_output([sys.executable, "-c", CODE], text=True).split())

    frameworks = {plugin.name for plugin in plugins.installed()} - {"csv"} | {"PIL"}  # csv is Python's own
    assert set() == modules & frameworks


def test_array_loads_nothing_but_numpy_and_pillow() -> None:
    code = "import sys, numpy; from naiad.types import File; File.as_image(numpy.zeros((2, 2))); print(*sys.modules)"
    modules = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())

    frameworks = {plugin.name for plugin in plugins.installed()} - {"csv"}  # that one is Python's own
    assert {"numpy"} == modules & frameworks
