"""Charts as files: figures drawn without pyplot and closed at once. A failing chart is a warning."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from naiad.errors import NaiadWarning
from naiad.types import File
from naiad_sklearn.watching import unseen


def drawn(title: str, draw: Callable[[Any], None], beside: int = 1) -> File | None:
    """Return the file of a drawn chart, or None with a warning if drawing fails.

    Args:
        title: of the chart.
        draw: takes matplotlib axes, or an array of them.
        beside: how many axes, side by side.
    """
    try:
        from matplotlib.figure import Figure  # optional: scikit-learn does without

        figure = Figure(figsize=(8 if beside == 1 else 6 * beside, 5.5), layout="constrained")
        axes = figure.subplots(1, beside, squeeze=False)[0]
        with unseen():
            draw(axes[0] if beside == 1 else axes)
        figure.suptitle(title)
        return File.as_image(figure)
    except Exception as problem:  # noqa: BLE001 (estimators are foreign code, and none of it may cost the summary)
        why = f"{type(problem).__name__}: {problem}".partition("\n")[0]
        message = f"The chart {title!r} was left out. {why[:200]}"
        warnings.warn(message, NaiadWarning, stacklevel=3)
        return None
