"""Samples: images, texts and tables, given as Lightning's loggers take them, as values of series."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from naiad.errors import InvalidArgument, shown
from naiad.file import File

if TYPE_CHECKING:
    import pandas as pd


def image(value: Any) -> File:
    """Return an image as a file: a path, anything `File.as_image` takes, or a tensor with its channels first."""
    if isinstance(value, File):
        return value
    if isinstance(value, str | os.PathLike):
        return File(value)
    shape: tuple[int, ...] = tuple(getattr(value, "shape", ()))
    if len(shape) == 3 and shape[0] in (1, 3, 4) and shape[2] not in (1, 3, 4) and hasattr(value, "permute"):
        value = value.permute(1, 2, 0)
    return File.as_image(value)


def page(value: Any) -> File:
    """Return a page as a file: HTML as text, a path, or an object that `File.as_html` takes."""
    if isinstance(value, File):
        return value
    if isinstance(value, str):
        return File.from_content(value, extension="html")
    return File(value) if isinstance(value, os.PathLike) else File.as_html(value)


def captions(count: int, options: Mapping[str, Sequence[str]]) -> list[str | None]:
    """Return a caption for each image, or None; they are the one option there is.

    Raises:
        TypeError, InvalidArgument: another option, or not as many captions as images.
    """
    unknown = options.keys() - {"caption"}
    if unknown:
        raise TypeError(f"log_image() got an unexpected keyword argument {min(unknown)!r}")
    given = options.get("caption")
    if given is not None and len(given) != count:
        raise InvalidArgument(f"There are {count} images and {len(given)} captions.\nGive one for each image.")
    return [None] * count if given is None else list(given)


def frame(columns: Sequence[str] | None, data: Iterable[Sequence[Any]] | None, dataframe: Any) -> pd.DataFrame:
    """Return a table as a DataFrame, from rows or from one that exists.

    Raises:
        InvalidArgument: neither was given, or both.
    """
    import pandas as pd

    if (data is None) == (dataframe is None):
        raise InvalidArgument("A table comes as columns= and data=, or as dataframe=.\nGive one of them.")
    if dataframe is None:
        return pd.DataFrame(list(data or ()), columns=None if columns is None else list(columns))
    if not isinstance(dataframe, pd.DataFrame):
        raise InvalidArgument(f"dataframe= takes a pandas DataFrame, not {shown(dataframe)}.")
    return dataframe


def texts(table: pd.DataFrame) -> list[str]:
    """Return a text for each row: the cell itself, or "column: cell" on a line each if there are several."""
    rows = table.astype(str).itertuples(index=False, name=None)
    if len(table.columns) == 1:
        return [cell for (cell,) in rows]
    return ["\n".join(f"{name}: {cell}" for name, cell in zip(table.columns, row, strict=True)) for row in rows]
