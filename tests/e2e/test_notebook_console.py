"""What the cells of a notebook print."""

from __future__ import annotations

from pathlib import Path

import pytest

import naiad


@pytest.mark.filterwarnings("ignore")  # of the notebook's own packages
def test_every_cell_is_kept(tmp_path: Path) -> None:
    nbclient = pytest.importorskip("nbclient", reason="notebooks are run by nbclient")
    nbformat = pytest.importorskip("nbformat", reason="notebooks are made by nbformat")
    pytest.importorskip("ipykernel", reason="notebooks need a kernel")
    begin = f"import naiad\nrun = naiad.init_run(project='p', store={str(tmp_path)!r}, capture_stdout=True, "
    cells = [begin + "monitoring_namespace='m')\nprint('one')", "print('two')", "print('three')\nrun.stop()"]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(book, timeout=60, kernel_name="python3").execute()
    with naiad.init_run(with_id="P-1", mode="read-only", store=tmp_path) as run:
        lines = list(run["m/stdout"].fetch_values(progress_bar=False)["value"])

    assert ["one", "two", "three"] == lines
