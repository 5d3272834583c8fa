"""Speed on several threads over speed on one, every number of threads in the same rounds."""

from collections.abc import Iterable, Sequence

from layer import AnyLayer
from layers import GROUPS
from machine import count_threads
from measure import LayerResult, time_peers
from peer import Peer
from tables import format_ratio, format_seconds, geometric_mean, group_results, markdown

__all__ = ["measure_scaling", "scaling_tables", "thread_counts"]


def thread_counts(largest: int) -> list[int]:
    """Return the powers of two up to a number, and the number."""
    powers = [1 << i for i in range(largest.bit_length())]
    return powers if powers[-1] == largest else [*powers, largest]


def _way(peer: str, threads: int) -> str:
    return f"{peer}, {count_threads(threads)}"


def measure_scaling(
    layer: AnyLayer, peers: Iterable[Peer], *, counts: Sequence[int], rounds: int
) -> LayerResult:
    """Time each peer on each number of threads; the result has each pair as a peer."""
    timed, left_out = time_peers(layer, peers, counts=counts, rounds=rounds)
    return LayerResult(
        layer, {_way(one.peer.name, one.threads): one.result for one in timed}, left_out
    )


def scaling_tables(
    results: Iterable[LayerResult], peers: Sequence[str], counts: Sequence[int]
) -> str:
    """Return a headed table for each peer: time on one thread, then how many times as fast."""
    groups = group_results(results)
    tables = []
    for peer in peers:
        rows = [["layer", *map(count_threads, counts)]]
        for group, members in groups.items():
            speedups: list[list[float]] = []
            for result in members:
                if _way(peer, 1) not in result.peers:
                    continue
                medians = [result.peers[_way(peer, threads)].median for threads in counts]
                speedups.append([medians[0] / median for median in medians[1:]])
                cells = [format_seconds(medians[0]), *map(format_ratio, speedups[-1])]
                rows.append([result.layer.name, *cells])
            if len(speedups) > 1:
                means = [geometric_mean(values) for values in zip(*speedups, strict=True)]
                rows.append([f"*mean of {GROUPS[group]}*", "", *map(format_ratio, means)])
        if len(rows) > 1:
            tables.append(f"### {peer}\n\n{markdown(rows)}")
    return "\n\n".join(tables)
