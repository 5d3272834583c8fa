"""The specification: every operation of convpool in NumPy alone, in float64, to be read.

Names and arguments are those of the functions in `convpool`, which describe them; ``layout`` and
the arguments that only say how to compute (``algorithm``, ``precision``, ``threads``, ``out``,
``dtype``) are left out. Everything rests on two steps of `_Windows`: ``take`` lays the cells of all
windows side by side, and ``put``, its adjoint, adds such cells back into an image. Arguments are
taken to be valid.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from convpool._typing import Padding, Pair

__all__ = [
    "avg_pool2d", "avg_pool2d_grad", "col2im", "conv2d", "conv2d_grad_bias", "conv2d_grad_input",
    "conv2d_grad_weight", "conv2d_transpose", "im2col", "max_pool2d", "max_pool2d_grad",
    "max_unpool2d",
]  # fmt: skip

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Size: TypeAlias = tuple[int, int]
Pads: TypeAlias = tuple[Size, Size]


def _pair(value: Pair) -> Size:
    height, width = np.broadcast_to(value, 2).tolist()
    return height, width


def _images(x: ArrayLike) -> Floats:
    """Float64 with a batch axis in front."""
    images = np.asarray(x, dtype=np.float64)
    return images if images.ndim == 4 else images[np.newaxis]


def _pads(padding: Padding, size: Size, span: Size, stride: Size) -> Pads:
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


def _pad(x: Floats, pads: Pads, value: float = 0) -> Floats:
    """`numpy.pad`, then crop where `pads` is negative; with all signs reversed, its adjoint."""
    (top, bottom), (left, right) = pads
    ends = (max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0))
    grown = np.pad(x, ((0, 0),) * (x.ndim - 2) + ends, constant_values=np.float64(value))
    height, width = grown.shape[-2:]
    rows = slice(max(-top, 0), height - max(-bottom, 0))
    return grown[..., rows, max(-left, 0) : width - max(-right, 0)]


@dataclass(frozen=True)
class _Windows:
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

    def take(self, x: Floats, value: float = 0, beyond: float = 0) -> Floats:
        """Cells of all windows, ``(..., taps, H_out, W_out)``."""
        padded = _pad(_pad(x, self.pads, value), self.overhang, beyond)
        return np.stack([padded[..., rows, columns] for rows, columns in self.cells()], axis=-3)

    def put(self, taken: Floats) -> Floats:
        """Add every cell back to where it was taken from; what falls on the padding is dropped."""
        padded = _pad(_pad(np.zeros((*taken.shape[:-3], *self.size)), self.pads), self.overhang)
        for tap, (rows, columns) in enumerate(self.cells()):
            padded[..., rows, columns] += taken[..., tap, :, :]
        (top, bottom), (left, right) = self.pads
        (_, low), (_, over) = self.overhang
        return _pad(_pad(padded, ((0, -low), (0, -over))), ((-top, -bottom), (-left, -right)))


def _windows(
    size: Sequence[int], kernel: Pair, stride: Pair, padding: Padding, dilation: Pair,
    ceil_mode: bool = False, out: Size | None = None,
) -> _Windows:  # fmt: skip
    """Place the windows; `out` is their number where a gradient already tells it."""
    height, width = size
    (kh, kw), (sh, sw), (dh, dw) = _pair(kernel), _pair(stride), _pair(dilation)
    span = (kh - 1) * dh + 1, (kw - 1) * dw + 1
    pads = _pads(padding, (height, width), span, (sh, sw))

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
    return _Windows((height, width), (kh, kw), (sh, sw), (dh, dw), pads, overhang, out)


def conv2d(
    x: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None, stride: Pair = 1,
    padding: Padding = 0, dilation: Pair = 1, groups: int = 1, *, pad_value: float = 0,
) -> Floats:  # fmt: skip
    """Cross-correlation: products of the weight with the cells of every window, summed.

    Examples
    --------
    >>> import numpy as np
    >>> from convpool import reference
    >>> reference.conv2d(np.arange(9.0).reshape(1, 3, 3), np.arange(4.0).reshape(1, 1, 2, 2))
    array([[[19., 25.],
            [37., 43.]]])
    """
    images, w = _images(x), np.asarray(weight, dtype=np.float64)
    n, ic, *size = images.shape
    oc, _, kh, kw = w.shape
    windows = _windows(size, (kh, kw), stride, padding, dilation)
    oh, ow = windows.out
    taken = windows.take(images, pad_value)
    taken = taken.reshape(n, groups, ic // groups * kh * kw, oh * ow)
    y = w.reshape(groups, oc // groups, ic // groups * kh * kw) @ taken
    y = y.reshape(*np.shape(x)[:-3], oc, oh, ow)
    return y if bias is None else y + np.reshape(np.asarray(bias, dtype=np.float64), (oc, 1, 1))


def conv2d_transpose(
    x: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None, stride: Pair = 1,
    padding: Padding = 0, output_padding: Pair = 0, groups: int = 1, dilation: Pair = 1,
) -> Floats:  # fmt: skip
    """Choose the size of the result, and take `conv2d_grad_input` for an input of that size."""
    *batch, _, h, w = np.shape(x)
    _, oc, kh, kw = np.shape(weight)
    (sh, sw), (dh, dw), (more_h, more_w) = _pair(stride), _pair(dilation), _pair(output_padding)
    span = (kh - 1) * dh + 1, (kw - 1) * dw + 1
    if padding in ("same", "same_lower"):
        height, width = h * sh, w * sw
        padding = _pads(padding, (height, width), span, (sh, sw))
    else:
        padding = rows, columns = _pads(padding, (h, w), span, (sh, sw))
        height, width = (h - 1) * sh - sum(rows) + span[0], (w - 1) * sw - sum(columns) + span[1]
    shape = *batch, oc * groups, height + more_h, width + more_w
    y = conv2d_grad_input(x, weight, shape, stride, padding, dilation, groups)
    return y if bias is None else y + np.reshape(np.asarray(bias, dtype=np.float64), (-1, 1, 1))


def conv2d_grad_input(
    dy: ArrayLike, weight: ArrayLike, input_shape: Sequence[int], stride: Pair = 1,
    padding: Padding = 0, dilation: Pair = 1, groups: int = 1,
) -> Floats:  # fmt: skip
    """Products of the weight with `dy`, put back into the windows that they came from."""
    gradient, w = _images(dy), np.asarray(weight, dtype=np.float64)
    n, oc, oh, ow = gradient.shape
    kh, kw = w.shape[2:]
    ic, *size = input_shape[-3:]
    windows = _windows(size, (kh, kw), stride, padding, dilation, out=(oh, ow))
    w = w.reshape(groups, oc // groups, ic // groups * kh * kw).swapaxes(1, 2)
    taken = w @ gradient.reshape(n, groups, oc // groups, oh * ow)
    return windows.put(taken.reshape(n, ic, kh * kw, oh, ow)).reshape(input_shape)


def conv2d_grad_weight(
    dy: ArrayLike, x: ArrayLike, kernel_size: Pair, stride: Pair = 1, padding: Padding = 0,
    dilation: Pair = 1, groups: int = 1, *, pad_value: float = 0,
) -> Floats:  # fmt: skip
    """Products of `dy` with the cells of every window, summed over windows and batch."""
    gradient, images = _images(dy), _images(x)
    n, oc, oh, ow = gradient.shape
    _, ic, *size = images.shape
    kh, kw = _pair(kernel_size)
    taken = _windows(size, (kh, kw), stride, padding, dilation).take(images, pad_value)
    taken = taken.reshape(n, groups, ic // groups * kh * kw, oh * ow)
    dw = gradient.reshape(n, groups, oc // groups, oh * ow) @ taken.swapaxes(2, 3)
    return np.reshape(dw.sum(axis=0), (oc, ic // groups, kh, kw))


def conv2d_grad_bias(dy: ArrayLike) -> Floats:
    """Sum over batch, rows and columns."""
    db: Floats = np.sum(_images(dy), axis=(0, 2, 3))
    return db


def im2col(
    x: ArrayLike, kernel_size: Pair, stride: Pair = 1, padding: Padding = 0, dilation: Pair = 1,
    *, pad_value: float = 0,
) -> Floats:  # fmt: skip
    """Cells of all windows: a row for each channel and tap, a column for each window."""
    *batch, c, height, width = np.shape(x)
    windows = _windows((height, width), kernel_size, stride, padding, dilation)
    (kh, kw), (oh, ow) = windows.kernel, windows.out
    taken = windows.take(np.asarray(x, dtype=np.float64), pad_value)
    return taken.reshape(*batch, c * kh * kw, oh * ow)


def col2im(
    cols: ArrayLike, input_shape: Sequence[int], kernel_size: Pair, stride: Pair = 1,
    padding: Padding = 0, dilation: Pair = 1,
) -> Floats:  # fmt: skip
    """Add every column back to the window that it came from."""
    *planes, height, width = input_shape
    windows = _windows((height, width), kernel_size, stride, padding, dilation)
    (kh, kw), (oh, ow) = windows.kernel, windows.out
    return windows.put(np.reshape(cols, (*planes, kh * kw, oh, ow)))


def max_pool2d(
    x: ArrayLike, kernel_size: Pair, stride: Pair | None = None, padding: Padding = 0,
    dilation: Pair = 1, ceil_mode: bool = False, return_indices: bool = False,
) -> Floats | tuple[Floats, Ints]:  # fmt: skip
    """Largest cell of every window, and the first place where it stands."""
    images = np.asarray(x, dtype=np.float64)
    h, w = images.shape[-2:]
    step = kernel_size if stride is None else stride
    windows = _windows((h, w), kernel_size, step, padding, dilation, ceil_mode)
    taken = windows.take(images, -np.inf, beyond=-np.inf)
    places = windows.take(np.arange(float(h * w)).reshape(h, w), -1, beyond=-1).astype(np.int64)
    # -inf may also stand in the image: only `places` tells the padding from it.
    y = taken.max(axis=-3, keepdims=True)
    first = np.argmax((places >= 0) & ((taken == y) | np.isnan(taken)), axis=-3, keepdims=True)
    places = np.broadcast_to(places, taken.shape)
    indices = np.take_along_axis(places, first, axis=-3).squeeze(-3)
    return (y.squeeze(-3), indices) if return_indices else y.squeeze(-3)


def max_pool2d_grad(dy: ArrayLike, indices: ArrayLike, input_shape: Sequence[int]) -> Floats:
    """Add every gradient to the cell where the maximum stood."""
    *planes, h, w = input_shape
    dx, values, places = np.zeros((*planes, h * w)), np.asarray(dy), np.asarray(indices)
    for plane in np.ndindex(*planes):
        kept = places[plane] >= 0
        np.add.at(dx[plane], places[plane][kept], values[plane][kept])
    return dx.reshape(input_shape)


def max_unpool2d(y: ArrayLike, indices: ArrayLike, output_shape: Sequence[int]) -> Floats:
    """Put every value where its maximum stood; of several in one place the last stays."""
    *planes, h, w = output_shape
    x, values, places = np.zeros((*planes, h * w)), np.asarray(y), np.asarray(indices)
    for plane in np.ndindex(*planes):
        kept = places[plane] >= 0
        x[plane][places[plane][kept]] = values[plane][kept]
    return x.reshape(output_shape)


def _divisors(windows: _Windows, count_include_pad: bool, override: int | None) -> Floats:
    """How many cells of each window count, or the number that stands for it."""
    counted = windows.take(np.ones(windows.size), float(count_include_pad)).sum(axis=0)
    return counted if override is None else np.full_like(counted, override)


def avg_pool2d(
    x: ArrayLike, kernel_size: Pair, stride: Pair | None = None, padding: Padding = 0,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
    *, dilation: Pair = 1, pad_value: float = 0,
) -> Floats:  # fmt: skip
    """Sum of the cells of every window, divided by the number of those that count."""
    images = np.asarray(x, dtype=np.float64)
    h, w = images.shape[-2:]
    step = kernel_size if stride is None else stride
    windows = _windows((h, w), kernel_size, step, padding, dilation, ceil_mode)
    taken = windows.take(images, pad_value if count_include_pad else 0)
    with np.errstate(invalid="ignore"):
        y: Floats = taken.sum(axis=-3) / _divisors(windows, count_include_pad, divisor_override)
    return y


def avg_pool2d_grad(
    dy: ArrayLike, input_shape: Sequence[int], kernel_size: Pair, stride: Pair | None = None,
    padding: Padding = 0, ceil_mode: bool = False, count_include_pad: bool = True,
    divisor_override: int | None = None, *, dilation: Pair = 1,
) -> Floats:  # fmt: skip
    """Every gradient, shared equally among the cells of its window."""
    step = kernel_size if stride is None else stride
    windows = _windows(input_shape[-2:], kernel_size, step, padding, dilation, ceil_mode)
    gradient = np.asarray(dy, dtype=np.float64)
    divisors = _divisors(windows, count_include_pad, divisor_override)
    share = np.divide(gradient, divisors, out=np.zeros_like(gradient), where=divisors != 0)
    taps = len(windows.cells())
    return windows.put(np.repeat(share[..., np.newaxis, :, :], taps, axis=-3))
