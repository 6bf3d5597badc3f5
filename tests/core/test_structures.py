"""Structured configurations in a run: each field a leaf, with one warning at most, and no exception of a library."""

from __future__ import annotations

import argparse
import enum
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import attrs
import msgspec
import numpy as np
import omegaconf
import pydantic
import pydantic.v1
import pytest
from omegaconf import OmegaConf

import naiad
from naiad.errors import FieldConflict, NaiadValueError, UnsupportedValue, UnsupportedValueWarning
from naiad.structures import Unreadable, as_mapping
from naiad.types import File
from naiad.utils import flatten, stringify_unsupported


class Precision(enum.Enum):
    MIXED = "amp_fp16"
    PAIR = (1, 2)


@dataclass
class Optimizer:
    lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)


@dataclass
class Data:
    optimizer: Optimizer = field(default_factory=Optimizer)
    epochs: int = 3


@attrs.define
class Attrs:
    optimizer: Optimizer = attrs.Factory(Optimizer)
    epochs: int = 3


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    optimizer: Optimizer = Optimizer()
    epochs: int = 3


class OldModel(pydantic.v1.BaseModel):
    optimizer: Any = Optimizer()
    epochs: int = 3


class Struct(msgspec.Struct):
    optimizer: Optimizer = msgspec.field(default_factory=Optimizer)
    epochs: int = 3


CONFIGS: list[Any] = [
    Data(),
    Attrs(),
    Model(),
    OldModel(),
    Struct(),
    SimpleNamespace(optimizer=Optimizer(), epochs=3),
    argparse.Namespace(optimizer=Optimizer(), epochs=3),
    OmegaConf.structured(Data),
    OmegaConf.create({"optimizer": {"lr": 0.1, "betas": [0.9, 0.99]}, "epochs": "${n}", "n": 3}),
    naiad.types.Namespace(Data()),
]


def named(config: object) -> str:
    return f"{type(config).__module__}.{type(config).__name__}"


@pytest.mark.parametrize("mark", [lambda config: config, stringify_unsupported], ids=["as it is", "marked"])
@pytest.mark.parametrize("config", CONFIGS, ids=named)
def test_structured_config_is_a_namespace_without_a_warning(run: naiad.Run, config: object, mark: Any) -> None:
    run["config"] = mark(config)
    run["args"] = {"inner": mark(config)}

    for base in ("config", "args/inner"):
        found = run[base].fetch()
        found.pop("n", None)
        assert found["optimizer"].pop("betas") in ("(0.9, 0.99)", "[0.9, 0.99]")
        assert {"optimizer": {"lr": 0.1}, "epochs": 3} == found


def test_members_that_a_model_was_given_besides_are_kept(run: naiad.Run) -> None:
    run["config"] = Model(more=Precision.MIXED, seconds=timedelta(minutes=1.5))

    assert ("amp_fp16", 90.0) == (run["config/more"].fetch(), run["config/seconds"].fetch())


def test_classes_are_no_configs(run: naiad.Run) -> None:
    for made_of in (Data, Attrs, Model):
        with pytest.warns(UnsupportedValueWarning):
            run[made_of.__name__] = made_of

        assert not run.exists(made_of.__name__)


class Point(NamedTuple):
    x: int
    y: int


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Precision.MIXED, "amp_fp16"),
        (Precision.PAIR, "PAIR"),
        (timedelta(seconds=90), 90.0),
        (np.timedelta64(1500, "ms"), 1.5),
        (np.timedelta64(1500, "ns"), 1e-6),
        ([1, 2.5, "a", None, True], "[1, 2.5, 'a', None, True]"),
        ((), "()"),
        ([], "[]"),
        (Point(1, 2), "Point(x=1, y=2)"),
        ([{"a": 1}, {2}, Optimizer()], "[{'a': 1}, {2}, Optimizer(lr=0.1, betas=(0.9, 0.99))]"),
        (OmegaConf.create([1, [2, {"a": "${b}"}], None]), "[1, [2, {'a': '${b}'}], None]"),
        (OmegaConf.create({"l": ["${a}", {"b": "${a}"}, "???"], "a": 5}).l, "[5, {'b': 5}, '???']"),
        (None, "None"),
    ],
    ids=repr,
)
def test_value_is_kept_without_a_warning(run: naiad.Run, value: object, expected: object) -> None:
    run["alone"] = value
    run["config"] = {"inner": value}
    run["again"] = value
    run["again"] = value

    assert [expected] * 3 == [run[path].fetch() for path in ("alone", "config/inner", "again")]
    assert type(expected) is type(run["alone"].fetch())


def test_members_are_points_too(run: naiad.Run) -> None:
    run["seconds"].extend([timedelta(seconds=1), 2.5])
    run["stage"].append(Precision.MIXED)

    assert [1.0, 2.5] == run["seconds"].fetch_values()["value"].tolist()
    assert "amp_fp16" == run["stage"].fetch_last()


@pytest.mark.parametrize("mark", [lambda config: config, stringify_unsupported], ids=["as it is", "marked"])
def test_missing_values_and_interpolations_that_lead_nowhere(run: naiad.Run, mark: Any) -> None:
    config = OmegaConf.create(
        {
            "lr": 0.1,
            "name": "???",
            "model": {"depth": 3, "width": "???"},
            "cwd": "${nowhere}",
            "none": None,
            "sub": None,
        }
    )
    with pytest.warns(UnsupportedValueWarning) as given:
        run["config"] = mark(config)

    assert 1 == len(given)
    assert '2 values were left out: "config/name", "config/model/width".' in str(given[0].message)
    assert {"lr": 0.1, "model": {"depth": 3}, "cwd": "${nowhere}", "none": "None", "sub": "None"} == run[
        "config"
    ].fetch()


def test_empty_configurations(run: naiad.Run) -> None:
    run["config"] = {"a": omegaconf.DictConfig(None), "b": omegaconf.ListConfig(None), "c": OmegaConf.create({})}
    with pytest.warns(UnsupportedValueWarning, match="it is missing"):
        run["missing"] = omegaconf.DictConfig("???")

    assert {"a": "None", "b": "None"} == run["config"].fetch()


# None


def write_number(run: naiad.Run) -> None:
    run["x"] = 0.5


def write_point(run: naiad.Run) -> None:
    run["x"].append(0.5)


def write_text(run: naiad.Run) -> None:
    run["x"] = "text"


def write_entry(run: naiad.Run) -> None:
    run["x"].log("text")


def write_dict(run: naiad.Run) -> None:
    run["x"] = {"a": 1}


def write_below(run: naiad.Run) -> None:
    run["x/below"].append(1.0)


def write_file(run: naiad.Run) -> None:
    run["x"].upload(File.from_content("a"))


def write_files(run: naiad.Run) -> None:
    run["x"].upload_files(__file__)


def write_artifact(run: naiad.Run) -> None:
    run["x"].track_files(__file__)


def write_axis(run: naiad.Run) -> None:
    run["x"].configure(min=0)


VERBS = [
    *(write_number, write_point, write_text, write_entry, write_dict, write_below, write_file, write_files),
    *(write_artifact, write_axis),
]


@pytest.mark.parametrize("write", VERBS)
@pytest.mark.parametrize("is_resumed", [False, True])
def test_any_verb_takes_the_place_of_none(run: naiad.Run, write: Any, is_resumed: bool) -> None:
    run["x"] = None
    assert "None" == run["x"].fetch()

    if is_resumed:
        with naiad.init_run(with_id=run["sys/id"].fetch()) as again:
            write(again)
    else:
        write(run)

    with naiad.init_run(with_id=run["sys/id"].fetch(), mode="read-only") as reader:
        kinds = {path: type(leaf).__name__ for path, leaf in reader._leaves().items() if path[0] == "x"}
    assert 1 == len(kinds)
    assert kinds != {"x": "String"} or run["x"].fetch() == "text"


@pytest.mark.parametrize("write", VERBS)
def test_text_of_a_user_that_reads_none_is_ordinary(run: naiad.Run, write: Any) -> None:
    run["x"] = "None"

    if write is write_text:
        write(run)
    else:
        with pytest.raises((TypeError, ValueError, FieldConflict)):
            write(run)

    assert run["x"].fetch() in ("None", "text")


@pytest.mark.parametrize("write", [write for write in VERBS if write not in (write_below, write_dict, write_text)])
def test_none_changes_no_field_of_another_kind(run: naiad.Run, write: Any) -> None:
    write(run)
    before = type(run.get_structure()["x"])

    with pytest.warns(UnsupportedValueWarning, match='"x" is an? .* so None changes nothing there'):
        run["x"] = None

    assert before is type(run.get_structure()["x"])


def test_none_replaces_a_text_and_is_copied_as_none(run: naiad.Run) -> None:
    run["x"] = "text"
    run["x"] = None
    run["y"] = run["x"]
    run["y"] = 5

    assert ("None", 5) == (run["x"].fetch(), run["y"].fetch())


def test_none_stays_where_what_replaces_it_is_refused(run: naiad.Run) -> None:
    run["x"] = None
    with pytest.raises(NaiadValueError):
        run.assign({"x": 0.5, "y": 10**30})
    run["x"].append(1.0)

    assert 1.0 == run["x"].fetch_last()


def test_none_of_one_process_yields_to_the_value_of_another(run: naiad.Run) -> None:
    """Two processes begin at once; the one that knows a value is shown, whichever was first."""
    with naiad.init_run(with_id=run["sys/id"].fetch()) as other:
        run["x"] = None
        other._session.refresh_before_define = lambda: None  # type: ignore[method-assign]  # it has not seen it yet
        other["x"] = 0.5
    run.sync()

    assert 0.5 == run["x"].fetch()


def test_facts_of_the_run_are_never_none(run: naiad.Run) -> None:
    name = run["sys/name"].fetch()
    with pytest.warns(UnsupportedValueWarning, match='"sys/name" cannot be None'):
        run["sys"] = {"name": None, "description": "a text"}

    assert (name, "a text") == (run["sys/name"].fetch(), run["sys/description"].fetch())


def test_none_is_found_by_query(run: naiad.Run) -> None:
    run["config"] = {"weights": None}
    run.sync()
    with naiad.init_project(mode="read-only") as project:
        frame = project.fetch_runs_table(query="`config/weights`:string = None", columns=["config/weights"]).to_pandas()

    assert ["None"] == frame["config/weights"].tolist()


# Warnings


def test_one_warning_a_call_says_how_many_and_where(run: naiad.Run) -> None:
    with pytest.warns(UnsupportedValueWarning) as given:
        run["config"] = {f"o{number}": {1} if number % 6 == 0 else None for number in range(110)}

    assert 1 == len(given)
    assert '19 values were left out: "config/o0", "config/o6", "config/o12" and 16 more.' in str(given[0].message)
    assert 91 == len(run["config"].fetch())


def test_value_of_another_type_warns_again_and_five_times_at_most(run: naiad.Run) -> None:
    def given(value: object) -> int:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run["x"].append(value)
        return len(caught)

    values: list[Any] = [{1}, {2}, [1], len, object(), 1j, frozenset(), range(2)]

    assert [1, 0, 1, 1, 1, 1, 0, 0] == [given(value) for value in values]


def test_strict_run_raises_for_the_first(store: Path) -> None:
    assert store
    with naiad.init_run(strict=True) as run:
        run["kept"] = {"none": None, "list": [1], "enum": Precision.PAIR}
        with pytest.raises(UnsupportedValue, match='"x/b"'):
            run["x"] = {"a": 1, "b": {1}}

        assert not run.exists("x")


@pytest.mark.parametrize(
    "value",
    [
        {0: "a", "0": "b"},
        {"a/b": 1, "a": {"b": 2}},
        {"a//b": 1, "/a/b": 1},
        {True: 1, "True": 2},
        {"a": {1: 1, 1.0j: 2, "1": 3}},
    ],
)
def test_two_keys_of_one_path_are_an_error(run: naiad.Run, value: Any) -> None:
    for write in (
        run["x"].assign,
        run["x"].append,
        run["x"].log,
        lambda each: run["x"].assign(stringify_unsupported(each)),
    ):
        with pytest.raises(NaiadValueError, match=r'the same path "(x/)?(a/b|0|True|a/1|1)"'):
            write(value)

    assert not run.exists("x")


def test_sources_of_one_path_are_an_error(run: naiad.Run) -> None:
    run["a"] = {"x": 1}
    with pytest.raises(NaiadValueError, match='"b/c/x"'):
        run["b"] = {"c": run["a"], "c/x": 5}


# Collections that stringify_unsupported has marked


def test_marked_collections_are_iterated(run: naiad.Run) -> None:
    run["a"].extend(stringify_unsupported([1.0, 2.0]))
    run["b"].extend(stringify_unsupported(["x", {1}]))
    run["c"].log(stringify_unsupported([3, 4]))
    run["d"] = naiad.types.FloatSeries(stringify_unsupported((5, 6)))
    run["d"] = stringify_unsupported([7])
    run.extend(stringify_unsupported({"e": [8, 9]}), steps=stringify_unsupported([5, 6]))

    found = {path: run[path].fetch_values()["value"].tolist() for path in "abcde"}
    assert {"a": [1.0, 2.0], "b": ["x", "{1}"], "c": [3.0, 4.0], "d": [7.0], "e": [8.0, 9.0]} == found


def test_number_as_text_is_a_point_of_a_known_series(run: naiad.Run) -> None:
    run["loss"].append(1)
    run["loss"].append("3")
    run["loss"].extend([" 4.5 ", "nan", "inf"])

    assert [1.0, 3.0, 4.5, "nan", "inf"] == [v if v - v == 0 else str(v) for v in run["loss"].fetch_values()["value"]]
    with pytest.raises(TypeError, match="series of numbers"):
        run["loss"].append("high")


# Objects that raise


class Boom(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even that")


class Hostile:
    """Raises at every question."""

    def __getattribute__(self, name: str) -> Any:
        raise Boom

    def __repr__(self) -> str:
        raise Boom

    def __eq__(self, other: object) -> bool:
        raise Boom

    __hash__ = None  # type: ignore[assignment]


class Proxy:
    """An object that is not there, as of a web framework outside a request."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("outside")

    @property
    def __class__(self) -> Any:
        raise RuntimeError("outside")


class Angry(Mapping[str, Any]):
    def __init__(self, at: str) -> None:
        self.at = at

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[str]:
        if self.at == "iter":
            raise Boom
        return iter(["a", "b"])

    def __getitem__(self, key: str) -> Any:
        if key == "b":
            raise Boom
        return 1


class Endless:
    def __iter__(self) -> Iterator[int]:
        raise Boom

    def __len__(self) -> int:
        raise Boom

    shape = property(lambda _self: (_ for _ in ()).throw(Boom()))


@dataclass
class Untidy:
    fine: int = 1
    unset: int = field(init=False)
    itself: Any = None
    bad: Any = None

    def __repr__(self) -> str:
        raise Boom


class Lazy(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    bad: Any = None

    @property
    def computed(self) -> int:
        raise Boom


HOSTILE: dict[str, Any] = {
    "hostile": Hostile,
    "proxy": Proxy,
    "mapping": lambda: Angry("iter"),
    "endless": Endless,
    "in a list": lambda: [Hostile()],
    "class": lambda: Hostile,
    "in a model": lambda: Lazy(bad=Hostile()),
    "in a dict": lambda: {"x": {"y": Proxy()}},
}


@pytest.mark.parametrize("name", HOSTILE)  # pytest itself asks values that it is given
@pytest.mark.parametrize("mark", [lambda value: value, stringify_unsupported], ids=["as it is", "marked"])
def test_object_that_raises_is_left_out(run: naiad.Run, name: str, mark: Any) -> None:
    for base, write in (("a", run["a"].assign), ("b", run["b"].append), ("c", run["c"].log)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            write({"kept": 1, "lost": mark(HOSTILE[name]())})

        assert run.exists(f"{base}/kept")
        assert not run.exists(f"{base}/lost") or not caught
        assert 1 >= len(caught)


def test_members_that_cannot_be_read_are_left_out(run: naiad.Run) -> None:
    untidy = Untidy(bad=Angry("getitem"))
    untidy.itself = {"back": untidy}
    with pytest.warns(UnsupportedValueWarning) as given:
        run["config"] = untidy

    assert {"fine": 1, "bad": {"a": 1}} == run["config"].fetch()
    assert 1 == len(given)
    assert '"config/unset", "config/itself/back", "config/bad/b"' in str(given[0].message)


def test_list_without_a_text_is_left_out(run: naiad.Run) -> None:
    with pytest.warns(UnsupportedValueWarning, match="cannot hold the text of a list"):
        run["config"] = {"list": [Untidy()], "fine": 1}

    assert {"fine": 1} == run["config"].fetch()


def test_list_beyond_16_mib_is_left_out(run: naiad.Run) -> None:
    with pytest.warns(UnsupportedValueWarning, match='"config/list" cannot hold a text of 20,'):
        run["config"] = {"list": ["x" * 20_000_000], "fine": 1}

    assert {"fine": 1} == run["config"].fetch()


def deep() -> Any:
    made = dataclass(type("Deep", (), {"__annotations__": {"inner": Any}, "inner": None}))()
    made.__class__.inner = property(lambda _self: deep())
    return made


def test_structure_without_an_end_is_left_out(run: naiad.Run) -> None:
    with pytest.warns(UnsupportedValueWarning, match="more than 64 deep"):
        run["config"] = {"deep": deep(), "fine": 1}

    assert {"fine": 1} == run["config"].fetch()


def test_values_of_ours_are_no_structures() -> None:
    for value in (File.from_content("a"), naiad.types.Histogram([0, 1], [1]), naiad.types.GitRef(), Unreadable("x")):
        assert as_mapping(value) is None


def test_flatten_says_what_it_leaves_out_and_returns_the_rest() -> None:
    with pytest.warns(UnsupportedValueWarning, match='"p/unset"'):
        found = flatten(Untidy(bad=2), "p")

    assert [("p/fine", 1), ("p/itself", None), ("p/bad", 2)] == found
