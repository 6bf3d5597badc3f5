"""A small minimization fills each row of the mapping, and nothing else."""

from naiad_scipy import NaiadCallback
from naiad_scipy.plugin import INTEGRATION
from scipy.optimize import minimize

import naiad
from naiad.testing.mapping import check_mapping


def test_minimization_fills_the_rows(tmp_path):
    run = naiad.init_run(store=tmp_path)
    callback = NaiadCallback(run, watch=lambda x: {"x": x[0], "x/squared": x[0] ** 2})

    callback.end(minimize(lambda x: (x[0] - 1) ** 2, [3.0], callback=callback))

    check_mapping(INTEGRATION, run, when={"taken names"})
    run.stop()
