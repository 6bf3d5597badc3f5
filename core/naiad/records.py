"""Records: the content of a source, as data that does not depend on its format. `naiad.importers` makes ops of them.

A record has a path as the source has it, and its content in the form that ops store: texts, numbers and places of
files. A source gives each atom, set and file once, with its final content, and the points of a series in any number
of records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from naiad.files.tracked import TrackedFile
from naiad.gitref import GitRef
from naiad.ops import Plain

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Column: TypeAlias = Sequence[Any] | npt.NDArray[np.generic]
else:
    Column = Any  # importing NumPy takes longer than what most importers do


@dataclass(frozen=True)
class Skipped:
    """Something of a source that cannot be imported, and the reason."""

    path: str
    kind: str
    reason: str
    count: int = 1
    is_loss: bool = True
    """Whether data is missing for it; False for what carries none, such as an empty row."""
    where: str = ""
    """File and record of the source."""


@dataclass(frozen=True)
class Value:
    """The value of an atom, in the form that `Assign` stores."""

    path: str
    kind: str
    value: Plain
    is_newer: bool = True
    """Whether it wins over another value that the run has from another source."""


@dataclass(frozen=True)
class Points:
    """Points of a float series. Steps that are None are numbered; times are seconds since 1970 UTC."""

    path: str
    values: Column
    steps: Column | None = None
    times: Column | None = None
    part: str = ""
    """Which part of the source they are from. The points of one part are only ever added to at its end."""
    shift: Any = None
    """Seconds to be added to the times, one number or one for each, where the clock of the source was wrong."""


@dataclass(frozen=True)
class Texts:
    """Entries of a series of texts or histograms, as `Strings` stores them."""

    path: str
    kind: str
    texts: Sequence[str]
    steps: Column | None = None
    times: Column | None = None
    part: str = ""
    shift: Any = None


@dataclass(frozen=True)
class Content:
    """A file of a source: the path to read it from, or its bytes."""

    path: str | None = None
    data: bytes = b""
    extension: str = ""
    name: str | None = None
    description: str | None = None
    modified: int | None = None  # nanoseconds since 1970 UTC


@dataclass(frozen=True)
class Files:
    """Entries of a file series."""

    path: str
    files: Sequence[Content]
    steps: Column | None = None
    times: Column | None = None
    part: str = ""


@dataclass(frozen=True)
class Upload:
    """The content of a file field."""

    path: str
    content: Content | Skipped
    """The file, or the reason why there is none."""
    is_newer: bool = True
    mark: str = ""
    """Identity of what the source says, where that is not the content: a file that is named may change later."""


@dataclass(frozen=True)
class Members:
    """The files of a file set, by name."""

    path: str
    files: Mapping[str, Content]
    missing: Sequence[Skipped] = ()
    mark: str = ""


@dataclass(frozen=True)
class Tags:
    """The texts of a string set."""

    path: str
    texts: Sequence[str]


@dataclass(frozen=True)
class Axis:
    """Chart minimum, maximum and unit of a float series."""

    path: str
    low: float | None
    high: float | None
    unit: str | None


@dataclass(frozen=True)
class Artifact:
    """A version of an artifact: its hash at the source, and the facts of its files where they are known."""

    path: str
    hash: str
    files: Sequence[TrackedFile] = ()
    missing: Sequence[Skipped] = ()
    mark: str = ""


@dataclass(frozen=True)
class Commit:
    """The state of a git repository."""

    path: str
    git: GitRef


@dataclass(frozen=True)
class Note:
    """A remark about an import, which is no loss."""

    text: str


Record: TypeAlias = Value | Points | Texts | Files | Upload | Members | Tags | Axis | Artifact | Commit | Skipped | Note
