"""The bad inputs of reliability.md, section 6, as far as they reach the field types that are here: a test a row.

Each shows one of two things: an exact round trip, or the error that the row names. And then, through `lives_on`, that
the run is as good as before: it takes values, others read it meanwhile, `stop()` seals it, nothing in it is damaged,
and it can be opened again. Where DESIGN.md, section 4, decides otherwise than a row, the test says so.
"""

from __future__ import annotations

import itertools
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import naiad
from naiad.errors import (
    FieldConflict,
    InactiveRun,
    LimitWarning,
    NaiadPathError,
    NaiadTypeError,
    NaiadValueError,
    UnsupportedValue,
    UnsupportedValueWarning,
    WrongVerb,
    forget_warnings,
)
from naiad.storage.local.integrity.verify import verify
from naiad.utils import stringify_unsupported

Look = Callable[[naiad.Run], object]
MIB = 2**20


@pytest.fixture(autouse=True)
def _warnings_afresh() -> None:
    forget_warnings()


def lives_on(run: naiad.Run, expected: object = None, look: Look = lambda _run: None) -> None:
    """A look shows what is expected: now, to a reader beside the writer, and after stop and re-open.

    All along the run takes values, and nothing in it is damaged.
    """
    name = run["sys/id"].fetch()
    assert expected == look(run)
    is_usable(run)
    with naiad.init_run(with_id=name, mode="read-only") as live:
        assert expected == look(live)
    run.stop()
    assert run._store.directory(run._run).seal.exists()
    assert [] == verify(run._store.directory(run._run))
    with naiad.init_run(with_id=name) as again:
        assert expected == look(again)
        is_usable(again)
    assert [] == verify(run._store.directory(run._run))


def is_usable(run: naiad.Run) -> None:
    run["usable/loss"].append(0.25, wait=True)
    run["usable/note"].append("fine")
    run["usable/epochs"] = 3
    assert (0.25, "fine", 3) == (
        run["usable/loss"].fetch_last(),
        run["usable/note"].fetch_last(),
        run["usable/epochs"].fetch(),
    )


def points(run: naiad.Run, path: str = "x") -> list[tuple[float, Any]]:
    frame = run[path].fetch_values(include_timestamp=False)
    return list(zip(frame["step"].tolist(), frame["value"].tolist(), strict=True))


def bits(value: float) -> bytes:
    return np.float64(value).tobytes()


def left_out(run: naiad.Run, value: Any, *verbs: str) -> None:
    """Assigning and appending warn, name path, type and remedy, and store nothing; a strict run raises."""
    for verb, path in ((verb, f"{verb}ed") for verb in verbs or ("assign", "append")):
        with pytest.warns(UnsupportedValueWarning) as given:
            getattr(run[path], verb)(value)
        text = str(given[0].message)
        assert f'"{path}"' in text
        assert type(value).__name__ in text
        assert "stringify_unsupported" in text
        assert not run.exists(path)
        with naiad.init_run(strict=True) as strict, pytest.raises(UnsupportedValue):
            getattr(strict[path], verb)(value)


# Values


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
def test_nan_and_infinities_are_kept_bit_for_bit(run: naiad.Run, value: float) -> None:
    """Row 1. That they are left out of minimum, maximum and mean is shown with the reader."""
    run["x"].extend([1.0, value, 3.0])
    run["atom"] = value

    lives_on(
        run,
        (bits(value), [bits(1.0), bits(value), bits(3.0)]),
        lambda run: (bits(run["atom"].fetch()), [bits(each) for _, each in points(run)]),
    )


@pytest.mark.parametrize("value", [1e308, 5e-324, -0.0, 0.1, float(2**53)], ids=str)
def test_doubles_are_kept_bit_for_bit(run: naiad.Run, value: float) -> None:
    """Row 2."""
    run["x"].append(value)
    run["atom"] = value

    lives_on(run, [bits(value)] * 2, lambda run: [bits(run["atom"].fetch()), bits(points(run)[0][1])])


def test_whole_number_beyond_a_double_is_rounded_in_a_series_with_one_warning(run: naiad.Run) -> None:
    """Row 2, and exact in an Integer."""
    with pytest.warns(LimitWarning, match=r'"x" keeps 9007199254740993 as 9007199254740992\.0'):
        run["x"].append(2**53 + 1)
    run["x"].append(2**53 + 1)
    run["atom"] = 2**53 + 1

    lives_on(
        run, (2**53 + 1, [float(2**53)] * 2), lambda run: (run["atom"].fetch(), [value for _, value in points(run)])
    )


def test_int_beyond_64_bits_is_refused_and_says_how_to_keep_it(run: naiad.Run) -> None:
    """Row 3."""
    for value in (10**30, 2**63, -(2**63) - 1):
        with pytest.raises(NaiadValueError, match=f'"n" cannot hold {value}.*\n.*str\\(.*float\\('):
            run["n"] = value
    run["most"], run["least"] = 2**63 - 1, -(2**63)
    with pytest.raises(NaiadValueError):
        run["most"] = 2**63

    lives_on(
        run, (False, (2**63 - 1, -(2**63))), lambda run: (run.exists("n"), (run["most"].fetch(), run["least"].fetch()))
    )


def test_number_that_no_float_holds_is_refused_in_a_series(run: naiad.Run) -> None:
    """Row 4."""
    run["x"].append(1.0)
    for value in (10**400, -(10**400), Decimal("1e400")):
        for path in ("x", "fresh"):
            with pytest.raises(NaiadValueError, match=f'"{path}"'):
                run[path].append(value)
    with pytest.raises(NaiadValueError):
        run["x"].extend([2.0, 10**400])

    lives_on(run, ([(0, 1.0)], False), lambda run: (points(run), run.exists("fresh")))


def test_bool_is_a_boolean_and_zero_or_one_in_a_series(run: naiad.Run) -> None:
    """Row 5."""
    run["flag"] = True
    run["x"].extend([True, False])
    run["x"].append(True)

    lives_on(run, (True, [(0, 1.0), (1, 0.0), (2, 1.0)]), lambda run: (run["flag"].fetch(), points(run)))


def scalars() -> Iterator[tuple[Any, type]]:
    yield from [(np.float64(0.5), float), (np.float32(0.5), float), (np.float16(0.5), float)]
    yield from [(np.int8(3), int), (np.int64(3), int), (np.uint8(3), int), (np.bool_(True), bool)]
    yield from [(np.array(0.5), float), (np.array([3]), int), (np.array([[True]]), bool)]
    try:
        import torch
    except ImportError:  # the rows of numpy say the same
        return
    yield from [(torch.tensor(0.5), float), (torch.tensor([3]), int), (torch.tensor(True), bool)]
    yield torch.tensor(0.5, dtype=torch.bfloat16, requires_grad=True), float


def test_scalar_of_a_framework_is_taken_by_its_kind(run: naiad.Run) -> None:
    """Row 6, and DESIGN: np.int64 makes an Integer, np.bool_ a Boolean. test_coerce.py knows more frameworks."""
    given = list(scalars())
    for number, (value, _) in enumerate(given):
        run[f"atom/{number}"] = value
        run["x"].append(value)
        run["x"].append(value)  # the second of a type is recognised faster

    atoms = [(kind, value.item()) for value, kind in given]
    numbers = [float(value.item()) for value, _ in given for _ in range(2)]

    def look(run: naiad.Run) -> Any:
        found = [run[f"atom/{number}"].fetch() for number in range(len(given))]
        return [(type(value), value) for value in found], [value for _, value in points(run)]

    lives_on(run, (atoms, numbers), look)


def test_array_of_several_elements_is_left_out_and_its_shape_named(run: naiad.Run) -> None:
    """Row 6. DESIGN: a warning, or an error in a strict run; what has the shape of an image is appended as one."""
    left_out(run, np.zeros((2, 3)), "assign")
    left_out(run, np.zeros((2, 3, 4, 5)), "append")
    with naiad.init_run(strict=True) as strict, pytest.raises(UnsupportedValue, match=r"shape \(2, 3, 4, 5\)"):
        strict["x"].append(np.zeros((2, 3, 4, 5)))
    run["image"].append(np.zeros((2, 3)))

    assert ["png"] == [file.extension for file in run["image"].fetch_files()]

    lives_on(run)


def test_decimal_and_fraction_are_numbers(run: naiad.Run) -> None:
    """Row 7."""
    run["x"].extend([Decimal("0.1"), Fraction(1, 4)])
    run["atom"] = Decimal("0.1")

    lives_on(run, ([(0, 0.1), (1, 0.25)], 0.1), lambda run: (points(run), run["atom"].fetch()))


def test_text_that_looks_like_a_number_is_one_in_a_series_of_numbers_alone(run: naiad.Run) -> None:
    """Row 8: a first text makes a StringSeries; a known FloatSeries takes numbers as text, as the client did."""
    run["x"].append(1.0)
    run["x"].append("1.5")
    with pytest.raises(NaiadTypeError, match="\"x\" is a series of numbers, so 'high' cannot be added"):
        run["x"].append("high")
    run["texts"].append("1.5")
    with pytest.raises(NaiadTypeError, match='"texts" is a series of texts, so 1.5 cannot be added'):
        run["texts"].append(1.5)

    lives_on(run, ([(0, 1.0), (1, 1.5)], [(0, "1.5")]), lambda run: (points(run), points(run, "texts")))


@pytest.mark.parametrize("value", [1 + 2j, {1, 2}, lambda: 0, object(), int])
def test_value_that_no_field_holds_is_left_out_with_a_word(run: naiad.Run, value: Any) -> None:
    """Rows 9 and "any object". DESIGN: a warning a path, since ported code must not die; an error in a strict run."""
    left_out(run, value)
    run["x"].append(1.0)
    with pytest.warns(UnsupportedValueWarning, match='"x"'):
        run["x"].append(value)
    run["text"] = stringify_unsupported(value)

    lives_on(run, ([(0, 1.0)], str(value)), lambda run: (points(run), run["text"].fetch()))


def test_dict_appended_to_a_series_is_refused(run: naiad.Run) -> None:
    """Row 9: a dict means series below, and a field has nothing below."""
    run["x"].append(1.0)
    with pytest.raises(FieldConflict, match='"x" is a FloatSeries, so a dict cannot be written to it'):
        run["x"].append({"y": 1.0})

    lives_on(run, [(0, 1.0)], points)


# Steps


@pytest.mark.parametrize("step", [math.nan, math.inf, -math.inf, "3", "x", 2**63, -(2**63) - 1, 1e19, [1]], ids=repr)
@pytest.mark.parametrize("kind", [1.0, "text"], ids=["numbers", "texts"])
def test_step_that_is_no_number_or_beyond_64_bits_is_refused(run: naiad.Run, step: Any, kind: Any) -> None:
    """Rows "step NaN / Inf / str" and "step >= 2**63": at the call, and the good points after it are kept."""
    run["x"].append(kind, step=1)
    for path in ("x", "fresh"):
        with pytest.raises(NaiadValueError, match=f'cannot be a step of "{path}"'):
            run[path].append(kind, step=step)
        with pytest.raises(NaiadValueError):
            run[path].extend([kind, kind], steps=[2, step])
        with pytest.raises(NaiadValueError):
            run.append({path: kind}, step=step)
    run["x"].append(kind, step=5)
    run["x"].append(kind)

    lives_on(run, ([(1, kind), (5, kind), (6, kind)], False), lambda run: (points(run), run.exists("fresh")))


@pytest.mark.parametrize("kind", [1.0, "text"], ids=["numbers", "texts"])
def test_point_without_step_takes_the_one_after_the_last(run: naiad.Run, kind: Any) -> None:
    """Row "step None"."""
    run["x"].append(kind)
    run["x"].append(kind, step=10)
    run["x"].append(kind)
    run["x"].append(kind, step=2.5)
    run["x"].append(kind)

    lives_on(run, [0, 2.5, 3, 10, 11], lambda run: [step for step, _ in points(run)])


@pytest.mark.parametrize("kind", [1.0, "text"], ids=["numbers", "texts"])
def test_no_step_after_the_largest_is_an_error_and_nothing_hangs(run: naiad.Run, kind: Any) -> None:
    """Rows "step None" and "step >= 2**63" together."""
    run["x"].append(kind, step=2**63 - 1)
    for verb in (lambda: run["x"].append(kind), lambda: run["x"].extend([kind, kind]), lambda: run.append({"x": kind})):
        with pytest.raises(NaiadValueError, match="step"):
            verb()

    lives_on(run, [(2**63 - 1, kind)], points)


@pytest.mark.parametrize(
    "steps", [[1.5], [-3, 0, 7], [2**53 + 1, 2**53 + 2], [-(2**63), 2**63 - 1], [0.1, 0.2]], ids=str
)
@pytest.mark.parametrize("kind", [1.0, "text"], ids=["numbers", "texts"])
def test_step_is_kept_exactly(run: naiad.Run, steps: list[float], kind: Any) -> None:
    """Rows "step float" and "step negative, gaps, 2**53+1"."""
    for step in steps:
        run["x"].append(kind, step=step)
    run["at once"].extend([kind] * len(steps), steps=steps)

    expected = [(step, kind) for step in sorted(steps)]
    lives_on(run, (expected, expected), lambda run: (points(run), points(run, "at once")))


@pytest.mark.parametrize("kind", [float, str], ids=["numbers", "texts"])
def test_step_that_goes_back_is_kept_and_read_in_order(run: naiad.Run, kind: type) -> None:
    """Row "decreasing step"."""
    for step in (5, 3, 4, 1):
        run["x"].append(kind(step), step=step)

    lives_on(run, [(step, kind(step)) for step in (1, 3, 4, 5)], points)


@pytest.mark.parametrize("kind", [float, str], ids=["numbers", "texts"])
def test_points_of_one_step_are_all_kept_in_order_of_arrival(run: naiad.Run, kind: type) -> None:
    """Row "duplicate step". DESIGN: `fetch_values()` returns all of them, and there is no `include_all`."""
    for value in (3, 1, 2):
        run["x"].append(kind(value), step=7)

    lives_on(
        run, ([(7, kind(3)), (7, kind(1)), (7, kind(2))], kind(2)), lambda run: (points(run), run["x"].fetch_last())
    )


# Texts


def test_text_of_ten_megabytes_is_kept_whole(run: naiad.Run) -> None:
    """Row "string of 10 MB"; 16 MiB is the most."""
    long, most = "0123456789" * MIB, "\N{SNAKE}" * (4 * MIB)
    run["atom"], run["most"] = long, most
    run["x"].append(long)

    def look(run: naiad.Run) -> list[bool]:
        return [long == run["atom"].fetch(), most == run["most"].fetch(), [(0, long)] == points(run)]

    lives_on(run, [True, True, True], look)


def test_text_beyond_16_mib_is_refused(run: naiad.Run) -> None:
    """Row "string of 10 MB"."""
    for value in ("x" * (16 * MIB + 1), "\N{SNAKE}" * (4 * MIB + 1)):
        for verb in ("assign", "append"):
            with pytest.raises(NaiadValueError, match='"x" cannot hold a text of .* characters') as refused:
                getattr(run["x"], verb)(value)
            assert len(str(refused.value)) < 300

    lives_on(run, False, lambda run: run.exists("x"))


@pytest.mark.parametrize("value", ["a\0b", "\ud800 half", "\N{SNAKE}", "\u202eabc\u202c", "\r\n\t", ""], ids=ascii)
def test_odd_characters_of_a_text_are_kept(run: naiad.Run, value: str) -> None:
    """Row "NUL, lone surrogate, emoji, RTL marks in a value"."""
    run["atom"] = value
    run["x"].append(value)
    run["sys/tags"].add(value)

    lives_on(
        run, ((value, [(0, value)]), {value}), lambda run: ((run["atom"].fetch(), points(run)), run["sys/tags"].fetch())
    )


# Paths


def test_empty_path_is_the_root_and_takes_dicts_only(run: naiad.Run) -> None:
    """Row "empty path". DESIGN follows the client: `run[""]` is the root. It names no field, which is an error."""
    for path in ("", "/", "//"):
        for verb in (lambda h: h.assign(1), lambda h: h.append(1.0), lambda h: h.extend([1.0])):
            with pytest.raises(NaiadTypeError, match="Only a dict can be written to the root"):
                verb(run[path])
        run[path] = {"a": 1}

    lives_on(run, 1, lambda run: run["a"].fetch())


@pytest.mark.parametrize("path", [" ", "  / "])
def test_blank_path_is_refused(run: naiad.Run, path: str) -> None:
    """Row "empty path". Below something else a blank name is as good as any other, as in Neptune."""
    for verb in (lambda: run[path], lambda: run.exists(path), lambda: run.assign({"fine": 1, path: 2})):
        with pytest.raises(NaiadPathError, match="is blank"):
            verb()
    run["base"][path] = 1

    lives_on(run, (1, False), lambda run: (run["base"][path].fetch(), run.exists("fine")))


@pytest.mark.parametrize("path", [".", "..", "a/../b", "./a", "a/.", "../../etc/passwd"])
def test_dots_in_a_path_are_refused(run: naiad.Run, path: str) -> None:
    """Row '"..", "." as a part'."""
    refuses_path(run, path)


@pytest.mark.parametrize("path", ["a\0b", "a\nb", "a\rb", "a\tb", "\x1b[31m", "a\ud800b"], ids=ascii)
def test_control_characters_and_lone_surrogates_in_a_path_are_refused(run: naiad.Run, path: str) -> None:
    """Rows "NUL, newline, C0 controls in a path" and "lone surrogate in a path"."""
    refuses_path(run, path)


def refuses_path(run: naiad.Run, path: str) -> None:
    before = run.get_structure().keys()
    for verb in (
        lambda: run[path],
        lambda: run.exists(path),
        lambda: run.pop(path),
        lambda: run["base"][path],
        lambda: run.assign({"fine": 1, path: 2}),
        lambda: run.append({"fine": 1.0, path: 2.0}),
        lambda: run["base"].extend({"fine": [1.0], path: [2.0]}),
    ):
        with pytest.raises(NaiadPathError):
            verb()

    lives_on(run, before, lambda run: run.get_structure().keys() - {"usable"})


def test_superfluous_slashes_mean_nothing(run: naiad.Run) -> None:
    """Row '"/a", "a/", "a//b"'."""
    run["/a//b/"] = 1
    run["x//y"].append(1.0)
    run["/x/y"].append(2.0)

    lives_on(run, (1, [(0, 1.0), (1, 2.0)]), lambda run: (run["a/b"].fetch(), points(run, "x/y")))


ODD = [
    "żółć",
    "\N{SNAKE}",
    "<script>alert(1)</script>",
    "'; DROP TABLE field; --",
    "%2e%2e",
    "C:\\x",
    "a\\b",
    "a b",
    '"',
]


def test_odd_paths_are_kept_as_they_are(run: naiad.Run) -> None:
    """Rows "unicode, emoji, ..." and "unicode normal forms, case twins": keys are data, and never a file's name."""
    odd = [*ODD, "é", "e\u0301", "Loss", "loss", "CON", "nul", "~", "*", "a.b", "-", "x" * 300]
    for number, path in enumerate(odd):
        run["atom"][path] = number
        run["series"][path].append(number)

    def look(run: naiad.Run) -> Any:
        return [(run["atom"][path].fetch(), run["series"][path].fetch_last()) for path in odd]

    lives_on(run, [(number, float(number)) for number in range(len(odd))], look)


@pytest.mark.parametrize("path", ["a" * 1000, "é" * 500, "a/" * 500 + "bc", "a" * 1024], ids=len)
def test_path_of_a_thousand_bytes_is_taken(run: naiad.Run, path: str) -> None:
    """Row "path of 1,000 bytes"; 1,024 is the most."""
    run[path] = 1
    run["s"][path[:1000]].append(1.0)

    lives_on(run, (1, 1.0), lambda run: (run[path].fetch(), run["s"][path[:1000]].fetch_last()))


@pytest.mark.parametrize("path", ["a" * 1025, "a" * 10_000, "a/" * 10_000 + "b", "é" * 513, "/" * 10**6], ids=len)
def test_path_that_is_too_long_is_refused_at_once(run: naiad.Run, path: str) -> None:
    """Row "path of 10,000 chars, 10,000 levels": within a millisecond."""
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        with pytest.raises(NaiadPathError, match="longer than 1,024 bytes") as refused:
            run[path]
        taken.append(time.perf_counter() - began)

    assert len(str(refused.value)) < 300
    assert min(taken) < 0.001
    lives_on(run)


# Conflicts


def test_field_and_namespace_of_one_name_conflict_at_the_second_call(run: naiad.Run) -> None:
    """Row "leaf and namespace of one name"."""
    run["a"], run["b/c"] = 1, 2
    for verb in (
        lambda: run["a/b"].assign(2),
        lambda: run["a/b"].append(1.0),
        lambda: run["b"].assign(3),
        lambda: run["b"].append(1.0),
        lambda: run.assign({"fine": 1, "a": {"b": 2}}),
        lambda: run["a"].assign({"b": 1}),
    ):
        with pytest.raises(FieldConflict, match='"a"|"b"'):
            verb()

    lives_on(run, (1, {"c": 2}, False), lambda run: (run["a"].fetch(), run["b"].fetch(), run.exists("fine")))


def test_change_of_a_fields_type_is_refused_and_names_both(run: naiad.Run) -> None:
    """Row "type change of a field"."""
    run["n"], run["s"] = 1, "text"
    run["x"].append(1.0)
    with pytest.raises(ValueError, match=r'"n" is an Integer and cannot hold 1\.5'):
        run["n"] = 1.5
    with pytest.raises(ValueError, match="\"n\" is an Integer and cannot hold 'b'"):
        run["n"] = "b"
    with pytest.raises(TypeError, match='"s" is a String and cannot hold 5'):
        run["s"] = 5
    with pytest.raises(WrongVerb, match='"n" is an Integer, so append'):
        run["n"].append(1.0)
    with pytest.raises(TypeError, match='"x" is a FloatSeries, so 5 cannot be assigned'):
        run["x"] = 5

    lives_on(run, (1, "text", [(0, 1.0)]), lambda run: (run["n"].fetch(), run["s"].fetch(), points(run)))


# Dicts


def deep(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"leaf": 1.0}
    for _ in range(levels):
        inner = {"d": inner}
    return inner


def test_dict_that_contains_itself_or_goes_on_for_ever_is_refused(run: naiad.Run) -> None:
    """Row "self-referencing or 2 000-deep dict": 64 deep is the most, and nothing recurses."""
    cycle: dict[str, Any] = {"fine": 1.0}
    cycle["again"] = cycle
    for value in (cycle, deep(2_000), deep(64)):
        for verb in (run["a"].assign, run["a"].append, run["a"].extend, run.assign, stringify_unsupported):
            with pytest.raises(NaiadValueError, match="deep|contains itself") as refused:
                verb(value)
            assert len(str(refused.value)) < 300
    run["b"] = deep(63)

    lives_on(run, (False, 1.0), lambda run: (run.exists("a"), run["b" + "/d" * 63 + "/leaf"].fetch()))


# Names of runs and projects


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    "name",
    ["a/b", "..", ".", "", " ", "a\\b", "a\0b", "a\nb", "\ud800", "x" * 10_000],
    ids=lambda name: ascii(name)[:12],
)
def test_custom_run_id_that_could_be_a_path_is_refused(store: Any, name: str) -> None:
    """Row "custom_run_id / project"."""
    with pytest.raises(NaiadPathError, match="custom run id"):
        naiad.init_run(custom_run_id=name)

    assert not store.exists()


@pytest.mark.parametrize(
    "name", ["..", ".", " ", "a/../b", "a\0b", "a\nb", "\ud800", "x" * 10_000], ids=lambda name: ascii(name)[:12]
)
def test_project_that_could_be_a_path_is_refused(store: Any, name: str) -> None:
    """Row "custom_run_id / project". DESIGN: a slash is Neptune's "workspace/project", and taken."""
    for make in (naiad.init_run, naiad.init_project):
        with pytest.raises(NaiadPathError, match="project"):
            make(project=name)
    assert not store.exists()

    with naiad.init_run(project="workspace/project") as run:
        lives_on(run, "workspace/project", lambda run: run["sys/project"].fetch())


# Life


def test_call_after_stop_is_refused_and_changes_nothing(run: naiad.Run) -> None:
    """Row "call after stop()": `InactiveRun`, which is Neptune's InactiveRunException; for held handlers as well."""
    run["x"].append(1.0)
    held, field = run["x"], run.get_attribute("x")
    name = run["sys/id"].fetch()
    run.stop()
    for verb in (
        lambda: run["x"],
        run.fetch,
        lambda: held.append(2.0),
        lambda: held.append("text"),
        lambda: held.append(2),
        lambda: held.extend([2.0]),
        lambda: held.assign([2.0]),
        held.fetch_values,
        held.pop,
        lambda: field.append(2.0),
        lambda: run.assign({"a": 1}),
        run.wait,
        run.sync,
    ):
        with pytest.raises(InactiveRun, match="stopped"):
            verb()

    with naiad.init_run(with_id=name) as again:
        lives_on(again, [(0, 1.0)], points)


# Ctrl-C


SIGNALS = """
import os, random, sys, time
while os.getppid() == int(sys.argv[1]):
    os.kill(int(sys.argv[1]), int(sys.argv[2]))
    time.sleep(random.random() / 2_000)
"""


class CtrlC:
    """Interrupts the block once, at any moment, as Ctrl-C does: the signals come from another process."""

    def __init__(self) -> None:
        self._is_armed = self.came = False

    def __enter__(self) -> CtrlC:
        self._earlier = signal.signal(signal.SIGUSR1, self._interrupt)
        self._sender = subprocess.Popen([sys.executable, "-c", SIGNALS, str(os.getpid()), str(int(signal.SIGUSR1))])
        return self

    def __exit__(self, *_: object) -> None:
        self._is_armed = False
        self._sender.kill()
        self._sender.wait()
        signal.signal(signal.SIGUSR1, self._earlier)

    def _interrupt(self, _number: int, _frame: object) -> None:
        if self._is_armed:
            self._is_armed, self.came = False, True
            raise KeyboardInterrupt

    def cuts(self, call: Callable[[], object]) -> bool:
        """Call it; whether an interrupt came, so that nobody knows how far it got."""
        self.came = False
        try:
            self._is_armed = True
            call()
            self._is_armed = False
        except KeyboardInterrupt:
            pass
        return self.came


INTERRUPTED: dict[str, Callable[[naiad.Run, int], object]] = {
    "append-held": lambda run, number: run["x"].append(float(number), step=number),
    "append-number": lambda run, number: run["x"].append(np.float32(number), step=number, timestamp=5),
    "append-first": lambda run, number: run[f"first/{number}"].append(float(number), step=number),
    "append-dict": lambda run, number: run["d"].append({"x": float(number)}, step=number),
    "append-text": lambda run, number: run["t"].append(str(number), step=number),
    "assign": lambda run, number: run[f"atom/{number}"].assign(number),
    "tags": lambda run, number: run["sys/tags"].add(str(number)),
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # an interrupt may hit the collector
@pytest.mark.parametrize("verb", INTERRUPTED)
def test_interrupt_inside_a_verb_leaves_it_done_or_undone(run: naiad.Run, verb: str) -> None:
    """Row "KeyboardInterrupt inside append()", with sixty of them.

    The point is whole or absent, and the next call works, from another thread too, since no lock is left behind.
    """
    do, acknowledged, cuts, until = INTERRUPTED[verb], {-1}, 0, time.monotonic() + 40
    run["x"].append(-1.0, step=-1)
    run["d"].append({"x": -1.0}, step=-1)
    run["t"].append("-1", step=-1)
    with CtrlC() as interrupt, ThreadPoolExecutor(1) as other:
        for number in itertools.count():
            if cuts == 60 or time.monotonic() > until:
                break
            if interrupt.cuts(lambda number=number: do(run, number)):
                cuts += 1
                other.submit(do, run, -2 - number).result(60)
                acknowledged.add(-2 - number)
            else:
                acknowledged.add(number)
    assert cuts > 20

    def look(run: naiad.Run) -> Any:
        found = [pair for path in ("x", "d/x", "t", *_below(run, "first")) for pair in points(run, path)]
        found += [(int(path.rpartition("/")[2]), run[path].fetch()) for path in _below(run, "atom")]
        found += [(int(tag), tag) for tag in run["sys/tags"].fetch()]
        are_whole = all(step == float(value) for step, value in found)
        return are_whole, acknowledged - {step for step, _ in found}

    lives_on(run, (True, set()), look)


def _below(run: naiad.Run, namespace: str) -> list[str]:
    return [f"{namespace}/{name}" for name in run.get_structure().get(namespace, {})]
