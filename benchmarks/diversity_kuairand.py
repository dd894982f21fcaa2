"""What diversity costs on KuaiRand: relevance given up against distance, authors and tags of a page, by each method.

Takes the folder of a run that ``larix train kuairand`` made, writes the curves into its report and prints their points.
``--quick`` takes a quarter of the requests.
"""

import argparse
import re
import sys
from pathlib import Path

import measure
from rich.console import Console

from larix.recipes import find_recipe, open_feed, open_run
from larix.recipes.pages import diversity
from larix.train import write_report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="the folder of a run")
    parser.add_argument("--count", type=int, default=10, help="items on a page")
    parser.add_argument(
        "--window", type=int, default=5, help="how many in a row are to differ; 0: the whole page"
    )
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--candidates", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="a quarter of the requests")
    parser.add_argument("--peers", action="store_true", help="none here")
    given = parser.parse_args()
    run, config = open_run(given.run)
    pages = find_recipe(config["recipe"])(**config.get("arguments", {})).pages
    if pages is None:
        raise SystemExit(f"the recipe {config['recipe']} does not say how its scores become pages")
    found = diversity(
        run,
        open_feed(given.run, Console(stderr=True)).test,
        pages,
        count=given.count,
        window=given.window or None,
        asked=given.requests // (4 if given.quick else 1),
        candidates=given.candidates,
    )
    run.record(diversity=found)
    print_points(found)
    print(f"report: {write_report(given.run)}", file=sys.stderr)


def print_points(found: dict) -> None:
    about = {name: found[name] for name in ("page", "window", "requests", "candidates")}
    for method, curve in found["curves"].items():
        for point in curve:
            setting = re.sub(r", window=.*", "", point["setting"].split("(")[1])
            values = {name: point[name] for name in ("relevance", "given_up", "distance")}
            values |= {f"{name}s": value for name, value in point["coverage"].items()}
            for metric, value in values.items():
                unit = "ids a page" if metric.removesuffix("s") in point["coverage"] else "1"
                case = f"{method.lower()} {setting}"
                measure.emit("diversity_kuairand", "larix", case, metric, [value], unit, **about)


if __name__ == "__main__":
    main()
