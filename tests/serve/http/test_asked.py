import json
import random
from dataclasses import replace

import msgspec
import pyarrow as pa
import pytest
from asked import SIGNATURE
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wide import TYPES, WIDE

from larix.errors import DataError, LarixError
from larix.serve import Refusal
from larix.serve.http import Limits
from larix.serve.http.asked import Asking, merged
from larix.serve.http.ranking import RankBody
from larix.serve.http.sessions import OpenBody, ScoreBody

NOW = 1_700_000_000_000
LIMITS = Limits(candidates=6, json_bytes=20_000)


def both(body, kind=RankBody, signature=WIDE):
    """What is read natively, None if it is not, and what Python reads or raises."""
    asking = Asking(kind, LIMITS)
    try:
        told = asking._told(body, lambda _: signature, NOW)
    except LarixError as error:
        told = error
    return asking._plainly(body, lambda _: signature, NOW), told


def agree(body, kind=RankBody, signature=WIDE):
    """Whether it was read natively; it must be what Python reads then, to the last bit."""
    native, told = both(body, kind, signature)
    if native is None:
        return False
    assert not isinstance(told, LarixError), (body, told)
    for mine, theirs in zip(native[2:], told[2:], strict=True):
        assert mine.missing == theirs.missing
        assert (mine.rows is None) == (theirs.rows is None)
        if mine.rows is not None:
            mine.rows.validate(full=True)
            assert mine.rows.schema == theirs.rows.schema
            assert repr(mine.rows.to_pylist()) == repr(
                theirs.rows.to_pylist()
            )  # repr tells -0.0 and each bit
    left = {"user": {}, "context": {}}
    if told.document.candidates is not None:
        left["candidates"] = {}
    assert {**msgspec.structs.asdict(native.document), **left} == {
        **msgspec.structs.asdict(told.document),
        **left,
    }
    return True


# Bodies as anybody may write them: text of JSON, not values.

DIGITS = st.from_regex(r"-?(0|[1-9][0-9]{0,22})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
BITS = (7, 8, 15, 16, 24, 31, 53, 63, 64)
EDGES = [f"{sign}{2**bits + off}" for sign in ("", "-") for bits in BITS for off in (-1, 0, 1)]
ODD = [
    "-0",
    "-0.0",
    "0e5",
    "1.",
    ".5",
    "01",
    "+1",
    "NaN",
    "1e400",
    "1e-400",
    "5e-324",
    "1E5",
    "-",
    "tru",
    "nul",
]
NUMBERS = st.one_of(
    DIGITS,
    st.sampled_from(EDGES + ODD),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(width=32, allow_nan=False, allow_infinity=False).map(repr),
)
ESCAPES = [
    r'"\ud83d\ude00"',
    r'"\ud83d"',
    r'"\udc00\ud83d"',
    r'"\u00e9\/\b"',
    r'"\x"',
    r'"\u12g4"',
    r'"',
    r'"\"',
]


def quoted(text):
    """``text`` as JSON has it, with escapes for all that is not ASCII or with none."""
    return text.map(json.dumps) | text.map(lambda each: json.dumps(each, ensure_ascii=False))


TEXTS = quoted(st.text(max_size=6)) | st.sampled_from([*ESCAPES, '"\x01"'])
ANY = st.one_of(
    NUMBERS, TEXTS, st.sampled_from(["null", "true", "false", "[]", "{}", "[1]", '{"a":1}', "[[1]]", ""])
)
SHAPED = {
    "b": st.sampled_from(["true", "false"]),
    "i": st.integers(0, 100).map(str),
    "f": st.one_of(
        st.floats(-1e6, 1e6).map(repr),
        st.integers(-1000, 1000).map(str),
        st.from_regex(r"-?[0-9]\.[0-9]{1,8}", fullmatch=True),
    ),
    "s": quoted(st.text(st.characters(exclude_categories=["Cs"]), max_size=6)),
}


def listed(values):
    return st.lists(values, max_size=4).map(lambda each: f"[{', '.join(each)}]")


def shaped(dtype):
    """Text that is plainly of a type."""
    if pa.types.is_list(dtype):
        return listed(shaped(dtype.value_type)) | st.just("null")
    if pa.types.is_binary(dtype):
        return st.just("null")
    kinds = {
        "b": pa.types.is_boolean,
        "i": pa.types.is_integer,
        "f": pa.types.is_floating,
        "s": pa.types.is_string,
    }
    (kind,) = (kind for kind, found in kinds.items() if found(dtype))
    return SHAPED[kind] | st.just("null")


def written(members, blanks):
    return (
        "{"
        + ",".join(f'{blanks()}"{name}"{blanks()}:{blanks()}{value}{blanks()}' for name, value in members)
        + "}"
    )


@st.composite
def bodies(draw, noise):
    """A body's text; with ``noise`` some of its values are anything, and members may be there twice or be unknown."""
    seed = random.Random(draw(st.integers(0, 2**32)))

    def blanks():
        return seed.choice(["", "", "", " ", "\n\t", "\r "])

    def value(dtype):
        return draw(ANY if noise and seed.random() < 0.1 else shaped(dtype))

    def some(names):
        chosen = [name for name in names if seed.random() < 0.6]
        seed.shuffle(chosen)
        if noise and chosen and seed.random() < 0.1:
            chosen.append(seed.choice([*chosen, "unknown", "my_\\u0069nt"]))
        return chosen

    typed = WIDE.typed[0] | WIDE.typed[1]
    mine = some([f"my_{name}" for name in TYPES])
    half = seed.randint(0, len(mine))
    user = [("user_id", "7"), *((name, value(typed.get(name, pa.int64()))) for name in mine[:half])]
    context = [(name, value(typed.get(name, pa.int64()))) for name in mine[half:]]
    if seed.random() < 0.5:
        context.append(("at", seed.choice(["5", "null", "-3"])))
    rows = seed.randint(0, LIMITS.candidates + (1 if noise else 0))
    if seed.random() < 0.5:
        columns = [("id", [str(seed.randint(-9, 9)) for _ in range(rows)])]
        columns += [(name, [value(typed.get(name, pa.int64())) for _ in range(rows)]) for name in some(TYPES)]
        cells = [(name, f"[{blanks()}{(',' + blanks()).join(each)}{blanks()}]") for name, each in columns]
        if noise and seed.random() < 0.1:
            cells.append(("int", "null"))
        candidates = written(cells, blanks)
    else:
        objects = [
            written(
                [("id", "3"), *((name, value(typed.get(name, pa.int64()))) for name in some(TYPES))], blanks
            )
            for _ in range(rows)
        ]
        candidates = f"[{blanks()}{(blanks() + ',').join(objects)}{blanks()}]"
    members = [
        ("user", written(user, blanks)),
        ("context", written(context, blanks)),
        ("candidates", candidates),
    ]
    members += [("count", "3"), ("explain", "true"), ("version", '"x{[\\"]"')][: seed.randint(0, 3)]
    if noise and seed.random() < 0.1:
        members.append(seed.choice([*members, ("candidates", "null"), ("other", "[1]"), ("model", '"a" 1')]))
    seed.shuffle(members)
    return blanks() + written(members, blanks) + blanks()


@settings(max_examples=400, deadline=None)
@given(bodies(noise=False))
def test_what_is_plainly_of_its_columns_types_is_read_natively_and_as_python_reads_it(body):
    assert agree(body.encode())


@settings(max_examples=600, deadline=None)
@given(bodies(noise=True), st.binary(max_size=2), st.floats(0, 1, exclude_max=True), st.integers(0, 3))
def test_whatever_is_read_natively_is_what_python_reads(body, put, where, cut):
    encoded = body.encode("utf-8", "surrogatepass")
    agree(encoded)
    at = int(where * (len(encoded) + 1))
    agree(encoded[:at] + put + encoded[at + cut :])


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(list(TYPES)), ANY | st.lists(ANY, max_size=3).map(lambda each: f"[{','.join(each)}]"))
@example("double", "0.1e1000")
@example("double", "123456789012345678901234567890.5")
@example("large", "18446744073709551615")
@example("large", "-0")
@example("single", "16777217")
@example("texts", '["a",null]')
def test_a_value_of_any_kind_is_read_natively_only_as_python_reads_it(name, value):
    agree(f'{{"user":{{"user_id":1,"my_{name}":{value}}},"candidates":[]}}'.encode("utf-8", "surrogatepass"))
    agree(f'{{"user":{{"user_id":1}},"candidates":[{{"id":1,"{name}":{value}}}]}}'.encode("utf-8", "surrogatepass"))  # fmt: skip


@settings(max_examples=1000, deadline=None)
@given(
    st.floats(allow_nan=False, allow_infinity=False) | DIGITS.filter(lambda text: len(text) < 30).map(float)
)
def test_a_real_number_is_read_to_the_last_bit(number):
    for text in {repr(number), f"{number:.17e}", f"{number:.12g}"}:
        native, told = both(f'{{"user":{{"user_id":1,"my_double":{text}}},"candidates":[]}}'.encode())
        if native is not None:
            mine, theirs = (each.context.rows["my_double"][0].as_py() for each in (native, told))
            assert repr(mine) == repr(theirs)


@pytest.mark.parametrize(
    "body",
    [
        b'{"user":{"user_id":1},"user":{"user_id":2},"candidates":[]}',
        b'{"user":{"user_id":1},"candidates":[],"candidates":null}',
        b'{"user":{"user_id":1,"user_id":2},"candidates":[]}',
        b'{"user":{"user_id":1},"context":{"user_id":2},"candidates":[]}',
        b'{"user":{"user_id":1},"candidates":[{"id":1,"id":2}]}',
        b'{"user":{"user_id":1},"candidates":{"id":[1],"id":[2]}}',
        b'{"user":{"user_id":1},"candidates":{"id":[1,2],"int":[1]}}',
        b'{"user":{"user_id":1},"candidates":{"int":[1]}}',
        b'{"user":{"user_id":1},"candidates":{}}',
        b'{"user":{"user_id":1},"candidates":[{}]}',
        b'{"user":{},"candidates":[]}',
        b'{"us\\u0065r":{"user_id":1},"candidates":[]}',
        b'{"user":{"user_id":1},"candidates":[1]}',
        b'{"user":{"user_id":1},"candidates":[}]',
        b'{"user":{"user_id":1},"candidates":[]}]',
        b'{"user":{"user_id":1},"candidates":[],}',
        b'{"user":{"user_id":1},"candidates":[],"count":0}',
        b'{"user":{"user_id":1},"candidates":[{"id":1},{"id":1},{"id":1},{"id":1},{"id":1},{"id":1},{"id":1}]}',
        b'{"user":{"user_id":1}',
        b'{"user":' + b"[" * 5000,
        b"",
    ],
)
def test_what_is_not_plain_is_left_to_who_tells_what_is_wrong(body):
    assert both(body)[0] is None


def test_a_body_beyond_its_limit_is_refused_though_it_could_be_read():
    body = b'{"user":{"user_id":1},"candidates":[]}' + b" " * LIMITS.json_bytes
    with pytest.raises(Refusal, match="bytes of JSON"):
        Asking(RankBody, LIMITS).read(body, lambda _: WIDE, NOW)


def test_the_time_is_now_where_it_is_not_given():
    asking = Asking(RankBody, LIMITS)
    for given_, wanted in (("", NOW), (',"at":null', NOW), (',"at":9', 9)):
        body = f'{{"user":{{"user_id":1{given_}}},"candidates":[]}}'.encode()
        assert asking._plainly(body, lambda _: WIDE, NOW).context.rows["at"].to_pylist() == [wanted]
        assert agree(body)
    for dtype in (pa.int8(), pa.float64(), pa.string()):  # now does not fit each
        schema = pa.schema({"user_id": pa.int64(), "at": dtype})
        signature = replace(WIDE, context=schema, optional=frozenset(TYPES))
        agree(b'{"user":{"user_id":1},"candidates":[]}', signature=signature)


def test_a_session_is_opened_with_or_without_candidates_and_scored_without_a_user():
    for body in (b"{}", b'{"candidates":null}', b'{"candidates":[{"id":1}],"ttl_s":3}'):
        assert agree(body.replace(b"{", b'{"user":{"user_id":1},', 1).replace(b",}", b"}"), kind=OpenBody)
    assert agree(b'{"candidates":[{"id":1}]}', kind=ScoreBody)
    assert not agree(b'{"candidates":[],"user":{}}', kind=ScoreBody)


def test_which_columns_is_asked_of_the_rest_of_the_body():
    body = b'{"user":{"user_id":5},"model":"a","candidates":{"video_id":[1]},"version":"2"}'
    asked = []

    def columns_of(document):
        asked.append((document.model, document.version))
        return SIGNATURE

    found = Asking(RankBody, LIMITS).read(body, columns_of, NOW)
    assert asked == [("a", "2")]
    assert found.columns is SIGNATURE
    assert found.candidates.rows["video_id"].to_pylist() == [1]


def test_who_reads_columns_may_refuse():
    def nobody(document):
        raise Refusal(404, "there is no such model")

    with pytest.raises(Refusal, match="no such model"):
        Asking(RankBody, LIMITS).read(b'{"candidates":[]}', nobody, NOW)


def test_user_and_context_are_one_row():
    assert merged({"a": 1}, {"b": 2}) == {"a": 1, "b": 2}
    with pytest.raises(DataError, match="'a' is in user and in context"):
        merged({"a": 1, "b": 1}, {"a": 2})
