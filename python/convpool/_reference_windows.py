"""The machinery of `convpool.reference`: wide types, padding, and the cells of all windows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from convpool._typing import Array, Padding, PadMode, Pair

Size: TypeAlias = tuple[int, int]
Pads: TypeAlias = tuple[Size, Size]


def pair(value: Pair) -> Size:
    """Write one number as two."""
    height, width = np.broadcast_to(value, 2).tolist()
    return height, width


def wide(*arrays: ArrayLike) -> list[Array]:
    """Convert to the widest type of the common kind; integers to the one in which they are summed.

    Sums and products of integers are exact modulo 2^64.
    """
    given = [np.asarray(array) for array in arrays]
    common = np.result_type(*(array.dtype for array in given))
    if common.kind in "biu":
        dtype = np.sum(np.empty(0, common)).dtype
    else:
        dtype = np.dtype(np.complex128 if common.kind == "c" else np.float64)
    return [array.astype(dtype) for array in given]


def fractional(x: ArrayLike) -> Array:
    """Convert to a type in which one can divide."""
    (numbers,) = wide(x)
    return numbers.astype(np.float64) if numbers.dtype.kind in "iu" else numbers


def batched(x: Array) -> Array:
    """Put a batch axis in front if there is none."""
    return x if x.ndim == 4 else x[np.newaxis]


def cells_to_add(padding: Padding, size: Size, span: Size, stride: Size) -> Pads:
    """Cells to add, ``((top, bottom), (left, right))``; negative numbers crop."""
    if not isinstance(padding, str):
        numbers = np.asarray(padding)
        numbers = numbers[:, np.newaxis] if numbers.ndim == 1 else numbers
        rows, columns = np.broadcast_to(numbers, (2, 2)).tolist()
        return tuple(rows), tuple(columns)

    def axis(n: int, span: int, s: int) -> Size:
        if padding == "valid":
            return 0, 0
        if padding == "full":
            return span - 1, span - 1
        outputs = -(-n // s)
        total = max(0, (outputs - 1) * s + span - n)
        half = total // 2
        return (half, total - half) if padding == "same" else (total - half, half)

    return axis(size[0], span[0], stride[0]), axis(size[1], span[1], stride[1])


def pad(x: Array, pads: Pads, mode: PadMode = "constant", value: complex = 0) -> Array:
    """`numpy.pad`, then crop where `pads` is negative."""
    (top, bottom), (left, right) = pads
    ends = (max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0))
    options: dict[str, Any] = {"mode": mode}
    if mode == "constant":
        options["constant_values"] = np.asarray(value).astype(x.dtype)
    grown = np.pad(x, ((0, 0),) * (x.ndim - 2) + ends, **options)
    height, width = grown.shape[-2:]
    rows = slice(max(-top, 0), height - max(-bottom, 0))
    return grown[..., rows, max(-left, 0) : width - max(-right, 0)]


@dataclass(frozen=True)
class Windows:
    """Where windows of `kernel` taps lie on images of `size`."""

    size: Size
    kernel: Size
    stride: Size
    dilation: Size
    pads: Pads
    overhang: Pads
    """What the last windows need beyond `pads`: cells that never count."""
    out: Size
    """Number of windows down and across."""
    mode: PadMode

    def cells(self) -> list[tuple[slice, slice]]:
        """For each tap the cells of the padded image that it meets, one for each window."""
        (oh, ow), (sh, sw), (dh, dw) = self.out, self.stride, self.dilation
        return [
            (
                slice(p * dh, p * dh + max(0, (oh - 1) * sh + 1), sh),
                slice(q * dw, q * dw + max(0, (ow - 1) * sw + 1), sw),
            )
            for p, q in np.ndindex(self.kernel)
        ]

    def take(self, x: Array, value: complex = 0, beyond: complex = 0) -> Array:
        """Cells of all windows, ``(..., taps, H_out, W_out)``."""
        padded = pad(pad(x, self.pads, self.mode, value), self.overhang, value=beyond)
        return np.stack([padded[..., rows, columns] for rows, columns in self.cells()], axis=-3)

    def put(self, taken: Array) -> Array:
        """Add every cell back to where it was taken from; what falls on constants is dropped."""
        planes, (height, width) = taken.shape[:-3], self.size
        sources = np.arange(height * width).reshape(height, width)
        sources = pad(pad(sources, self.pads, self.mode, -1), self.overhang, value=-1)
        padded = np.zeros((*planes, *sources.shape), taken.dtype)
        for tap, (rows, columns) in enumerate(self.cells()):
            padded[..., rows, columns] += taken[..., tap, :, :]
        # One row for each cell, and a last one for what is dropped.
        count = int(np.prod(planes))
        image = np.zeros((height * width + 1, count), taken.dtype)
        np.add.at(image, sources.ravel(), padded.reshape(count, sources.size).T)
        return image[:-1].T.reshape(*planes, height, width)


def place_windows(
    size: Sequence[int], kernel: Pair, stride: Pair, padding: Padding, dilation: Pair,
    mode: PadMode = "constant", ceil_mode: bool = False, out: Size | None = None,
) -> Windows:  # fmt: skip
    """Place the windows; `out` is their number where a gradient already tells it."""
    height, width = size
    (kh, kw), (sh, sw), (dh, dw) = pair(kernel), pair(stride), pair(dilation)
    span = (kh - 1) * dh + 1, (kw - 1) * dw + 1
    pads = cells_to_add(padding, (height, width), span, (sh, sw))

    def count(n: int, ends: Size, span: int, s: int) -> int:
        before, after = ends
        if padding in ("same", "same_lower"):
            return -(-n // s)
        steps, rest = divmod(n + before + after - span, s)
        # A window more, if any of its cells can lie in the image or the padding before it.
        if ceil_mode and rest and (steps + 1) * s < before + n + min(after, 0):
            steps += 1
        if steps < 0:
            raise ValueError(f"a window of {span} cells does not fit into {n} cells, {ends} added")
        return steps + 1

    if out is None:
        out = count(height, pads[0], span[0], sh), count(width, pads[1], span[1], sw)
    low = max(0, (out[0] - 1) * sh + span[0] - height - sum(pads[0]))
    right = max(0, (out[1] - 1) * sw + span[1] - width - sum(pads[1]))
    overhang = (0, low), (0, right)
    return Windows((height, width), (kh, kw), (sh, sw), (dh, dw), pads, overhang, out, mode)
