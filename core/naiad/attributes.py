"""The field classes under Neptune's module name: the leaves of `run.get_structure()`."""

from __future__ import annotations

from naiad.fields.artifact import Artifact
from naiad.fields.atoms import Atom, Boolean, Datetime, Float, Integer, String
from naiad.fields.base import Field as Attribute
from naiad.fields.file import File
from naiad.fields.file_series import FileSeries
from naiad.fields.file_set import FileSet
from naiad.fields.float_series import FloatSeries
from naiad.fields.git_ref import GitRef
from naiad.fields.histogram_series import HistogramSeries
from naiad.fields.run_state import RunState
from naiad.fields.series import Series
from naiad.fields.string_series import StringSeries
from naiad.fields.string_set import StringSet

__all__ = [
    "Artifact",
    "Atom",
    "Attribute",
    "Boolean",
    "Datetime",
    "File",
    "FileSeries",
    "FileSet",
    "Float",
    "FloatSeries",
    "GitRef",
    "HistogramSeries",
    "Integer",
    "RunState",
    "Series",
    "String",
    "StringSeries",
    "StringSet",
]
