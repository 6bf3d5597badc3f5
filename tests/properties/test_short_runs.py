"""A short run has the values in the catalog that its reader shows."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from tests.properties.test_order_of_arrival import _ops, histories, put_file

from naiad.ops import Delete
from naiad.storage.local.catalog import look_at
from naiad.storage.local.integrity.seal import write_seal
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.reader import Reader
from naiad.storage.local.short_run import read_short_run


def plain(values: list[tuple[str, str, Any]]) -> list[tuple[str, str, Any]]:
    """Sort values, and let NaN equal itself."""
    return sorted((path, kind, repr(value)) for path, kind, value in values)


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(histories())
def test_short_run_has_the_values_of_its_reader(history: dict[str, list[list[Any]]]) -> None:
    """Of random ops of one writer, with the deletions and without them."""
    writer, files = next(iter(history.items()))
    without = [[item for item in file if not isinstance(item, Delete)] for file in files]
    for each in (files, without):
        with tempfile.TemporaryDirectory() as place:
            folder = RunDirectory(Path(place) / "runs" / "run")
            folder.journal.mkdir(parents=True)
            for number, file in enumerate(each):
                put_file(folder, writer, number, file, 1 + sum(len(_ops(one)) for one in each[:number]))
            write_seal(folder)
            look = look_at(str(folder.path))
            assert look.files is not None
            short = read_short_run(folder, look.files)
            shown, losses = Reader(folder).shown()

            if short is not None:
                values, lost = short.shown()

                assert (plain(shown), losses) == (plain(values), lost)
