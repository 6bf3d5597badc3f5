"""A file as a run keeps it, as text and back."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naiad.errors import DamagedData
from naiad.refs import FileRef

BLOB = "ab" * 32
texts = st.text(st.characters(codec=None), max_size=8)  # lone surrogates too, as file names have them
files = st.one_of(
    st.binary(max_size=9).map(FileRef.of_bytes),
    st.builds(
        FileRef,
        st.integers(0, 2**62),
        texts,
        blob=st.sampled_from([BLOB, "writer-1.0123456789abcdef"]),
        start=st.none() | st.integers(0, 2**40),
        sha256=st.just("") | st.just(BLOB),
        name=st.none() | texts,
        description=st.none() | texts,
        modified=st.none() | st.integers(-(2**60), 2**60),
    ),
)


@given(files)
def test_text_tells_the_same_file(file: FileRef) -> None:
    again = FileRef.from_text(file.to_text())

    assert file.to_text() == again.to_text()
    assert (file.size, file.extension, file.content, file.blob) == (
        again.size,
        again.extension,
        again.content,
        again.blob,
    )
    assert (file.name or None, file.description or None, file.modified) == (
        again.name,
        again.description,
        again.modified,
    )


def test_text_holds_only_what_is_known() -> None:
    assert {"size": 2, "extension": "csv", "content": "YSw="} == json.loads(FileRef.of_bytes(b"a,", "csv").to_text())


def test_what_a_later_release_says_besides_is_passed_over() -> None:
    assert FileRef(5, blob=BLOB) == FileRef.from_text(json.dumps({"size": 5, "blob": BLOB, "colour": "red"}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[1]",
        "{}",
        "[" * 100_000,
        '{"size": -1}',
        '{"size": 1.5}',
        '{"size": 1, "blob": 7}',
        '{"size": 1, "start": -4, "blob": "x"}',
        '{"size": 1, "content": "?"}',
        '{"size": 1, "name": ["a"]}',
        '{"size": 1, "blob": "../../etc/passwd"}',
        '{"size": 1, "blob": "' + BLOB + '\\n"}',
    ],
    ids=lambda text: text[:40],
)
def test_other_text_is_damage(text: str) -> None:
    with pytest.raises(DamagedData, match="damaged"):
        FileRef.from_text(text)


def test_digest_is_told_as_soon_as_it_is_known() -> None:
    assert hashlib.sha256(b"a").hexdigest() == FileRef.of_bytes(b"a").digest()
    assert "" == FileRef(9, blob="writer.0123456789abcdef").digest()
    assert BLOB == FileRef(9, blob="writer.0123456789abcdef").moved(BLOB).digest()
    assert "cd" == FileRef(9, blob=BLOB, start=0, sha256="cd").digest()
