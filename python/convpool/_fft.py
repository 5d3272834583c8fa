"""Convolutions with large kernels as products of Fourier transforms.

The compiled module checks every argument, chooses the tiles (``csrc/fft_tiles.cpp``) and calls
`conv2d`. The padded image is cut into overlapping tiles; each is transformed, multiplied with the
conjugate spectrum of every kernel, summed over the input channels and transformed back, which gives
the outputs whose windows lie inside the tile (overlap-save).

A transform in float64 is wrong by about ``2**-53`` of the largest number of its tile, so an output
that is small among large ones may have lost all its digits, and one NaN is everywhere. Every tile
therefore knows a bound of its own error, and what does not keep the promises of the other
algorithms is computed by its definition:

- tiles with NaN, infinity or numbers whose products might overflow: all their outputs;
- whole numbers: tiles whose error could reach a quarter, so that rounding is exact;
- float32 and halves: outputs so close to zero that the error may exceed what a plain float32 sum
  promises, ``2**-24`` of the sum of the products' absolute values for each product; and no more
  than 64 times that. Since the output is no larger than that sum, its own size is enough to tell.

In float64 the error is relative to the tile; `algorithm="auto"` does not come here then.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod
from threading import Lock, Thread
from typing import Any, Literal, TypeAlias

import numpy as np

from convpool import _core
from convpool._typing import Array

Rounding: TypeAlias = Literal["none", "narrow", "whole"]
Numbers: TypeAlias = tuple[int, int, int, int, int, int]
"""The first fields of `_Axis`."""
Place: TypeAlias = tuple[int, int, int]
"""An image, and the first output row and column of a tile in it."""

# Relative error of a product, a sum or a root of unity in float64.
_UNIT = 2.0**-53
# A rounding error in float32; an output may have as many as it has products, up to a limit.
_NARROW_UNIT = 2.0**-24
_MOST_NARROW_UNITS = 64
# Squares of numbers in this range can neither overflow nor vanish in any of the transforms.
_LEAST, _MOST = 1e-200, 1e200
# More doubtful outputs than this are computed faster by the compiled module than one by one.
_MOST_DOUBTFUL = 64


# Roots of unity take 0.1 ms to compute for tiles of 288x288.
_transform_of = lru_cache(maxsize=16)(_core.TileTransform)


@dataclass(frozen=True)
class _Axis:
    """One axis of the problem; `outputs` are those of stride 1 that a tile gives."""

    size: int
    out: int
    stride: int
    dilation: int
    before: int
    after: int
    kernel: int
    tile: int

    @property
    def span(self) -> int:
        return (self.kernel - 1) * self.dilation + 1

    @property
    def used(self) -> int:
        """Cells of the padded axis that any window reads."""
        return (self.out - 1) * self.stride + self.span

    @property
    def outputs(self) -> int:
        """Outputs of one tile."""
        return (self.tile - self.span) // self.stride + 1

    def starts(self) -> range:
        """First output of every tile."""
        return range(0, self.out, self.outputs)

    def shown(self, mode: Any) -> Array:
        """Cell of the image that each cell of the padded axis shows; -1 for a constant."""
        if mode == "constant":
            cells = np.arange(-self.before, self.used - self.before)
            cells[(cells < 0) | (cells >= self.size)] = -1
            return cells
        ends = max(self.before, 0), max(self.after, 0)
        padded = np.pad(np.arange(self.size), ends, mode)
        return padded[max(-self.before, 0) :][: self.used]


@dataclass(frozen=True)
class _Problem:
    """Arrays with their channels split into groups, and how windows lie on them."""

    x: Array  # N, groups, channels, height, width
    weight: Array  # groups, output channels, channels, height, width
    weight_energy: Array  # groups, output channels: sums of squares
    bias: Array | None
    y: Array
    rows: _Axis
    columns: _Axis
    shown_rows: Array
    shown_columns: Array
    mode: str
    pad_value: float
    rounding: Rounding
    transform: _core.TileTransform

    def copy_cells(
        self, n: int, groups: slice, channels: slice, top: int, left: int, cells: Array
    ) -> None:
        """Copy a tile of the padded image, followed by zeros where that ends."""
        rows = self.shown_rows[top : top + self.rows.tile]
        columns = self.shown_columns[left : left + self.columns.tile]
        images = self.x[n, groups, channels]
        cells[:, :, rows.size :] = 0
        cells[:, :, : rows.size, columns.size :] = 0
        part = cells[:, :, : rows.size, : columns.size]
        if self.mode != "constant":
            part[...] = images[:, :, rows[:, None], columns]
            return
        # Between constants before and behind them, cells of the image follow each other.
        down, across = np.flatnonzero(rows >= 0), np.flatnonzero(columns >= 0)
        if down.size == 0 or across.size == 0:
            part[...] = self.pad_value
            return
        above, below = down[0], down[-1] + 1
        before, behind = across[0], across[-1] + 1
        part[:, :, :above] = part[:, :, below:] = self.pad_value
        part[:, :, above:below, :before] = part[:, :, above:below, behind:] = self.pad_value
        part[:, :, above:below, before:behind] = images[
            :, :, rows[above] : rows[below - 1] + 1, columns[before] : columns[behind - 1] + 1
        ]

    def cells(self, n: int, groups: slice, top: int, left: int) -> Array:
        """Return a tile of all channels in float64."""
        tile = self.rows.tile, self.columns.tile
        cells = np.empty((*self.x[n, groups].shape[:2], *tile))
        self.copy_cells(n, groups, slice(None), top, left, cells)
        return cells


class _Kernels:
    """Spectra of the kernels of some groups and output channels, for all tiles."""

    def __init__(
        self, problem: _Problem, groups: slice, channels: slice, memory: Array, threads: int
    ) -> None:
        self.problem, self.groups, self.channels = problem, groups, channels
        rows, columns = problem.rows, problem.columns
        self.transform = problem.transform
        self.weight = problem.weight[groups, channels]
        g, m, self.n_channels = self.weight.shape[:3]
        size = self.transform.spectrum_size
        planes = memory[: memory.size // size * size].reshape(-1, size)
        kernels = g * m * self.n_channels
        self.spectra = planes[:kernels].reshape(self.n_channels, g, m, size)
        task = 2 * (g + g * m)
        self.own = [planes[kernels + task * i :][:task] for i in range(threads)]
        self.energy = problem.weight_energy[groups, channels]
        cells = _tiles(self.own[0], 1, rows.tile, columns.tile)[0]
        cells[...] = 0
        spread = cells[: rows.span : rows.dilation, : columns.span : columns.dilation]
        for group, channel, c in np.ndindex(g, m, self.n_channels):
            spread[...] = self.weight[group, channel, c]
            self.transform.forward(cells, self.spectra[c, group, channel])

    def compute(self, place: Place, thread: int) -> None:
        """Write one tile of the outputs."""
        p = self.problem
        n, row, column = place
        top, left = row * p.rows.stride, column * p.columns.stride
        height = min(p.rows.outputs, p.rows.out - row)
        width = min(p.columns.outputs, p.columns.out - column)
        # Overflow and NaN are silent, as they are in the compiled module.
        with np.errstate(all="ignore"):
            y = self._transformed(n, top, left, height, width, self.own[thread])
            if y is None:
                y = self._defined(n, top, left, height, width)
            if p.bias is not None:
                y = y + p.bias[self.groups, self.channels, None, None]
            p.y[n, self.groups, self.channels, row : row + height, column : column + width] = y

    def _transformed(
        self, n: int, top: int, left: int, height: int, width: int, own: Array
    ) -> Array | None:
        """Return the outputs of one tile; None if transforms do not keep the promise for it."""
        p = self.problem
        groups, channels = self.weight.shape[:2]
        size, tall, wide = groups * channels, p.rows.tile, p.columns.tile
        image = _tiles(own[:groups], groups, tall, wide)
        spectrum, sums = own[groups : 2 * groups], own[2 * groups :]
        total, results = sums[:size], sums[size:]
        energy: Any = 0.0
        energies = np.empty(groups + size)
        for c in range(self.n_channels):
            p.copy_cells(n, self.groups, slice(c, c + 1), top, left, image[:, None])
            self.transform.forward(image, spectrum)
            self.transform.multiply(spectrum, self.spectra[c], c > 0, total, energies)
            # The energy of a whole spectrum is that of the cells, times their number.
            energy = energy + 2 / (tall * wide) * energies[:groups]
            if not _is_moderate(energy):
                return None
        if p.rounding != "none":
            y_energy = 2 * energies[groups:].reshape(groups, channels)
            error = self._error(energy[:, None], y_energy)
        tiles = _tiles(results, size, tall, wide)
        self.transform.inverse(total, tiles)
        y = tiles.reshape(groups, channels, tall, wide)
        y = y[:, :, :: p.rows.stride, :: p.columns.stride][:, :, :height, :width]
        if p.rounding == "none":
            return y
        if p.rounding == "whole":
            return np.rint(y, out=y) if error.max() < 0.25 else None
        magnitudes = np.abs(y, out=total.reshape(-1)[: y.size].reshape(y.shape))
        units = min(self.weight[0, 0].size, _MOST_NARROW_UNITS)
        doubtful = magnitudes < (error / (units * _NARROW_UNIT))[:, :, None, None]
        if doubtful.any() and not self._settled(y, doubtful, n, top, left):
            return None
        # Before a bias is added, which may cancel all digits but the wrong ones.
        return y.astype(np.float32)

    def _error(self, cells_energy: Array, y_energy: Array) -> Array:
        """Bound the error of any output of a tile.

        A transform of ``2**k`` cells has an error of at most ``8 * k`` units relative to the
        Euclidean norm (Higham, "Accuracy and stability of numerical algorithms", section 24.1).
        Those of cells and kernel meet the other's norm by the Cauchy-Schwarz inequality, and that
        of the way back is relative to the outputs.
        """
        cells = self.problem.rows.tile * self.problem.columns.tile
        relative = _UNIT * (8 * np.log2(cells) + self.problem.x.shape[2])
        error: Array = relative * (
            2 * np.sqrt(cells_energy * self.energy) + np.sqrt(y_energy / cells)
        )
        return error

    def _settled(self, y: Array, doubtful: Array, n: int, top: int, left: int) -> bool:
        """Compute doubtful outputs by their definition; false if they are too many."""
        p = self.problem
        cells = p.cells(n, self.groups, top, left)
        if np.count_nonzero(doubtful) > _MOST_DOUBTFUL:
            # Black parts of a picture are no reason to leave the transforms.
            empty = self._empty_windows(cells, *y.shape[2:])[:, None]
            np.copyto(y, 0, where=empty)
            doubtful &= ~empty
            if np.count_nonzero(doubtful) > _MOST_DOUBTFUL:
                return False
        for g, m, i, j in zip(*np.unravel_index(np.flatnonzero(doubtful), y.shape), strict=True):
            first, start = i * p.rows.stride, j * p.columns.stride
            window = cells[
                g, :, first : first + p.rows.span : p.rows.dilation,
                start : start + p.columns.span : p.columns.dilation,
            ]  # fmt: skip
            y[g, m, i, j] = (window * self.weight[g, m]).sum()
        return True

    def _empty_windows(self, cells: Array, height: int, width: int) -> Array:
        """Tell for each group which windows see nothing but zeros."""
        rows, columns = self.problem.rows, self.problem.columns
        # Numbers of other cells above and to the left, whose differences are those of windows.
        sums = np.zeros((len(cells), rows.tile + 1, columns.tile + 1), np.int32)
        sums[:, 1:, 1:] = (cells != 0).any(axis=1)
        np.cumsum(sums, axis=1, out=sums)
        np.cumsum(sums, axis=2, out=sums)
        in_rows = sums[:, rows.span :] - sums[:, : -rows.span]
        counts = in_rows[:, :, columns.span :] - in_rows[:, :, : -columns.span]
        empty: Array = counts[:, :: rows.stride, :: columns.stride][:, :height, :width] == 0
        return empty

    def _defined(self, n: int, top: int, left: int, height: int, width: int) -> Array:
        """Return the outputs of one tile by their definition, in the type of the other ways."""
        p = self.problem
        cells = p.cells(n, self.groups, top, left).astype(p.x.dtype)
        cells = cells[
            ..., : (height - 1) * p.rows.stride + p.rows.span,
            : (width - 1) * p.columns.stride + p.columns.span,
        ]  # fmt: skip
        y = _core.conv2d(
            cells.reshape(-1, *cells.shape[2:]), self.weight.reshape(-1, *self.weight.shape[2:]),
            None, (p.rows.stride, p.columns.stride), 0, (p.rows.dilation, p.columns.dilation),
            len(cells), "constant", 0, "NCHW", None, "highest", "implicit_gemm", 1, None,
        )  # fmt: skip
        return y.reshape(len(cells), -1, height, width)


def _energy(kernels: Array) -> float:
    """Sum the squares in float64; `numpy.einsum` would copy all output channels at once."""
    wide = kernels.astype(np.float64).ravel()
    return float(wide @ wide)


def _is_moderate(energy: Array) -> bool:
    """Whether no square has overflowed or nearly so; false for NaN. Zeros are harmless."""
    return bool(np.all((energy == 0) | ((energy > _LEAST) & (energy < _MOST))))


def _tiles(planes: Array, count: int, height: int, width: int) -> Array:
    """Take the memory of spectra for tiles of cells, which are not larger."""
    return planes.reshape(-1)[: count * height * width].reshape(count, height, width)


def _share(work: Callable[[Place, int], None], places: Iterable[Place], threads: int) -> None:
    """Do all the work on this and other threads; on fewer where the system has no more."""
    remaining, lock = iter(places), Lock()
    errors: list[BaseException] = []

    def claim(thread: int) -> None:
        while not errors:
            with lock:
                place = next(remaining, None)
            if place is None:
                return
            try:
                work(place, thread)
            except BaseException as error:
                errors.append(error)

    others: list[Thread] = []
    for i in range(1, threads):
        other = Thread(target=claim, args=(i,))
        try:
            other.start()
        except RuntimeError:
            break
        others.append(other)
    claim(0)
    # Their memory ends with the call, so that not even Ctrl-C may leave before them.
    while others:
        try:
            others[-1].join()
            others.pop()
        except BaseException as error:
            errors.append(error)
    if errors:
        raise errors[0]


def conv2d(
    x: Array, weight: Array, bias: Array | None, y: Array,
    rows: Numbers, columns: Numbers, groups: int, mode: str, pad_value: float,
    rounding: Rounding, tile: tuple[int, int], groups_at_once: int, channels_at_once: int,
    threads: int, memory: memoryview,
) -> bool:  # fmt: skip
    """Write the convolution to `y`; return false, if weights are not finite or extreme.

    Tiles depend on the shape of one image only, so neither threads nor the batch change a bit.
    """
    with np.errstate(all="ignore"):
        weight_energy = np.array([_energy(kernels) for kernels in weight])
    if not _is_moderate(weight_energy):
        return False
    down = _Axis(*rows, weight.shape[2], tile[0])
    across = _Axis(*columns, weight.shape[3], tile[1])
    n, channels = prod(x.shape[:-3]), len(weight) // groups
    problem = _Problem(
        x.reshape(n, groups, weight.shape[1], *x.shape[-2:]),
        weight.reshape(groups, channels, *weight.shape[1:]),
        weight_energy.reshape(groups, channels),
        None if bias is None else bias.reshape(groups, channels),
        y.reshape(n, groups, channels, *y.shape[-2:]),
        down, across, down.shown(mode), across.shown(mode), mode, pad_value, rounding,
        _transform_of(*tile),
    )  # fmt: skip
    places = list(product(range(n), down.starts(), across.starts()))
    numbers = np.frombuffer(memory, np.float64)
    for group in range(0, groups, groups_at_once):
        for channel in range(0, channels, channels_at_once):
            some = slice(group, group + groups_at_once), slice(channel, channel + channels_at_once)
            kernels = _Kernels(problem, *some, numbers, threads)
            _share(kernels.compute, places, threads)
    return True
