"""Bytes and JSON made wrong in the ways that files go wrong, and in those that only somebody who means harm would think of."""

import json
from copy import deepcopy

import numpy as np

DEEP = "[" * 100_000
STRANGE = [
    *(None, True, False, 0, -1, 1.5, 2**31, 2**32 - 1, 2**53 + 1, 2**63, 2**64, -(2**63), 10**400),
    *(1e308, float("nan"), float("inf"), [], {}, [[]], [None], [2**40], [2**40, 0], [-1, -1], [0] * 70),
    *([2**34, "xx"], [10**400] * 70, {"": {}}, {"kind": "Warmup"}, {"kind": "SGD", "lr": "0"}),
    *(
        "",
        "0",
        "x" * 5000,
        "\0",
        "\ud800",
        "..",
        "../manifest.json",
        "/etc/passwd",
        "a/b",
        "ids",
        "I64",
        "fp16",
        "F64",
    ),
]


class Mutator:
    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def chance(self, part):
        return self.rng.random() < part

    def below(self, most):
        return int(self.rng.integers(most))

    def one(self, things):
        return things[self.below(len(things))]

    def bytes(self, data):
        """Other bytes: flipped, overwritten, cut, doubled, left out, or with a number in them that is much too large."""
        data = bytearray(data)
        for _ in range(1 + self.below(3)):
            at, length = self.below(len(data) + 1), self.below(64)
            match self.below(7):
                case 0 if at < len(data):
                    data[at] ^= 1 << self.below(8)
                case 1:
                    data[at : at + length] = self.rng.bytes(min(length, len(data) - at))
                case 2:
                    del data[at:]
                case 3:
                    del data[at : at + length]
                case 4:
                    begin = self.below(len(data) + 1)
                    data[at:at] = data[begin : begin + length]
                case 5:
                    size = self.one([1, 2, 4, 8])
                    number = self.one(
                        [0, 1, 2**31, 2**63, 2**64 - 1, len(data), len(data) - 8, self.below(1 << 16)]
                    )
                    data[at : at + size] = (number % 256**size).to_bytes(size, "little")
                case 6:
                    data[at:at] = bytes(self.below(64))
        return bytes(data)

    def json(self, text):
        """Another document: a value in it is replaced, left out, added or doubled."""
        value = json.loads(text)
        for _ in range(1 + self.below(2)):
            holder, key = self.place(value)
            match self.below(6):
                case 0 | 1 | 2:
                    holder[key] = deepcopy(self.one(STRANGE))
                case 3 if len(holder) > 1:
                    del holder[key]
                case 4:
                    other, name = self.place(value)
                    holder[key] = deepcopy(other[name])
                case 5 if isinstance(holder, list):
                    holder.append(deepcopy(holder[key]))
                case _:
                    number = holder[key]
                    near = isinstance(number, int) and not isinstance(number, bool)
                    holder[key] = number + self.one([-1, 1, 8, 2**32]) if near else [number]
        return value

    def place(self, value):
        """Where a value of a document is: what holds it, and under which key."""
        place = [value], 0
        while (inside := place[0][place[1]]) and isinstance(inside, dict | list):
            if inside is not value and self.chance(0.2):
                break
            place = inside, self.one(list(inside) if isinstance(inside, dict) else range(len(inside)))
        return place

    def text(self, text):
        """``json`` of it as bytes, now and then deep or long beyond all bounds."""
        text = json.dumps(self.json(text))
        if self.chance(0.01):
            text = self.one(
                [DEEP, '{"a":' * 50_000, "[" + "[]," * 20_000 + "[]]", text[:-1] + "," + DEEP, "9" * 10_000]
            )
        return text.encode()
