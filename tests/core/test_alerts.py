"""Alerts: one message a failure, to a real webhook and a real command; never two, never in the way of a program."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import naiad
from naiad import alert
from naiad.alerts.delivery import Sweeper, deliver, missed
from naiad.alerts.wanted import AlertsWanted, alerts_wanted
from naiad.errors import InvalidArgument, NaiadTypeError, NaiadWarning, PluginWarning
from naiad.storage.local.store import Store

QUIET: dict[str, Any] = {"git_ref": False, "source_files": [], "capture_hardware_metrics": False}
SECRET = "/services/T00/s3cr3t-path"
KILLED = """
import os, sys, naiad
run = naiad.init_run(project="p", store=sys.argv[1], capture_hardware_metrics=False, git_ref=False, source_files=[])
run["loss"].append(0.5)
os.kill(os.getpid(), 9)
"""
OBSERVER = """
import sys
from naiad.alerts.delivery import missed
from naiad.alerts.wanted import alerts_wanted
from naiad.storage.local.store import Store
sys.stdin.readline()
print(missed(Store.locate(sys.argv[1]), alerts_wanted()))
"""


class Hook:
    """A webhook on this machine: all that was posted to it."""

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []
        self.status = 200
        self.delay = threading.Event()
        self.delay.set()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                hook.delay.wait(60)
                hook.posted.append({"path": self.path, **json.loads(data)})
                self.send_response(hook.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Print nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}{SECRET}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def events(self) -> list[str]:
        return [each["event"] for each in self.posted]


@pytest.fixture
def hook() -> Iterator[Hook]:
    found = Hook()
    yield found
    found.delay.set()
    # An alert that waited for an answer is tried again; without a server it would warn in the middle of another test.
    until(lambda: not [each for each in threading.enumerate() if each.name.startswith("naiad-alert")])
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture(autouse=True)
def _soon(store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """After `store`, which puts all settings away."""
    monkeypatch.setenv("NAIAD_ALERT_LOOK_SECONDS", "0.05")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def begin(store: Path, **given: Any) -> naiad.Run:
    return naiad.init_run(project="p", store=store, **QUIET, **given)


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


def all_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_failed_run_posts_one_alert_and_no_one_posts_another(store: Path, hook: Hook) -> None:
    wanted = {"webhooks": [hook.address]}
    with pytest.raises(ZeroDivisionError), begin(store, name="sweep", alerts=wanted) as run:
        1 / 0

    assert 0 == missed(Store.locate(store), AlertsWanted((hook.address,)))
    [posted] = hook.posted
    assert ("failed", run.id, "sweep", "p") == tuple(posted[key] for key in ("event", "id", "name", "project"))
    assert "Run P-1 (sweep) failed." == posted["text"]
    assert SECRET.encode() not in all_bytes(store)  # addresses are nowhere in a store


def test_run_that_ends_in_order_posts_nothing(store: Path, hook: Hook) -> None:
    with begin(store, alerts={"webhooks": hook.address}) as run:
        run["loss"].append(0.5)

    assert 0 == missed(Store.locate(store), AlertsWanted((hook.address,)))
    assert [] == hook.posted


def test_killed_run_is_told_once_by_whoever_sees_it(store: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four processes look at one moment."""
    monkeypatch.setenv("NAIAD_ALERT_WEBHOOK", hook.address)
    assert -signal.SIGKILL == subprocess.run([sys.executable, "-c", KILLED, str(store)], check=False).returncode
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    observers = [subprocess.Popen([sys.executable, "-c", OBSERVER, str(store)], **pipes) for _ in range(4)]
    counts = [int(observer.communicate("\n", timeout=100)[0]) for observer in observers]

    assert (1, ["killed"]) == (sum(counts), hook.events())
    assert "Run P-1 was killed." == hook.posted[0]["text"]
    assert SECRET.encode() not in all_bytes(store)


def test_alert_of_a_process_that_dies_while_it_sends_is_sent_by_the_next(
    store: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its claim ends; until then it is left to it, and after the next one has sent it there is no third."""
    monkeypatch.setenv("NAIAD_ALERT_WEBHOOK", hook.address)
    subprocess.run([sys.executable, "-c", KILLED, str(store)], check=False)
    deadly = {"NAIAD_ALERT_WEBHOOK": "", "NAIAD_ALERT_COMMAND": "sh -c 'kill -9 $PPID'"}
    dying = subprocess.run(
        [sys.executable, "-c", OBSERVER, str(store)], input=b"\n", env=os.environ | deadly, check=False
    )
    place, wanted = Store.locate(store), AlertsWanted((hook.address,))

    assert (-signal.SIGKILL, 0) == (dying.returncode, missed(place, wanted))
    now = time.time()
    monkeypatch.setattr("naiad.clock.now", lambda: now + 60)
    assert [1, 0, 0] == [missed(place, wanted) for _ in range(3)]
    monkeypatch.setattr("naiad.clock.now", lambda: now + 3600)
    assert 0 == missed(place, wanted)
    assert ["killed"] == hook.events()
    assert hook.posted[0]["key"].startswith(hook.posted[0]["uid"])


def test_runs_that_were_never_watched_alert_nobody(store: Path, hook: Hook) -> None:
    """A store full of old killed runs makes no noise when alerts are first configured."""
    environment = {key: text for key, text in os.environ.items() if not key.startswith("NAIAD_ALERT")}
    subprocess.run([sys.executable, "-c", KILLED, str(store)], check=False, env=environment)

    assert 0 == missed(Store.locate(store), AlertsWanted((hook.address,)))


def test_resumed_run_that_fails_again_alerts_again(store: Path, hook: Hook) -> None:
    for given in ({"custom_run_id": "job"}, {"custom_run_id": "job"}):
        with pytest.raises(ZeroDivisionError), begin(store, alerts={"webhooks": hook.address}, **given):
            1 / 0
    assert ["failed", "failed"] == hook.events()


def test_first_value_that_is_not_finite_alerts_once(store: Path, hook: Hook) -> None:
    with begin(store, alerts={"webhooks": hook.address}) as run:
        run["loss"].append(0.5, step=0)
        run["fine"].append(0.5)
        run["loss"].append(float("nan"), step=7)
        until(lambda: hook.posted)
        for step in range(8, 20):
            run["loss"].append(float("nan"), step=step)
        run["other"].append(float("inf"), step=3)
        until(lambda: len(hook.posted) > 1)

    assert [("nan", "loss", 7, "nan"), ("nan", "other", 3, "inf")] == [
        tuple(each[key] for key in ("event", "path", "step", "value")) for each in hook.posted
    ]


def test_metric_that_stalls_alerts_until_it_goes_on(store: Path, hook: Hook) -> None:
    with begin(store, alerts={"webhooks": hook.address, "stall_seconds": 0.2}) as run:
        run["loss"].append(0.5)
        until(lambda: hook.posted)
        run["loss"].append(0.4)
        until(lambda: len(hook.posted) > 1)

    assert {("stalled", "loss")} == {(each["event"], each["path"]) for each in hook.posted}
    assert 2 == len(hook.posted)


def test_webhook_that_does_not_answer_holds_up_nothing(store: Path, hook: Hook) -> None:
    """The run ends within its time, and nobody sends the alert a second time."""
    hook.delay.clear()
    begun = time.monotonic()
    run = begin(store, alerts={"webhooks": hook.address})
    run["loss"].append(float("nan"))
    for step in range(1000):
        run["fine"].append(0.5, step=step)
    with pytest.raises(ZeroDivisionError), run:
        1 / 0
    took = time.monotonic() - begun
    hook.delay.set()
    until(lambda: "failed" in hook.events())

    assert took < 30
    assert 0 == missed(Store.locate(store), AlertsWanted((hook.address,)))
    assert 1 == hook.events().count("failed")


def test_command_gets_the_alert_on_its_input_and_no_shell_reads_it(store: Path, tmp_path: Path) -> None:
    target = tmp_path / "alerts.txt"
    code = f"import sys; open({str(target)!r}, 'a').write(sys.argv[1] + chr(10) + sys.stdin.read() + chr(10))"
    command = [sys.executable, "-c", code, "$(touch hacked); `id`"]
    with pytest.raises(ZeroDivisionError), begin(store, name="$(touch hacked)", alerts={"commands": command}):
        1 / 0

    argument, data = target.read_text().splitlines()
    assert ("$(touch hacked); `id`", "$(touch hacked)") == (argument, json.loads(data)["name"])
    assert not list(Path.cwd().glob("hacked"))


@pytest.mark.parametrize(
    ("target", "trouble"),
    [
        ((sys.executable, "-c", "import sys; sys.stdin.read(); sys.exit(3)"), "ended with 3"),
        (("/no/such/program",), "cannot be run"),
        (f"http://127.0.0.1:9{SECRET}", "cannot be reached"),
    ],
)
def test_trouble_is_one_warning_without_the_address(
    target: alert.Target, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("naiad.alerts.delivery.PAUSE_SECONDS", 0.01)
    event = alert.Alert("failed", "Run P-1 failed.", "P-1", str(target), "p", "", "", 0.0)
    with pytest.warns(PluginWarning, match=trouble) as seen:
        deliver(event, [target])
    assert SECRET not in str(seen[0].message)
    assert 1 == len(seen)


def test_status_of_a_webhook_is_in_the_warning_and_it_is_tried_again(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("naiad.alerts.delivery.PAUSE_SECONDS", 0.01)
    hook.status = 503
    event = alert.Alert("failed", "Run P-1 failed.", "P-1", "uid", "p", "", "", 0.0)
    with pytest.warns(PluginWarning, match="could not be sent to target 1: the webhook answered with status 503"):
        deliver(event, [hook.address])
    assert 3 == len(hook.posted)


def test_sweeper_looks_until_it_is_stopped(store: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAIAD_ALERT_WEBHOOK", hook.address)
    sweeper = Sweeper(Store.locate(store), AlertsWanted((hook.address,)), 0.05)
    begin(store, alerts=False).stop()
    sweeper.start()
    subprocess.run([sys.executable, "-c", KILLED, str(store)], check=False)
    until(lambda: hook.posted)
    sweeper.stop()
    assert ["killed"] == hook.events()


def test_argument_comes_before_the_environment_and_that_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config" / "naiad" / "alerts.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"webhooks": ["https://file"], "stall_seconds": 60}')
    assert AlertsWanted(("https://file",), 60) == alerts_wanted()
    monkeypatch.setenv("NAIAD_ALERT_COMMAND", "notify 'two words'")
    monkeypatch.setenv("NAIAD_ALERT_STALL_SECONDS", "30")
    assert AlertsWanted((("notify", "two words"),), 30) == alerts_wanted()
    assert AlertsWanted(("https://given",)) == alerts_wanted({"webhooks": "https://given"})
    assert alerts_wanted(False) is None
    assert "given" not in repr(alerts_wanted({"webhooks": "https://given"}))
    monkeypatch.delenv("NAIAD_ALERT_COMMAND")
    file.chmod(0o666)
    with pytest.warns(NaiadWarning, match="others can write"):
        assert alerts_wanted() is None


@pytest.mark.parametrize(
    "given",
    [
        {"webhook": "https://x"},
        {"webhooks": "ftp://s3cr3t"},
        {"webhooks": [3]},
        {"commands": "rm -rf /"},
        {"commands": [[]]},
        {"webhooks": "https://s3cr3t", "stall_seconds": 0},
    ],
)
def test_wrong_alerts_are_refused_without_showing_an_address(store: Path, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as error:
        begin(store, alerts=given)
    assert "s3cr3t" not in str(error.value)


def test_alerts_take_a_dict(store: Path) -> None:
    with pytest.raises(NaiadTypeError, match="alerts= takes a dict"):
        begin(store, alerts="https://s3cr3t")
