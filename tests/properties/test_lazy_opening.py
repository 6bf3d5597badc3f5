"""A run whose fields are made as they are needed answers as one whose fields are made when it is opened."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import naiad
from naiad import session
from naiad.errors import NaiadError
from naiad.storage.local.index import snapshot

Call: TypeAlias = tuple[str, str, Any]
"""A verb, its path and what is given."""
paths = st.sampled_from(["a", "b", "c", "c/x", "c/y", "c/d/z", "c/d", "a/below", "sys/tags", "sys/name", "s/1", "s/2"])
values = st.sampled_from([1, 0.5, "text", None, True])
numbers = st.floats(allow_nan=False, width=16)
writing: st.SearchStrategy[Call] = st.one_of(
    st.tuples(st.just("assign"), paths, values),
    st.tuples(st.just("append"), paths, numbers),
    st.tuples(st.just("append_at"), paths, st.tuples(numbers, st.integers(-2, 9))),
    st.tuples(st.just("append_all"), st.sampled_from(["", "s", "c"]), st.integers(1, 20)),
    st.tuples(st.just("extend"), paths, st.lists(numbers, max_size=3)),
    st.tuples(st.just("add"), paths, st.sampled_from(["x", "y"])),
    st.tuples(st.sampled_from(["pop", "clear"]), paths, st.none()),
    st.tuples(st.just("truncate"), paths, st.integers(-1, 5)),
)
reading: st.SearchStrategy[Call] = st.tuples(
    st.sampled_from(["exists", "fetch", "fetch_last", "fetch_values", "sources", "hint"]), paths, st.none()
) | st.tuples(st.sampled_from(["structure", "print", "listing", "names", "sync"]), st.just(""), st.none())


def frame(run: naiad.Run, path: str) -> list[Any]:
    return run[path].fetch_values(include_timestamp=False).to_numpy().tolist()


def printed(run: naiad.Run) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as text:
        run.print_structure()
    return text.getvalue()


CALLS: dict[str, Callable[[naiad.Run, str, Any], object]] = {
    "assign": lambda run, path, value: run[path].assign(value),
    "append": lambda run, path, value: run[path].append(value),
    "append_at": lambda run, path, given: run[path].append(given[0], step=given[1]),
    "append_all": lambda run, path, count: run[path].append({str(number): number / 2 for number in range(count)}),
    "extend": lambda run, path, given: run[path].extend(given),
    "add": lambda run, path, tag: run[path].add(tag),
    "pop": lambda run, path, _none: run[path].pop(),
    "clear": lambda run, path, _none: run[path].clear(),
    "truncate": lambda run, path, step: run[path].truncate(step),
    "exists": lambda run, path, _none: run.exists(path),
    "fetch": lambda run, path, _none: run[path].fetch(),
    "fetch_last": lambda run, path, _none: run[path].fetch_last(),
    "fetch_values": lambda run, path, _none: frame(run, path),
    "sources": lambda run, path, _none: run[path].sources(),
    "hint": lambda run, path, _none: run[f"{path}z"].fetch_last(),
    "structure": lambda run, _path, _none: run.get_structure(),
    "print": lambda run, _path, _none: printed(run),
    "listing": lambda run, _path, _none: run._repr_html_().count("<tr>"),
    "names": lambda run, _path, _none: run._ipython_key_completions_(),
    "sync": lambda run, _path, _none: run.sync(),
}


def answer(run: naiad.Run, call: Call) -> str:
    """The answer as a text, as NaN does not equal itself; of an error its class and words."""
    name, path, given = call
    try:
        return repr(CALLS[name](run, path, given))
    except (NaiadError, Warning) as error:
        return f"{type(error).__name__}: {error}"


def answers(store: Path, calls: list[Call], *, is_lazy: bool) -> list[str]:
    """Resume the run, make the calls, and read all of it: while it is written, and when it is stopped."""
    with pytest.MonkeyPatch.context() as patched:
        for place, name in ((snapshot, "MANY_FIELDS"), (session, "MANY_STORED")):
            patched.setattr(place, name, 0 if is_lazy else 1 << 30)
        patched.setattr(snapshot, "BYTES_A_FIELD", 1 << 30)
        whole: list[Call] = [("structure", "", None), ("print", "", None)]
        with naiad.init_run(with_id="LAZY-1", store=store) as run:
            assert is_lazy == bool(run._session.tree.unmade)
            found = [answer(run, call) for call in calls]
            whole += [(name, path, None) for path in run._session.tree.paths() for name in ("fetch", "fetch_values")]
            whole = [call for call in whole if not call[1].startswith("sys/") or call[1] in ("sys/tags", "sys/name")]
            found += [answer(run, call) for call in whole]
        with naiad.init_run(with_id="LAZY-1", store=store, mode="read-only") as run:
            return [each.replace(str(store), "") for each in [*found, *(answer(run, call) for call in whole)]]


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.lists(writing, max_size=10), st.lists(writing | reading, max_size=10))
@pytest.mark.filterwarnings("ignore::naiad.errors.NaiadWarning")
def test_fields_made_as_they_are_needed_answer_as_those_made_at_once(before: list[Call], after: list[Call]) -> None:
    """Of random verbs before and after a resume, with deletions and conflicts."""
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patched:
        patched.setenv("NAIAD_CAPTURES", "off")
        patched.setenv("NAIAD_SMALL_RUN_RECORDS", "0")  # with an index
        eager, lazy = Path(place) / "eager", Path(place) / "lazy"
        with naiad.init_run(project="lazy", store=eager) as run:
            run["long"].extend([0.5] * 1000)  # or the run would keep its journal
            for call in before:
                answer(run, call)
        shutil.copytree(eager, lazy)

        assert answers(eager, after, is_lazy=False) == answers(lazy, after, is_lazy=True)
