import json

import numpy as np
import pyarrow as pa
import pytest

from larix.data.join import Action, Clicked, Downsample, Impressions, Joiner, JoinSpec
from larix.data.log import DiskLog
from larix.errors import ConfigError
from larix.train.online import JoinedSamples

PARTITIONS = {"impressions": 2, "actions": 1}


def spec(**given):
    return JoinSpec(
        impressions=Impressions("impressions", key="impression_id", time="time_ms", event_id="event_id"),
        actions=(Action("click", topic="actions", key="impression_id", time="time_ms", event_id="event_id"),),
        labels={"is_click": Clicked("click")},
        **{"window_s": 10, "lateness_s": 5, "ahead_s": None, **given},
    )


@pytest.fixture
def log(tmp_path):
    """Impressions and clicks on a third of them, mixed and a little out of order, in many appends."""
    rng = np.random.default_rng(1)
    log = DiskLog(tmp_path / "log")
    for topic, partitions in PARTITIONS.items():
        log.create(topic, partitions=partitions)
    for begin in range(0, 3000, 100):
        ids = np.arange(begin, begin + 100)
        times = 1_000_000 + ids * 50 + rng.integers(0, 3000, 100)
        names = pa.array([f"i{each}" for each in ids])
        rows = pa.record_batch(
            {"impression_id": ids, "time_ms": times, "event_id": names, "user_id": ids % 17}
        )
        log.append("impressions", rows, partition=int(begin // 100 % 2))
        clicked = ids[rng.random(100) < 0.3]
        names = pa.array([f"c{each}" for each in clicked])
        rows = pa.record_batch(
            {"impression_id": clicked, "time_ms": times[clicked - begin] + 2000, "event_id": names}
        )
        log.append("actions", rows)
    yield log
    log.close()


def all_of(samples):
    parts = []
    while len(part := samples.poll(0.0)) or samples.lag:
        parts.append(part)
    return [part for part in [*parts, samples.finish(), samples.finish()] if len(part)]


def test_they_are_what_the_joiner_makes_of_the_log(log):
    samples = JoinedSamples(log, spec())
    found = pa.concat_tables(all_of(samples))
    joiner = Joiner(spec(), partitions=PARTITIONS)
    events = [each for topic in PARTITIONS for each in log.consumer(topic).drain()]
    expected = pa.concat_tables([joiner.push(events), joiner.finish()])
    assert found.equals(expected)
    assert found.num_rows == 3000
    assert 700 < sum(found["is_click"].to_pylist()) < 1100
    assert samples.lag == 0
    assert samples.stats == joiner.stats
    samples.close()
    joiner.close()


@pytest.mark.parametrize("polls", [1, 3, 7])
def test_they_go_on_where_they_were_saved(log, tmp_path, polls):
    samples = JoinedSamples(log, spec(), max_rows=150)
    before = [part for _ in range(polls) if len(part := samples.poll(0.0))]
    (tmp_path / "saved").mkdir()
    said = json.loads(json.dumps(samples.save(tmp_path / "saved")))
    whole = pa.concat_tables(before + all_of(samples))
    samples.close()
    other = JoinedSamples(log, spec())
    other.poll(0.0)  # whatever it had taken is forgotten
    other.restore(said, tmp_path / "saved")
    assert pa.concat_tables(before + all_of(other)).equals(whole)
    other.close()


def test_the_rate_of_negatives_is_said_of_every_sample(log):
    samples = JoinedSamples(log, spec(negatives=Downsample(label="is_click", rate=0.25)))
    found = pa.concat_tables(all_of(samples))
    assert found.num_rows < 2000
    assert set(found["sample_rate"].to_pylist()) == {0.25}
    assert found.schema.field("sample_rate").type == pa.float32()
    samples.close()


def test_a_log_without_the_topics_is_told(log):
    other = JoinSpec(
        impressions=Impressions("shown", key="k", time="t", event_id="e"),
        actions=(Action("click", topic="actions", key="k", time="t", event_id="e"),),
        labels={"is_click": Clicked("click")},
    )
    with pytest.raises(ConfigError, match=r"reads topics \['shown'\], which the log has not"):
        JoinedSamples(log, other)
