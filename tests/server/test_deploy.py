"""The files of `core/naiad_server/deploy/`: they are valid, agree with the program, and the script starts a server."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import kubernetes_validate
import prometheus_client.parser
import pytest
import yaml
from server_client import environment

import naiad_server
from naiad_server.command import server
from naiad_server.metrics import Metrics

DEPLOY = Path(naiad_server.__file__).parent / "deploy"
VERSION = "1.31"
"""Of Kubernetes."""


def documents(name: str) -> list[Any]:
    return [each for each in yaml.safe_load_all((DEPLOY / name).read_text()) if each]


def test_dockerfile_passes_hadolint() -> None:
    found = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    program = found or Path(prometheus_client.__file__).parents[4] / "bin/hadolint"  # beside the packages
    done = subprocess.run([program, "--no-color", DEPLOY / "Dockerfile"], check=False, capture_output=True, text=True)

    assert (0, "") == (done.returncode, done.stdout + done.stderr)


@pytest.mark.parametrize("name", sorted(path.name for path in (DEPLOY / "k8s").glob("*.yaml")))
def test_manifest_is_valid(name: str) -> None:
    if name == "kustomization.yaml":
        (kustomization,) = documents(f"k8s/{name}")
        there = {path.name for path in (DEPLOY / "k8s").iterdir()} - {name}
        assert there == set(kustomization["resources"])
        return
    for document in documents(f"k8s/{name}"):
        kubernetes_validate.validate(document, VERSION, strict=True)


def options(arguments: list[str]) -> set[str]:
    return {each for each in arguments if each.startswith("--")}


def test_commands_have_options_that_the_server_has() -> None:
    known = {name for parameter in server.params for name in parameter.opts}
    (compose,) = documents("compose.yaml")
    (pod,) = [each for each in documents("k8s/server.yaml") if each["kind"] == "StatefulSet"]
    (container,) = pod["spec"]["template"]["spec"]["containers"]
    script = (DEPLOY / "start.sh").read_text()

    assert set() == options(compose["services"]["naiad"]["command"]) - known
    assert set() == options(container["args"]) - known
    assert set() == set(re.findall(r"--[a-z-]+", "".join(re.findall("set -- .*", script)))) - known


def test_compose_lets_nobody_pass_by_the_proxy() -> None:
    """The server believes the headers of a network, so it is reached from there alone."""
    (compose,) = documents("compose.yaml")
    own = compose["services"]["naiad"]
    (network,) = compose["networks"]["inner"]["ipam"]["config"]
    removed = re.findall("request_header -(X-Forwarded-[A-Za-z]+)", (DEPLOY / "Caddyfile").read_text())

    assert "ports" not in own
    assert network["subnet"] == own["command"][own["command"].index("--trusted-proxy") + 1]
    assert ["X-Forwarded-User", "X-Forwarded-Groups"] == removed


def test_alerts_name_metrics_that_there_are() -> None:
    text = Metrics().text().decode()
    known = {family.name for family in prometheus_client.parser.text_string_to_metric_families(text)}
    (alerts,) = documents("alerts.yaml")
    rules = alerts["groups"][0]["rules"]

    named = {name.removesuffix("_total") for rule in rules for name in re.findall("naiad_[a-z_]+", rule["expr"])}
    assert 4 == len(rules)
    assert set() == named - known


def test_script_starts_a_server_and_ends_it(tmp_path: Path) -> None:
    """Where there is no Docker: the same process, by a shell."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "naiad").write_text(f'#!/bin/sh\nexec {sys.executable} -c "from naiad.cli import main; main()" "$@"\n')
    (programs / "naiad").chmod(0o755)
    settings = {**environment(), "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    settings.pop("NAIAD_HOST", None)
    with (tmp_path / "said.txt").open("w") as said:
        process = subprocess.Popen(
            ["sh", DEPLOY / "start.sh", tmp_path / "store", "0"], env=settings, stdout=said, stderr=said
        )
    try:
        until = time.monotonic() + 60
        while not (found := re.search(r"naiad server: .* at (\S+)", (tmp_path / "said.txt").read_text())):
            assert time.monotonic() < until
            assert process.poll() is None, (tmp_path / "said.txt").read_text()
            time.sleep(0.1)
        with urllib.request.urlopen(f"{found[1]}/readyz", timeout=30) as answer:
            ready = answer.read()
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
    finally:
        process.kill()

    assert (b"ok", 0) == (ready, code)
    assert "shown this once: naiad_" in (tmp_path / "said.txt").read_text()
