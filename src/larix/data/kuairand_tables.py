"""The tables of KuaiRand in memory, the same from CSV as from Parquet. Knows nothing of histories."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from larix.data.history import repeats
from larix.errors import DataError

FLAGS = (
    "is_click", "long_view", "is_like", "is_follow", "is_comment", "is_forward", "is_hate",
    "is_profile_enter",
)  # fmt: skip
PAST = {"past_watched": "watch_seq", "past_liked": "like_seq", "past_long_viewed": "long_watch_seq"}
_LOG = {
    "user_id": pa.int64(), "video_id": pa.int64(), "date": pa.int32(), "hourmin": pa.int32(),
    "time_ms": pa.int64(),
    **dict.fromkeys(FLAGS, pa.int8()),
    "play_time_ms": pa.int64(), "duration_ms": pa.int64(), "profile_stay_time": pa.int64(),
    "comment_stay_time": pa.int64(), "is_rand": pa.int8(), "tab": pa.int32(),
}  # fmt: skip
_LOG_NEEDED = (
    "user_id", "video_id", "date", "time_ms", "is_click", "long_view", "is_like", "play_time_ms",
    "duration_ms", "tab",
)  # fmt: skip
_USER = {"user_id": pa.int64(), **{f"onehot_feat{i}": pa.int32() for i in range(18)}}
_VIDEO = {
    "video_id": pa.int64(), "author_id": pa.int64(), "upload_dt": pa.string(), "visible_status": pa.int32(),
    "video_duration": pa.int64(), "server_width": pa.int32(), "server_height": pa.int32(),
    "music_id": pa.int64(),
    "music_type": pa.int32(), "tag": pa.string(),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Keyed:
    """A table with one row for each value of its int64 column ``key``, sorted by it."""

    key: str
    table: pa.Table
    keys: NDArray[np.int64]

    def rows_of(self, keys: NDArray[np.int64]) -> pa.Array:
        """The row of each of ``keys`` (int64 ``[n]``): int64 ``[n]``, null where there is none."""
        if not len(self.keys):
            return pa.nulls(len(keys), pa.int64())
        rows = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return pa.array(rows, pa.int64(), mask=self.keys[rows] != keys)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tables:
    """The log without exact repeats, sorted by time; the users, the videos, what users did before the log."""

    log: pa.Table
    repeats_dropped: int
    users: Keyed
    videos: Keyed
    before: Keyed


def inputs(folder: Path, *, random: bool) -> dict[str, list[Path]]:
    """The files of each table in ``folder``, sorted by name; Parquet is taken where there is both Parquet
    and CSV.

    Raises:
        DataError: the log, the users or the videos are not there.
    """
    found = {
        "log": _matching(folder, "log_standard_") + (_matching(folder, "log_random_") if random else []),
        "users": _matching(folder, "user_features"),
        "videos": _matching(folder, "video_features_basic"),
        "before": _matching(folder, "user_sequences"),
    }
    if random and not any(path.name.startswith("log_random_") for path in found["log"]):
        raise DataError(f"no 'log_random_*.csv' or '.parquet' in '{folder}'; leave out random=True")
    for table, prefix in (
        ("log", "log_standard_"),
        ("users", "user_features"),
        ("videos", "video_features_basic"),
    ):
        if not any(path.name.startswith(prefix) for path in found[table]):
            raise DataError(
                f"no '{prefix}*.csv' or '.parquet' in '{folder}'; give the folder KuaiRand was unpacked to"
            )
    return found


def read(paths: Mapping[str, Sequence[Path]]) -> Tables:
    """Read the tables that `inputs` found.

    Raises:
        DataError: a file is damaged, lacks a column, or has a value of another type; a user or a video
            comes twice.
    """
    log, dropped = _log(paths["log"])
    videos = _table(paths["videos"], _VIDEO, ("video_id", "author_id", "upload_dt", "tag"))
    sequences = {"user_id": pa.int64(), **dict.fromkeys(PAST.values(), pa.list_(pa.int64()))}
    if paths["before"]:
        before = _table(paths["before"], sequences, tuple(sequences))
    else:
        before = pa.schema(list(sequences.items())).empty_table()
    return Tables(
        log=log,
        repeats_dropped=dropped,
        users=_keyed(_table(paths["users"], _USER, ("user_id",)), "user_id", paths["users"]),
        videos=_keyed(_with_tag_lists(videos, paths["videos"]), "video_id", paths["videos"]),
        before=_keyed(before, "user_id", paths["before"]),
    )


def _matching(folder: Path, prefix: str) -> list[Path]:
    for suffix in ("parquet", "csv"):
        found = sorted(folder.glob(f"{prefix}*.{suffix}"))
        if found:
            return found
    return []


def _log(paths: Sequence[Path]) -> tuple[pa.Table, int]:
    log = _table(paths, _LOG, _LOG_NEEDED)
    for name in _LOG_NEEDED:
        if log[name].null_count:
            raise DataError(
                f"'{paths[0].parent}/log_*': '{name}' has {log[name].null_count} nulls; drop those rows"
            )
    columns = [log[name].to_numpy() for name in ("user_id", "video_id", "time_ms")]
    kept = np.flatnonzero(~repeats(*columns))
    order = kept[np.argsort(columns[2][kept], kind="stable")]
    return log.take(order).combine_chunks(), len(log) - len(order)


def _table(paths: Sequence[Path], types: Mapping[str, pa.DataType], needed: Sequence[str]) -> pa.Table:
    tables = []
    for path in paths:
        table = _read(path, types)
        for name in needed:
            if name not in table.column_names:
                raise DataError(f"'{path}' has no column '{name}'; it has {', '.join(table.column_names)}")
        tables.append(_typed(table, types, path))
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(
            f"'{paths[0]}' and the files beside it have columns of other types: {error}"
        ) from error


def _read(path: Path, types: Mapping[str, pa.DataType]) -> pa.Table:
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path, page_checksum_verification=True)
        # Only strings are forced while parsing: whole numbers may be written as '3.0', they are cast later.
        strings = {name: kind for name, kind in types.items() if pa.types.is_string(kind)}
        return pcsv.read_csv(
            path, convert_options=pcsv.ConvertOptions(column_types=strings, strings_can_be_null=True)
        )
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"'{path}' cannot be read: {error}; fetch it again") from error


def _typed(table: pa.Table, types: Mapping[str, pa.DataType], path: Path) -> pa.Table:
    for at, field in enumerate(table.schema):
        kind = types.get(field.name, pa.string() if pa.types.is_large_string(field.type) else field.type)
        if kind == field.type:
            continue
        try:
            table = table.set_column(at, field.name, table[field.name].cast(kind))
        except pa.ArrowException as error:
            raise DataError(f"column '{field.name}' of '{path}' is not {kind}: {error}") from error
    return table.replace_schema_metadata(None)


def _with_tag_lists(videos: pa.Table, paths: Sequence[Path]) -> pa.Table:
    """Turn ``tag`` from '39,68' into a list; a video without tags has an empty one."""
    column = videos["tag"].combine_chunks()
    empty = pc.equal(column.fill_null(""), "")
    parts = pc.split_pattern(pc.if_else(empty, "0", column), ",")
    try:
        numbers = pc.utf8_trim_whitespace(pc.list_flatten(parts)).cast(pa.int32())
    except pa.ArrowException as error:
        raise DataError(
            f"column 'tag' of '{paths[0]}' is not numbers with commas between: {error}"
        ) from error
    owner = pc.list_parent_indices(parts).to_numpy()
    tagless = empty.to_numpy(zero_copy_only=False)
    lengths = np.where(tagless, 0, pc.list_value_length(parts).to_numpy())
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tags = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), numbers.filter(pa.array(~tagless[owner])))
    return videos.set_column(videos.column_names.index("tag"), "tag", tags)


def _keyed(table: pa.Table, key: str, paths: Sequence[Path]) -> Keyed:
    if table[key].null_count:
        raise DataError(f"column '{key}' of '{paths[0]}' has {table[key].null_count} nulls; drop those rows")
    keys = table[key].to_numpy()
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    twice = np.flatnonzero(keys[1:] == keys[:-1])
    if len(twice):
        raise DataError(f"'{paths[0]}' has {key} {keys[twice[0]]} more than once; keep one row of it")
    return Keyed(key=key, table=table.take(order).combine_chunks(), keys=keys)
