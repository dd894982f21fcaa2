"""What several workers counted, as one: statistics summed, metrics side by side. Knows nothing of how it was asked for."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

_LATEST = "last_inference"
_SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(.*)\})? (.*)$")


def merged_statistics(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Model statistics of the Open Inference Protocol, as `oip.model_statistics` makes them, summed by model and version.

    The time of the last inference is the latest.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for document in documents:
        for each in document["model_stats"]:
            key = each["name"], each["version"]
            found[key] = _sum(found[key], each) if key in found else dict(each)
    return {"model_stats": list(found.values())}


def _sum(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in first.items():
        other = second[name]
        if isinstance(value, dict):
            found[name] = _sum(value, other)
        elif name == _LATEST:
            found[name] = max(value, other)
        else:
            found[name] = value + other if isinstance(value, int | float) else value
    return found


def merged_metrics(texts: Mapping[str, str]) -> str:
    """Prometheus texts by worker as one text, in which every sample has a label ``worker``: sums are for whoever asks.

    A family's samples stand together below its help and type, as the format demands.
    """
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for worker, text in texts.items():
        family = ""
        for line in text.splitlines():
            if line.startswith("#"):
                family = line.split(" ", 3)[2]
                head = heads.setdefault(family, [])
                if line not in head:
                    head.append(line)
            elif match := _SAMPLE.match(line):
                name, _, labels, value = match.groups()
                own = f'worker="{worker}"' + (f",{labels}" if labels else "")
                samples.setdefault(family, []).append(f"{name}{{{own}}} {value}")
    return "".join("\n".join([*head, *samples.get(family, ())]) + "\n" for family, head in heads.items())
