"""KuaiRand (Gao et al., CIKM 2022): the files as published, or as Parquet, to samples ready to train on.

A sample is an impression with its user, its video and what was known strictly before. Knows nothing of
features.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from larix.data.files import Files, files
from larix.data.history import Past, among, list_array, past
from larix.data.kuairand_tables import FLAGS, PAST, Tables, inputs, read
from larix.data.write import replacing
from larix.errors import ConfigError, DataError

CARD = "card.json"
_VERSION = 2
_ROW_GROUP = 16384
COUNTED = {"clicked": "is_click", "long_viewed": "long_view", "liked": "is_like"}
HISTORY = {
    "hist_video_id": "video_id", "hist_click": "is_click", "hist_long_view": "long_view",
    "hist_like": "is_like", "hist_play_ms": "play_time_ms", "hist_duration_ms": "duration_ms",
    "hist_time_ms": "time_ms", "hist_tab": "tab",
}  # fmt: skip


def find(start: Path | str = ".") -> Path | None:
    """The slice ``shared/data/kuairand_pure`` in or beside ``start`` or a folder above it, or None."""
    here = Path(start).resolve()
    for folder in (here, *here.parents):
        found = folder / "shared" / "data" / "kuairand_pure"
        if any(found.glob("log_standard_*")):
            return found
    return None


def prepare(
    folder: Path | str,
    out: Path | str,
    *,
    newest: int = 50,
    random: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Files:
    """Write a Parquet file a day of ready samples to ``out``, and a data card; return them as a source.

    Reads ``log_standard_*``, ``user_features*``, ``video_features_basic*`` and, where there is one,
    ``user_sequences*`` (``.csv`` as published, or ``.parquet``). Of rows with the same (user, video,
    time_ms) the first is kept. A sample holds:

    - the log's columns, the user's and the video's (null where unknown), ``tag`` as list<int32>,
      ``video_age_days`` (``date`` minus the day of upload);
    - the user's impressions in the log with an earlier ``time_ms``, the ``newest`` of them, oldest first,
      as lists: ``hist_video_id, hist_author_id, hist_tag`` (the video's first; -1 where it has none; a
      video without features has null for both), ``hist_click, hist_long_view, hist_like, hist_play_ms,
      hist_duration_ms, hist_time_ms, hist_tab``;
    - ``past_watched, past_liked, past_long_viewed``: video ids from before the log, and for each of
      ``past_watched`` whether it is among the user's others, as ``past_watched_long_viewed`` and
      ``past_watched_liked``, int8; empty where they are
      not older;
    - ``{user,video,author}_{shown,clicked,long_viewed,liked}``: int32 counts of impressions with an earlier
      ``time_ms``.

    What is told of an earlier impression is what came of it in the end, even where it was still playing.

    Days are those of the ``date`` column: when the server logged the impression, in UTC+8. ``time_ms`` is
    when it began, an hour or so earlier at most, so about 1% of the samples, around midnight, belong to the
    day after their ``time_ms``.

    Args:
        folder: where the files are.
        out: the folder to make; one made before from the same files (names, sizes, times of change) is used
            as it is.
        newest: the longest history.
        random: read ``log_random_*`` too: randomly exposed videos, ``is_rand`` = 1.
        progress: called with (samples written, samples in all).

    Raises:
        DataError: a file is missing or damaged, lacks a column, or has a value of another type.
        ConfigError: ``out`` holds something that was not made by this function.
        StorageError: there is no space.
    """
    folder, out = Path(folder), Path(out)
    if newest < 1:
        raise ConfigError(f"newest must be at least 1, got {newest}")
    paths = inputs(folder, random=random)
    mark = _fingerprint(paths, newest)
    if (out / CARD).is_file():
        made = card(out)
        if made.get("fingerprint") == mark and all(
            (out / f"{day}.parquet").is_file() for day in made["days"]
        ):
            return _source(out)
    samples = _Samples(read(paths), newest)
    with replacing(out, mark=CARD) as fresh:
        written = {"fingerprint": mark, **_write(samples, fresh, progress or (lambda done, total: None))}
        (fresh / CARD).write_text(json.dumps(written, indent=1) + "\n")
    return _source(out)


def card(out: Path | str) -> dict[str, Any]:
    """The data card of prepared samples.

    It has ``rows``, ``days`` (rows of each), ``repeats_dropped``, ``users``, ``videos``, ``authors``,
    ``rates`` (the mean of each label) and ``nulls`` (the share of nulls in each column that has any).
    """
    path = Path(out) / CARD
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(
            f"'{path}' is not a data card: {error}; remove '{out}' and prepare it again"
        ) from error
    if not isinstance(found, dict):
        raise DataError(f"'{path}' is not a data card; remove '{out}' and prepare it again")
    return found


class _Samples:
    """Makes any rows of the log into samples; holds the log and where each row's past lies, no lists."""

    def __init__(self, tables: Tables, newest: int) -> None:
        self.tables = tables
        self.log = tables.log
        self.newest = newest
        self.dates = self._column("date")
        time = self._column("time_ms")
        video = self._column("video_id")
        self.video_rows = tables.videos.rows_of(video)
        of_video = tables.videos.table.take(self.video_rows).combine_chunks()
        self.author = of_video["author_id"].combine_chunks()
        self.tag = _first_tags(of_video["tag"].combine_chunks())
        known = self.author.is_valid().to_numpy(zero_copy_only=False)
        self.history = past(self._column("user_id"), time)
        pasts = {
            "user": self.history,
            "video": past(video, time),
            "author": past(self.author.fill_null(0).to_numpy(), time, known=known),
        }
        self.counters = {
            name: values for owner, p in pasts.items() for name, values in self._counts(owner, p)
        }

    def _column(self, name: str) -> NDArray[np.int64]:
        values: NDArray[np.int64] = self.log[name].to_numpy().astype(np.int64, copy=False)
        return values

    def _counts(self, owner: str, past: Past) -> Iterator[tuple[str, NDArray[np.int32]]]:
        yield f"{owner}_shown", past.counts()
        for what, column in COUNTED.items():
            yield f"{owner}_{what}", past.counts(self.log[column].to_numpy())

    def table(self, rows: NDArray[np.int64]) -> pa.Table:
        """The samples of ``rows`` of the log."""
        log = self.log.take(rows)
        columns = dict(zip(log.column_names, log.columns, strict=True))
        users = self.tables.users
        of_user = users.table.take(users.rows_of(log["user_id"].to_numpy()))
        of_video = self.tables.videos.table.take(self.video_rows.take(rows))
        for joined in (of_user, of_video):
            columns |= {name: joined[name] for name in joined.column_names if name not in columns}
        columns["video_age_days"] = _age_days(self.dates[rows], of_video["upload_dt"])
        columns |= self._lists(rows) | self._before(log)
        columns |= {name: pa.array(values[rows]) for name, values in self.counters.items()}
        return pa.table(columns)

    def _lists(self, rows: NDArray[np.int64]) -> dict[str, pa.ListArray]:
        members, offsets = self.history.lists(rows, self.newest)
        taken = {name: self.log[column].combine_chunks().take(members) for name, column in HISTORY.items()}
        taken |= {"hist_author_id": self.author.take(members), "hist_tag": self.tag.take(members)}
        return {name: list_array(values, offsets) for name, values in taken.items()}

    def _before(self, log: pa.Table) -> dict[str, pa.Array]:
        """The lists from before the log; empty where they may reach to the sample's own time or past it."""
        before = self.tables.before
        found = before.table.take(before.rows_of(log["user_id"].to_numpy()))
        if "last_time_ms" in found.column_names:
            older = pc.less(found["last_time_ms"], log["time_ms"]).fill_null(False).combine_chunks()
        else:
            older = pa.array(np.ones(len(log), dtype=bool))
        empty = pa.scalar([], pa.list_(pa.int64()))
        lists = {
            name: pc.if_else(older, found[column].combine_chunks(), empty).fill_null(empty)
            for name, column in PAST.items()
        }
        watched = lists["past_watched"]
        for what in ("long_viewed", "liked"):
            lists[f"past_watched_{what}"] = among(watched, lists[f"past_{what}"])
        return lists


def _first_tags(tags: pa.ListArray) -> pa.Array:
    """The first of each list, int32; -1 for an empty one, null for null."""
    lengths = tags.value_lengths().fill_null(0).to_numpy()
    first = np.full(len(tags), -1, dtype=np.int32)
    starts = tags.offsets.to_numpy()[:-1]
    first[lengths > 0] = tags.values.to_numpy()[starts[lengths > 0]]
    return pa.array(first, mask=tags.is_null().to_numpy(zero_copy_only=False))


def _age_days(dates: NDArray[np.int64], upload: pa.ChunkedArray) -> pa.Array:
    """Days from the day of upload ('2022-04-10') to ``dates`` (20220425): int32, null where not told."""
    days = pc.strptime(pa.array(dates.astype(str)), format="%Y%m%d", unit="s").cast(pa.date32())
    uploaded = pc.strptime(upload.combine_chunks(), format="%Y-%m-%d", unit="s", error_is_null=True).cast(
        pa.date32()
    )
    return pc.subtract(days.cast(pa.int32()), uploaded.cast(pa.int32()))


def _write(samples: _Samples, folder: Path, progress: Callable[[int, int], None]) -> dict[str, object]:
    """Write the samples, a file a day; return what the card says of them."""
    dates, done = samples.dates, 0
    days: dict[str, int] = {}
    nulls: dict[str, int] = {}
    for date in np.unique(dates).tolist():
        rows = np.flatnonzero(dates == date)
        day = f"{date // 10000:04}-{date // 100 % 100:02}-{date % 100:02}"
        writer: pq.ParquetWriter | None = None
        for at in range(0, len(rows), _ROW_GROUP):
            table = samples.table(rows[at : at + _ROW_GROUP])
            if writer is None:
                writer = pq.ParquetWriter(folder / f"{day}.parquet", table.schema, write_page_checksum=True)
            writer.write_table(table)
            done += len(table)
            for name in table.column_names:
                nulls[name] = nulls.get(name, 0) + table[name].null_count
            progress(done, len(dates))
        assert writer is not None
        writer.close()
        days[day] = len(rows)
    log = samples.log
    return {
        "rows": len(log),
        "days": days,
        "repeats_dropped": samples.tables.repeats_dropped,
        "users": pc.count_distinct(log["user_id"]).as_py(),
        "videos": pc.count_distinct(log["video_id"]).as_py(),
        "authors": pc.count_distinct(samples.author).as_py(),
        "rates": {name: pc.mean(log[name]).as_py() for name in FLAGS if name in log.column_names},
        "nulls": {name: count / len(log) for name, count in nulls.items() if count},
    }


def _fingerprint(paths: Mapping[str, Sequence[Path]], newest: int) -> str:
    seen = [
        (path.name, (at := path.stat()).st_size, at.st_mtime_ns) for group in paths.values() for path in group
    ]
    return hashlib.sha256(json.dumps([_VERSION, newest, seen]).encode()).hexdigest()


def _source(out: Path) -> Files:
    return files(out, time="time_ms", day="date", utc_offset_hours=8)
