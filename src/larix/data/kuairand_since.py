"""What KuaiRand's features become as more impressions happen: histories and counts carried on, row by row.

The same as `kuairand.prepare` finds in a whole log. Knows nothing of where impressions come from.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from larix.data.kuairand import COUNTED, HISTORY

Row = dict[str, Any]
_OWNERS = {"user": "user_id", "video": "video_id", "author": "author_id"}


def since(row: Mapping[str, Any], happened: Iterable[Mapping[str, Any]], *, newest: int = 50) -> Row:
    """The features in ``row`` after what happened since they were looked up; ``row`` itself stays as it is.

    ``row``: a sample as `kuairand.prepare` writes it, labels or not. ``happened``: impressions since, oldest first, with their
    labels. Those of its user lengthen its histories, up to ``newest``; those of its user, video or author are counted.
    """
    found = dict(row)
    past = list(happened)
    for owner, key in _OWNERS.items():
        theirs = [each for each in past if row.get(key) is not None and each.get(key) == row[key]]
        found[f"{owner}_shown"] = (row.get(f"{owner}_shown") or 0) + len(theirs)
        for what, label in COUNTED.items():
            name = f"{owner}_{what}"
            found[name] = (row.get(name) or 0) + sum(int(each[label]) for each in theirs)
        if owner == "user":
            _lengthen(found, theirs, newest)
    return found


def _lengthen(row: Row, lived: Sequence[Mapping[str, Any]], newest: int) -> None:
    for name, column in HISTORY.items():
        row[name] = [*(row.get(name) or ()), *(each[column] for each in lived)][-newest:]
    row["hist_author_id"] = [*(row.get("hist_author_id") or ()), *(each["author_id"] for each in lived)][
        -newest:
    ]
    row["hist_tag"] = [*(row.get("hist_tag") or ()), *(_first(each["tag"]) for each in lived)][-newest:]


def _first(tags: Sequence[int] | None) -> int | None:
    return None if tags is None else tags[0] if len(tags) else -1
