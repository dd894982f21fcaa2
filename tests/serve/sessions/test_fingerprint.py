import pyarrow as pa

from larix.serve.sessions.fingerprint import fingerprint


def rows(**columns):
    return pa.RecordBatch.from_pydict(columns)


def test_the_same_rows_give_the_same():
    one, other = rows(a=[1, None, 3], b=["x", "y", None]), rows(a=[1, None, 3], b=["x", "y", None])
    assert fingerprint(one, 5, "m") == fingerprint(other, 5, "m")
    longer = rows(a=[0, 1, None, 3], b=["", "x", "y", None])
    assert fingerprint(one) == fingerprint(longer.slice(1))


def test_whatever_differs_is_told():
    one = rows(a=[1, 2], b=[3, 4])
    others = [
        rows(a=[1, 3], b=[3, 4]),
        rows(a=[1, 2], c=[3, 4]),
        rows(a=[1], b=[3]),
        rows(a=[1, None], b=[3, 4]),
        rows(a=[1.0, 2.0], b=[3, 4]),
        rows(b=[3, 4], a=[1, 2]),
        rows(a=[1, 2]),
    ]
    assert len({fingerprint(each) for each in [one, *others]}) == len(others) + 1
    assert fingerprint(one, 1) != fingerprint(one, 2)
