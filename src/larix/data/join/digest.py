"""MD5 of many short texts at once, in numpy: the first 32 bits, for down-sampling by key. Not for keeping secrets."""

import hashlib
import math

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_SHIFTS = ((7, 12, 17, 22), (5, 9, 14, 20), (4, 11, 16, 23), (6, 10, 15, 21))
_SINES = np.array([int(abs(math.sin(n + 1)) * 2**32) for n in range(64)], np.uint32)
_START = np.array([0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476], np.uint32)
_ONE_BLOCK = 55  # bytes: more need a second block


def first_words(prefix: str, texts: pa.Array) -> NDArray[np.uint32]:
    """The first 8 hex digits of the MD5 of ``prefix`` + text, as a number, of strings without nulls."""
    head = prefix.encode()
    raw, offsets = _bytes_of(texts)
    lengths = np.diff(offsets)
    out = np.empty(len(texts), np.uint32)
    short = lengths + len(head) <= _ONE_BLOCK
    for row in np.flatnonzero(~short).tolist():
        text = raw[offsets[row] : offsets[row + 1]].tobytes()
        out[row] = int.from_bytes(hashlib.md5(head + text).digest()[:4], "big")
    rows = np.flatnonzero(short)
    if len(rows):
        out[rows] = _digested(_blocks(head, raw, offsets[:-1][rows], lengths[rows]))
    return out


def _bytes_of(texts: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    _, offsets, data = texts.buffers()
    raw = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    if offsets is None:
        return raw, np.zeros(1, np.int64)
    ours = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return raw, ours.astype(np.int64)


def _blocks(
    head: bytes, raw: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.uint32]:
    """The padded message of each text as (16, texts) words."""
    count, longest = len(starts), int(lengths.max())
    block = np.zeros((count, 64), np.uint8)
    block[:, : len(head)] = np.frombuffer(head, np.uint8)
    text = block[:, len(head) : len(head) + longest + 1]
    places = np.arange(longest)
    inside = places < lengths[:, None]
    at = np.minimum(starts[:, None] + places, max(len(raw) - 1, 0))
    if longest:
        text[:, :-1] = np.where(inside, raw[at], 0)
    text[np.arange(count), lengths] = 0x80
    words = block.view("<u4").T.copy()
    words[14] = (lengths + len(head)) * 8
    return words.astype(np.uint32, copy=False)


def _digested(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    a, b, c, d = (np.full(words.shape[1], start, np.uint32) for start in _START)
    for step in range(64):
        turn = step // 16
        if turn == 0:
            mixed, word = d ^ (b & (c ^ d)), step
        elif turn == 1:
            mixed, word = c ^ (d & (b ^ c)), (5 * step + 1) % 16
        elif turn == 2:
            mixed, word = b ^ c ^ d, (3 * step + 5) % 16
        else:
            mixed, word = c ^ (b | ~d), (7 * step) % 16
        mixed += a
        mixed += words[word]
        mixed += _SINES[step]
        shift = np.uint32(_SHIFTS[turn][step % 4])
        turned = (mixed << shift) | (mixed >> (np.uint32(32) - shift))
        a, d, c, b = d, c, b, b + turned
    a += _START[0]
    return a.byteswap()
