"""TFRecord files written by hand: wire format and checksum are spelled out, apart from what reads them."""

import gzip
import struct


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def feature(values: list) -> bytes:
    """bytes_list = 1, float_list = 2 (packed), int64_list = 3 (packed)."""
    if not values:
        return b""
    if isinstance(values[0], bytes):
        return field(1, b"".join(field(1, value) for value in values))
    if isinstance(values[0], float):
        return field(2, field(1, struct.pack(f"<{len(values)}f", *values)))
    return field(3, field(1, b"".join(varint(value) for value in values)))


def example(features: dict[str, list]) -> bytes:
    entries = (
        field(1, field(1, name.encode()) + field(2, feature(values))) for name, values in features.items()
    )
    return field(1, b"".join(entries))


def framed(record: bytes) -> bytes:
    length = struct.pack("<Q", len(record))
    return length + masked(length) + record + masked(record)


def write_tfrecord(path, records: list[dict[str, list]]):
    data = b"".join(framed(example(record)) for record in records)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path
