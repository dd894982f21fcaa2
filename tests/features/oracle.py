"""The rules of a transform once more, row by row in plain Python: what the native one must be."""

import math

import numpy as np
import xxhash

from larix import features as fx
from larix.batch import Batch

MASK = 2**64 - 1


def signed(value):
    value &= MASK
    return value - 2**64 if value >= 2**63 else value


def as_id(value):
    """The id of a column's value."""
    if isinstance(value, str):
        value = value.encode()
    return signed(xxhash.xxh3_64_intdigest(value)) if isinstance(value, bytes) else signed(int(value))


def mix(x):
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def is_missing(value):
    return value is None or (isinstance(value, float) and math.isnan(value))


def dense(feature, value):
    if is_missing(value):
        if feature.missing == "mean":
            return 0.0 if feature.standardise else feature.mean
        value = feature.missing
    low, high = feature.clip or (None, None)
    value = float(value) if low is None else max(float(value), low)
    value = value if high is None else min(value, high)
    if feature.transform == "log1p":
        value = math.log1p(value)
    return (value - feature.mean) / (feature.std or 1.0) if feature.standardise else value


def one_slot(feature, row):
    """The ids of one sample as [(id, weight or None)], and how many are missing."""
    values = [row[column] for column in feature.columns]
    match feature:
        case fx.Id():
            found = [] if values[0] is None else [(as_id(values[0]), None)]
        case fx.Ids():
            ids = (values[0] or [])[-(feature.newest or 10**9) :]
            weights = [None] * len(ids)
            if feature.weights is not None:
                weights = (values[1] or [])[-(feature.newest or 10**9) :]
            found = [(as_id(i), w) for i, w in zip(ids, weights, strict=True) if i is not None]
            return found, (values[0] is None) + len(ids) - len(found)
        case fx.Cross():
            left, right = values
            found = []
            if left is not None and right is not None:
                found = [(signed(mix(mix(as_id(left) & MASK) ^ (as_id(right) & MASK))), None)]
        case fx.Bucket():
            if is_missing(values[0]):
                return [(0, None)], 1
            return [(1 + sum(edge <= values[0] for edge in feature.edges), None)], 0
        case fx.Hour() | fx.Weekday():
            if values[0] is None:
                return [], 1
            ms = values[0] + round(feature.utc_offset * 3_600_000)
            part = ms // 3_600_000 % 24 if isinstance(feature, fx.Hour) else (ms // 86_400_000 + 3) % 7
            found = [(part, None)]
    return found, 1 - len(found)


def one_history(sequence, row, now):
    """One sample's events: {element: ids} and [[numbers]], and {element: missing}."""
    ids, numbers, missing = {}, [], {}
    for name, element in sequence.elements.items():
        values = (row[element.column] or [])[-sequence.newest :]
        if isinstance(element, fx.Id):
            ids[name] = [as_id(value) for value in values]
        elif isinstance(element, fx.Dense):
            numbers.append([dense(element, value) for value in values])
            missing[name] = sum(map(is_missing, values))
        else:
            numbers.append([math.log1p(max(now - value, 0) / 1000) for value in values])
    return ids, np.array(numbers).T.reshape(-1, len(numbers)), missing


def check(sample: fx.Sample, rows: list[dict], batch: Batch) -> None:
    """Assert that ``batch`` is what ``sample`` says of ``rows``: exactly, but for a rounding after log1p."""
    close = {"rtol": 3e-7, "atol": 1e-9}
    assert batch.size == len(rows)
    missing = {}
    for name in sample.id_slots:
        expected = [one_slot(sample.features[name], row) for row in rows]
        got = batch.ids[name]
        offsets = np.arange(batch.size + 1) if got.offsets is None else got.offsets
        assert np.diff(offsets).tolist() == [len(found) for found, _ in expected], name
        assert got.values.tolist() == [i for found, _ in expected for i, _ in found], name
        if got.weights is not None:
            assert got.weights.tolist() == [w for found, _ in expected for _, w in found], name
        missing[name] = sum(count for _, count in expected)
    for index, name in enumerate(sample.dense):
        feature = sample.features[name]
        values = [row[feature.column] for row in rows]
        expected = [dense(feature, value) for value in values]
        np.testing.assert_allclose(batch.dense[:, index], expected, **close)
        missing[name] = sum(map(is_missing, values))
    for name, slots in sample.sequences.items():
        expected = [one_history(sample.features[name], row, row.get(sample.time)) for row in rows]
        got = batch.sequences[name]
        lengths = [len(next(iter(ids.values()))) for ids, _, _ in expected]
        assert np.diff(got.offsets).tolist() == lengths
        for element in slots.ids:
            assert got.ids[element].tolist() == [i for ids, _, _ in expected for i in ids[element]]
        numbers = np.concatenate([got.dense[:0]] + [numbers for _, numbers, _ in expected])
        np.testing.assert_allclose(got.dense, numbers, **close)
        for element, value in sample.features[name].elements.items():
            if isinstance(value, fx.Dense):
                missing[f"{name}.{element}"] = sum(counts[element] for _, _, counts in expected)
    assert batch.missing == missing
    if sample.tasks and batch.labels is not None:
        for index, task in enumerate(sample.tasks):
            unit = 1 if task.kind == "binary" else 1000
            values = [math.nan if is_missing(row[task.column]) else row[task.column] / unit for row in rows]
            np.testing.assert_array_equal(batch.labels[:, index], np.array(values, np.float32))
    for key in ("group", "scene"):
        column = getattr(sample, key)
        if column is not None and getattr(batch, key) is not None:
            assert getattr(batch, key).tolist() == [as_id(row[column]) for row in rows]
