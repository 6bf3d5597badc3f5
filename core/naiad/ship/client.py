"""The client of a server: one connection that is kept open, requests in MessagePack, and errors with the remedy.

The standard library's `http.client` is used: nothing is to be installed for it, and it is imported with the first
store that is a server.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from typing import IO, Any
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec

from naiad import errors
from naiad.errors import NaiadError, NotAuthorized, ServerError, ServerUnreachable
from naiad.locks import run_locked
from naiad.ship import address

PROTOCOL = "1"
MSGPACK = "application/msgpack"
ANSWER_SECONDS = 60.0
CONNECT_SECONDS = 10.0
MOST_RAW = 1024
"""Bytes of a body below which compressing it is not worth it."""
LARGEST_ANSWER = 1 << 30
PROBE_SECONDS = 2.0
"""The time for finding out whether a server that answers no HTTP takes TLS."""
_PLAIN = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL")
"""OpenSSL's reasons if an answer is no TLS; they differ by its release."""
_NEEDS_TLS = (b"to HTTPS port", b"to an HTTPS server")
"""In the answers of nginx, and of servers in Go, to HTTP without TLS."""
# How a kept connection shows that the server has closed it: the request has not been read then, and may be sent
# again.
_stale = (http.client.RemoteDisconnected, http.client.CannotSendRequest, BrokenPipeError, ConnectionResetError)


class Answer:
    """The body of an answer and the headers that matter."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.epoch = headers.get("naiad-epoch") or ""
        self.retry_after = _seconds(headers.get("retry-after"))
        self.kind = (headers.get("content-type") or "").partition(";")[0].strip()
        self.body = body

    def decoded(self) -> Any:
        """Return the content of the body.

        Raises:
            ValueError: it is neither MessagePack nor JSON.
        """
        if self.kind == MSGPACK:
            return msgspec.msgpack.decode(self.body)
        return msgspec.json.decode(self.body)


class Client:
    """The connection of this process to one server. Threads take turns; a forked child connects anew."""

    def __init__(self, url: str, token: str | None = None) -> None:
        """`token`: else that of the environment or of the user's file, which is read for each connection anew.

        Raises:
            InvalidArgument: this is no address of a server.
        """
        self._address = address.parse(url)
        self._token = token
        self._lock = threading.RLock()
        self._is_asking = False
        self._is_closing = False
        self._connection: http.client.HTTPConnection | None = None
        self._pid = os.getpid()
        self.epoch = ""
        """Of the latest answer."""

    @property
    def url(self) -> str:
        """The address of the server."""
        return self._address.url

    def get(self, path: str, parameters: Mapping[str, Any] | None = None, seconds: float = ANSWER_SECONDS) -> Any:
        """Return the answer to a GET.

        Raises:
            ServerError: there is none, or it is an error.
        """
        return self.ask("GET", path, parameters=parameters, seconds=seconds)

    def post(self, path: str, content: object, seconds: float = ANSWER_SECONDS) -> Any:
        """Return the answer to a POST.

        Raises:
            ServerError: there is none, or it is an error.
        """
        return self.ask("POST", path, content, seconds=seconds)

    def ask(
        self,
        method: str,
        path: str,
        content: object = None,
        *,
        parameters: Mapping[str, Any] | None = None,
        seconds: float = ANSWER_SECONDS,
    ) -> Any:
        """Send a request and return the decoded answer.

        Raises:
            ServerError: there is no answer within the time, or it is an error; also the error that the answer names.
        """
        headers, body = {"Accept": f"{MSGPACK}, application/json;q=0.5"}, b""
        if content is not None:
            body = msgspec.msgpack.encode(content)
            headers["Content-Type"] = MSGPACK
            if len(body) > MOST_RAW:
                import zstandard

                body = zstandard.compress(body)
                headers["Content-Encoding"] = "zstd"
        target = _target(path, parameters)
        answer = self._exchange(method, target, body, headers, seconds)
        try:
            return answer.decoded()
        except (msgspec.DecodeError, ValueError) as error:
            raise self._no_server(answer.status) from error

    def call(self, path: str, body: bytes, seconds: float = ANSWER_SECONDS) -> bytes:
        """Return the body of the answer to a POST whose body is encoded already.

        Raises:
            ServerError: there is none, or it is an error; also the error that the answer names.
        """
        headers = {"Accept": MSGPACK, "Content-Type": MSGPACK}
        answer = self._exchange("POST", path, body, headers, seconds)
        # A proxy answers with a page of HTML and the status 200 when its login has run out.
        if answer.kind != MSGPACK:
            raise self._no_server(answer.status)
        return answer.body

    def put_file(self, path: str, stream: IO[bytes], size: int, parameters: Mapping[str, Any] | None = None) -> Any:
        """Send the content of a file.

        Raises:
            ServerError: there is no answer, or it is an error.
        """
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        answer = self._exchange("PUT", _target(path, parameters), stream, headers, ANSWER_SECONDS)
        return answer.decoded()

    @contextlib.contextmanager
    def stream(
        self, path: str, parameters: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """Open a connection of its own, on which the body of an answer is read.

        Raises:
            ServerError: there is no answer, or it is an error.
        """
        # Of its own: an answer that is read slowly would hold up all other requests on the kept one.
        connection = self._connected(ANSWER_SECONDS)
        try:
            with self._failures():
                connection.request(
                    "GET", self._prefix + _target(path, parameters), headers=self._headers(headers or {})
                )
                response = connection.getresponse()
                if response.status >= 300:
                    self._refuse(Answer(response.status, _headers(response), response.read()))
            yield response
        finally:
            connection.close()

    def __del__(self) -> None:
        """Close the connection of a client that is no longer used."""
        if getattr(self, "_connection", None) is not None:
            self._drop()

    def close(self) -> None:
        """Close the connection; in a signal handler inside a request, at the end of that request."""
        with self._lock:
            if self._is_asking:
                self._is_closing = True
            else:
                self._drop()

    @property
    def _prefix(self) -> str:
        return f"{self._address.path}/api/v1/"

    def _headers(self, given: Mapping[str, str]) -> dict[str, str]:
        # Read anew for each request, so that a token which was renewed in its file is used without a restart.
        secret = self._token or address.token(self.url)
        return {"Authorization": f"Bearer {secret}", "naiad-protocol": PROTOCOL, "User-Agent": "naiad", **given}

    def _exchange(
        self, method: str, target: str, body: bytes | IO[bytes], headers: Mapping[str, str], seconds: float
    ) -> Answer:
        """Send a request, once more on a new connection if the server had closed the kept one."""
        sent, answers = self._headers(headers), list[Answer]()
        with self._failures():
            if not run_locked(
                self._lock, seconds, lambda: answers.append(self._alone(method, target, body, sent, seconds))
            ):
                raise TimeoutError(f"another request took longer than {seconds:g} s")
        [answer] = answers
        self.epoch = answer.epoch or self.epoch
        if answer.status >= 300:
            self._refuse(answer)
        return answer

    def _alone(
        self, method: str, target: str, body: bytes | IO[bytes], headers: Mapping[str, str], seconds: float
    ) -> Answer:
        if self._is_asking:
            raise TimeoutError("a signal handler cannot wait for the request that it interrupts")
        self._is_asking = True
        try:
            return self._sent(method, target, body, headers, seconds)
        except BaseException:  # only to clean up: the connection may be in the middle of an answer
            self._drop()
            raise
        finally:
            self._is_asking = False
            if self._is_closing:
                self._is_closing = False
                self._drop()

    def _sent(
        self, method: str, target: str, body: bytes | IO[bytes], headers: Mapping[str, str], seconds: float
    ) -> Answer:
        if self._pid != os.getpid():  # the parent's connection stays the parent's
            self._connection, self._pid = None, os.getpid()
        is_kept = self._connection is not None
        for is_last in (False, True):
            if self._connection is None:
                self._connection = self._connected(seconds)
            connection = self._connection
            if connection.sock is not None:
                connection.sock.settimeout(seconds)
            try:
                connection.request(method, self._prefix + target, body=body or None, headers=dict(headers))
                # Closed by hand: an answer with `Connection: close` takes the socket over, and a reading that fails
                # would leave it open until the collection of garbage.
                with contextlib.closing(connection.getresponse()) as response:
                    content = response.read(LARGEST_ANSWER)
                    is_whole = response.isclosed()
            except _stale:
                self._drop()
                # Once, and only if the connection was an old one: a fresh one that breaks is an error. A stream is
                # read already and cannot be sent again.
                if is_last or not is_kept or not isinstance(body, bytes):
                    raise
                continue
            if response.will_close or not is_whole:
                self._drop()
            return Answer(response.status, _headers(response), content)
        raise AssertionError  # the second pass returns or raises

    def _connected(self, seconds: float) -> http.client.HTTPConnection:
        """Connect, through the proxy that the environment names if there is one."""
        where = self._address
        limit = min(CONNECT_SECONDS, seconds)
        proxy = getproxies().get("https" if where.is_tls else "http", "")
        host, port = where.host, where.port
        if proxy and not proxy_bypass(where.host):
            via = urlsplit(proxy if "//" in proxy else f"//{proxy}")
            host, port = via.hostname or host, via.port or 3128
        connection: http.client.HTTPConnection
        if where.is_tls:
            connection = http.client.HTTPSConnection(host, port, timeout=limit, context=ssl.create_default_context())
        else:
            connection = http.client.HTTPConnection(host, port, timeout=limit)
        if (host, port) != (where.host, where.port):
            connection.set_tunnel(where.host, where.port)
        with self._failures():
            connection.connect()
            # Else the last packet of a request may wait 40 ms for the acknowledgement of the one before.
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sock.settimeout(seconds)
        return connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """Context that turns failures of the network into the one error for them."""
        try:
            yield
        except ServerError:
            raise
        except ssl.SSLCertVerificationError as error:
            raise ServerUnreachable(
                f"The certificate of {self.url} is not accepted: {error.verify_message}.\n"
                "If your site has its own certificate authority, set SSL_CERT_FILE to its file.",
                url=self.url,
            ) from error
        except (OSError, http.client.HTTPException) as error:
            self._refuse_other_scheme(error)
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise ServerUnreachable(f"The server {self.url} cannot be reached: {reason}.", url=self.url) from error

    def _refuse_other_scheme(self, error: Exception) -> None:
        """Raise the error for a failure whose reason is that the address begins with the other of http and https."""
        where = self._address
        if where.is_tls and isinstance(error, ssl.SSLError) and error.reason in _PLAIN:
            plain = where._replace(is_tls=False).url
            raise ServerUnreachable(
                f"The server {self.url} cannot be reached: its port uses plain HTTP, without TLS.\n"
                f"Correct the address. If you trust the network, use {plain} and set NAIAD_ALLOW_HTTP=1.",
                url=self.url,
            ) from error
        # Only a server that has never answered, so that one which is killed is not asked twice.
        is_broken = isinstance(error, http.client.BadStatusLine | ConnectionResetError)
        if not where.is_tls and not self.epoch and is_broken and self._takes_tls():
            raise self._needs_tls() from error

    def _takes_tls(self) -> bool:
        """Whether the port of this address uses TLS, although the address begins with http. Nothing is sent there."""
        try:
            Client(self._address._replace(is_tls=True).url)._connected(PROBE_SECONDS).close()
        except ServerUnreachable as error:
            return isinstance(error.__cause__, ssl.SSLCertVerificationError)
        return True

    def _needs_tls(self) -> ServerUnreachable:
        return ServerUnreachable(
            f"The server {self.url} cannot be reached: its port uses TLS.\n"
            f"Use {self._address._replace(is_tls=True).url}.",
            url=self.url,
        )

    def _refuse(self, answer: Answer) -> None:
        """Raise the error that an answer means.

        Raises:
            NaiadError: always.
        """
        if answer.status == 400 and not self._address.is_tls and any(text in answer.body for text in _NEEDS_TLS):
            raise self._needs_tls()
        try:
            problem = answer.decoded() if answer.kind in ("application/problem+json", "application/json") else {}
        except (msgspec.DecodeError, ValueError):
            problem = {}
        name, detail = str(problem.get("type", "")), str(problem.get("detail", ""))
        facts = {key: value for key, value in problem.items() if key not in ("type", "title", "status", "detail")}
        if answer.status in (401, 403):
            raise NotAuthorized(
                f"The server {self.url} rejects the token: {detail or 'it is unknown, revoked or expired'}\n"
                "Ask the owner of the server for a new token, and set NAIAD_API_TOKEN.",
                url=self.url,
                status=answer.status,
            )
        # The name comes from the network: only classes of naiad's own errors are made of it, and none that a caller
        # takes for trouble of this machine's disk.
        of_class = getattr(errors, name, None) if problem else None
        if isinstance(of_class, type) and issubclass(of_class, NaiadError) and not issubclass(of_class, OSError):
            if "run" in facts:
                facts["run_id"] = facts["run"]
            raise of_class(detail, **{"file": "", "offset": 0, "what": detail, **facts})
        if not name and answer.status not in (408, 429, 500, 502, 503, 504):
            raise self._no_server(answer.status)
        if name == "OverQuota":
            raise self.over_quota(detail, answer.retry_after)
        raise ServerError(
            f"The server {self.url} answered {answer.status}: {detail or name or 'without a reason'}",
            url=self.url, status=answer.status, name=name, retry_after=answer.retry_after,
        )  # fmt: skip

    def over_quota(self, detail: str, retry_after: float | None) -> ServerError:
        """Return the error for a quota that is full, as a whole request or one file of a run meets it."""
        return ServerError(
            f"The server {self.url} has no more room for the project: {detail}",
            url=self.url, status=429, name="OverQuota", retry_after=retry_after,
        )  # fmt: skip

    def _no_server(self, status: int) -> ServerError:
        return ServerError(
            f"{self.url} answers {status}, but not as a naiad server does. Check the address, and its path.",
            url=self.url, status=status, name="", retry_after=None,
        )  # fmt: skip


def _target(path: str, parameters: Mapping[str, Any] | None) -> str:
    query = urlencode(parameters, doseq=True) if parameters else ""
    return quote(path, safe="/-_.~:") + (f"?{query}" if query else "")


def _headers(response: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


def _seconds(text: str | None) -> float | None:
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:
        return None  # a date, which our servers do not send
