"""How it is timed: interleaved rounds, medians, and the error beside every time."""

import gc
import math
import random
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import repeat

import numpy as np

from layers import AnyLayer, Array, Layer, Pool
from peer import Call, Peer, Unsupported

__all__ = ["LayerResult", "PeerResult", "float64_result", "measure_layer"]

# Seconds that one sample lasts at least, so that the clock and the loop do not matter.
SAMPLE_SECONDS = 5e-3
# A peer that needs longer than this for all rounds of a layer takes part in fewer of them.
PEER_SECONDS = 1.5
FEWEST_ROUNDS = 3
# Calls shorter than this are preceded by an untimed one, which brings back the caches that the
# previous peer emptied, as they are found by a program that calls the layer again and again.
WARM_UP_BELOW_SECONDS = 2e-2
# Idle threads spin after a call (OpenMP's for 10 ms, ONNX Runtime's for 40 ms) and would take a
# core from the next peer; with one thread there are none.
SETTLE_SECONDS = 5e-2
# float32 peers are near 1e-6; whatever is above this limit has computed something else.
LARGEST_ERROR = 1e-4


@dataclass
class PeerResult:
    """What one peer did on one layer."""

    error: float
    """max |y - y64| / max |y64|"""
    calls_per_sample: int
    samples: list[float] = field(default_factory=list)
    """Seconds for a call, one number for each round."""

    @property
    def median(self) -> float:
        """Median seconds for a call."""
        return statistics.median(self.samples)


@dataclass
class LayerResult:
    """What all peers did on one layer."""

    layer: AnyLayer
    peers: dict[str, PeerResult]
    left_out: dict[str, str]
    """Reason for each peer that was not timed."""


def float64_result(layer: AnyLayer, inputs: tuple[Array, ...]) -> Array:
    """Compute the layer in float64, tap by tap: little memory, and unlike every peer."""
    data = [a.astype(np.float64) for a in inputs]
    return _pool2d(layer, *data) if isinstance(layer, Pool) else _conv2d(layer, *data)


def _conv2d(layer: Layer, x: Array, weight: Array) -> Array:
    n, oc, oh, ow = layer.output_shape
    _, icg, kh, kw = weight.shape
    s, p, d, groups = layer.stride, layer.padding, layer.dilation, layer.groups
    padded = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
    kernels = weight.reshape(groups, oc // groups, icg, kh, kw)
    y = np.zeros((n, groups, oc // groups, oh * ow))
    for i in range(kh):
        for j in range(kw):
            rows = slice(i * d, i * d + (oh - 1) * s + 1, s)
            columns = slice(j * d, j * d + (ow - 1) * s + 1, s)
            y += kernels[..., i, j] @ padded[:, :, rows, columns].reshape(n, groups, icg, -1)
    return y.reshape(layer.output_shape)


def _pool2d(layer: Pool, x: Array) -> Array:
    _, _, oh, ow = layer.output_shape
    k, s, p = layer.kernel, layer.stride, layer.padding
    largest = layer.operation == "max_pool2d"
    fill = -np.inf if largest else 0.0
    padded = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)), constant_values=fill)
    y = np.full(layer.output_shape, fill)
    for i in range(k):
        for j in range(k):
            tap = padded[:, :, i : i + (oh - 1) * s + 1 : s, j : j + (ow - 1) * s + 1 : s]
            y = np.maximum(y, tap) if largest else y + tap
    return y if largest else y / k**2


@dataclass
class _Runner:
    """One peer that is ready to be timed."""

    peer: Peer
    call: Call
    result: PeerResult
    seconds: float
    """For a call, roughly; decides how often it is timed."""

    def takes_part(self, current: int, rounds: int) -> bool:
        """Spread the rounds of a slow peer evenly over all rounds."""
        per_round = max(self.seconds, SAMPLE_SECONDS)
        wanted = min(rounds, max(FEWEST_ROUNDS, math.floor(PEER_SECONDS / per_round)))
        return current * wanted // rounds != (current - 1) * wanted // rounds

    def sample(self) -> None:
        """Take one sample."""
        with self.peer.context():
            if self.seconds < WARM_UP_BELOW_SECONDS:
                self.call()
            elapsed = _time(self.call, self.result.calls_per_sample)
        self.result.samples.append(elapsed / self.result.calls_per_sample)


def _time(call: Call, times: int) -> float:
    start = time.perf_counter()
    for _ in repeat(None, times):
        call()
    return time.perf_counter() - start


def _start(peer: Peer, layer: AnyLayer, threads: int, inputs: tuple[Array, ...]) -> _Runner:
    """Prepare a peer, and find how many of its calls last as long as a sample should."""
    call = peer.prepare(layer, threads, inputs)
    with peer.context():
        call()
        calls, elapsed = 1, _time(call, 1)
        while elapsed < SAMPLE_SECONDS:
            calls = min(calls * 10, math.ceil(1.2 * calls * SAMPLE_SECONDS / elapsed))
            elapsed = _time(call, calls)
    return _Runner(peer, call, PeerResult(math.nan, calls), elapsed / calls)


def _relative_error(y: Array, exact: Array) -> float:
    if y.shape != exact.shape:
        return math.inf
    return float(np.abs(y - exact).max() / np.abs(exact).max())


def measure_layer(
    layer: AnyLayer, peers: Iterable[Peer], *, threads: int, rounds: int
) -> LayerResult:
    """Time every peer once in each round, in a new order each time."""
    inputs = layer.inputs()
    exact = float64_result(layer, inputs)
    runners: list[_Runner] = []
    left_out: dict[str, str] = {}
    for peer in peers:
        try:
            runner = _start(peer, layer, threads, inputs)
        except (Unsupported, NotImplementedError) as reason:
            left_out[peer.name] = str(reason)
            continue
        with peer.context():
            runner.result.error = _relative_error(runner.call(), exact)
        if not runner.result.error <= LARGEST_ERROR:
            raise RuntimeError(
                f"{peer.name} is wrong on {layer.name!r}: error {runner.result.error:.1e}"
            )
        runners.append(runner)

    shuffle = random.Random(0).shuffle
    gc.collect()
    gc.disable()
    try:
        for current in range(rounds):
            shuffle(runners)
            for runner in runners:
                if runner.takes_part(current, rounds):
                    if threads > 1:
                        time.sleep(SETTLE_SECONDS)
                    runner.sample()
    finally:
        gc.enable()
    order = [peer.name for peer in peers]
    runners.sort(key=lambda runner: order.index(runner.peer.name))
    return LayerResult(layer, {r.peer.name: r.result for r in runners}, left_out)
