"""The field class of each kind. A new kind is one class, one line here, one value class and one row in `kinds.py`."""

from __future__ import annotations

from naiad.errors import NewerFormat
from naiad.fields.artifact import Artifact
from naiad.fields.atoms import Boolean, Datetime, Float, Integer, String
from naiad.fields.base import Field
from naiad.fields.file import File
from naiad.fields.file_series import FileSeries
from naiad.fields.file_set import FileSet
from naiad.fields.float_series import FloatSeries
from naiad.fields.git_ref import GitRef
from naiad.fields.histogram_series import HistogramSeries
from naiad.fields.run_state import RunState
from naiad.fields.string_series import StringSeries
from naiad.fields.string_set import StringSet

FIELDS: dict[str, type[Field]] = {
    each.kind: each
    for each in (
        Artifact,
        Boolean,
        Datetime,
        File,
        FileSeries,
        FileSet,
        Float,
        FloatSeries,
        GitRef,
        HistogramSeries,
        Integer,
        RunState,
        String,
        StringSeries,
        StringSet,
    )
}


def field_class(kind: str) -> type[Field]:
    """Return the class of a kind.

    Raises:
        NewerFormat: a later release wrote a kind that this one lacks.
    """
    try:
        return FIELDS[kind]
    except KeyError:
        raise NewerFormat(f"The run has a field of kind {kind!r}, which needs a later release of naiad.") from None
