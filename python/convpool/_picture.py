"""Reading the tour's photograph and drawing its picture; the only module that needs matplotlib."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib import image as images
from matplotlib.axes import Axes
from matplotlib.cbook import get_sample_data
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from convpool._typing import Array
from convpool.conv import conv2d
from convpool.pool import avg_pool2d

__all__ = ["Findings", "draw", "read_photograph"]

# What the eye makes of red, green and blue (ITU-R BT.601).
LUMA = np.array([0.299, 0.587, 0.114])
LONGEST_SIDE = 800
COLOURS = 65


def read_photograph(path: str | None) -> tuple[str, Array]:
    """Return name and grey values (0 to 1, float32) of a file, or of matplotlib's portrait.

    Anything larger than 800 pixels is averaged down by a whole number.
    """
    file = get_sample_data("grace_hopper.jpg", asfileobj=False) if path is None else Path(path)
    pixels = images.imread(file)
    scale = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "iu" else 1
    grey = pixels.reshape(*pixels.shape[:2], -1) / np.float32(scale)
    if grey.shape[2] >= 3:
        grey = conv2d(grey[:, :, :3], LUMA.reshape(1, 3, 1, 1), layout="NHWC", dtype=np.float32)
    grey = grey[np.newaxis, :, :, 0].astype(np.float32)
    factor = -(-max(grey.shape) // LONGEST_SIDE)
    return Path(file).name, avg_pool2d(grey, factor)[0]


@dataclass(frozen=True, eq=False)
class Findings:
    """What the tour found on the photograph."""

    name: str
    photograph: Array
    vertical: Array
    sobel: Array
    kernel_name: str
    true: Array
    learned: Array
    losses: Array


def draw(found: Findings, output: str) -> None:
    """Save one picture: photograph, edges, hidden and learned kernel, loss."""
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    figure = Figure(figsize=(12, 7.5), dpi=100, layout=layout)
    figure.suptitle("convpool: edges of a photograph, and a kernel learned from it", fontsize=15)
    grid = figure.subplots(2, 3)
    _image(grid[0, 0], found.photograph, f"Photograph ({found.name})", "gray", 0, 1)
    limit = float(np.quantile(np.abs(found.vertical), 0.995)) or 1.0
    _image(grid[0, 1], found.vertical, "Vertical edges: kernel [[1, -1]]", "RdBu", -limit, limit)
    limit = float(np.quantile(found.sobel, 0.99)) or 1.0
    _image(grid[0, 2], found.sobel, "All edges: Sobel in both directions", "gray_r", 0, limit)
    error = np.abs(found.learned - found.true).max()
    limit = float(np.abs(found.true).max())
    _kernel(grid[1, 0], found.true, f"Hidden kernel ({found.kernel_name})", limit)
    _kernel(grid[1, 1], found.learned, f"Learned kernel (largest error {error:.0e})", limit)
    _losses(grid[1, 2], found.losses)
    figure.savefig(output)


def _image(axes: Axes, pixels: Array, title: str, name: str, low: float, high: float) -> None:
    # Few colours, mapped after resampling, halve the size of the file.
    colours = colormaps[name].resampled(COLOURS)
    axes.imshow(pixels, cmap=colours, vmin=low, vmax=high, interpolation_stage="data")
    axes.set_title(title)
    axes.set_axis_off()


def _kernel(axes: Axes, kernel: Array, title: str, limit: float) -> None:
    axes.imshow(kernel, cmap="RdBu", vmin=-1.3 * limit, vmax=1.3 * limit)
    for (row, column), value in np.ndenumerate(kernel):
        # Adding zero turns a rounded -0.0 into 0.0.
        text = f"{round(float(value), 3) + 0.0:.3f}"
        colour = "white" if abs(value) > 0.7 * limit else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour)
    axes.set_title(title)
    axes.set_axis_off()


def _losses(axes: Axes, losses: Array) -> None:
    axes.plot(np.arange(1, len(losses) + 1), losses, color="tab:blue", linewidth=2)
    if losses.max() > 0:
        axes.set_yscale("log")
    axes.set_title("Sum of squared errors")
    axes.set_xlabel("epoch")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
