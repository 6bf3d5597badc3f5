"""The sockets that `naiad server` and `naiad ui` listen on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from server_client import Server, run_apart

from naiad_server import command as server
from naiad_web import command as ui


@pytest.mark.parametrize("listen", [server._listen, ui._listen])
def test_body_of_an_answer_does_not_wait_until_its_headers_are_acknowledged(
    listen: Callable[[str, int], socket.socket],
) -> None:
    """The client's system acknowledges after 40 ms, so that each request on a kept connection would take as long."""

    async def is_sent_at_once() -> bool:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            found.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        own = await asyncio.start_server(answer, sock=listen("127.0.0.1", 0))
        async with own:
            _reader, writer = await asyncio.open_connection(*own.sockets[0].getsockname())
            writer.write(b"x")
            is_on = bool(await asyncio.wait_for(found, 30))
            writer.close()
            await writer.wait_closed()
        return is_on

    assert run_apart(is_sent_at_once())


def test_printed_lines_can_be_copied(tmp_path: Path) -> None:
    """They name the folder, and permit an address without TLS where programs would refuse it."""
    own = Server(tmp_path / "a team").start("--init", "--url", "http://lab.example:8128")
    own.stop()
    said = "\n".join(own.said)

    assert f"naiad server --store '{tmp_path / 'a team'}' token add NAME" in said
    assert "export NAIAD_STORE=http://lab.example:8128 NAIAD_ALLOW_HTTP=1 NAIAD_API_TOKEN=" in said
