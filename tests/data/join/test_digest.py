import hashlib

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from larix.data.join.digest import first_words


@given(st.lists(st.text(max_size=70)), st.sampled_from(["", "0:", "-12345:"]), st.integers(0, 3))
def test_digests_are_those_of_hashlib(texts, prefix, skipped):
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]
    got = first_words(prefix, pa.array(texts, pa.string()).slice(skipped))
    assert got.tolist() == [
        int(hashlib.md5((prefix + text).encode()).hexdigest()[:8], 16) for text in texts[skipped:]
    ]
