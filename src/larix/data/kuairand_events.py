"""KuaiRand's samples as events: which action tells which label, and when. Knows nothing of logs of events.

KuaiRand dates impressions only. Actions are dated here as a player would report them, by the time played.
"""

import pyarrow as pa

from larix.data.kuairand_tables import FLAGS
from larix.data.unjoin import Outcome, Unjoin

LONG_MS = 18_000  # played so long, or to its end, a video counts as viewed long
_CLICK_MS = 1_000
_IDENTITY = ("user_id", "video_id", "time_ms")
_HIDDEN = ("profile_stay_time", "comment_stay_time")
_KINDS = {name: name.removeprefix("is_") for name in FLAGS} | {"is_profile_enter": "profile"}


def unjoin(schema: pa.Schema) -> Unjoin:
    """How samples of ``schema``, as `kuairand.prepare` writes them, are taken apart.

    A click comes a second after its impression, a long view as soon as it is one, the watch (with how long) and all
    else when playing ends: at ``time_ms + play_time_ms``, 15 minutes later at most in the slice and in a synthetic feed.
    So the labels of a sample are known in the end, and no earlier than they could have been.
    """
    outcomes = [Outcome(label="play_time_ms", kind="watch", played="play_time_ms", measured=True)]
    for name in FLAGS:
        if name not in schema.names:
            continue
        kind = _KINDS[name]
        if name == "is_click":
            outcomes.append(Outcome(label=name, kind=kind, after_ms=_CLICK_MS))
        else:
            longest = LONG_MS if name == "long_view" else None
            outcomes.append(Outcome(label=name, kind=kind, played="play_time_ms", at_most_ms=longest))
    return Unjoin(
        identity=_IDENTITY,
        time="time_ms",
        outcomes=tuple(outcomes),
        hidden=tuple(name for name in _HIDDEN if name in schema.names),
        keyed="user_id",
    )
