import pickle

import pytest

from larix import features as fx
from larix.errors import ConfigError

SAMPLE = fx.Sample(
    user=fx.Id("user_id", dim=16),
    video=fx.Id("video_id", dim=8),
    friend=fx.Id("friend_id", table="user"),
    tags=fx.Ids("tag", dim=4, pool="sum", weights="tag_weight"),
    hour=fx.Hour("time_ms", dim=2),
    day=fx.Weekday("time_ms", dim=2),
    length=fx.Bucket("duration_ms", quantiles=8, dim=2),
    cross=fx.Cross("user_id", "tab", dim=2),
    age=fx.Dense("user_age"),
    fans=fx.Dense("fans", standardise=True),
    history=fx.Sequence(
        video="hist_video",
        click=fx.Id("hist_click", dim=2),
        play=fx.Dense("hist_play"),
        ago=fx.LogAge("hist_time"),
        newest=50,
    ),
    tasks=(fx.Binary("is_click"), fx.Seconds("play_ms", name="watch")),
    group="user_id",
    scene="tab",
    time="time_ms",
    weight="sample_weight",
)


def test_every_id_feature_is_a_slot_in_declared_order():
    slots = {name: (slot.table, slot.dim, slot.pool) for name, slot in SAMPLE.id_slots.items()}
    assert slots == {
        "user": ("user", 16, "sum"),
        "video": ("video", 8, "sum"),
        "friend": ("user", 16, "sum"),
        "tags": ("tags", 4, "sum"),
        "hour": ("hour", 2, "sum"),
        "day": ("day", 2, "sum"),
        "length": ("length", 2, "sum"),
        "cross": ("cross", 2, "sum"),
    }
    assert list(slots) == [name for name in SAMPLE.features if name in slots]
    assert all(slot.name == name for name, slot in SAMPLE.id_slots.items())


def test_a_sequence_shares_tables_by_name_and_else_has_its_own():
    slots = SAMPLE.sequences["history"]
    assert slots.ids["video"] == fx.IdSlot(name="history.video", table="video", dim=8, pool="sequence")
    assert slots.ids["click"] == fx.IdSlot(
        name="history.click", table="history.click", dim=2, pool="sequence"
    )
    assert slots.dense == ("play", "ago")
    assert slots.newest == 50


def test_every_table_is_listed_once_with_its_dim():
    assert SAMPLE.tables == {
        "user": 16,
        "video": 8,
        "tags": 4,
        "hour": 2,
        "day": 2,
        "length": 2,
        "cross": 2,
        "history.click": 2,
    }


def test_the_columns_are_those_read_and_label_columns_those_serving_does_without():
    assert SAMPLE.dense == ("age", "fans")
    assert SAMPLE.label_columns == ("sample_weight", "is_click", "play_ms")
    features = {c for feature in SAMPLE.features.values() for c in feature.columns}
    assert set(SAMPLE.columns) == features | {"tab", "time_ms", *SAMPLE.label_columns}
    assert len(set(SAMPLE.columns)) == len(SAMPLE.columns)
    keys = fx.Sample(a=fx.Id("a", dim=2), time="t", group="g", scene="s", weight="w", tasks=[fx.Binary("l")])
    assert keys.columns == ("a", "s", "t", "g", "w", "l")
    assert keys.label_columns == ("t", "g", "w", "l")


def test_what_is_not_fitted_is_named():
    assert not SAMPLE.is_fitted
    assert SAMPLE.unfitted == ("length", "fans")
    assert fx.Sample(a=fx.Id("a", dim=2), b=fx.Bucket("b", edges=[1], dim=2)).is_fitted
    sequence = fx.Sequence(a=fx.Id("a", dim=2), b=fx.Dense("b", standardise=True), newest=3)
    assert fx.Sample(h=sequence).unfitted == ("h",)


def test_a_sample_does_not_change():
    with pytest.raises(AttributeError, match="a Sample does not change"):
        SAMPLE.time = "t"
    for mapping in (
        SAMPLE.features,
        SAMPLE.id_slots,
        SAMPLE.tables,
        SAMPLE.sequences,
        SAMPLE.sequences["history"].ids,
    ):
        with pytest.raises(TypeError):
            mapping["x"] = None


def test_equality_goes_by_declaration_and_order():
    a, b = fx.Id("a", dim=2), fx.Id("b", dim=2)
    assert fx.Sample(a=a, b=b) == fx.Sample(a=a, b=b)
    assert hash(fx.Sample(a=a, b=b)) == hash(fx.Sample(a=a, b=b))
    assert fx.Sample(a=a, b=b) != fx.Sample(b=b, a=a)
    assert fx.Sample(a=a) != fx.Sample(a=a, time="t")
    assert fx.Sample(a=a, tasks=[fx.Binary("x")]) != fx.Sample(a=a, tasks=[fx.Binary("y")])
    assert fx.Sample(a=a) != "a"


def test_a_sample_survives_pickling_and_its_repr_is_its_declaration():
    assert pickle.loads(pickle.dumps(SAMPLE)) == SAMPLE
    assert eval(repr(SAMPLE), {name: getattr(fx, name) for name in fx.__all__}) == SAMPLE


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "needs at least one feature"),
        ({"a": "user_id"}, "feature 'a' is 'user_id'; use Id"),
        ({"a": fx.LogAge("t")}, "feature 'a' is LogAge"),
        ({"a b": fx.Id("a", dim=2)}, "named 'a b'; use a name that is a Python identifier"),
        ({"a.b": fx.Id("a", dim=2)}, "named 'a.b'"),
        ({"a": fx.Id("a")}, r"'a' uses table 'a' but nothing says its dim; .*Id\('a', dim=16\)"),
        (
            {"a": fx.Id("a", dim=2), "b": fx.Id("b", dim=3, table="a")},
            "table 'a' has dim 2 by 'a' but 'b' asks for 3",
        ),
        ({"h": fx.Sequence(video="v", newest=3)}, r"'h.video' uses table 'video' but nothing says its dim"),
        ({"h": fx.Sequence(video=fx.Id("v"), newest=3)}, "'h.video' uses table 'h.video' but nothing"),
        (
            {"video": fx.Id("v", dim=4), "h": fx.Sequence(video=fx.Id("w", dim=2, table="video"), newest=3)},
            "table 'video' has dim 4 by 'video' but 'h.video' asks for 2",
        ),
        (
            {"h": fx.Sequence(v=fx.Id("v", dim=2), age=fx.LogAge("t"), newest=3)},
            "sequence 'h' has a LogAge, which needs the sample's time",
        ),
        (
            {"a": fx.Id("a", dim=2), "time": fx.Hour("t", dim=2)},
            "time= is the name of the column that holds the time",
        ),
        ({"a": fx.Id("a", dim=2), "group": ""}, "reads a column by its name"),
        ({"a": fx.Id("a", dim=2), "tasks": ["is_click"]}, "a task is 'is_click'; use Binary or Seconds"),
        (
            {"a": fx.Id("a", dim=2), "tasks": [fx.Binary("x"), fx.Seconds("y", name="x")]},
            "two tasks are named 'x'; give one another name",
        ),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        fx.Sample(**arguments)
