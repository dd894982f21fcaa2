from hypothesis import example, given
from hypothesis import strategies as st

from larix.errors import DataError
from larix.serve.sentence import LONGEST, sentence

CHARACTERS = st.characters()  # with those that stand for none, as names of files may have


@given(st.text(CHARACTERS, max_size=40), st.integers(0, 300))
@example("x", LONGEST)
@example("x", LONGEST + 1)
@example("ab💥", 300)
@example("\ud800", 2000)
def test_a_sentence_is_the_errors_up_to_its_bound_and_never_cut_within_a_character(text, times):
    whole = text * times
    told = sentence(DataError(whole))
    readable = whole.encode(errors="replace").decode()
    assert len(told.encode()) <= LONGEST
    if len(readable.encode()) <= LONGEST:
        assert told == readable
    else:
        assert told.endswith("...")
        assert readable.startswith(told[:-3])
        assert len(told.encode()) > LONGEST - 4  # no more is cut than has to be


def test_what_was_cut_is_not_cut_again():
    once = sentence(DataError("語" * LONGEST))
    assert sentence(DataError(once)) == once
