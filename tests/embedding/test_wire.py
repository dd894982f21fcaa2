import json

import google_crc32c
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from larix.embedding import Adam, Message, Tables, TableSpec, wire
from larix.errors import StorageError

SPECS = [
    TableSpec(name="plain", dim=3),
    TableSpec(name="of 16 bits", dim=5, precision="bf16", optimizer=Adam()),
    TableSpec(name="half", dim=2, precision="fp16"),
    TableSpec(name="untouched", dim=4),
]


def changed(seed, rows):
    rng = np.random.default_rng(seed)
    tables = Tables(SPECS, seed=3, threads=1)
    tables.cut()
    for spec in SPECS[:3]:
        ids = rng.integers(-(2**63), 2**63 - 1, rows)
        tables.lookup(spec.name, ids, insert=True)
        tables.update(spec.name, ids, rng.standard_normal((rows, spec.dim)).astype(np.float32))
        tables.remove(spec.name, ids[: rows // 3])
    return tables.changes(0)


@given(st.integers(0, 2**32), st.integers(0, 40), st.booleans())
def test_changes_come_back_as_they_went(seed, rows, state):
    changes = changed(seed, rows)
    back = wire.from_bytes(wire.to_bytes(changes, state=state))
    assert (back.first, back.instant, back.specs) == (changes.first, changes.instant, changes.specs)
    assert list(back.tables) == list(changes.tables)
    for name, touched in changes.tables.items():
        found = back.tables[name]
        fields = touched._fields if state else ("ids", "weights", "removed")
        for field in fields:
            there, here = getattr(touched, field), getattr(found, field)
            assert (there.dtype, there.shape, there.tobytes()) == (here.dtype, here.shape, here.tobytes())
        assert state or found.state.shape == (len(found.ids), 0)


def test_weights_of_16_bits_take_two_bytes():
    sizes = [
        len(wire.to_bytes(changes_of(TableSpec(name="t", dim=64, precision=precision))))
        for precision in ("fp32", "bf16")
    ]
    assert sizes[0] - sizes[1] == pytest.approx(1000 * 64 * 2, abs=16)


def changes_of(spec):
    tables = Tables([spec], threads=1)
    tables.cut()
    tables.lookup("t", np.arange(1000), insert=True)
    return tables.changes(0)


def test_every_flipped_bit_and_every_cut_is_noticed():
    raw = wire.to_bytes(changed(1, 12))
    for at in range(0, len(raw) * 8, 37):
        wrong = bytearray(raw)
        wrong[at // 8] ^= 1 << at % 8
        with pytest.raises(StorageError):
            wire.from_bytes(bytes(wrong))
    for size in (0, 3, 4, 11, 15, len(raw) // 2, len(raw) - 1):
        with pytest.raises(StorageError):
            wire.from_bytes(raw[:size])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda said: said.pop("specs"), "there is no 'specs'"),
        (
            lambda said: said["tables"].update(plain=[2**50, 0]),
            r"<i8 \[1125899906842624\] is more than it holds",
        ),
        (lambda said: said["tables"].update(plain=[-1, 0]), r"<i8 \[-1\] is more than it holds"),
        (lambda said: said["tables"].update(plain=["1", 0]), "cannot be interpreted as an integer"),
        (lambda said: said["tables"].clear(), "bytes are left over"),
        (lambda said: said["tables"].update(more=[0, 0]), "'more'"),
        (lambda said: said.update(first=99), "from 99 to"),
    ],
)
def test_a_header_that_makes_no_sense_is_damage_though_the_checksum_is_right(change, sentence):
    raw = wire.to_bytes(changed(1, 12))
    size = int.from_bytes(raw[4:8], "little")
    said = json.loads(raw[8 : 8 + size])
    change(said)
    text = json.dumps(said).encode()
    text += b" " * (-len(text) % 8)
    content = raw[:4] + len(text).to_bytes(4, "little") + text + raw[8 + size : -8]
    with pytest.raises(StorageError, match=f"a message of changes, .* is damaged.*{sentence}"):
        wire.from_bytes(content + int(google_crc32c.value(content)).to_bytes(8, "little"))


def test_a_message_knows_the_marks_of_the_states_it_passes():
    message = Message(kind="rows", history="h", first=5, last=7, marks=np.array([40, 50, 60, 70], np.uint64))
    assert [message.mark(at) for at in range(3, 9)] == [None, 40, 50, 60, 70, None]
    forgotten = Message(kind="rows", history="h", first=5, last=7, marks=np.array([70], np.uint64))
    assert [forgotten.mark(at) for at in (4, 6, 7)] == [None, None, 70]
