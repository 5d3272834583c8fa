"""What is written: the record of the machine, the JSON file, the tables."""

import importlib.util
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import convpool
from measure import LayerResult, PeerResult
from peer import Peer
from peers import BASELINE

__all__ = [
    "BEGIN",
    "END",
    "as_json",
    "describe",
    "environment",
    "find_table",
    "markdown_table",
    "replace_table",
    "text_lines",
    "verdict",
]

BEGIN = "<!-- benchmark:begin -->"
END = "<!-- benchmark:end -->"

# Variables that choose instruction sets, which a fair comparison restricts for all or for none.
VARIABLES = (
    "CONVPOOL_ISA",
    "OPENBLAS_CORETYPE",
    "NPY_DISABLE_CPU_FEATURES",
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "MKL_ENABLE_INSTRUCTIONS",
)


def cpu_model() -> str:
    """Name of the processor, as far as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return platform.processor() or platform.machine()


def numpy_blas() -> str:
    """Library behind NumPy's matrix product, and the processor it was tuned for if known."""
    config: Any = np.show_config(mode="dicts")
    blas = config["Build Dependencies"]["blas"]
    name = f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()
    if importlib.util.find_spec("threadpoolctl") is None:
        return name
    pools: list[dict[str, Any]] = importlib.import_module("threadpoolctl").threadpool_info()
    kernels = [
        pool["architecture"]
        for pool in pools
        if "architecture" in pool and "numpy" in Path(pool["filepath"]).parent.name
    ]
    return f"{name} ({kernels[0]} kernels)" if kernels else name


def environment(peers: Sequence[Peer], threads: int, command: str) -> dict[str, Any]:
    """Return everything about this run except its times."""
    config = convpool._core.build_config()
    packages = {peer.package: peer for peer in peers}
    return {
        "command": command,
        "threads": threads,
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "instruction_set": config["instruction_set"],
        "compiler": config["compiler"],
        "numpy_blas": numpy_blas(),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "versions": {
            "python": platform.python_version(),
            **{name: peer.version() for name, peer in packages.items()},
        },
    }


def describe(env: dict[str, Any]) -> str:
    """Return the record of the machine as a sentence for people."""
    versions = ", ".join(f"{name} {version}" for name, version in env["versions"].items())
    threads = "1 thread" if env["threads"] == 1 else f"{env['threads']} threads"
    text = f"{env['cpu']}, convpool on {env['instruction_set']}, {threads}; {versions}"
    text += f"; NumPy multiplies with {env['numpy_blas']}."
    for name, value in env["variables"].items():
        text += f" {name}={value} is set."
    if "OPENBLAS_CORETYPE" in env["variables"]:
        text += " It decides how fast NumPy is, so the comparison with NumPy may be unfair."
    return text


def as_json(env: dict[str, Any], results: Sequence[LayerResult]) -> dict[str, Any]:
    """Return the content of a result file; `compare.py` reads it."""
    return {
        "format": 1,
        "environment": env,
        "results": [
            {
                "layer": result.layer.name,
                "group": result.layer.group,
                "operation": result.layer.operation,
                "flops": result.layer.flops,
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
            for result in results
        ],
    }


def _seconds(value: float) -> str:
    for factor, unit in ((1e6, "µs"), (1e3, "ms")):
        if value * factor < 1000:
            return f"{value * factor:.3g} {unit}"
    return f"{value:.3g} s"


def _gflops(result: LayerResult, peer: PeerResult) -> str:
    return f"{result.layer.flops / peer.median / 1e9:.3g}"


def _ratio(result: LayerResult, name: str) -> str:
    """How many times as long as convpool a peer takes."""
    if name not in result.peers:
        return ""
    ratio = result.peers[name].median / result.peers[BASELINE].median
    return f"{ratio:.{2 if ratio < 10 else 1 if ratio < 100 else 0}f}x"


def text_lines(result: LayerResult) -> list[str]:
    """Everything about one layer: a line for each peer, and why others were left out."""
    lines = [f"{result.layer.name}: {result.layer.flops / 1e6:.4g} Mflop"]
    for name, peer in result.peers.items():
        lines.append(
            f"  {name:<18}{_seconds(peer.median):>9}{_gflops(result, peer):>9} GFLOP/s"
            f"{_ratio(result, name):>8}  error {peer.error:.0e}  rounds {len(peer.samples)}"
        )
    lines += [f"  {name:<18} {reason}" for name, reason in result.left_out.items()]
    return lines


def markdown_table(results: Sequence[LayerResult]) -> str:
    """Return a row for each layer: convpool's time, speed and error, then the peers' ratios."""
    names = [name for result in results for name in result.peers if name != BASELINE]
    others = list(dict.fromkeys(names))
    rows = [
        ["layer", BASELINE, "GFLOP/s", "error", *others],
        ["---", *["--:"] * (3 + len(others))],
    ]
    for result in results:
        own = result.peers[BASELINE]
        row = [result.layer.name, _seconds(own.median), _gflops(result, own), f"{own.error:.0e}"]
        rows.append([*row, *(_ratio(result, name) for name in others)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def verdict(results: Sequence[LayerResult]) -> str:
    """Return the line that says how often im2col beats NumPy's sliding windows."""
    ours, theirs = "convpool im2col", "numpy windows"
    both = [result for result in results if ours in result.peers and theirs in result.peers]
    if not both:
        return f"{ours} and {theirs} were not both timed on any layer"
    slower = [r for r in both if r.peers[ours].median >= r.peers[theirs].median]
    text = f"{ours} is faster than {theirs} on {len(both) - len(slower)} of {len(both)} layers"
    return text + (f"; not on: {', '.join(r.layer.name for r in slower)}" if slower else "")


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
