"""The storage interface over HTTP: what a client reads is what a program beside the store reads, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.web.conftest import Server

from naiad.container_kinds import MODEL, RUN, RunId
from naiad.errors import ContainerNotFound, DamagedData, MissingField
from naiad.kinds import FILES, KINDS, MEMBERS, TEXTS
from naiad.query.parser import parse
from naiad.refs import FileRef
from naiad.ship.client import Client
from naiad.storage import wire
from naiad.storage.base import RunReader, Store
from naiad.storage.catalog import Catalog
from naiad.storage.opening import locate
from naiad.storage.remote.asking import ask
from naiad.storage.remote.catalog import RemoteCatalog
from naiad.storage.remote.reader import RemoteReader

FULL = "DIGITS-13"


@pytest.fixture
def client(server: Server) -> Client:
    return Client(f"http://127.0.0.1:{server.port}", server.token)


@pytest.fixture
def here(demo: Path) -> Store:
    return locate(demo)


@pytest.fixture
def pair(client: Client, here: Store) -> tuple[RunReader, RunReader]:
    """The run with every kind of field, read here and over HTTP."""
    run = here.find(FULL)
    return here.reader(run), RemoteReader(client, run)


def plain(value: Any) -> Any:
    """Arrays as bytes, so that NaN and -0.0 are compared too."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.tobytes()
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    return value


def test_every_field_is_read_as_it_is_here(pair: tuple[RunReader, RunReader]) -> None:
    near, far = pair
    kinds = near.kinds()

    assert kinds == far.kinds()
    assert (near.state(), near.is_incomplete(), near.shadowed()) == (far.state(), far.is_incomplete(), far.shadowed())
    assert near.counts() == far.counts()
    assert {p: v for p, v in near.atoms().items() if p != "sys/size"} == {
        p: v for p, v in far.atoms().items() if p != "sys/size"
    }
    for path, kind in kinds.items():
        shape = KINDS[kind].shape
        if shape == "points":
            assert plain(near.points(path)) == plain(far.points(path))
            assert plain(near.point_page(path, -3, 2)) == plain(far.point_page(path, -3, 2))
            assert near.point_place(path, 2, is_after=True) == far.point_place(path, 2, is_after=True)
            assert plain(near.chart(path, 10)) == plain(far.chart(path, 10))
            assert (near.aspects(path), near.config(path)) == (far.aspects(path), far.config(path))
        if shape == "texts":
            assert near.texts(path, kind) == far.texts(path, kind)
            assert near.text_page(path, -2, 2, kind) == far.text_page(path, -2, 2, kind)
        if KINDS[kind].is_series:
            assert plain(near.last(path, kind)) == plain(far.last(path, kind))
            assert near.count(path) == far.count(path)
        if shape == "tags":
            assert near.tags(path) == far.tags(path)
        if shape == "members":
            assert near.members(path) == far.members(path)


class WeighingClient(Client):
    """A client that adds up the bytes of its answers."""

    size = 0

    def call(self, *arguments: Any, **options: Any) -> bytes:
        found = super().call(*arguments, **options)
        self.size += len(found)
        return found


def test_page_of_points_brings_no_others_over_the_network(server: Server, here: Store) -> None:
    """An export reads page by page: each must not bring the whole series, here of 200,000 points."""
    client = WeighingClient(f"http://127.0.0.1:{server.port}", server.token)
    far = RemoteReader(client, here.find(FULL))
    page = far.point_page("train/loss", far.point_place("train/loss", 70_000), 2)

    assert [70_000.0, 70_001.0] == page.points.steps.tolist()
    assert client.size < 1_000


def files(reader: RunReader) -> list[FileRef]:
    found = []
    for path, kind in reader.kinds().items():
        if kind in FILES and KINDS[kind].keeps == "file":
            texts = (
                reader.texts(path, kind).texts
                if kind in TEXTS
                else [*reader.members(path).values()]
                if kind == MEMBERS
                else [reader.atom(path)[1]]
            )
            found += [FileRef.from_text(str(text)) for text in texts]
    return found


def test_content_is_read_whole_and_checked(pair: tuple[RunReader, RunReader], client: Client, tmp_path: Path) -> None:
    near, far = pair
    known = files(near)

    assert len(known) > 5
    for file in known:
        assert near.read_file(file) == RemoteReader(client, far.run).read_file(file)
    largest = max(known, key=lambda file: file.size)
    far.copy_file(largest, tmp_path / "copy")
    assert near.read_file(largest) == (tmp_path / "copy").read_bytes()
    with far.open_file(largest) as stream:
        stream.seek(largest.size - 3)
        assert near.read_file(largest)[-3:] == stream.read()


def test_hash_alone_gives_no_right_to_content(pair: tuple[RunReader, RunReader], client: Client) -> None:
    """Of content that the field does not refer to nothing is given, nor another part of the same blob."""
    near, far = pair
    file = max((each for each in files(near) if each.blob), key=lambda each: each.size)
    path = "sys/name"
    with pytest.raises(MissingField):
        ask(client, "content", "read", {"path": path, "file": file, "start": 0}, near.run)
    with pytest.raises(DamagedData, match="no field of the run refers to it"):
        far.read_file(msgspec.structs.replace(file, blob="ab" * 32))


def test_catalog_finds_the_same(client: Client, here: Store) -> None:
    near: Catalog = here.catalog()
    far: Catalog = RemoteCatalog(client)
    condition = parse('train/loss:floatSeries < 10 AND sys/tags:stringSet CONTAINS "baseline"')
    for one in (None, condition):
        left = near.search(RUN, None, one, columns=["sys/*", "train/loss"])
        right = far.search(RUN, None, one, columns=["sys/*", "train/loss"])
        assert left.fields == right.fields
        assert [(row.uid, row.id, dict(row.cells)) for row in left.rows] == [
            (row.uid, row.id, dict(row.cells)) for row in right.rows
        ]
        assert near.count(RUN, None, one) == far.count(RUN, None, one)
    assert near.summaries(kind=None, is_trashed=None) == far.summaries(kind=None, is_trashed=None)
    assert near.grid(RUN, "digits", None, columns=["sys/id", "lr"]) == far.grid(
        RUN, "digits", None, columns=["sys/id", "lr"]
    )
    assert (near.projects(), near.fields(MODEL, None)) == (far.projects(), far.fields(MODEL, None))
    assert near.common_values(RUN, None, "sys/tags") == far.common_values(RUN, None, "sys/tags")
    run = here.find(FULL)
    left_cells, right_cells = near.cells(run), far.cells(run)
    assert {key: value for key, value in left_cells.items() if key[0] != "sys/size"} == {
        key: value for key, value in right_cells.items() if key[0] != "sys/size"
    }


def test_errors_are_those_of_the_call(client: Client, pair: tuple[RunReader, RunReader]) -> None:
    with pytest.raises(MissingField, match="no/such"):
        pair[1].atom("no/such")
    with pytest.raises(ContainerNotFound):
        ask(client, "store", "find", {"name": "DIGITS-999", "kind": None})
    with pytest.raises(ContainerNotFound):
        RemoteReader(client, RunId("feedbeef", RUN)).kinds()


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\xc1", b"\x93", wire.encode(None), wire.encode({"call": "delete", "arguments": {}}),
        wire.encode({"call": "find", "arguments": {"name": 5}}), wire.encode({"call": "find", "arguments": {"x": "y"}}),
        wire.encode({"call": "find", "arguments": None}), wire.encode({"call": ["find"], "arguments": {}}),
        b"\xc7\x00\x63", b"\xc7\x02\x05\x91\xc0", wire.encode({"call": "__class__", "arguments": {}}),
    ],
)  # fmt: skip
def test_requests_that_are_none_are_refused(server: Server, body: bytes) -> None:
    reply = server.send("POST", "/api/v1/storage/store", body, Content_Type="application/msgpack")

    assert reply.status in (400, 404), reply.body
    assert "Traceback" not in reply.body.decode()


def test_condition_that_is_no_query_is_refused(server: Server) -> None:
    for condition in (5, "x", RunId("a", RUN), ["a"]):
        asked = {"call": "count", "arguments": {"kind": RUN, "project": None, "condition": condition}}
        reply = server.send("POST", "/api/v1/storage/catalog", wire.encode(asked), Content_Type="application/msgpack")
        assert reply.status == 400, (condition, reply.body)


def test_json_is_no_body_of_these_routes(server: Server) -> None:
    assert server.send("POST", "/api/v1/storage/store", {"call": "projects"}).status == 415
