"""Writes the figures of a page in docs from the result lines of table.py: RESULTS.jsonl PAGE.md.

What lies between ``<!-- figures -->`` and ``<!-- end of figures -->`` is replaced. Knows nothing of how they were measured.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
SUBJECTS = ("limit", "larix", "fbgemm", "torch", "tfra")
Found = dict[tuple[str, str, str], dict[str, Any]]  # by subject, case and metric


def read(path: Path) -> Found:
    """All result lines; a subject goes by the first word of its name, and of repeated lines the last counts."""
    lines = [json.loads(text) for text in path.read_text().splitlines() if text.startswith("{")]
    return {
        (line["subject"].split()[0], line["case"], line["metric"]): line
        for line in lines
        if line["bench"] == "table" and "case" in line
    }


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    head = list(head)
    marks = ["---", *["---:"] * (len(head) - 1)]
    return ["| " + " | ".join(cells) + " |" for cells in (head, marks, *(list(row) for row in rows))] + [""]


def number(line: dict[str, Any] | None, unit: float = 1.0, digits: int = 1) -> str:
    return "" if line is None else f"{line['value'] / unit:.{digits}f}"


def steps(found: Found) -> list[str]:
    """Speeds and ratios of whole steps and lookups, a table for each number of threads."""
    cases = sorted(
        {
            case
            for _, case, metric in found
            if metric == "rows_per_s" and case.split()[0] in ("step", "lookup")
        },
        key=lambda case: (
            case.split()[0] != "step",
            int(case.split("dim=")[1].split()[0]),
            ("zipf", "uniform", "whole").index(case.split()[1]),
            case,
        ),
    )
    lines = []
    for threads in sorted({int(case.split("threads=")[1]) for case in cases}):
        some = [case for case in cases if case.endswith(f"threads={threads}")]
        head = ["million rows/s", *SUBJECTS, "limit / larix", "larix / fbgemm", "larix / tfra"]
        ratios = ["limit_over_ours", "times_fbgemm", "times_tfra"]
        if threads > 1:
            head.append("of linear")
            ratios.append("share_of_linear")
        rows = [
            [
                case.rpartition(" threads=")[0],
                *(number(found.get((subject, case, "rows_per_s")), 1e6) for subject in SUBJECTS),
                *(number(found.get(("larix", case, ratio)), digits=2) for ratio in ratios),
            ]
            for case in some
        ]
        lines += [f"{threads} thread{'s' if threads > 1 else ''}:", "", *table(head, rows)]
    return lines


def growth(found: Found) -> list[str]:
    """Ours beside the machine's limit: by the clock and by CPU time, and the longest call of both."""
    cases = [case for subject, case, metric in found if subject == "larix" and metric == "max_over_median"]
    head = ["million new rows/s", "limit", "a CPU second", "limit", "p50 ms", "max ms"]
    head += ["max / median", "of CPU time", "limit's", "of CPU time"]
    rows = []
    for case in cases:
        cells = [case]
        for metric in ("rows_per_s", "rows_per_cpu_s"):
            cells += [number(found.get((subject, case, metric)), 1e6) for subject in ("larix", "limit")]
        cells += [number(found.get(("larix", case, metric)), digits=2) for metric in ("p50_ms", "max_ms")]
        for subject in ("larix", "limit"):
            for metric in ("max_over_median", "max_over_median_cpu"):
                cells.append(number(found.get((subject, case, metric)), digits=2))
        rows.append(cells)
    return table(["", *head], rows)


def memory(found: Found) -> list[str]:
    cases = [
        case for _, case, metric in found if metric == "overhead_bytes_per_row" and case.startswith("memory")
    ]
    metrics = ("overhead_bytes_per_row", "worst_overhead_bytes_per_row", "counted_overhead_bytes_per_row")
    rows = [[case, *(number(found[("larix", case, metric)]) for metric in metrics)] for case in cases]
    return table(
        ["bytes a row beyond weights and state", "by RSS", "at worst while growing", "by stats()"], rows
    )


def main() -> None:
    results, page = Path(sys.argv[1]), Path(sys.argv[2])
    found = read(results)
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    figures = "\n".join([*steps(found), *growth(found), *memory(found)])
    page.write_text(f"{before}{BEGIN}\n\n{figures}\n{END}{after}")


if __name__ == "__main__":
    main()
