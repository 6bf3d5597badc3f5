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


def recording(value: Any, extension: str, sample_rate: int | None = None) -> File:
    """Return a sound or a film as a file: a path, its bytes, or numbers of a sound from -1 to 1.

    Raises:
        InvalidArgument: numbers came without a sample rate, or for a film, which would have to be encoded.
    """
    if isinstance(value, File):
        return value
    if isinstance(value, str | os.PathLike):
        return File(value)
    if isinstance(value, bytes):
        return File.from_content(value, extension=extension)
    if extension != "wav" or not sample_rate:
        raise InvalidArgument(
            f"A sound or film is a path, bytes or a File, not {shown(value)}.\n"
            "Numbers are taken by log_audio(..., sample_rate=[16000]) alone."
        )
    return File.from_content(_wave(value, sample_rate), extension="wav")


def _wave(value: Any, sample_rate: int) -> bytes:
    """Return numbers as a WAV file of 16 bits; of two dimensions the second one is the channels."""
    import io
    import wave

    import numpy as np

    numbers = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value, dtype=float)
    # One beyond the range would come back as one of the other sign.
    samples = (np.clip(numbers, -1, 1) * 32767).astype("<i2")
    sink = io.BytesIO()
    with wave.open(sink, "wb") as opened:
        opened.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        opened.setsampwidth(2)
        opened.setframerate(sample_rate)
        opened.writeframes(samples.tobytes())
    return sink.getvalue()


def captions(count: int, options: Mapping[str, Sequence[str]], verb: str = "log_image") -> list[str | None]:
    """Return a caption for each sample, or None; they are the one option there is.

    Raises:
        TypeError, InvalidArgument: another option, or not as many captions as samples.
    """
    unknown = options.keys() - {"caption"}
    if unknown:
        raise TypeError(f"{verb}() got an unexpected keyword argument {min(unknown)!r}")
    given = options.get("caption")
    if given is not None and len(given) != count:
        what = {"log_image": "images", "log_audio": "sounds"}.get(verb, "films")
        raise InvalidArgument(f"There are {count} {what} and {len(given)} captions.\nGive one for each.")
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
