"""Large content that goes to the object store of a server itself, and through the server where that fails."""

from __future__ import annotations

import contextlib
import hashlib
import io
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from journal_server import PART, TOKEN, JournalServer

from naiad.ship import address, presigned
from naiad.ship.client import Client

CONTENT = bytes(range(251)) * 4_000
NAME = hashlib.sha256(CONTENT).hexdigest()
Send = Callable[[], bool]


@pytest.fixture
def sent() -> list[int]:
    """The bytes of parts that were sent."""
    return []


@pytest.fixture
def send(server: JournalServer, sent: list[int], monkeypatch: pytest.MonkeyPatch) -> Send:
    """Send the content to a server that takes it in parts."""
    server.presigned = 1
    monkeypatch.setattr(presigned, "_unreachable", {})
    monkeypatch.setattr(presigned, "PAUSE_SECONDS", 0.001)
    client = Client(server.url, TOKEN)
    return lambda: presigned.send(client, NAME, len(CONTENT), "p", lambda: io.BytesIO(CONTENT), sent.append)


def puts(server: JournalServer) -> list[str]:
    return [path.rpartition("/")[2] for method, path, _headers in server.requests if method == "PUT"]


def test_parts_that_fail_are_sent_again_and_no_token_goes_with_them(
    server: JournalServer, send: Send, sent: list[int]
) -> None:
    failures = [None, 503, 403, None, None]
    server.fault = lambda _method, path: failures.pop(0) if path.startswith("parts/") else None

    assert send()
    assert CONTENT == server.blobs[NAME]
    assert ["0", str(PART), str(PART), str(PART), str(2 * PART)] == puts(server)
    assert [PART, PART, len(CONTENT) - 2 * PART] == sent
    assert not any("Authorization" in headers for method, _path, headers in server.requests if method == "PUT")


def test_object_store_that_refuses_is_left_alone_for_a_while(server: JournalServer, send: Send) -> None:
    server.fault = lambda _method, path: 403 if path.startswith("parts/") else None

    assert not send()
    asked = len(server.requests)
    assert not send()
    assert presigned.MOST_FAILURES == len(puts(server))
    assert asked == len(server.requests)


def test_part_that_does_not_arrive_ends_the_attempt(server: JournalServer, send: Send) -> None:
    """As in a bucket that the address of an operator's mistake names."""

    def lose(_method: str, path: str) -> None:
        if path.endswith("/upload"):
            server.parts.pop(f"parts/{NAME}/0", None)

    server.fault = lose

    assert not send()
    assert presigned.MOST_FAILURES == puts(server).count("0")
    asked = len(server.requests)
    assert not send()
    assert asked == len(server.requests)  # each file would be sent three times in vain


@pytest.mark.parametrize(
    "url", ["http://s3.example.org/b/x", "file:///etc/passwd", "ftp://127.0.0.1/x", "https://", ""]
)
def test_data_is_sent_to_no_address_without_tls_on_another_machine(
    server: JournalServer, send: Send, sent: list[int], monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    answer = {"have": False, "parts": [[0, len(CONTENT), url]]}
    monkeypatch.setattr(server, "_upload", lambda _name, _size: answer)

    assert not send()
    assert [] == sent


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{port}/x", "http://127.1:{port}/x", "http://localhost.:{port}/x", "http://0:{port}/x"]
)
def test_address_on_this_machine_is_used_for_a_server_on_it_alone(
    server: JournalServer, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """Another one could have data sent to a program of the user, or read from one."""
    monkeypatch.setenv("NAIAD_ALLOW_HTTP", "1")
    own = url.format(port=server.port)

    assert address.is_safe(own, server.url)
    assert not address.is_safe(own, "https://naiad.example.org")
    assert b"" == presigned.read("https://naiad.example.org", own, 0, 10)
    assert not server.requests


def test_content_is_read_by_tls_or_as_the_user_allows_it(
    server: JournalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = "http://objects.example.org/b/x"

    assert not address.is_safe(link, server.url)
    assert b"" == presigned.read(server.url, link, 0, 10)
    monkeypatch.setenv("NAIAD_ALLOW_HTTP", "1")
    assert address.is_safe(link, server.url)


def test_address_that_leads_on_to_another_one_gives_nothing(server: JournalServer) -> None:
    """The other one was not checked."""
    with redirecting(f"{server.url}/api/v1/blobs") as url:
        assert b"" == presigned.read(server.url, url, 0, 10)

    assert [] == server.requests


@contextlib.contextmanager
def redirecting(target: str) -> Iterator[str]:
    """Answer every request with the address of another one."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", target)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as http:
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()


@pytest.mark.parametrize("status", [404, 405, 409])
def test_replica_that_gives_no_addresses_leaves_the_way_through_the_server(
    server: JournalServer, send: Send, status: int
) -> None:
    """As one of the release before, or one without the setting, beside the one that was asked for the content."""
    server.fault = lambda _method, path: status if path.endswith("/upload") else None

    assert not send()


@pytest.mark.parametrize(
    "answer",
    [
        {"have": False},
        {"have": False, "parts": [[-1, 5, "https://s3.example.org/x"]]},
        {"have": False, "parts": [[0, 5, None]]},
        {"have": False, "parts": [[0, 5, "https://" + "x" * 70 + ".example.org/é"]]},
        [],
    ],
)
def test_answer_that_is_none_leaves_the_way_through_the_server(
    server: JournalServer, send: Send, monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    monkeypatch.setattr(server, "_upload", lambda _name, _size: answer)

    assert not send()
