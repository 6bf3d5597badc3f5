from __future__ import annotations

import contextlib
import struct
import sys
import threading
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from naiad import compression
from naiad.compression import CompressionError, MissingZstandard
from naiad.errors import DamagedData, NaiadError, NewerFormat
from naiad.storage.local.index.codec import (
    decode_pack,
    decode_points,
    decode_texts,
    encode_pack,
    encode_points,
    encode_texts,
    read_header,
)
from naiad.storage.local.index.columns import (
    BYTES,
    FLOATS,
    INTEGERS,
    POINTS_LIMIT,
    ChunkDamaged,
    Column,
    encode_integers,
    join_block,
)
from naiad.storage.local.index.pyramid import BUCKET, COARSE, coarser, decode_pyramid, pyramid

Array = npt.NDArray[np.generic]
LEAST, MOST = -(2**63), 2**63 - 1
ODD_DOUBLES = [
    0x0000000000000000,  # 0.0
    0x8000000000000000,  # -0.0
    0x7FF0000000000000,  # inf
    0xFFF0000000000000,  # -inf
    0x7FF8000000000000,  # the usual NaN
    0xFFF8000020000000,  # a NaN whose payload a single can hold
    0x7FF8000000000123,  # a NaN whose payload a single cannot hold
    0x7FF0000020000000,  # a signalling NaN, which a conversion would make quiet
    0x0000000000000001,  # the least double
    0x36A0000000000000,  # the least single
    0x3810000000000000,  # the least normal single
    0x47F0000000000000,  # a little more than singles reach
    0x3FF0000000000001,  # 1.0 and one bit
    0x3FF8000000000000,  # 1.5
]

int64s = st.one_of(
    st.integers(LEAST, MOST),
    st.integers(-5, 300),
    st.sampled_from([LEAST, MOST, 2**53, 2**53 + 1, -(2**53) - 1, 0]),
)
doubles = st.one_of(
    st.integers(0, 2**64 - 1),
    st.sampled_from(ODD_DOUBLES),
    st.floats(width=32).map(lambda x: struct.unpack("<Q", struct.pack("<d", x))[0]),
)


def bits(values: list[int]) -> npt.NDArray[np.float64]:
    return np.array(values, np.uint64).view(np.float64)


@st.composite
def columns(draw: st.DrawFn) -> tuple[Array, Array, Array]:
    count = draw(st.integers(0, 150))
    integers = hnp.arrays(np.int64, count, elements=int64s)
    floats = st.lists(doubles, min_size=count, max_size=count).map(bits)
    return draw(st.one_of(integers, floats)), draw(floats), draw(integers)


def assert_same_bits(expected: Array, actual: Array) -> None:
    assert expected.dtype == actual.dtype
    assert expected.tobytes() == actual.tobytes()


def decoded(data: bytes, step_type: type = np.int64) -> tuple[Array, Array, Array]:
    count = read_header(data).count
    out = np.empty(count, step_type), np.empty(count), np.empty(count, np.int64)
    decode_points(data, *out)
    return out


def small_blocks() -> dict[str, tuple[bytes, Callable[[bytes], object]]]:
    steps, times = np.array([0, 1, 2, 5, 2**53 + 1]), np.array([10, 20, 40, 45, 90])
    values = np.array([0.5, 1.5, np.nan, -0.0, 0.1])
    long = np.arange(300.0)
    return {
        "points": (encode_points(steps, values, times), read_header),
        "compressed points": (encode_points(long, long % 7, np.arange(300) % 9), read_header),
        "pack": (encode_pack(np.array([1, 1, 4, 4, 9]), steps, values, times), decode_pack),
        "texts": (encode_texts(steps, times, [b"a", b"", b"\xff\x00", b"line\n" * 30, b"z"]), decode_texts),
        "pyramid": (pyramid(np.arange(301), np.append(long, np.inf)), decode_pyramid),
    }


BLOCKS = small_blocks()


def with_crc(block: bytes) -> bytes:
    """The block as a writer would have made it: with the CRC of what it holds."""
    return block[:4] + zlib.crc32(block[8:], zlib.crc32(block[:4])).to_bytes(4, "little") + block[8:]


@given(columns())
def test_points_come_back_bit_for_bit(points: tuple[Array, Array, Array]) -> None:
    steps, values, times = points

    actual = decoded(encode_points(steps, values, times), steps.dtype.type)

    for expected, found in zip(points, actual, strict=True):
        assert_same_bits(expected, found)


@given(columns())
def test_header_tells_room_and_type_of_steps(points: tuple[Array, Array, Array]) -> None:
    steps, values, times = points
    is_integer = steps.dtype == np.int64

    header = read_header(encode_points(steps, values, times))

    assert len(steps) == header.count
    assert is_integer == header.is_integer
    assert (is_integer and any(abs(step) > 2**53 for step in steps.tolist())) == header.is_wide


@given(columns(), st.data())
def test_packs_come_back_bit_for_bit(points: tuple[Array, Array, Array], data: st.DataObject) -> None:
    steps, values, times = points
    ids = np.sort(data.draw(hnp.arrays(np.int64, len(values), elements=int64s)))

    pack = decode_pack(encode_pack(ids, steps, values, times))

    assert_same_bits(np.unique(ids), pack.ids)
    assert_same_bits(ids, np.repeat(pack.ids, np.diff(pack.starts)))
    for expected, found in zip(points, pack[2:], strict=True):
        assert_same_bits(expected, found)


@given(columns(), st.data())
def test_texts_come_back(points: tuple[Array, Array, Array], data: st.DataObject) -> None:
    steps, _, times = points
    texts = data.draw(st.lists(st.binary(max_size=20), min_size=len(steps), max_size=len(steps)))

    found_steps, found_times, found = decode_texts(encode_texts(steps, times, texts))

    assert_same_bits(steps, found_steps)
    assert_same_bits(times, found_times)
    assert texts == found


@given(st.lists(doubles, max_size=3 * BUCKET).map(bits))
def test_pyramid_is_that_of_finite_values(values: npt.NDArray[np.float64]) -> None:
    buckets = [values[at : at + BUCKET] for at in range(0, len(values), BUCKET)]
    finite = [bucket[np.isfinite(bucket)] for bucket in buckets]

    found = decode_pyramid(pyramid(np.arange(len(values)), values))

    assert [len(bucket) for bucket in finite] == found.finite.tolist()
    np.testing.assert_array_equal([min(bucket, default=np.nan) for bucket in finite], found.minimum)
    np.testing.assert_array_equal([max(bucket, default=np.nan) for bucket in finite], found.maximum)
    assert list(range(0, len(values), BUCKET)) == found.steps.tolist()


def test_pyramid_sums_what_is_finite() -> None:
    values = np.ones(2 * BUCKET + 3)
    values[5:8] = np.nan, np.inf, -np.inf
    values[-3:] = np.nan

    found = decode_pyramid(pyramid(np.arange(len(values)), values))

    assert [BUCKET - 3, BUCKET, 0] == found.finite.tolist()
    assert [BUCKET - 3, BUCKET, 0] == found.total.tolist()
    assert np.isnan(found.minimum).tolist() == np.isnan(found.maximum).tolist() == [False, False, True]


def test_coarser_pyramid_is_that_of_the_finite_values_of_several() -> None:
    values = np.arange(100.0 * BUCKET)
    values[: 70 * BUCKET] = np.nan
    values[-5:] = np.inf
    parts = [slice(0, 40 * BUCKET), slice(40 * BUCKET, 100 * BUCKET)]
    data = coarser([decode_pyramid(pyramid(np.arange(len(values))[part], values[part])) for part in parts])
    assert data is not None
    found = decode_pyramid(data)
    items = [values[at : at + COARSE * BUCKET] for at in (0, COARSE * BUCKET)]
    finite = [item[np.isfinite(item)] for item in items]

    assert [0, COARSE * BUCKET] == found.steps.tolist()
    assert [len(each) for each in finite] == found.finite.tolist()
    assert [sum(each) for each in finite] == found.total.tolist()
    np.testing.assert_array_equal([np.nan, 70.0 * BUCKET], found.minimum)
    np.testing.assert_array_equal([np.nan, 100.0 * BUCKET - 6], found.maximum)


def test_there_is_no_coarser_pyramid_where_steps_go_back() -> None:
    one = decode_pyramid(pyramid(np.arange(1_000), np.zeros(1_000)))

    assert coarser([one, one]) is None


def test_sum_beyond_doubles_is_infinite_without_a_warning() -> None:
    found = decode_pyramid(pyramid(np.arange(4), np.full(4, sys.float_info.max)))

    assert [np.inf] == found.total.tolist()
    assert [sys.float_info.max] == found.maximum.tolist()


@pytest.mark.parametrize(
    "times",
    [
        [0, MOST, LEAST, MOST, 5],
        [1_700_000_000_000, 1_700_000_000_001, 4_000_000_000_000, -5],
        [9, 7, 5, 3, 1],
        [2**53 + 1, 2**53 + 3, 2**53 + 2],
        [LEAST, LEAST + 1],
        [MOST],
    ],
)
def test_jumps_and_extremes_of_integers_are_exact(times: list[int]) -> None:
    column = np.array(times)

    steps, _, found = decoded(encode_points(column, np.zeros(len(times)), column))

    assert times == steps.tolist()
    assert times == found.tolist()


@pytest.mark.parametrize("width", [1, 2, 4, 8])
@pytest.mark.parametrize("count", [2, 63, 64, 1_000, POINTS_LIMIT])
def test_each_width_of_differences_is_exact(width: int, count: int) -> None:
    rng = np.random.default_rng(width)
    times = np.cumsum(rng.integers(0, 2 ** (8 * width - 1), count, np.int64, endpoint=False))
    values = rng.normal(size=count)

    steps, found_values, found = decoded(encode_points(np.arange(count), values, times))

    assert_same_bits(np.arange(count), steps)
    assert_same_bits(values, found_values)
    assert_same_bits(times, found)


@pytest.mark.parametrize("pattern", ODD_DOUBLES)
@pytest.mark.parametrize("count", [1, 3, 200])
def test_odd_doubles_among_singles_survive(pattern: int, count: int) -> None:
    values = np.arange(count) / 4
    values.view(np.uint64)[count // 2] = pattern

    _, found, _ = decoded(encode_points(np.arange(count), values, np.arange(count)))

    assert_same_bits(values, found)


def test_subnormal_singles_do_not_depend_on_how_the_reader_treats_them() -> None:
    """A thread that flushes subnormal singles to zero must still read them: they are kept as doubles."""
    usual, tiny = np.full(1_000, 0.5), np.full(1_000, 0.5)
    usual[0], tiny[0] = 2.0**-126, 2.0**-127

    sizes = [len(encode_points(np.arange(1_000), column, np.arange(1_000))) for column in (usual, tiny)]

    assert sizes[0] < sizes[1]


def test_columns_decode_alone_into_slices() -> None:
    steps, values, times = np.arange(100), np.arange(100) / 7, np.arange(100) * 1_000
    data = encode_points(steps, values, times)
    out = np.full(300, -1.0)

    decode_points(data, None, out[100:200], None)

    assert [-1.0] * 100 + values.tolist() + [-1.0] * 100 == out.tolist()


def test_a_column_that_is_not_asked_for_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=1_000).astype(np.float32).astype(np.float64)
    data = encode_points(np.arange(1_000), values, np.cumsum(rng.integers(0, 9, 1_000)))
    unpacked: list[int] = []
    unpack = compression._unpack
    monkeypatch.setattr(compression, "_unpack", lambda *given: unpacked.append(given[0]) or unpack(*given))

    decode_points(data, None, np.empty(1_000), None)

    assert 1 == len(unpacked)  # of the four planes of a single only the highest can be compressed


def test_integer_steps_can_be_read_as_doubles() -> None:
    steps = np.array([0, 3, 2**53 + 1, -7])

    found, _, _ = decoded(encode_points(steps, np.zeros(4), steps), np.float64)

    assert steps.astype(np.float64).tolist() == found.tolist()


def test_fractional_steps_are_not_cut_to_integers() -> None:
    data = encode_points(np.array([0.5, 1.0]), np.zeros(2), np.zeros(2, np.int64))

    with pytest.raises(ValueError, match="int64"):
        decode_points(data, np.empty(2, np.int64), None, None)
    with pytest.raises(ValueError, match="int32"):
        decode_points(data, None, None, np.empty(2, np.int32))


@pytest.mark.parametrize("column", [0, 1, 2])
def test_an_array_of_another_length_is_refused(column: int) -> None:
    data = encode_points(np.arange(3), np.zeros(3), np.arange(3))
    out: list[Array | None] = [None, None, None]
    out[column] = np.empty(4, np.int64 if column != 1 else np.float64)

    with pytest.raises(ValueError, match="3 points.*4 items"):
        decode_points(data, *out)


def test_arrays_that_are_no_points_are_refused() -> None:
    three, two = np.arange(3), np.arange(2)

    with pytest.raises(ValueError, match="items"):
        encode_points(three, np.zeros(2), three)
    with pytest.raises(ValueError, match="65536 points"):
        encode_points(*[np.zeros(POINTS_LIMIT + 1, np.int64)] * 3)
    with pytest.raises(TypeError):
        encode_points(two.astype(np.uint64), np.zeros(2), two)
    with pytest.raises(TypeError):
        encode_points(two, np.zeros(2), np.array([0.5, 1.0]))
    with pytest.raises(ValueError, match="sorted"):
        encode_pack(np.array([2, 1]), two, np.zeros(2), two)
    with pytest.raises(ValueError, match="items"):
        encode_texts(two, two, [b"one"])


def test_views_of_records_are_taken_as_they_are() -> None:
    """The fold hands over columns of a record array, whose items do not lie side by side."""
    records = np.zeros(100, [("step", "i8"), ("value", "f8"), ("time", "i8")])
    records["step"], records["value"] = np.arange(100) ** 2, np.arange(100) / 3
    records["time"] = np.arange(100) * 17

    found = decoded(encode_points(records["step"], records["value"], records["time"]))

    assert [records[name].tolist() for name in records.dtype.names] == [column.tolist() for column in found]


def test_a_pack_gives_each_series_as_a_slice() -> None:
    ids, steps = np.array([3, 3, 3, 8, 8, 2**62]), np.array([0, 1, 2, 0, 1, 0])
    pack = decode_pack(encode_pack(ids, steps, steps / 2, steps))

    assert [0.0, 0.5, 1.0] == pack.values[pack.slice_of(3)].tolist()
    assert [0.0, 0.5] == pack.values[pack.slice_of(8)].tolist()
    assert [0] == pack.steps[pack.slice_of(2**62)].tolist()
    assert [] == pack.values[pack.slice_of(5)].tolist()
    assert [] == pack.values[pack.slice_of(MOST)].tolist()


def test_even_columns_cost_nothing() -> None:
    count = POINTS_LIMIT
    even, constant = np.arange(count) * 1_000 + 5, np.full(count, np.nan)

    assert len(encode_points(even, constant, even)) < 100
    assert len(encode_points(np.full(count, 0.5), constant, np.full(count, 7))) < 100


@pytest.mark.parametrize("count", [1_000, POINTS_LIMIT])
def test_noise_stays_within_the_promised_bytes(count: int) -> None:
    rng = np.random.default_rng(2)
    values, times = rng.normal(size=count), 1_700_000_000_000 + np.cumsum(rng.integers(20, 80, count))
    singles = values.astype(np.float32).astype(np.float64)

    assert len(encode_points(np.arange(count), singles, times)) <= 4.5 * count
    assert len(encode_points(np.arange(count), values, times)) <= 8.5 * count
    assert len(pyramid(np.arange(count), values)) <= 0.25 * count


@pytest.mark.parametrize("kind", BLOCKS)
def test_every_flipped_bit_is_noticed(kind: str) -> None:
    data, decode = BLOCKS[kind]
    for at in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[at // 8] ^= 1 << at % 8
        with pytest.raises(ChunkDamaged):
            decode(bytes(damaged))


@pytest.mark.parametrize("kind", BLOCKS)
def test_every_cut_and_every_addition_is_noticed(kind: str) -> None:
    data, decode = BLOCKS[kind]
    for length in range(len(data)):
        with pytest.raises(ChunkDamaged):
            decode(data[:length])
        with pytest.raises(ChunkDamaged):
            decode(data[:length] + bytes(len(data) - length))
    with pytest.raises(ChunkDamaged):
        decode(data + b"\0")


def test_a_zeroed_page_is_noticed() -> None:
    rng = np.random.default_rng(3)
    data = encode_points(np.arange(5_000), rng.normal(size=5_000), np.arange(5_000))
    for at in range(0, len(data), 4_096):
        with pytest.raises(ChunkDamaged):
            read_header(data[:at] + bytes(len(data[at : at + 4_096])) + data[at + 4_096 :])
    with pytest.raises(ChunkDamaged):
        read_header(bytes(4_096))


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_newer_version_is_refused_by_name(kind: str) -> None:
    data, decode = BLOCKS[kind]

    with pytest.raises(NewerFormat, match="format 2"):
        decode(with_crc(data[:1] + b"\x02" + data[2:]))


def test_a_block_of_another_kind_is_refused() -> None:
    with pytest.raises(ChunkDamaged, match="b'T'.*b'P'"):
        read_header(BLOCKS["texts"][0])


@given(st.sampled_from(sorted(BLOCKS)), st.data())
def test_a_wrong_writer_cannot_break_the_reader(kind: str, data: st.DataObject) -> None:
    """Descriptors that contradict each other under a right CRC are damage too, never another error."""
    block, decode = BLOCKS[kind]
    columns_end = 8 + 28 * block[2]
    broken = bytearray(block)
    for _ in range(data.draw(st.integers(1, 3))):
        # Not the item counts' high bytes: 4 billion items are plausible where a stride is even.
        places = [at for at in range(2, columns_end) if (at - 8) % 28 not in (5, 6, 7)]
        at = data.draw(st.sampled_from(places))
        broken[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ChunkDamaged):
        decode(with_crc(bytes(broken)))


def test_damage_is_a_value_error_of_ours() -> None:
    with pytest.raises(ChunkDamaged) as caught:
        read_header(b"naiad")

    assert isinstance(caught.value, (ValueError, DamagedData, NaiadError))
    assert "length" == caught.value.what


def test_all_kinds_of_buffers_can_be_decoded() -> None:
    data = BLOCKS["compressed points"][0]

    for buffer in (data, bytearray(data), memoryview(data)):
        assert 300 == read_header(buffer).count
        decode_points(buffer, np.empty(300), np.empty(300), np.empty(300, np.int64))


def test_zlib_steps_in_for_zstd_and_either_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(1_000) % 10 / 4
    with monkeypatch.context() as patch:
        patch.setattr(compression, "zstandard", None)
        data = encode_points(np.arange(1_000), values, np.arange(1_000))
        assert_same_bits(values, decoded(data)[1])

    assert_same_bits(values, decoded(data)[1])
    assert len(data) < 1_000


def test_reading_zstd_without_zstandard_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode_points(np.arange(1_000), np.arange(1_000) % 10 / 4, np.arange(1_000))
    monkeypatch.setattr(compression, "zstandard", None)

    assert 1_000 == read_header(data).count
    with pytest.raises(MissingZstandard, match="pip install zstandard"):
        decoded(data)


FRAMES: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "zstd": (compression.ZSTD, compression.zstandard.ZstdCompressor().compress),
    "zstd without its size": (
        compression.ZSTD,
        compression.zstandard.ZstdCompressor(write_content_size=False).compress,
    ),
    "zlib": (compression.ZLIB, zlib.compress),
}


@pytest.mark.parametrize("frame", FRAMES)
def test_a_few_bytes_that_stand_for_many_take_no_memory(frame: str) -> None:
    """Only the bytes that a column must have are unpacked."""
    compressor, pack = FRAMES[frame]
    bomb = pack(bytes(1 << 27))
    tracemalloc.start()
    try:
        with pytest.raises(CompressionError):
            compression.decompress(compressor, bomb, 1000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 1 << 20
    assert bytes(1000) == compression.decompress(compressor, pack(bytes(1000)), 1000)
    for damaged, length in ((pack(bytes(1000)), 999), (pack(bytes(1000)), 1001), (pack(bytes(1000))[:-1], 1000)):
        with pytest.raises(CompressionError):
            compression.decompress(compressor, damaged, length)


def repeated(mode: int, items: int, first: int = 0) -> Column:
    """A column of one value for any number of items, without a byte for them."""
    return Column(mode, 0, 0, 0, items, 0, first, 0, b"")


@pytest.mark.parametrize("kind", ["P", "K", "Y", "T"])
def test_more_items_than_any_writer_writes_are_refused(kind: str) -> None:
    """A column without stored bytes may name four thousand million items."""
    many = 2**32 - 1
    steps, floats = repeated(INTEGERS, many), repeated(FLOATS, many)
    text = Column(BYTES, 0, 1, 0, 1, 1, 0, 0, b"x")
    columns = {
        "P": [steps, floats, steps],
        "K": [steps, steps, steps, floats, steps],
        "Y": [steps, floats, floats, floats, steps],
        "T": [steps, steps, steps, text],
    }
    data = join_block(kind.encode(), columns[kind])

    with pytest.raises(ChunkDamaged, match="4294967295 items"):
        {"P": read_header, "K": decode_pack, "Y": decode_pyramid, "T": decode_texts}[kind](data)


@pytest.mark.parametrize("bounds", [[0, 5, 3], [0, 6], [1, 5], [0, 2, 5, 5], [-5, 5], [0, 5, 10]])
def test_texts_that_overlap_or_lie_outside_are_refused(bounds: list[int]) -> None:
    """Sixty thousand texts that are each the whole would take gigabytes."""
    pieces = repeated(INTEGERS, 2)
    text = Column(BYTES, 0, 1, 0, 5, 5, 0, 0, b"abcde")
    starts = encode_integers(np.array(bounds))

    with pytest.raises(ChunkDamaged, match="bounds do not divide"):
        decode_texts(join_block(b"T", [pieces, pieces, starts, text]))


def test_threads_do_not_share_compressors() -> None:
    rng = np.random.default_rng(4)
    columns = [rng.normal(size=5_000).astype(np.float32).astype(np.float64) for _ in range(4)]
    steps, wrong = np.arange(5_000), []

    def work(values: npt.NDArray[np.float64]) -> None:
        for _ in range(20):
            if decoded(encode_points(steps, values, steps))[1].tobytes() != values.tobytes():
                wrong.append(values)

    threads = [threading.Thread(target=work, args=(column,)) for column in columns]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == wrong


def test_the_documented_layout_can_be_read_without_numpy() -> None:
    """A reader written from the docstrings alone, as in any other language."""
    steps, values = [0, 1, 2, 3, 9], [0.5, -1.0, 2.5, 0.0, 4.0]
    times = [1_000, 1_010, 1_300, 1_290, 1_291]
    data = encode_points(np.array(steps), np.array(values), np.array(times))

    kind, version, count, _, crc = struct.unpack_from("<4BI", data)
    at, found = 8 + 28 * count, []
    for number in range(count):
        mode, compressor, width, _, items, length, first, reference = struct.unpack_from(
            "<4BIIqq", data, 8 + 28 * number
        )
        n = items - (mode == 1)
        planes = data[at : at + length]
        elements = [bytes(planes[i * n + j] for i in range(width)) for j in range(n)]
        at += length
        if mode == 2:
            found.append([struct.unpack("<f", element)[0] for element in elements])
        else:
            column = [first]
            for element in elements:
                column.append(column[-1] + reference + int.from_bytes(element, "little"))
            found.append(column)

    assert (ord("P"), 1, 3, 0) == (kind, version, count, compressor)
    assert zlib.crc32(data[:4] + data[8:]) == crc
    assert len(data) == at
    assert [steps, values, times] == found
