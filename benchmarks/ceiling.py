"""What the machine can do, measured in the run that it is compared with.

The figures stand in for the processor's limits and are not these limits: NumPy's matrix product
stays some per cent below the peak of the multiply-add units, and a copy may be slower than the
best mix of reading and writing. A layer can therefore come out above 100 %.

Of all samples the best counts: a ceiling that another job has lowered would flatter.
"""

import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from layer import AnyLayer, Pool

__all__ = ["Ceiling", "Floor"]

MATRIX_SIZE = 1024
# Source and target of the smaller copy leave most second-level caches, those of the larger one
# most caches.
COPY_BYTES = (2 * 2**20, 64 * 2**20)
SAMPLE_SECONDS = 1e-2


@dataclass(frozen=True)
class Floor:
    """The time that a layer would need at the speed of a ceiling."""

    seconds: float
    bound: str
    """``"matmul"`` or ``"copy"``: which of the two takes longer."""


class Ceiling:
    """Speed of NumPy's matrix product and of copying, on the threads of the run."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        random = np.random.default_rng(0).standard_normal((2, MATRIX_SIZE, MATRIX_SIZE))
        self._matrices = {name: random.astype(name) for name in ("float32", "float64")}
        self._flops: dict[str, list[float]] = {name: [] for name in self._matrices}
        self._bandwidth: dict[int, list[float]] = {size: [] for size in COPY_BYTES}

    def sample(self) -> None:
        """Take one sample of each figure."""
        for name, (a, b) in self._matrices.items():
            product = np.empty_like(a)
            np.matmul(a[:64], b, out=product[:64])
            start = time.perf_counter()
            np.matmul(a, b, out=product)
            elapsed = time.perf_counter() - start
            self._flops[name].append(2 * MATRIX_SIZE**3 / elapsed)
        for size, samples in self._bandwidth.items():
            samples.append(_copy_bandwidth(size, self._threads))

    def flops(self, dtype: str) -> float:
        """Operations of a matrix product in a second."""
        return max(self._flops[dtype])

    def bandwidth(self, size: int) -> float:
        """Bytes read and written in a second by the copy that is nearer to a size."""
        nearest = min(COPY_BYTES, key=lambda copied: abs(math.log(size / (2 * copied))))
        return max(self._bandwidth[nearest])

    def floor(self, layer: AnyLayer) -> Floor:
        """Return the larger of operations over speed and bytes over bandwidth.

        Pools multiply nothing, so only their bytes count.
        """
        copying = Floor(layer.bytes / self.bandwidth(layer.bytes), "copy")
        if isinstance(layer, Pool):
            return copying
        multiplying = Floor(layer.flops / self.flops(layer.dtype), "matmul")
        return max(copying, multiplying, key=lambda floor: floor.seconds)

    def as_json(self) -> dict[str, Any]:
        """Return best values and samples."""
        return {
            "matmul_flops": {
                name: {"best": self.flops(name), "samples": samples}
                for name, samples in self._flops.items()
            },
            "copy_bytes_per_second": {
                str(size): {"best": max(samples), "samples": samples}
                for size, samples in self._bandwidth.items()
            },
        }

    def describe(self) -> str:
        """Return the figures as a sentence."""
        single, double = (self.flops(name) / 1e9 for name in ("float32", "float64"))
        small, large = (max(self._bandwidth[size]) / 1e9 for size in COPY_BYTES)
        return (
            f"NumPy's matmul of {MATRIX_SIZE}x{MATRIX_SIZE}: {single:.3g} GFLOP/s in float32, "
            f"{double:.3g} in float64; copying {COPY_BYTES[0] >> 20} MiB: {small:.3g} GB/s read "
            f"and written, {COPY_BYTES[1] >> 20} MiB: {large:.3g} GB/s."
        )


def _copy_bandwidth(size: int, threads: int) -> float:
    """Let every thread copy its share again and again; NumPy releases the GIL to copy."""
    share = size // threads
    pairs = [(np.ones(share, np.uint8), np.zeros(share, np.uint8)) for _ in range(threads)]

    def copy(pair: tuple[Any, Any], times: int) -> None:
        for _ in range(times):
            np.copyto(pair[1], pair[0])

    with ThreadPoolExecutor(threads) as pool:

        def seconds(times: int) -> float:
            start = time.perf_counter()
            list(pool.map(copy, pairs, [times] * threads))
            return time.perf_counter() - start

        seconds(1)
        times = math.ceil(SAMPLE_SECONDS / seconds(1))
        return 2 * share * threads * times / seconds(times)
