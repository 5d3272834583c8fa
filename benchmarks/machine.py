"""The record of the machine: processor, versions, and the variables that choose kernels."""

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
from peer import Peer

__all__ = ["caption", "count_threads", "describe", "environment"]

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


def count_threads(threads: int) -> str:
    """Return the number with its noun."""
    return "1 thread" if threads == 1 else f"{threads} threads"


def describe(env: dict[str, Any]) -> str:
    """Return the record of the machine as a sentence for people."""
    versions = ", ".join(f"{name} {version}" for name, version in env["versions"].items())
    text = f"{env['cpu']}, convpool on {env['instruction_set']}, {count_threads(env['threads'])}"
    text += f"; {versions}"
    text += f"; NumPy multiplies with {env['numpy_blas']}."
    for name, value in env["variables"].items():
        text += f" {name}={value} is set."
    if "OPENBLAS_CORETYPE" in env["variables"]:
        text += " It decides how fast NumPy is, so the comparison with NumPy may be unfair."
    return text


def caption(env: dict[str, Any]) -> str:
    """Return what tells results of one machine from those of another."""
    return f"{env['cpu']}, {env['instruction_set']}, {count_threads(env['threads'])}"
