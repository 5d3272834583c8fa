"""The chart: each peer's time over convpool's, a panel for each class of layers."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from layers import GROUPS
from measure import LayerResult
from tables import format_ratio, geometric_mean, group_results, main_columns, ratios

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Panel", "Row", "draw", "panels"]

COLOURS = {
    "torch": "#d1603d",
    "onnxruntime": "#3b7dc4",
    "opencv filter2D": "#3f9b5f",
    "scipy correlate2d": "#9467bd",
    "numpy windows": "#8c8c8c",
}
PANELS_IN_A_LINE = 3
ROW_INCHES = 0.27
# In rows: what a panel needs above and below them.
TITLE_HEIGHT = 2.2
# Enough for smoothed edges in all colours; a palette makes the file less than half as large.
COLOURS_IN_FILE = 256
EXPLANATION = (
    "A dot is a layer; a bar and the number on the left are the geometric mean of the class. "
    "ONNX Runtime packs its weights beforehand,\nas convpool's prepared call does: "
    "“÷ prepared” compares these two, all other rows convpool's plain call."
)
INK = "#333333"
BACKGROUND = "#fbfaf7"


@dataclass(frozen=True)
class Row:
    """A peer on a class of layers."""

    label: str
    peer: str
    ratios: tuple[float, ...]


@dataclass(frozen=True)
class Panel:
    """A class of layers."""

    title: str
    rows: tuple[Row, ...]


def panels(results: Iterable[LayerResult]) -> list[Panel]:
    """Return what is drawn; a class on which no peer was timed has no panel."""
    found = []
    for group, members in group_results(results).items():
        rows = [
            Row(column.short_label, column.peer, tuple(ratios(members, column)))
            for column in main_columns(members)
        ]
        if rows:
            found.append(Panel(GROUPS[group], tuple(rows)))
    return found


def draw(content: Sequence[Panel], caption: str, path: Path) -> None:
    """Save the chart; the name's suffix chooses the format.

    It brings its own light background, so it can be read on pages of any colour.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from PIL import Image

    lines = [content[i : i + PANELS_IN_A_LINE] for i in range(0, len(content), PANELS_IN_A_LINE)]
    heights = [TITLE_HEIGHT + max(len(panel.rows) for panel in line) for line in lines]
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08)
    size = (4 * PANELS_IN_A_LINE, ROW_INCHES * sum(heights) + 1.1)
    figure = Figure(figsize=size, dpi=100, layout=layout, facecolor=BACKGROUND)
    figure.suptitle(
        "Time of each peer divided by convpool's: right of the line, convpool is faster",
        fontsize=14,
        color=INK,
    )
    figure.supxlabel(f"{EXPLANATION}\n{caption}", fontsize=9.5, color=INK)
    grid = figure.subplots(
        len(lines), PANELS_IN_A_LINE, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    everything = [ratio for panel in content for row in panel.rows for ratio in row.ratios]
    limits = (min(0.5, *everything) / 1.2, max(2.0, *everything) * 1.2)
    for axes, panel in zip(grid.flat, content, strict=False):
        _draw_panel(axes, panel, limits)
    for line, row in zip(lines, grid, strict=True):
        for axes in row:
            axes.set_ylim(max(len(panel.rows) for panel in line) - 0.4, -0.6)
    for axes in grid.flat[len(content) :]:
        axes.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix != ".png":
        figure.savefig(path)
        return
    with BytesIO() as buffer:
        figure.savefig(buffer, format="png")
        picture = Image.open(buffer).convert("RGB")
        picture.quantize(COLOURS_IN_FILE, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)


def _draw_panel(axes: "Axes", panel: Panel, limits: tuple[float, float]) -> None:
    """Draw a dot for each layer; a bar and a number are their geometric mean."""
    axes.set_facecolor(BACKGROUND)
    axes.axvspan(limits[0], 1, color="#f3dcd2", linewidth=0)
    axes.axvline(1, color=INK, linewidth=1.2)
    labels = []
    for y, row in enumerate(panel.rows):
        colour = COLOURS.get(row.peer, INK)
        mean = geometric_mean(row.ratios)
        labels.append(f"{row.label}  {format_ratio(mean)}")
        axes.scatter(row.ratios, [y] * len(row.ratios), s=26, color=colour, alpha=0.55, zorder=3)
        axes.plot([mean, mean], [y - 0.32, y + 0.32], color=colour, linewidth=2.5, zorder=4)
    axes.set_title(panel.title, fontsize=12, color=INK, loc="left")
    axes.set_xscale("log")
    axes.set_xlim(*limits)
    powers = range(math.ceil(math.log10(limits[0])), math.floor(math.log10(limits[1])) + 1)
    axes.set_xticks([10.0**power for power in powers], [f"{10.0**power:g}x" for power in powers])
    axes.set_xticks([], minor=True)
    axes.set_yticks(range(len(panel.rows)), labels, fontsize=9.5)
    axes.grid(axis="x", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, length=0)
    axes.spines[:].set_visible(False)
