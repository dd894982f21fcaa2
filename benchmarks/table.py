"""The parameter store: speed of steps and growth, memory, and what its parts cost, beside the machine's limits and peers.

``--quick`` uses a million rows and dim 16 alone. ``--peers`` adds FBGEMM and TFRA, each in an environment of its own.
Names of parts choose among them; none means all.
"""

import argparse

import table_evict
import table_grow
import table_levels
import table_replica
import table_snapshot
import table_ssd
import table_steps

PARTS = {
    "steps": table_steps.measure,
    "grow": table_grow.measure,
    "evict": table_evict.measure,
    "snapshot": table_snapshot.measure,
    "ssd": table_ssd.measure,
    "replica": table_replica.measure,
    "levels": table_levels.measure,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows and rounds, dim 16: under a minute")
    parser.add_argument(
        "--peers", action="store_true", help="also FBGEMM and TFRA, each in its own environment"
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    args = parser.parse_args()
    if unknown := set(args.parts) - PARTS.keys():
        parser.error(f"no part {sorted(unknown)}; there are {sorted(PARTS)}")
    for part in args.parts or PARTS:
        PARTS[part](args.quick, args.peers)


if __name__ == "__main__":
    main()
