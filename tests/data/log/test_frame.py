import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from larix.data.log import frame
from larix.data.log.frame import HEADER, Header
from larix.errors import ConfigError

U32, U64, I64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.integers(-(2**63), 2**63 - 1)
HEADERS = st.builds(
    Header,
    kind=st.sampled_from([frame.SCHEMA, frame.ROWS]),
    size=U32,
    crc=U32,
    first=U64,
    rows=U32,
    term=U32,
    time_ms=I64,
    latest_ms=I64,
    schema_at=U64,
    origin=U32,
)


@settings(deadline=None)
@given(HEADERS)
def test_a_header_comes_back_as_it_was(header):
    raw = frame.pack(header)
    assert len(raw) == HEADER
    assert frame.unpack(raw) == header


@settings(deadline=None)
@given(HEADERS, st.integers(0, 8 * HEADER - 1))
def test_a_flipped_bit_makes_it_no_header(header, bit):
    raw = bytearray(frame.pack(header))
    raw[bit // 8] ^= 1 << bit % 8
    assert frame.unpack(bytes(raw)) is None


@settings(deadline=None)
@given(st.binary(max_size=HEADER))
def test_other_bytes_are_no_header(raw):
    assert frame.unpack(raw) is None


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=300), st.data())
def test_a_payload_is_padded_and_a_flipped_bit_is_noticed_in_its_padding_too(content, data):
    made = frame.payload(pa.py_buffer(content))
    raw = b"".join(bytes(piece) for piece in made.pieces)
    assert len(raw) == made.size
    assert made.size % HEADER == 0
    assert raw.startswith(content)
    header = Header(frame.ROWS, made.size, made.crc, 0, 1, 1, 0, 0, 0, 0)
    assert frame.checked(header, pa.py_buffer(raw))
    bit = data.draw(st.integers(0, 8 * made.size - 1))
    damaged = bytearray(raw)
    damaged[bit // 8] ^= 1 << bit % 8
    assert not frame.checked(header, pa.py_buffer(bytes(damaged)))


def test_a_frame_is_looked_for_where_one_may_begin_only():
    magic = frame.pack(Header(1, 0, 0, 0, 0, 0, 0, 0, 0, 0))[:4]
    raw = bytearray(4 * HEADER)
    raw[70:74] = magic
    assert frame.find(bytes(raw), 0) == -1
    raw[2 * HEADER : 2 * HEADER + 4] = magic
    assert frame.find(bytes(raw), 0) == 2 * HEADER
    assert frame.find(bytes(raw), 2 * HEADER + 1) == -1


def test_too_large_an_append_is_told(monkeypatch):
    monkeypatch.setattr(frame, "MAX_BYTES", 100)
    with pytest.raises(ConfigError, match="101 bytes is too large: the most is 100; append fewer rows"):
        frame.payload(pa.py_buffer(bytes(101)))


def test_dictionaries_are_written_out_wherever_they_are():
    words = pa.array(["a", "b", None, "a"]).dictionary_encode()
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 1, 3, 4], pa.int32()), words)
    events = pa.record_batch(
        {
            "plain": [1, 2, 3, 4],
            "word": words,
            "words": lists,
            "large": lists.cast(pa.large_list(words.type)),
            "fixed": pa.FixedSizeListArray.from_arrays(pa.concat_arrays([words, words]), 2),
            "inside": pa.StructArray.from_arrays([words, lists], ["word", "words"]),
        }
    )
    written = frame.plain(events)
    assert written.to_pydict() == events.to_pydict()
    assert "dictionary" not in str(written.schema)
    assert frame.plain(written) is written


def test_a_dictionary_that_cannot_be_written_out_is_a_mistake_and_no_loss():
    words = pa.array(["a"]).dictionary_encode()
    pairs = pa.MapArray.from_arrays(pa.array([0, 1], pa.int32()), pa.array([1]), words)
    with pytest.raises(ConfigError, match="has dictionaries inside; cast them to their values first"):
        frame.plain(pa.record_batch({"pairs": pairs}))
    fine = pa.record_batch({"pairs": pairs.cast(pa.map_(pa.int64(), pa.string()))})
    assert frame.plain(fine) is fine
