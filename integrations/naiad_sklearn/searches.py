"""Results of a parameter search: GridSearchCV, RandomizedSearchCV and others with the same attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from naiad.names import apart
from naiad.types import File
from naiad.utils import stringify_unsupported
from naiad_sklearn.estimators import require

COLUMNS = ("mean_", "std_", "rank_")
"""How the results begin that say something of a candidate as a whole."""


def create_search_summary(search: Any, candidates: int = 5) -> dict[str, Any]:
    """Return all results of a fitted search as a table, and its best candidates one by one.

    The best parameters and score are there if the search has chosen any: with several scores and `refit=False` none
    is the best.

    Args:
        search: a fitted GridSearchCV or the like.
        candidates: how many to list, by the score that the search went by; each has the number it has in the table.
    """
    require(search, "create_search_summary", "a fitted search", is_search)
    table = pd.DataFrame(search.cv_results_)
    found: dict[str, Any] = {
        "cv_results": File.from_content(table.to_csv(index_label="candidate"), extension="csv"),
        "cv_results_table": File.as_html(table),
        "candidates": {str(i): _candidate(table.iloc[i]) for i in _best(search, table)[:candidates]},
    }
    # Not there with `refit=False` and several scores, where the search has chosen none.
    for name in ("best_index", "best_score"):
        if hasattr(search, f"{name}_"):
            found[name] = getattr(search, f"{name}_")
    if hasattr(search, "best_params_"):
        found["best_params"] = apart(stringify_unsupported(search.best_params_))
    return found


def is_search(subject: object) -> bool:
    """Whether something is a search that has been fitted."""
    return hasattr(subject, "cv_results_")


def _best(search: Any, table: pd.DataFrame) -> list[int]:
    # With several scores `refit` names the one that the search goes by; with one its column has a fixed name.
    ranks = [f"rank_test_{getattr(search, 'refit', '')}", "rank_test_score", *table.filter(regex="^rank_test_").columns]
    by = next((name for name in ranks if name in table), None)
    return list(range(len(table))) if by is None else [int(i) for i in np.argsort(table[by], kind="stable")]


def _candidate(row: pd.Series[Any]) -> dict[str, Any]:
    numbers = {name: row[name] for name in map(str, row.index) if name.startswith(COLUMNS)}
    return apart({**numbers, "params": stringify_unsupported(row["params"])})
