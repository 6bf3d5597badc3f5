"""A check for integrations: a run has exactly the fields of the integration's mapping."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from naiad.integration import Integration, fits, row_of

if TYPE_CHECKING:
    from naiad.container import Container
    from naiad.storage.base import RunReader

__all__ = ["check_mapping", "differences"]

OWN = ("sys/", "monitoring/", "source_code/")
"""What naiad itself writes to a run; of these, integrations write only below `source_code/integrations/`."""


def check_mapping(
    integration: Integration,
    run: Container | RunReader,
    *,
    base: str | None = None,
    when: Collection[str] = (),
    besides: Collection[str] = (),
) -> None:
    """Check that each row of a mapping was filled and that nothing else appeared.

        check_mapping(INTEGRATION, run, when={"log_on_batch"}, besides={"data/version", "plots/*"})

    Args:
        integration: the integration of the framework.
        run: the result of a small but real training; a run, stopped ones opened again, or a reader.
        base: the namespace the adapter was given, if not the integration's own.
        when: the options and occasions there were, of those that rows name; all other rows must be empty.
        besides: paths that the test itself has written, or patterns of them: `*` stands for anything, and a template
            for the same as in a row, such as `{base}/plots/{name}`.

    Raises:
        AssertionError: the run and the mapping differ; its message names each difference.
    """
    base = integration.base if base is None else base
    kinds = _kinds(run)
    rest = {path: kind for path, kind in kinds.items() if not any(_is_meant(each, path, base) for each in besides)}
    found = list(differences(integration, rest, base, when))
    if found:
        raise AssertionError("\n".join([f"The mapping of {integration.framework} and the run differ:", *found]))


def differences(
    integration: Integration, kinds: Mapping[str, str], base: str, when: Collection[str] = ()
) -> Iterator[str]:
    """Yield a line for each field that no row explains and for each row that no field fills."""
    unknown = set(when) - {word for row in integration.rows for word in row.when.split(" and ")}
    yield from (f"when={word!r} is in no row" for word in sorted(unknown))
    filled = set()
    for path, kind in sorted(kinds.items()):
        if path.startswith(OWN) and not path.startswith("source_code/integrations/"):
            continue
        row = row_of(integration.rows, path, kind, base)
        if row is None:
            yield f"{path} ({kind}): no row fits"
        elif not row.holds(kind):
            yield f"{path} ({kind}): its row, {row.path}, says {row.kind}"
        elif not row.is_on(when):
            yield f"{path} ({kind}): its row, {row.path}, is for when={row.when!r}"
        else:
            filled.add(row)
    for row in integration.rows:
        if row.is_on(when) and row not in filled:
            yield f"{row.path} ({row.kind}): {row.event} wrote nothing there"


def _is_meant(pattern: str, path: str, base: str) -> bool:
    return path == pattern or fnmatchcase(path, pattern) or ("{" in pattern and fits(pattern, path, base))


def _kinds(run: Container | RunReader) -> dict[str, str]:
    """Return the kind of every field of a run."""
    if hasattr(run, "kinds"):
        return dict(run.kinds())
    return dict(_leaves("", run.get_structure()))


def _leaves(base: str, names: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for name, inner in names.items():
        if isinstance(inner, dict):
            yield from _leaves(f"{base}{name}/", inner)
        else:
            yield f"{base}{name}", inner.kind  # type: ignore[attr-defined]  # what is no namespace is a field
