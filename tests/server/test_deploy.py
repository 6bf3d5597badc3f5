"""The files of `core/naiad_server/deploy/`: they are valid, agree with the program, and the script starts a server."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import kubernetes_validate
import prometheus_client.parser
import pytest
import yaml
from postgres_server import Postgres, SeaweedFS, free_port, wait_for
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


@pytest.mark.parametrize("name", sorted(str(path.relative_to(DEPLOY)) for path in (DEPLOY / "k8s").rglob("*.yaml")))
def test_manifest_is_valid(name: str) -> None:
    place = (DEPLOY / name).parent
    if name.endswith("kustomization.yaml"):
        (kustomization,) = documents(name)
        others = {each for each in kustomization["resources"] if each.startswith("../")}
        assert {path.name for path in place.iterdir()} - {"kustomization.yaml"} == {
            *kustomization["resources"]
        } - others
        assert all((place / each / "kustomization.yaml").exists() for each in others)
        return
    for document in documents(name):
        kubernetes_validate.validate(document, VERSION, strict=True)


def containers(name: str) -> list[Any]:
    """The containers of all that a manifest starts."""
    found = [each["spec"]["template"]["spec"] for each in documents(name) if "template" in each.get("spec", {})]
    return [container for pod in found for container in pod["containers"]]


def options(arguments: list[str]) -> set[str]:
    return {each for each in arguments if each.startswith("--")}


def test_commands_have_options_that_the_server_has() -> None:
    known = {name for parameter in server.params for name in parameter.opts}
    services = [
        documents("compose.yaml")[0]["services"]["naiad"],
        *(documents("compose-database.yaml")[0]["services"][name] for name in ("naiad", "migrate")),
    ]
    pods = [each for path in (DEPLOY / "k8s").rglob("*.yaml") for each in containers(str(path.relative_to(DEPLOY)))]
    arguments = [*(each["command"] for each in services), *(each.get("args", []) for each in pods)]
    scripts = "".join((DEPLOY / name).read_text() for name in ("start.sh", "start-database.sh"))
    called = re.findall(r"--[a-z-]+", "".join(re.findall("set -- .*|naiad server .*", scripts)))

    assert 7 == len(arguments)
    assert set() == {option for each in arguments for option in options(each)} - known
    assert set() == set(called) - known - {"--role"}


@pytest.mark.parametrize("name", ["compose.yaml", "compose-database.yaml"])
def test_compose_lets_nobody_pass_by_the_proxy(name: str) -> None:
    """The server believes the headers of a network, so it is reached from there alone."""
    (compose,) = documents(name)
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


def _programs(folder: Path) -> Path:
    """A folder of programs with `naiad`, that of these tests."""
    programs = folder / "bin"
    programs.mkdir()
    (programs / "naiad").write_text(f'#!/bin/sh\nexec {sys.executable} -c "from naiad.cli import main; main()" "$@"\n')
    (programs / "naiad").chmod(0o755)
    return programs


def test_script_starts_a_server_and_ends_it(tmp_path: Path) -> None:
    """Where there is no Docker: the same process, by a shell."""
    settings = {**environment(), "PATH": f"{_programs(tmp_path)}{os.pathsep}{os.environ['PATH']}"}
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
        code = process.wait(60)
    finally:
        process.kill()

    assert (b"ok", 0) == (ready, code)
    assert "shown this once: naiad_" in (tmp_path / "said.txt").read_text()


@pytest.mark.slow  # a database, objects and two replicas: pytest -m slow tests/server/test_deploy.py -k replicas
def test_script_starts_replicas_over_a_database(tmp_path: Path) -> None:
    """PostgreSQL, SeaweedFS, two replicas: the processes of compose-database.yaml, a token, and a run through each."""
    objects, postgres = SeaweedFS(tmp_path), Postgres(tmp_path / "postgres")
    settings = {
        **environment(),
        **objects.environment,
        "PATH": f"{_programs(tmp_path)}{os.pathsep}{os.environ['PATH']}",
        "NAIAD_SERVER_DATABASE": postgres.url,
        "NAIAD_SERVER_OBJECTS": objects.url,
    }
    settings.pop("NAIAD_HOST", None)
    port = two_free_ports()
    process = None
    try:
        objects.begin()
        postgres.start()
        objects.make_bucket()
        with (tmp_path / "said.txt").open("w") as said:
            process = subprocess.Popen(
                ["sh", DEPLOY / "start-database.sh", str(port), "2"], env=settings, stdout=said, stderr=said
            )
        for own in (port, port + 1):
            wait_for(lambda own=own: is_ready(own), "readiness")  # type: ignore[misc]
        made = subprocess.run(
            ["naiad", "server", "token", "add", "admin", "--role", "admin"],
            env=settings, check=True, capture_output=True, text=True,
        )  # fmt: skip
        statuses = [asked(own, made.stdout.strip()) for own in (port, port + 1)]
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    finally:
        if process is not None:
            process.kill()
        postgres.remove()
        objects.stop()

    assert ([200, 200], 0) == (statuses, code), (tmp_path / "said.txt").read_text()
    assert not is_ready(port)


def two_free_ports() -> int:
    """The first of two ports, one after the other, that nobody listens on."""
    while True:
        port = free_port()
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port + 1)):
            return port


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        error.close()  # it has the connection
        return False
    except OSError:
        return False


def asked(port: int, token: str) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return int(answer.status)
