"""`naiad docs`."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest


@pytest.mark.timeout(300)  # from a checkout it builds the pages first: ten seconds of CPU
def test_the_documentation_is_served_to_this_machine_only() -> None:
    command = [sys.executable, "-c", "from naiad.cli import main; main()", "docs", "--no-browser"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        try:
            page = urllib.request.urlopen(address, timeout=200).read().decode()
            index = urllib.request.urlopen(address.replace("index.html", "search/search_index.json"), timeout=60).read()
            foreign = http.client.HTTPConnection(*re.findall(r"//([^:/]+):(\d+)", address)[0], timeout=60)
            foreign.request("GET", "/index.html", headers={"Host": "evil.example:80"})
            refusal = foreign.getresponse().status
            foreign.close()
        finally:
            server.send_signal(signal.SIGINT)
            _, notes = server.communicate(timeout=60)

    assert "<h1" in page
    assert b"pre-emption" in index
    assert 421 == refusal
    assert 0 == server.returncode
    assert notes.endswith("Stopped.\n")
