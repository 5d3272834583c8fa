"""How it is timed: interleaved rounds, medians, and the error beside every time."""

import gc
import math
import random
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import repeat

import numpy as np

from exact import float64_result
from layer import AnyLayer, Array
from peer import Call, Peer, Unsupported

__all__ = ["LayerResult", "PeerResult", "Timed", "measure_layer", "time_peers"]

# Seconds that one sample lasts at least, so that the clock and the loop do not matter.
SAMPLE_SECONDS = 5e-3
# A peer that needs longer than this for all rounds of a layer takes part in fewer of them.
PEER_SECONDS = 0.5
FEWEST_ROUNDS = 3
# A peer whose first call takes longer than this is not called again: that call is its sample.
SINGLE_CALL_SECONDS = 0.8
# Calls shorter than this are preceded by an untimed one, which brings back the caches that the
# previous peer emptied, as they are found by a program that calls the layer again and again.
WARM_UP_BELOW_SECONDS = 2e-2
# Idle threads spin after a call (OpenMP's for 10 ms, ONNX Runtime's for 40 ms) and would take a
# core from the next peer; with one thread there are none.
SETTLE_SECONDS = 5e-2
# After that pause the other cores sleep too, and a virtual one takes some milliseconds to wake.
WAKE_SECONDS = 1.5e-2
# Peers are near 1e-6 and 1e-15; whatever is above these limits has computed something else.
LARGEST_ERROR = {"float32": 1e-4, "float64": 1e-12}


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


@dataclass
class Timed:
    """One peer that is ready to be timed."""

    peer: Peer
    threads: int
    call: Call
    result: PeerResult
    seconds: float
    """For a call, roughly; decides how often it is timed."""

    def takes_part(self, current: int, rounds: int) -> bool:
        """Spread the rounds of a slow peer evenly over all rounds."""
        if self.seconds > SINGLE_CALL_SECONDS:
            return False
        per_round = max(self.seconds, SAMPLE_SECONDS)
        wanted = min(rounds, max(FEWEST_ROUNDS, math.floor(PEER_SECONDS / per_round)))
        return current * wanted // rounds != (current - 1) * wanted // rounds

    def sample(self) -> None:
        """Take one sample."""
        with self.peer.context(self.threads):
            if self.seconds < WARM_UP_BELOW_SECONDS:
                self.call()
            awake = time.perf_counter() + (WAKE_SECONDS if self.threads > 1 else 0.0)
            while time.perf_counter() < awake:
                self.call()
            elapsed = _time(self.call, self.result.calls_per_sample)
        self.result.samples.append(elapsed / self.result.calls_per_sample)


def _time(call: Call, times: int) -> float:
    start = time.perf_counter()
    for _ in repeat(None, times):
        call()
    return time.perf_counter() - start


def start(
    peer: Peer, layer: AnyLayer, threads: int, inputs: tuple[Array, ...], exact: Array
) -> Timed:
    """Prepare a peer, check its result, and find how many calls last as long as a sample should.

    Raises
    ------
    Unsupported
        If the peer leaves the layer out.
    RuntimeError
        If its result is wrong.
    """
    call = peer.prepare(layer, threads, inputs)
    with peer.context(threads):
        begin = time.perf_counter()
        y = call()
        first = time.perf_counter() - begin
        error = _relative_error(y, exact)
        if not error <= LARGEST_ERROR[layer.dtype]:
            raise RuntimeError(f"{peer.name} is wrong on {layer.name!r}: error {error:.1e}")
        if first > SINGLE_CALL_SECONDS:
            return Timed(peer, threads, call, PeerResult(error, 1, [first]), first)
        calls, elapsed = 1, _time(call, 1)
        while elapsed < SAMPLE_SECONDS:
            calls = min(calls * 10, math.ceil(1.2 * calls * SAMPLE_SECONDS / elapsed))
            elapsed = _time(call, calls)
    seconds = elapsed / calls
    # The first call of a peer that takes part in no round may have been just below the limit.
    samples = [seconds] if seconds > SINGLE_CALL_SECONDS else []
    return Timed(peer, threads, call, PeerResult(error, calls, samples), seconds)


def _relative_error(y: Array, exact: Array) -> float:
    if y.shape != exact.shape:
        return math.inf
    return float(np.abs(y - exact).max() / np.abs(exact).max())


def time_interleaved(timed: Sequence[Timed], rounds: int) -> None:
    """Take one sample of everything in each round, in a new order each time."""
    order = list(timed)
    settle = SETTLE_SECONDS if any(one.threads > 1 for one in timed) else 0.0
    shuffle = random.Random(0).shuffle
    gc.collect()
    gc.disable()
    try:
        for current in range(rounds):
            shuffle(order)
            for one in order:
                if one.takes_part(current, rounds):
                    time.sleep(settle)
                    one.sample()
    finally:
        gc.enable()


def time_peers(
    layer: AnyLayer, peers: Iterable[Peer], *, counts: Sequence[int], rounds: int
) -> tuple[list[Timed], dict[str, str]]:
    """Time a layer in interleaved rounds, each peer on each number of threads.

    Also returns the reason for each peer that was left out.
    """
    inputs = layer.inputs()
    exact = float64_result(layer, inputs)
    timed: list[Timed] = []
    left_out: dict[str, str] = {}
    for peer in peers:
        try:
            timed += [start(peer, layer, threads, inputs, exact) for threads in counts]
        except (Unsupported, NotImplementedError) as reason:
            left_out[peer.name] = str(reason)
    time_interleaved(timed, rounds)
    return timed, left_out


def measure_layer(
    layer: AnyLayer, peers: Iterable[Peer], *, threads: int, rounds: int
) -> LayerResult:
    """Time a layer, every peer on the same number of threads."""
    timed, left_out = time_peers(layer, peers, counts=(threads,), rounds=rounds)
    return LayerResult(layer, {one.peer.name: one.result for one in timed}, left_out)
