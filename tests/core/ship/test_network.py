"""Trouble of the network: one warning, training goes on, nothing is lost; and the client and its token."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import io
import ipaddress
import signal
import socket
import ssl
import struct
import threading
import time
from pathlib import Path
from types import FrameType

import pytest
from journal_server import TOKEN, JournalServer

import naiad
from naiad.errors import InvalidArgument, NotAuthorized, ServerUnreachable, ServerWarning
from naiad.ship import address
from naiad.ship.client import Client
from naiad.storage.local.layout import Layout
from naiad.storage.local.reader import Reader
from naiad.storage.opening import locate


def test_packets_that_vanish_delay_only_the_begin_and_the_end(
    server: JournalServer, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something takes the connection and never answers."""
    monkeypatch.setenv("NAIAD_CONNECT_SECONDS", "0.3")
    with socket.create_server(("127.0.0.1", 0)) as hole:
        with pytest.warns(ServerWarning, match="cannot be reached"):
            run = naiad.init_run(store=f"http://127.0.0.1:{hole.getsockname()[1]}")
        run["loss"].extend([0.5] * 1000)
        with pytest.warns(ServerWarning, match="1,000 points"):
            run.stop(seconds=0.5)
    [folder] = Layout(store).folders()

    assert 1000 == Reader(folder).count("loss")


def test_certificate_that_is_not_accepted_is_named(server: JournalServer, store: Path, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            for _ in range(2):
                with contextlib.suppress(OSError):  # the client ends the handshake, and may not come a second time
                    connection, _peer = listener.accept()
                    with connection:
                        context.wrap_socket(connection, server_side=True)

        threading.Thread(target=answer, daemon=True).start()
        client = Client(f"https://127.0.0.1:{listener.getsockname()[1]}", TOKEN)
        with pytest.raises(ServerUnreachable, match="certificate of https://127.* is not accepted.*\n.*SSL_CERT_FILE"):
            client.get("")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"<html>"], ids=["status", "page"])
def test_https_address_of_a_server_without_tls_is_named_with_the_remedy(answer: bytes) -> None:
    def refuse() -> None:
        connection, _peer = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        plain = f"127.0.0.1:{listener.getsockname()[1]}"
        threading.Thread(target=refuse, daemon=True).start()
        with pytest.raises(ServerUnreachable, match="cannot be reached: its port uses plain HTTP") as caught:
            Client(f"https://{plain}", TOKEN).get("")

    assert f"use http://{plain} and set NAIAD_ALLOW_HTTP=1" in str(caught.value)
    assert "SSL" not in str(caught.value)


@pytest.mark.parametrize("ending", ["closed", "reset", "alert", "nginx", "go"])
def test_http_address_of_a_server_with_tls_is_named_with_the_remedy(tmp_path: Path, ending: str) -> None:
    """Servers end a connection without TLS in several ways; a second one with TLS finds out why."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate(tmp_path))
    texts = {
        "nginx": b"The plain HTTP request was sent to HTTPS port",
        "go": b"Client sent an HTTP request to an HTTPS server.",
    }

    def answer() -> None:
        for _ in range(2):
            with contextlib.suppress(OSError):
                connection, _peer = listener.accept()
                with connection:
                    if connection.recv(1, socket.MSG_PEEK) == b"\x16":
                        context.wrap_socket(connection, server_side=True)
                        continue
                    connection.recv(65536)
                    if ending == "reset":
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    elif ending == "alert":
                        connection.sendall(b"\x15\x03\x01\x00\x02\x02\x46")
                    elif ending in texts:
                        head = f"HTTP/1.1 400 Bad Request\r\nContent-Length: {len(texts[ending])}\r\n\r\n"
                        connection.sendall(head.encode() + texts[ending])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answer, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ServerUnreachable, match="cannot be reached: its port uses TLS") as caught:
            Client(url, TOKEN).get("")

    assert f"Use {url.replace('http', 'https')}." in str(caught.value)


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate that no authority has signed."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


def test_clock_a_day_off_changes_no_order_and_no_state(
    server: JournalServer, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine that goes on with a run believes that it is yesterday."""
    from naiad import clock

    with naiad.init_run(store=server.url, custom_run_id="job") as run:
        run["x"] = 1
    monkeypatch.setattr(clock, "now", lambda: time.time() - 86_400)
    with naiad.init_run(store=server.url, custom_run_id="job") as again:
        again["x"] = 2
        again.sync(remote=True)
    reader = Reader(server.run(run._run.uid))

    assert (2, "finished") == (reader.value("x"), reader.state())


@pytest.mark.parametrize(
    "text", ["https://", "http://[", "https://me:secret@host", "https://host/?x=1", "ftp://host", "https://host:port"]
)
def test_what_is_no_address_of_a_server_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        address.parse(text)

    assert "secret" not in str(caught.value)


def test_plain_http_leads_to_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAIAD_ALLOW_HTTP", raising=False)
    assert "http://127.0.0.1:8128" == address.parse("http://127.0.0.1:8128/").url
    assert "http://[::1]:1" == address.parse("http://[::1]:1").url
    with pytest.raises(InvalidArgument, match="NAIAD_ALLOW_HTTP=1"):
        locate("http://naiad.example.org")
    monkeypatch.setenv("NAIAD_ALLOW_HTTP", "1")
    assert "http://naiad.example.org/sub" == address.parse("http://naiad.example.org/sub/").url


def test_token_is_read_from_a_file_that_only_its_owner_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    monkeypatch.delenv("NAIAD_API_TOKEN", raising=False)
    monkeypatch.setenv("NAIAD_API_TOKEN_FILE", str(file))
    file.chmod(0o644)
    with pytest.raises(NotAuthorized, match="chmod 600"):
        address.token()
    file.chmod(0o600)

    assert TOKEN == address.token()


def test_token_of_another_service_is_never_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAIAD_API_TOKEN", "hunter2")
    with pytest.raises(NotAuthorized) as caught:
        address.token()

    assert "hunter2" not in str(caught.value)


def test_store_that_is_a_server_crosses_to_another_process_without_its_token(server: JournalServer) -> None:
    import pickle

    store = locate(server.url)
    data = pickle.dumps(store)

    assert TOKEN.encode() not in data
    assert store == pickle.loads(data)


def test_request_of_a_signal_handler_inside_a_request_is_refused_at_once_and_the_next_one_works(
    server: JournalServer,
) -> None:
    """As of a handler that reads a run; waiting for the request below it would never end."""
    client, refused = Client(server.url, TOKEN), list[Exception]()

    def ask(_number: int, _frame: FrameType | None) -> None:
        with pytest.raises(ServerUnreachable, match="signal handler") as found:
            client.get("runs", seconds=30)
        refused.append(found.value)

    class Content(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if not refused:
                signal.raise_signal(signal.SIGUSR1)
            return super().read(size)

    name = hashlib.sha256(b"x").hexdigest()
    earlier = signal.signal(signal.SIGUSR1, ask)
    try:
        stored = [client.put_file(f"blobs/{name}", Content(b"x"), 1)["sha256"] for _ in range(2)]
    finally:
        signal.signal(signal.SIGUSR1, earlier)
        client.close()

    assert [name, name] == stored
    assert 1 == len(refused)


def test_client_that_a_signal_handler_closes_inside_a_request_ends_that_request_first(server: JournalServer) -> None:
    """As of a handler that stops a run; the request would else go on with a closed connection."""
    client, closed = Client(server.url, TOKEN), list[bool]()

    def close(_number: int, _frame: FrameType | None) -> None:
        client.close()
        closed.append(client._connection is None)

    class Content(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if not closed:
                signal.raise_signal(signal.SIGUSR1)
            return super().read(size)

    name = hashlib.sha256(b"x").hexdigest()
    earlier = signal.signal(signal.SIGUSR1, close)
    try:
        stored = client.put_file(f"blobs/{name}", Content(b"x"), 1)["sha256"]
        is_closed = client._connection is None
    finally:
        signal.signal(signal.SIGUSR1, earlier)
        client.close()

    assert name == stored
    assert ([False], True) == (closed, is_closed)
