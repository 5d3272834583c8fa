"""Convolutions with large kernels, and their gradients, as products of Fourier transforms.

The compiled module checks every argument, chooses the tiles (``csrc/fft_tiles.cpp``) and calls
`conv2d` or a gradient, which is another convolution of views. The padded image is cut into
overlapping tiles; each is transformed, multiplied with the conjugate spectrum of every kernel,
summed over the input channels and transformed back, which gives the outputs whose windows lie
inside the tile (overlap-save). Kernels that are larger than the result, as those of a weight
gradient, are cut themselves, and the products with their parts summed before the way back.

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
from threading import Lock, Thread
from typing import Any, Literal, TypeAlias

import numpy as np

from convpool import _core
from convpool._typing import Array

Rounding: TypeAlias = Literal["none", "narrow", "whole"]
Bias: TypeAlias = Array | None
Cells: TypeAlias = tuple[int, int, int, int]
"""First cell and step of a phase of the input gradient; first and step of the taps that read it."""
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
    """One axis of the problem, cut into tiles, or its kernel into parts."""

    size: int
    out: int
    stride: int
    dilation: int
    before: int
    after: int
    kernel: int
    tile: int
    part: int

    @property
    def span(self) -> int:
        return (self.kernel - 1) * self.dilation + 1

    @property
    def part_span(self) -> int:
        return (self.part - 1) * self.dilation + 1

    def cells(self, outputs: int) -> int:
        """Cells that the windows of some outputs read."""
        return (outputs - 1) * self.stride + self.span

    @property
    def used(self) -> int:
        """Cells of the padded axis that any window reads."""
        return self.cells(self.out)

    @property
    def outputs(self) -> int:
        """Outputs of one tile."""
        return (self.tile - self.part_span) // self.stride + 1

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
    bias: Bias
    y: Array
    rows: _Axis
    columns: _Axis
    shown_rows: Array
    shown_columns: Array
    mode: str
    pad_value: float
    rounding: Rounding
    may_define: bool  # tiles that transforms do not suit; otherwise the whole is refused
    transform: _core.TileTransform

    def terms(self) -> list[tuple[int, int, int]]:
        """Input channels and first taps of the kernels' parts, whose products are summed."""
        down, across = self.rows, self.columns
        rows, columns = range(0, down.kernel, down.part), range(0, across.kernel, across.part)
        return list(product(range(self.x.shape[2]), rows, columns))

    def copy_cells(
        self, n: int, groups: slice, channels: slice, top: int, left: int, cells: Array
    ) -> None:
        """Copy cells of the padded image, followed by zeros where that ends."""
        rows = self.shown_rows[top : top + cells.shape[2]]
        columns = self.shown_columns[left : left + cells.shape[3]]
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

    def cells(self, n: int, groups: slice, top: int, left: int, height: int, width: int) -> Array:
        """Return the cells of some outputs' windows, of all channels in float64."""
        size = self.rows.cells(height), self.columns.cells(width)
        cells = np.empty((*self.x[n, groups].shape[:2], *size))
        self.copy_cells(n, groups, slice(None), top, left, cells)
        return cells


class _UntransformableError(Exception):
    """Transforms do not keep the promises for this problem."""


class _Kernels:
    """Spectra of the kernels of some groups and output channels, for all tiles."""

    def __init__(
        self, problem: _Problem, groups: slice, channels: slice, memory: Array, threads: int
    ) -> None:
        self.problem, self.groups, self.channels = problem, groups, channels
        rows, columns = problem.rows, problem.columns
        self.transform = problem.transform
        self.weight = problem.weight[groups, channels]
        g, m = self.weight.shape[:2]
        self.terms = problem.terms()
        size = self.transform.spectrum_size
        planes = memory[: memory.size // size * size].reshape(-1, size)
        kernels = g * m * len(self.terms)
        self.spectra = planes[:kernels].reshape(len(self.terms), g, m, size)
        task = 2 * (g + g * m)
        self.own = [planes[kernels + task * i :][:task] for i in range(threads)]
        self.energy = problem.weight_energy[groups, channels]
        cells = _tiles(self.own[0], 1, rows.tile, columns.tile)[0]
        cells[...] = 0
        spread = cells[: rows.part_span : rows.dilation, : columns.part_span : columns.dilation]
        for group, channel, (term, (c, i, j)) in product(range(g), range(m), enumerate(self.terms)):
            part = self.weight[group, channel, c, i : i + rows.part, j : j + columns.part]
            height, width = part.shape
            spread[height:] = spread[:, width:] = 0
            spread[:height, :width] = part
            self.transform.forward(cells, self.spectra[term, group, channel])

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
                if not p.may_define:
                    raise _UntransformableError
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
        for term, (c, i, j) in enumerate(self.terms):
            place = top + i * p.rows.dilation, left + j * p.columns.dilation
            p.copy_cells(n, self.groups, slice(c, c + 1), *place, image[:, None])
            self.transform.forward(image, spectrum)
            self.transform.multiply(spectrum, self.spectra[term], term > 0, total, energies)
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
        return y if p.bias is None else y.astype(np.float32)

    def _error(self, cells_energy: Array, y_energy: Array) -> Array:
        """Bound the error of any output of a tile.

        A transform of ``2**k`` cells has an error of at most ``8 * k`` units relative to the
        Euclidean norm (Higham, "Accuracy and stability of numerical algorithms", section 24.1).
        Those of cells and kernel meet the other's norm by the Cauchy-Schwarz inequality, and that
        of the way back is relative to the outputs.
        """
        cells = self.problem.rows.tile * self.problem.columns.tile
        relative = _UNIT * (8 * np.log2(cells) + len(self.terms))
        error: Array = relative * (
            2 * np.sqrt(cells_energy * self.energy) + np.sqrt(y_energy / cells)
        )
        return error

    def _settled(self, y: Array, doubtful: Array, n: int, top: int, left: int) -> bool:
        """Compute doubtful outputs by their definition; false if they are too many."""
        p = self.problem
        cells = p.cells(n, self.groups, top, left, *y.shape[2:])
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
        sums = np.zeros((len(cells), cells.shape[2] + 1, cells.shape[3] + 1), np.int32)
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
        cells = p.cells(n, self.groups, top, left, height, width).astype(p.x.dtype)
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


@dataclass(frozen=True)
class _Geometry:
    """What the compiled module tells of a convolution and its tiles."""

    groups: int
    rows: _Axis
    columns: _Axis
    mode: str
    pad_value: float
    rounding: Rounding
    groups_at_once: int
    channels_at_once: int
    threads: int


def _convolve(
    x: Array, weight: Array, bias: Bias, y: Array, geometry: _Geometry, memory: memoryview,
    may_define: bool = True,
) -> bool:  # fmt: skip
    """Write the convolution of arrays with split channels to `y`; false if it cannot be done.

    Tiles depend on the shape of one image only, so neither threads nor the batch change a bit.
    """
    with np.errstate(all="ignore"):
        energy = np.array([[_energy(kernels) for kernels in group] for group in weight])
    if not _is_moderate(energy):
        return False
    down, across, mode = geometry.rows, geometry.columns, geometry.mode
    problem = _Problem(
        x, weight, energy, bias, y, down, across, down.shown(mode), across.shown(mode), mode,
        geometry.pad_value, geometry.rounding, may_define, _transform_of(down.tile, across.tile),
    )  # fmt: skip
    places = list(product(range(len(x)), down.starts(), across.starts()))
    numbers = np.frombuffer(memory, np.float64)
    groups, channels = weight.shape[:2]
    for group in range(0, groups, geometry.groups_at_once):
        for channel in range(0, channels, geometry.channels_at_once):
            some = (
                slice(group, group + geometry.groups_at_once),
                slice(channel, channel + geometry.channels_at_once),
            )
            kernels = _Kernels(problem, *some, numbers, geometry.threads)
            try:
                _share(kernels.compute, places, geometry.threads)
            except _UntransformableError:
                return False
    return True


def _geometry(numbers: Any) -> _Geometry:
    groups, rows, columns, *others = numbers
    return _Geometry(groups, _Axis(*rows), _Axis(*columns), *others)


def _split(images: Array, groups: int) -> Array:
    """View images, or one, as an array of images, groups, channels, rows and columns."""
    channels, *size = images.shape[-3:]
    n = len(images) if images.ndim == 4 else 1
    return images.reshape(n, groups, channels // groups, *size)


def conv2d(x: Array, weight: Array, bias: Bias, y: Array, numbers: Any, memory: memoryview) -> bool:
    """Write the convolution to `y`; return false, if weights are not finite or extreme."""
    geometry = _geometry(numbers)
    groups = geometry.groups
    if bias is not None:
        bias = bias.reshape(groups, -1)
    kernels = weight.reshape(groups, len(weight) // groups, *weight.shape[1:])
    return _convolve(_split(x, groups), kernels, bias, _split(y, groups), geometry, memory)


def conv2d_grad_input(
    dy: Array, weight: Array, bias: Bias, dx: Array, rows: Cells, columns: Cells, numbers: Any,
    memory: memoryview,
) -> bool:  # fmt: skip
    """Write one phase of `dx`: `dy` convolved with some of the taps, in reverse."""
    taps = weight[:, :, rows[2] :: rows[3], columns[2] :: columns[3]]
    groups = int(numbers[0])
    kernels = taps.reshape(groups, len(taps) // groups, *taps.shape[1:])
    kernels = kernels.swapaxes(1, 2)[..., ::-1, ::-1]
    if bias is not None:
        bias = bias.reshape(groups, -1)
    cells = _split(dx, groups)[..., rows[0] :: rows[1], columns[0] :: columns[1]]
    return _convolve(_split(dy, groups), kernels, bias, cells, _geometry(numbers), memory)


def fill_cells(dx: Array, bias: Bias, rows: Cells, columns: Cells) -> None:
    """Write a phase of `dx` that no tap reads."""
    cells = dx[..., rows[0] :: rows[1], columns[0] :: columns[1]]
    cells[...] = 0 if bias is None else bias[:, None, None]


def conv2d_grad_weight(dy: Array, x: Array, dw: Array, numbers: Any, memory: memoryview) -> bool:
    """Write `dw`: `x` convolved with `dy`; false also for `x` that is not finite or extreme.

    Images and channels exchange: products are summed over the images, and each channel of a group
    gives a result of its own.
    """
    geometry = _geometry(numbers)
    groups = geometry.groups
    kernels = _split(dy, groups).transpose(1, 2, 0, 3, 4)
    y = dw.reshape(groups, len(dw) // groups, *dw.shape[1:]).transpose(2, 0, 1, 3, 4)
    images = _split(x, groups).transpose(2, 1, 0, 3, 4)
    return _convolve(images, kernels, None, y, geometry, memory, may_define=False)
