"""The program of the process that folds. It reads runs, one a line, writes a line for each, and ends with its input."""

from __future__ import annotations

import os
import sys
import warnings

from naiad.container_kinds import KINDS, RunId
from naiad.errors import NaiadError
from naiad.storage.opening import receiver


def main(store: str) -> None:
    """Fold the runs that are named on the standard input."""
    warnings.simplefilter("ignore")  # readers are told of damage; here it fails the fold
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints must not be taken for an answer
    folding = receiver(store, is_writing=False)
    kinds = {kind.name: kind for kind in KINDS}
    for line in sys.stdin:
        uid, name = line.split()
        try:
            folding.fold(RunId(uid, kinds[name]))
            problem = ""
        except (NaiadError, OSError) as error:
            problem = " ".join(str(error).split())
        answers.write(problem + "\n")
        answers.flush()
