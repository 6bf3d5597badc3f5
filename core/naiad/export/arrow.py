"""The one place that imports pyarrow."""

from __future__ import annotations

from typing import Any

from naiad.errors import MissingPackage


def arrow() -> Any:
    """Import pyarrow.

    Raises:
        MissingPackage: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError as error:
        raise MissingPackage(
            f"Arrow and parquet need pyarrow, and importing it failed: {error}.\n"
            'Install it with: pip install "naiad[import]"',
            package="pyarrow",
        ) from error
    return pyarrow
