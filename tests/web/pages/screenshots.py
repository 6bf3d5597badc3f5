"""Take the README's screenshots from the quickstart's own data: `python tests/web/pages/screenshots.py`.

The quickstart runs a few times with other learning rates, as its reader may do. Each picture has 128 colours: small.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parents[3]
PICTURES = ROOT / "core/docs/images"
RATES = (0.1, 0.03, 0.003, 0.001, 0.0003, 0.01)
"""Learning rates of the runs; the last is the quickstart's own."""
SIZE = {"width": 1280, "height": 720}


def trained(store: Path, folder: Path) -> None:
    """Run the quickstart once for each rate."""
    text = (ROOT / "examples/quickstart.py").read_text(encoding="utf-8")
    program = folder / "quickstart.py"
    for rate in RATES:
        program.write_text(text.replace('"eta0": 0.01', f'"eta0": {rate}').replace("linear baseline", f"eta0 {rate}"))
        command = [sys.executable, str(program)]
        subprocess.run(
            command,
            cwd=folder,
            env={"NAIAD_STORE": str(store), "PATH": "/usr/bin:/bin"},
            check=True,
            stdout=subprocess.DEVNULL,
        )


def taken(page: Any, address: str, name: str) -> None:
    """Open an address, wait until all is drawn, and keep the picture."""
    page.goto(address)
    page.wait_for_selector(".page")
    page.wait_for_timeout(2500)
    raw = PICTURES / f"{name}.png"
    page.screenshot(path=raw)
    with Image.open(raw) as picture:
        picture.convert("RGB").quantize(128).save(raw, optimize=True)


def main() -> None:
    """Make the data, serve it, and take both pictures."""
    from playwright.sync_api import sync_playwright

    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        store = Path(place) / ".naiad"
        trained(store, Path(place))
        program = [sys.executable, "-c", "from naiad.cli import main; main()", "--store", str(store)]
        server = subprocess.Popen([*program, "ui", "--port", "0", "--no-browser"], stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        found = re.search(r"(http://[^/\s]+)/#token=(\S+)", server.stdout.readline())
        assert found is not None
        with sync_playwright() as started:
            browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport=SIZE)
            page.goto(f"{found[1]}/#token={found[2]}")
            page.wait_for_timeout(1000)
            taken(page, f"{found[1]}/p/digits/runs?split=1", "runs")
            taken(page, f"{found[1]}/p/digits/runs/DIGITS-{len(RATES)}", "run")
            browser.close()
        server.send_signal(signal.SIGINT)
        server.wait(10)


if __name__ == "__main__":
    main()
