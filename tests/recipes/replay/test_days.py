from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from larix import data
from larix.recipes.replay.days import Measured
from larix.recipes.replay.place import Told

TOLD = Told(
    run="run",
    join={},
    identity=["user", "time"],
    trained_to="2022-05-01",
    first="2022-05-02",
    last="2022-05-04",
    measured="2022-05-03",
)
MIDNIGHT = 1_651_507_200_000  # of 2022-05-03 at UTC+8
HOUR = 3_600_000


def rows(times):
    return pa.table({"key": [f"7-{time}" for time in times], "time_ms": times})


def write(folder, times, dates):
    pq.write_table(
        pa.table({"user": [7] * len(times), "time": times, "date": pa.array(dates, pa.int32())}),
        folder / "x.parquet",
    )
    return data.files(folder, time="time", day="date", utc_offset_hours=8)


def test_samples_are_of_the_day_that_the_log_says(tmp_path):
    times = [MIDNIGHT + hours * HOUR for hours in (-30, -1, -2, 0, 1, 2, 30)]
    dates = [20220501, 20220502, 20220503, 20220503, 20220502, 20220503, 20220504]
    measured = Measured(write(tmp_path, times, dates), TOLD)
    assert measured(rows(times)).tolist() == [date >= 20220503 for date in dates]
    assert measured(rows(times).to_batches()[0]).tolist() == [date >= 20220503 for date in dates]


def test_where_days_are_those_of_the_times_times_tell(tmp_path):
    times = [MIDNIGHT - 1, MIDNIGHT, MIDNIGHT + 1]
    source = replace(write(tmp_path, times, [20220502, 20220503, 20220503]), day=None)
    assert Measured(source, TOLD)(rows(times)).tolist() == [False, True, True]
    assert Measured(source, TOLD)(rows([])).dtype == np.bool_
