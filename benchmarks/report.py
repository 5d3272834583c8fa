"""What is written: lines of text, the JSON file, sections of Markdown files."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ceiling import Ceiling
from measure import LayerResult
from peers import BASELINE
from tables import Column, fastest, format_ratio, format_seconds, ratios

__all__ = [
    "BEGIN",
    "END",
    "as_json",
    "find_table",
    "replace_section",
    "replace_table",
    "text_lines",
    "verdict",
]

BEGIN = "<!-- benchmark:begin -->"
END = "<!-- benchmark:end -->"


def as_json(
    env: dict[str, Any], results: Sequence[LayerResult], ceiling: Ceiling | None = None
) -> dict[str, Any]:
    """Return the content of a result file; `compare.py` reads it."""
    content = [_layer_as_json(result, ceiling) for result in results]
    measured = {} if ceiling is None else {"ceiling": ceiling.as_json()}
    return {"format": 1, "environment": env, **measured, "results": content}


def _layer_as_json(result: LayerResult, ceiling: Ceiling | None) -> dict[str, Any]:
    layer = result.layer
    content: dict[str, Any] = {
        "layer": layer.name,
        "group": layer.group,
        "operation": layer.operation,
        "dtype": layer.dtype,
        "flops": layer.flops,
        "bytes": layer.bytes,
        "peers": {
            name: {
                "median": peer.median,
                "best": min(peer.samples),
                "error": peer.error,
                "calls_per_sample": peer.calls_per_sample,
                "samples": peer.samples,
            }
            for name, peer in result.peers.items()
        },
        "left_out": result.left_out,
    }
    if ceiling is not None:
        floor = ceiling.floor(layer)
        content["floor"] = {"seconds": floor.seconds, "bound": floor.bound}
    return content


def text_lines(result: LayerResult, ceiling: Ceiling) -> list[str]:
    """Everything about one layer: a line for each peer, and why others were left out."""
    layer, floor = result.layer, ceiling.floor(result.layer)
    lines = [
        f"{layer.name}: {layer.flops / 1e6:.4g} Mflop, {layer.bytes / 1e6:.4g} MB,"
        f" floor {format_seconds(floor.seconds)} ({floor.bound})"
    ]
    for name, peer in result.peers.items():
        compared = ratios([result], Column(name, BASELINE))
        ratio = format_ratio(compared[0]) if compared else ""
        lines.append(
            f"  {name:<18}{format_seconds(peer.median):>9}"
            f"{layer.flops / peer.median / 1e9:>9.3g} GFLOP/s"
            f"{floor.seconds / peer.median:>5.0%}{ratio:>8}"
            f"  error {peer.error:.0e}  rounds {len(peer.samples)}"
        )
    reasons: dict[str, list[str]] = {}
    for name, reason in result.left_out.items():
        reasons.setdefault(reason, []).append(name)
    lines += [f"  left out: {', '.join(names)} {reason}" for reason, names in reasons.items()]
    return lines


def verdict(results: Sequence[LayerResult]) -> str:
    """Return the line that says on how many layers nobody is faster than convpool."""
    found = [(result.layer.name, fastest(result)) for result in results]
    compared = [(layer, *best) for layer, best in found if best is not None]
    behind = [
        f"{layer} ({name} {format_ratio(ratio)})" for layer, ratio, name in compared if ratio < 1
    ]
    ahead = len(compared) - len(behind)
    text = f"No peer is faster than convpool on {ahead} of {len(compared)} layers"
    return text + (f"; faster are: {', '.join(behind)}" if behind else "")


def find_table(path: Path) -> tuple[str, str]:
    """Return what stands before and after the space between the markers of a text file."""
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path} has no {BEGIN} ... {END}")
    return before, after


def replace_table(path: Path, content: str) -> None:
    """Replace what stands between the markers of a text file."""
    before, after = find_table(path)
    path.write_text(f"{before}{BEGIN}\n{content}\n{END}{after}", encoding="utf-8")


def replace_section(path: Path, heading: str, content: str) -> None:
    """Replace the section of a Markdown file that has a heading of the second level, or add it."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    section = f"## {heading}\n\n{content}\n"
    old = re.search(rf"^## {re.escape(heading)}\n.*?(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    if old is None:
        text = f"{text.rstrip()}\n\n{section}".lstrip()
    else:
        rest = text[old.end() :]
        text = text[: old.start()] + section + ("\n" + rest if rest else "")
    path.write_text(text, encoding="utf-8")
