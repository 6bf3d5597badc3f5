"""The value of a file: a path, read when the file is stored, or bytes in memory.

How objects of frameworks become files is known by plugins alone; see `hookspecs.py` and `conversions/`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from naiad.conversions.page import page
from naiad.errors import InvalidArgument, NaiadError, NaiadTypeError, shown
from naiad.plugins import first, forget_problem, format_problem, last_problem
from naiad.value import Value

PathLike: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
Content: TypeAlias = str | bytes | bytearray | memoryview


class FileType(Enum):
    """Where a `File` has its content from."""

    LOCAL_FILE = "LOCAL_FILE"
    IN_MEMORY = "IN_MEMORY"
    STREAM = "STREAM"


class File(Value):
    """A file to upload: `run["data"].upload(File("data.csv"))`.

    A path is only stored here: the file is read when it is uploaded. The other ways to create a `File` read the content
    immediately, so the object may change afterwards.

    Args:
        path: the path of the file.
        content: the bytes of the file, if there is no path.
        extension: the extension of the stored file; None takes that of the path, or none.
    """

    kind: ClassVar[str] = "file"
    _is_of_stream = False

    def __init__(
        self, path: PathLike | None = None, *, content: bytes | None = None, extension: str | None = None
    ) -> None:
        if (path is None) == (content is None):
            raise InvalidArgument("A File needs either a path or content.\nGive one of them.")
        self._path = None if path is None else _path(path)
        self._content = content
        if not (extension is None or isinstance(extension, str)):
            raise NaiadTypeError(f"extension= of a file must be text, not {shown(extension)}.", value=extension)
        self._extension = _extension(self._path) if extension is None else extension

    @property
    def path(self) -> str | None:
        """The path as it was given, or None if the content is in memory."""
        return self._path

    @property
    def content(self) -> bytes:
        """The content; with a path, the file's current content."""
        return Path(self._path).read_bytes() if self._path is not None else self._content or b""

    @property
    def extension(self) -> str:
        """The extension, without a dot unless it was given with one."""
        return self._extension

    @property
    def file_type(self) -> FileType:
        """Where the content is."""
        if self._path is not None:
            return FileType.LOCAL_FILE
        return FileType.STREAM if self._is_of_stream else FileType.IN_MEMORY

    @staticmethod
    def from_path(path: PathLike, *, extension: str | None = None) -> File:
        """Create a file from a path, which is read when the file is uploaded.

        >>> File.from_path("data/train.csv").extension, File.from_path("weights", extension="pt").extension
        ('csv', 'pt')
        """
        return File(path, extension=extension)

    @staticmethod
    def from_content(content: Content, *, extension: str | None = None) -> File:
        """Create a file from a text, which is encoded as UTF-8, or from bytes.

        Args:
            content: text or bytes.
            extension: "txt" for text and "bin" for bytes, if it is None.

        >>> File.from_content("a,b", extension="csv").content
        b'a,b'
        """
        if isinstance(content, str):
            data, usual = content.encode("utf-8", "surrogatepass"), "txt"
        elif isinstance(content, bytes | bytearray | memoryview):
            data, usual = bytes(content), "bin"
        else:
            raise NaiadTypeError(f"Content must be text or bytes, not {shown(content)}.", value=content)
        return File(content=data, extension=usual if extension is None else extension)

    @staticmethod
    def from_stream(stream: Any, *, seek: int | None = 0, extension: str | None = None) -> File:
        """Create a file from a stream of text or bytes, which is read to its end now and is not closed.

        Args:
            stream: anything with a `read()`.
            seek: go to this position first, if the stream can; None reads from the current position.
            extension: "txt" for text and "bin" for bytes, if it is None.
        """
        if not hasattr(stream, "read"):
            raise NaiadTypeError(f"A stream needs a read() method; {shown(stream)} does not have one.", value=stream)
        if getattr(stream, "closed", False):
            raise InvalidArgument("The stream is closed, so nothing can be read from it.\nOpen it again.")
        if seek is not None and getattr(stream, "seekable", bool)():
            stream.seek(seek)
        file = File.from_content(stream.read(), extension=extension)
        file._is_of_stream = True
        return file

    @staticmethod
    def as_image(image: Any, autoscale: bool = True) -> File:
        """Draw an object as a PNG: a picture, a figure, an array or a tensor.

        An array has the shape (height, width), optionally with a last dimension of 1, 3 or 4 channels.

        Args:
            image: the object to draw.
            autoscale: multiply values by 255 if all of them are between 0 and 1.

        Raises:
            NaiadTypeError: the object cannot be drawn.
            NaiadValueError: the array is empty, or its shape is not that of an image.

        >>> import numpy as np
        >>> File.as_image(np.zeros((28, 28))).extension
        'png'
        """
        forget_problem()
        content: bytes | None = first("naiad_image", subject=image, autoscale=autoscale)
        if content is None:
            raise _unsupported("an image", image)
        return File(content=content, extension="png")

    @staticmethod
    def as_html(chart: Any, **kwargs: Any) -> File:
        """Convert an object to a page that works offline: an interactive chart, a data frame, a figure.

        If no plugin converts the object, its `_repr_html_()` is used, as in notebooks.

        Args:
            chart: the object to convert.
            **kwargs: options of the chart's library; `include_plotlyjs="cdn"` makes a page of plotly small, but it then
                needs internet.

        Raises:
            NaiadTypeError: the object cannot be converted to HTML.
        """
        forget_problem()
        page = _page(chart, kwargs)
        if page is None:
            raise _unsupported("a page", chart)
        return page

    @staticmethod
    def as_pickle(obj: Any) -> File:
        """Pickle an object. naiad never unpickles a file: load it yourself, if you trust its origin.

        Raises:
            NaiadTypeError: the object, such as a lambda or an open file, cannot be pickled.
        """
        import pickle

        try:
            return File(content=pickle.dumps(obj), extension="pkl")
        # pickle raises any of these for an object that it cannot take.
        except (pickle.PicklingError, AttributeError, TypeError, RecursionError) as problem:
            remedy = "Define it at the top of a module, or write a file of your own and upload that."
            raise NaiadTypeError(f"{shown(obj)} cannot be pickled: {problem}.\n{remedy}", value=obj) from problem

    @staticmethod
    def create_from(value: Any, **kwargs: Any) -> File:
        """Create a file from any object that can be uploaded; a text is a path.

        Args:
            value: a path, bytes, a stream, or an object for `as_image` or `as_html`.
            **kwargs: for `as_html`.

        Raises:
            NaiadTypeError: the object cannot be converted to a file.
            NaiadValueError: the array is empty, or its shape is not that of an image.
        """
        if isinstance(value, File):
            return value
        if isinstance(value, str | os.PathLike):
            return File(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return File.from_content(value)
        found = _converted(value, kwargs)
        # After the plugins: an object of a library may have a `read` and be more than a stream.
        if found is None and _is_stream(value):
            return File.from_stream(value)
        if found is None:
            raise _unsupported("a file", value)
        return found

    @staticmethod
    def is_convertable(value: Any) -> bool:
        """Whether this is no path and `create_from` would make a file of it. It is tried, so it takes as long."""
        if isinstance(value, str | os.PathLike):
            return False
        return _is_stream(value) or _succeeds(File.create_from, value)

    @staticmethod
    def is_convertable_to_image(value: Any) -> bool:
        """Whether `as_image` would draw this. It is tried, so it takes as long."""
        return _succeeds(File.as_image, value)

    @staticmethod
    def is_convertable_to_html(value: Any) -> bool:
        """Whether `as_html` would write this. It is tried, so it takes as long."""
        return _succeeds(File.as_html, value)

    def __repr__(self) -> str:
        where = repr(self._path) if self._content is None else f"<{len(self._content):,} bytes>"
        return f"File({where}, extension={self._extension!r})"


def _converted(value: object, options: Mapping[str, object]) -> File | None:
    """Return the file that plugins make of an object, the most particular first, or None if none does."""
    forget_problem()
    # Options are for the page of a chart, so a plugin that makes something else of it is not asked.
    own = None if options else first("naiad_convert", value=value)
    if isinstance(own, File):
        return own
    image = first("naiad_image", subject=value, autoscale=True)
    if image is not None:
        return File(content=image, extension="png")
    return _page(value, options)


def _page(value: object, options: Mapping[str, object]) -> File | None:
    """Return the page that plugins make of an object, or that it makes of itself for notebooks, or None."""
    body: str | None = first("naiad_html", subject=value, options=options)
    # A class has the method too, and it would be called without an object.
    if body is None and not isinstance(value, type) and not _is_ours(value):
        show = getattr(value, "_repr_html_", None)
        body = _shown_page(value, show) if callable(show) else None
    return None if body is None else File.from_content(body, extension="html")


def _shown_page(value: object, show: Callable[[], object]) -> str | None:
    try:
        body = show()
    except Exception as problem:  # code of any library, whose error is the answer to the user
        name = type(value).__name__
        raise NaiadTypeError(
            f"A {name} cannot be converted to HTML, because its _repr_html_() failed: {problem!r}.", value=value
        ) from problem
    if not isinstance(body, str):
        return None
    # A fragment, as notebooks show it, has no character set of its own, and a browser would guess one.
    return body if "<html" in body[:1000].lower() else page(body)


def _is_ours(value: object) -> bool:
    """Whether this is a run, a field or the like, of which a notebook shows an excerpt."""
    return type(value).__module__.partition(".")[0] == "naiad"


def _succeeds(convert: Callable[[Any], File], value: object) -> bool:
    try:
        convert(value)
    except NaiadError:
        return False
    return True


def _is_stream(value: object) -> bool:
    return hasattr(value, "read") and not isinstance(value, type)


def _path(path: PathLike) -> str:
    try:
        return os.fsdecode(path)
    except TypeError:
        message = f"A path is a str or a Path, and {shown(path)} is neither."
        raise NaiadTypeError(f"{message}\nUse File.create_from(...) to make a file of it.", value=path) from None


def _extension(path: str | None) -> str:
    """Return a file's extension without the dot; a leading dot starts none."""
    return os.path.splitext(path)[1][1:] if path is not None else ""


def _unsupported(what: str, value: object) -> NaiadTypeError:
    """Return the error for an object that no plugin can convert."""
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    remedy = "Save it to a file and upload that, or keep it with File.as_pickle(...)."
    problem = last_problem()
    if problem is not None:
        reason = " ".join(format_problem(problem).split())[:400]
        return NaiadTypeError(f"Making {what} of a {name} failed: {reason}\nMend that, or give a file.", value=value)
    return NaiadTypeError(f"Nothing makes {what} of a {name}: {shown(value)}.\n{remedy}", value=value)
