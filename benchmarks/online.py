"""The online loop, stage by stage: the log's appends, tails and replays, the join, embedded and in Flink, the trainer, the whole.

``--quick`` ends within a minute. Names of cases choose among them; none means all. ``--folder`` is where logs are written, for
it is the disk there that is measured too.
"""

import argparse
import tempfile
from pathlib import Path

import online_flink
import online_freshness
import online_join
import online_log
import online_train
from measure import PEERS

CASES = {
    "append": online_log.append,
    "tail": online_log.tail,
    "replay": online_log.replay,
    "join": online_join.saved,
    "join unsaved": online_join.unsaved,
    "join flink": online_flink.joined,
    "join flink at once": online_flink.joined_at_once,
    "train": online_train.trained,
    "freshness": online_freshness.freshness,
    "whole": online_freshness.whole,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer events and rounds: under a minute")
    parser.add_argument("--folder", type=Path, default=PEERS.parent / "online", help="on the disk to measure")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    args = parser.parse_args()
    if unknown := set(args.cases) - CASES.keys():
        parser.error(f"no case {sorted(unknown)}; there are {sorted(CASES)}")
    args.folder.mkdir(parents=True, exist_ok=True)
    for case in args.cases or CASES:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            CASES[case](Path(folder), args.quick)


if __name__ == "__main__":
    main()
