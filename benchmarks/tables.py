"""Ratios of the peers, and the tables that show them, one for each class of layers."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ceiling import Ceiling, Floor
from layers import GROUPS
from measure import LayerResult
from peers import BASELINE, PEERS, PREPARED

__all__ = [
    "CLASS_LEGEND",
    "SUMMARY_LEGEND",
    "Column",
    "class_tables",
    "columns",
    "fastest",
    "format_ratio",
    "format_seconds",
    "geometric_mean",
    "group_results",
    "main_columns",
    "markdown",
    "ratios",
    "rival",
    "summary_table",
]

CLASS_LEGEND = (
    "Floor: the operations at the speed of NumPy's matmul, or the bytes at that of a copy, "
    "whichever takes longer; in parentheses, how much of convpool's time that is. Peers: their "
    "time divided by that of the call, and where marked of the prepared call. A peer missing "
    "from a table cannot compute its layers."
)
SUMMARY_LEGEND = (
    "Libraries: their time divided by convpool's, as geometric mean over the layers of the class "
    "and, in parentheses, smallest; above 1x convpool is faster. Fastest peer: the same for the "
    "fastest of them on each layer, packed weights against packed weights. Floor: the part of "
    "the call's time, in parentheses of the prepared call's, in which NumPy's matmul would do as "
    "many operations or a copy move as many bytes. Error: the largest of convpool's, against "
    "float64."
)

OWN = {peer.name for peer in PEERS if peer.package == "convpool"}
PACKS_ONCE = {peer.name for peer in PEERS if peer.packs_once}


@dataclass(frozen=True)
class Column:
    """A peer and the way of convpool that its time is divided by."""

    peer: str
    rival: str

    @property
    def label(self) -> str:
        """Name for people; `BASELINE` goes without saying."""
        return self.peer if self.rival == BASELINE else f"{self.peer} ÷ prepared"

    @property
    def short_label(self) -> str:
        """The same without the function's name."""
        return self.label.replace(self.peer, self.peer.split()[0])


def group_results(results: Iterable[LayerResult]) -> dict[str, list[LayerResult]]:
    """Return the results of each class, in the order of `GROUPS`."""
    groups: dict[str, list[LayerResult]] = {}
    for result in results:
        groups.setdefault(result.layer.group, []).append(result)
    order = list(GROUPS)
    return dict(sorted(groups.items(), key=lambda item: order.index(item[0])))


def columns(results: Iterable[LayerResult]) -> list[Column]:
    """Return the peers that were timed on some of the layers.

    One that packs weights before the timed call is compared twice: with convpool's call, and
    with its call on packed weights.
    """
    results = list(results)
    found = {name for result in results for name in result.peers}
    pairs = []
    for peer in (peer for peer in PEERS if peer.name in found - OWN):
        pairs.append(Column(peer.name, BASELINE))
        if peer.packs_once and any({peer.name, PREPARED} <= r.peers.keys() for r in results):
            pairs.append(Column(peer.name, PREPARED))
    return pairs


def main_columns(results: Iterable[LayerResult]) -> list[Column]:
    """Return the columns for an overview, which has one way to use each library."""
    return [column for column in columns(results) if column.peer != "numpy loop"]


def rival(result: LayerResult, peer: str) -> str:
    """Return the way of convpool that does its work under the peer's conditions."""
    return PREPARED if peer in PACKS_ONCE and PREPARED in result.peers else BASELINE


def ratios(results: Iterable[LayerResult], column: Column) -> list[float]:
    """Return how many times as long as convpool the peer takes, where both were timed."""
    return [
        result.peers[column.peer].median / result.peers[column.rival].median
        for result in results
        if {column.peer, column.rival} <= result.peers.keys()
    ]


def fastest(result: LayerResult) -> tuple[float, str] | None:
    """Return ratio and name of the fastest peer, if any was timed, under its own conditions."""
    return min(
        (
            (ratio, column.peer)
            for column in columns([result])
            if column.rival == rival(result, column.peer)
            for ratio in ratios([result], column)
        ),
        default=None,
    )


def geometric_mean(values: Sequence[float]) -> float:
    """Return the mean for ratios: that of 2 and 1/2 is 1."""
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def format_seconds(value: float) -> str:
    """Return three digits and a unit."""
    for factor, unit in ((1e9, "ns"), (1e6, "µs"), (1e3, "ms")):
        if value * factor < 999.5:
            return f"{value * factor:.3g} {unit}"
    return f"{value:.3g} s"


def format_ratio(value: float) -> str:
    """Return at most two digits after the point."""
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}x"


def markdown(rows: Sequence[Sequence[str]], numbers_from: int = 1) -> str:
    """Return a table; the first row is its head, columns of numbers are aligned right."""
    rule = ["---" if i < numbers_from else "--:" for i in range(len(rows[0]))]
    return "\n".join(f"| {' | '.join(row)} |" for row in [rows[0], rule, *rows[1:]])


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %" if value >= 0.01 else "< 1 %"


def _own(result: LayerResult, name: str, floor: Floor) -> str:
    if name not in result.peers:
        return ""
    median = result.peers[name].median
    return f"{format_seconds(median)} ({_percent(floor.seconds / median)})"


def _error(results: Iterable[LayerResult]) -> str:
    own = (BASELINE, PREPARED)
    errors = [r.peers[name].error for r in results for name in own if name in r.peers]
    return f"{max(errors):.0e}"


def _class_table(results: Sequence[LayerResult], ceiling: Ceiling) -> str:
    own = [name for name in (BASELINE, PREPARED) if any(name in r.peers for r in results)]
    peers = columns(results)
    rows = [["layer", "floor", *own, "error", *(column.label for column in peers)]]
    for result in results:
        floor = ceiling.floor(result.layer)
        cells = [_own(result, name, floor) for name in own]
        row = [result.layer.name, f"{format_seconds(floor.seconds)} {floor.bound}", *cells]
        row.append(_error([result]))
        for column in peers:
            row += [format_ratio(value) for value in ratios([result], column)] or [""]
        rows.append(row)
    return markdown(rows)


def class_tables(results: Iterable[LayerResult], ceiling: Ceiling) -> str:
    """Return a headed table for each class: floor, convpool's times, error, peers' ratios.

    The percentages say how much of a call's time the floor is.
    """
    return "\n\n".join(
        f"### {GROUPS[group][0].upper()}{GROUPS[group][1:]}\n\n{_class_table(members, ceiling)}"
        for group, members in group_results(results).items()
    )


def _mean_and_smallest(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean = format_ratio(geometric_mean(values))
    return mean if len(values) == 1 else f"{mean} ({format_ratio(min(values))})"


def _of_floor(results: Iterable[LayerResult], name: str, ceiling: Ceiling) -> list[float]:
    return [
        ceiling.floor(result.layer).seconds / result.peers[name].median
        for result in results
        if name in result.peers
    ]


def summary_table(results: Iterable[LayerResult], ceiling: Ceiling) -> str:
    """Return a row for each class: mean and smallest ratio to each peer."""
    results = list(results)
    peers = main_columns(results)
    head = ["class (layers)", "floor", "error", "fastest peer"]
    rows = [[*head, *(column.short_label for column in peers)]]
    for group, members in group_results(results).items():
        calls = _percent(geometric_mean(_of_floor(members, BASELINE, ceiling)))
        if prepared := _of_floor(members, PREPARED, ceiling):
            calls += f" ({_percent(geometric_mean(prepared))})"
        best = [found[0] for result in members if (found := fastest(result)) is not None]
        row = [f"{GROUPS[group]} ({len(members)})", calls, _error(members)]
        row.append(_mean_and_smallest(best))
        rows.append([*row, *(_mean_and_smallest(ratios(members, column)) for column in peers)])
    return markdown(rows)
