"""Every benchmark runs, with tiny sizes: so that none rots. What the numbers are is nobody's concern here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
ALONE = {
    "bench_postgres.py",
    "bench_postgres_reads.py",
    "bench_codec.py",
    "bench_growth.py",
    "bench_importers.py",
    "bench_pages.py",
    "bench_stranger.py",
    "bench_viewers.py",
}  # these print tables of their own, or take long
SCRIPTS = sorted(path.name for path in FOLDER.glob("bench_*.py") if path.name not in ALONE)


def run(script: str, *arguments: str) -> str:
    """What a script prints; a warning in it is an error."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NAIAD_", "NEPTUNE_"))}
    command = [sys.executable, "-W", "error", str(FOLDER / script), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_benchmark_gives_figures_with_numbers(script: str) -> None:
    found = json.loads(run(script, "--quick", "--json"))

    assert found
    for figure in found:
        assert figure["ours"], figure["name"]
        assert all(figure["floors"].values()), figure["name"]


def test_table_has_a_line_for_each_figure_and_floor() -> None:
    found = json.loads(run("bench_small_runs.py", "--quick", "--json"))

    table = run("bench_small_runs.py", "--quick").splitlines()

    assert 1 + sum(1 + len(figure["floors"]) for figure in found) == len(table)


def test_codec_benchmark_runs() -> None:
    code = "import bench_codec as b; b.report([*b.chunk_cases(10, 'x', b.np.ones(10)), *b.pack_cases(100, 5)], 1)"

    subprocess.run([sys.executable, "-c", code], check=True, cwd=FOLDER, stdout=subprocess.DEVNULL)


def test_growth_benchmark_gives_a_cost_for_each_size_and_an_exponent() -> None:
    found = json.loads(run("bench_growth.py", "--quick", "--json", "fields"))

    assert [each["name"] for each in found] == [
        "fields written, with stop(), 10",
        "fields written, with stop(), 100",
        "    exponent",
        "fields opened and read, 10",
        "fields opened and read, 100",
        "    exponent",
    ]
    assert all(each["ours"][0] > 0 for each in found if each["unit"] == "s")
