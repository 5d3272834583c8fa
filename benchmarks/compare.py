"""Compare two result files of ``run.py``: ``python benchmarks/compare.py before.json after.json``.

A peer that nobody changed is the control: where its ratio moves, the machine has changed.
"""

import argparse
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# What has to be the same for two files to be comparable.
SETTINGS = ("cpu", "instruction_set", "threads", "variables", "versions")


def load(path: Path) -> dict[str, Any]:
    """Read a result file."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if content.get("format") != 1:
        raise SystemExit(f"{path} is not a result file of run.py in format 1")
    return content


def medians(content: dict[str, Any]) -> dict[tuple[str, str], float]:
    """Return the median seconds for each pair of layer and peer."""
    return {
        (result["layer"], name): peer["median"]
        for result in content["results"]
        for name, peer in result["peers"].items()
    }


def compare(
    before: dict[str, Any], after: dict[str, Any], *, threshold: float, peers: str = ""
) -> str:
    """Return a Markdown table of speed-ups, and their geometric mean for each peer."""
    old, new = medians(before), medians(after)
    lines = []
    for key in SETTINGS:
        first, second = before["environment"][key], after["environment"][key]
        if first != second:
            lines.append(f"{key} differs: {first} before, {second} after")
    lines += [
        "| layer | peer | before (ms) | after (ms) | speed-up | |",
        "| --- | --- | --: | --: | --: | --- |",
    ]
    logarithms: dict[str, list[float]] = {}
    for (layer, name), time in old.items():
        if (layer, name) not in new or not re.search(peers, name, re.IGNORECASE):
            continue
        ratio = time / new[layer, name]
        logarithms.setdefault(name, []).append(math.log(ratio))
        mark = ""
        if abs(math.log(ratio)) > math.log1p(threshold):
            mark = "faster" if ratio > 1 else "SLOWER"
        times = f"{time * 1e3:.4g} | {new[layer, name] * 1e3:.4g}"
        lines.append(f"| {layer} | {name} | {times} | {ratio:.2f}x | {mark} |")
    lines.append("")
    for name, values in logarithms.items():
        mean = math.exp(math.fsum(values) / len(values))
        lines.append(f"geometric mean, {name}: {mean:.3f}x over {len(values)} layers")
    if only := old.keys() ^ new.keys():
        lines.append(f"in one file only: {len(only)} pairs of layer and peer")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description="Compare two result files of run.py.")
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument(
        "--threshold", type=float, default=0.05, help="mark larger changes (default 0.05)"
    )
    parser.add_argument(
        "--peers", metavar="PATTERN", default="", help="regular expression for names of peers"
    )
    options = parser.parse_args(arguments)
    files = load(options.before), load(options.after)
    print(compare(*files, threshold=options.threshold, peers=options.peers))


if __name__ == "__main__":
    main()
