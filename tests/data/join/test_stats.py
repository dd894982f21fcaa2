import json

import pytest
from join_events import spec_of

from larix.data.join import JoinStats
from larix.errors import DataError


def test_counts_come_back_from_their_json():
    stats = JoinStats.of(spec_of())
    stats.kinds["click"].late = 3
    stats.passed_over["acts"] = 2
    stats.unfit["a"] = 1
    assert JoinStats.from_json(json.loads(json.dumps(stats.to_json()))) == stats
    with pytest.raises(DataError, match="no counts of a join"):
        JoinStats.from_json({"kinds": {"click": {"lost": 1}}})
