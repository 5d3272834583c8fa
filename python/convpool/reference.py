"""The specification: every operation of convpool in NumPy alone, in wide types, to be read.

Names and arguments are those of the functions in `convpool`, which describe them; ``layout`` and
the arguments that only say how to compute (``algorithm``, ``precision``, ``threads``, ``out``,
``dtype``) are left out. Real numbers are computed in float64, complex ones in complex128, integers
in the type of `numpy.sum`, and the result keeps that type. Everything rests on two steps of
`_reference_windows.Windows`: ``take`` lays the cells of all windows side by side, and ``put``, its
adjoint, adds such cells back into an image. Arguments are taken to be valid.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from convpool._reference_windows import (
    Size,
    batched,
    cells_to_add,
    fractional,
    pair,
    place_windows,
    wide,
)
from convpool._typing import Array, Padding, PadMode, Pair

__all__ = [
    "adaptive_avg_pool2d", "adaptive_avg_pool2d_grad", "adaptive_max_pool2d", "avg_pool2d",
    "avg_pool2d_grad", "col2im", "conv2d", "conv2d_grad_bias", "conv2d_grad_input",
    "conv2d_grad_weight", "conv2d_transpose", "global_avg_pool2d", "global_max_pool2d", "im2col",
    "lp_pool2d", "max_pool2d", "max_pool2d_grad", "max_unpool2d", "min_pool2d", "sum_pool2d",
]  # fmt: skip


def conv2d(
    x: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None, stride: Pair = 1,
    padding: Padding = 0, dilation: Pair = 1, groups: int = 1, *, pad_mode: PadMode = "constant",
    pad_value: complex = 0,
) -> Array:  # fmt: skip
    """Cross-correlation: products of the weight with the cells of every window, summed.

    Examples
    --------
    >>> import numpy as np
    >>> from convpool import reference
    >>> reference.conv2d(np.arange(9.0).reshape(1, 3, 3), np.arange(4.0).reshape(1, 1, 2, 2))
    array([[[19., 25.],
            [37., 43.]]])
    """
    images, w, *offset = wide(x, weight, *([] if bias is None else [bias]))
    n, ic, *size = batched(images).shape
    oc, _, kh, kw = w.shape
    windows = place_windows(size, (kh, kw), stride, padding, dilation, pad_mode)
    oh, ow = windows.out
    taken = windows.take(batched(images), pad_value)
    taken = taken.reshape(n, groups, ic // groups * kh * kw, oh * ow)
    y = w.reshape(groups, oc // groups, ic // groups * kh * kw) @ taken
    y = y.reshape(*images.shape[:-3], oc, oh, ow)
    return y + offset[0].reshape(oc, 1, 1) if offset else y


def conv2d_transpose(
    x: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None, stride: Pair = 1,
    padding: Padding = 0, output_padding: Pair = 0, groups: int = 1, dilation: Pair = 1,
) -> Array:  # fmt: skip
    """Choose the size of the result, and take `conv2d_grad_input` for an input of that size."""
    *batch, _, h, w = np.shape(x)
    _, oc, kh, kw = np.shape(weight)
    (sh, sw), (dh, dw), (more_h, more_w) = pair(stride), pair(dilation), pair(output_padding)
    span = (kh - 1) * dh + 1, (kw - 1) * dw + 1
    if padding in ("same", "same_lower"):
        height, width = h * sh, w * sw
        padding = cells_to_add(padding, (height, width), span, (sh, sw))
    else:
        padding = rows, columns = cells_to_add(padding, (h, w), span, (sh, sw))
        height, width = (h - 1) * sh - sum(rows) + span[0], (w - 1) * sw - sum(columns) + span[1]
    shape = *batch, oc * groups, height + more_h, width + more_w
    images, taps, *offset = wide(x, weight, *([] if bias is None else [bias]))
    y = conv2d_grad_input(images, taps.conj(), shape, stride, padding, dilation, groups)
    return y + offset[0].reshape(-1, 1, 1) if offset else y


def conv2d_grad_input(
    dy: ArrayLike, weight: ArrayLike, input_shape: Sequence[int], stride: Pair = 1,
    padding: Padding = 0, dilation: Pair = 1, groups: int = 1, *, pad_mode: PadMode = "constant",
) -> Array:  # fmt: skip
    """Products of the conjugate weight with `dy`, put back into the windows they came from."""
    gradient, w = wide(dy, weight)
    n, oc, oh, ow = batched(gradient).shape
    kh, kw = w.shape[2:]
    ic, *size = input_shape[-3:]
    windows = place_windows(size, (kh, kw), stride, padding, dilation, pad_mode, out=(oh, ow))
    w = w.conj().reshape(groups, oc // groups, ic // groups * kh * kw).swapaxes(1, 2)
    taken = w @ gradient.reshape(n, groups, oc // groups, oh * ow)
    return windows.put(taken.reshape(n, ic, kh * kw, oh, ow)).reshape(input_shape)


def conv2d_grad_weight(
    dy: ArrayLike, x: ArrayLike, kernel_size: Pair, stride: Pair = 1, padding: Padding = 0,
    dilation: Pair = 1, groups: int = 1, *, pad_mode: PadMode = "constant", pad_value: complex = 0,
) -> Array:  # fmt: skip
    """Products of `dy` with the conjugate cells of every window, summed over windows and batch."""
    gradient, images = (batched(array) for array in wide(dy, x))
    n, oc, oh, ow = gradient.shape
    _, ic, *size = images.shape
    kh, kw = pair(kernel_size)
    windows = place_windows(size, (kh, kw), stride, padding, dilation, pad_mode)
    taken = windows.take(images, pad_value).conj()
    taken = taken.reshape(n, groups, ic // groups * kh * kw, oh * ow)
    dw = gradient.reshape(n, groups, oc // groups, oh * ow) @ taken.swapaxes(2, 3)
    return np.reshape(dw.sum(axis=0), (oc, ic // groups, kh, kw))


def conv2d_grad_bias(dy: ArrayLike) -> Array:
    """Sum over batch, rows and columns."""
    (gradient,) = wide(dy)
    db: Array = np.sum(batched(gradient), axis=(0, 2, 3))
    return db


def im2col(
    x: ArrayLike, kernel_size: Pair, stride: Pair = 1, padding: Padding = 0, dilation: Pair = 1,
    *, pad_mode: PadMode = "constant", pad_value: complex = 0,
) -> Array:  # fmt: skip
    """Cells of all windows: a row for each channel and tap, a column for each window."""
    *batch, c, height, width = np.shape(x)
    windows = place_windows((height, width), kernel_size, stride, padding, dilation, pad_mode)
    (kh, kw), (oh, ow) = windows.kernel, windows.out
    taken = windows.take(wide(x)[0], pad_value)
    return taken.reshape(*batch, c * kh * kw, oh * ow)


def col2im(
    cols: ArrayLike, input_shape: Sequence[int], kernel_size: Pair, stride: Pair = 1,
    padding: Padding = 0, dilation: Pair = 1, *, pad_mode: PadMode = "constant",
) -> Array:  # fmt: skip
    """Add every column back to the window that it came from."""
    *planes, height, width = input_shape
    windows = place_windows((height, width), kernel_size, stride, padding, dilation, pad_mode)
    (kh, kw), (oh, ow) = windows.kernel, windows.out
    return windows.put(wide(cols)[0].reshape(*planes, kh * kw, oh, ow))


def _ordered(x: ArrayLike) -> Array:
    """Keep integers, which float64 may not hold; widen all else."""
    images = np.asarray(x)
    return images if images.dtype.kind in "biu" else images.astype(np.float64)


def _lowest(x: Array) -> Any:
    if x.dtype.kind == "b":
        return False
    return -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min


def _reversed(x: ArrayLike) -> Array:
    images = _ordered(x)
    turned: Array = -images if images.dtype.kind == "f" else ~images
    return turned


def max_pool2d(
    x: ArrayLike, kernel_size: Pair, stride: Pair | None = None, padding: Padding = 0,
    dilation: Pair = 1, ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """Largest cell of every window, and the first place where it stands."""
    images = _ordered(x)
    h, w = images.shape[-2:]
    step = kernel_size if stride is None else stride
    windows = place_windows((h, w), kernel_size, step, padding, dilation, ceil_mode=ceil_mode)
    lowest = _lowest(images)
    taken = windows.take(images, lowest, beyond=lowest)
    places = windows.take(np.arange(h * w).reshape(h, w), -1, beyond=-1)
    # The lowest number may also stand in the image: only `places` tells the padding from it.
    y = taken.max(axis=-3, keepdims=True)
    first = np.argmax((places >= 0) & ((taken == y) | (taken != taken)), axis=-3, keepdims=True)
    places = np.broadcast_to(places, taken.shape)
    indices = np.take_along_axis(places, first, axis=-3).squeeze(-3)
    return (y.squeeze(-3), indices) if return_indices else y.squeeze(-3)


def min_pool2d(
    x: ArrayLike, kernel_size: Pair, stride: Pair | None = None, padding: Padding = 0,
    dilation: Pair = 1, ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """Reverse the order of all numbers, take the maximum, reverse again."""
    y, indices = max_pool2d(
        _reversed(x), kernel_size, stride, padding, dilation, ceil_mode, return_indices=True
    )
    return (_reversed(y), indices) if return_indices else _reversed(y)


def max_pool2d_grad(dy: ArrayLike, indices: ArrayLike, input_shape: Sequence[int]) -> Array:
    """Add every gradient to the cell where the maximum stood."""
    *planes, h, w = input_shape
    (values,), places = wide(dy), np.asarray(indices)
    dx = np.zeros((*planes, h * w), values.dtype)
    for plane in np.ndindex(*planes):
        kept = places[plane] >= 0
        np.add.at(dx[plane], places[plane][kept], values[plane][kept])
    return dx.reshape(input_shape)


def max_unpool2d(y: ArrayLike, indices: ArrayLike, output_shape: Sequence[int]) -> Array:
    """Put every value where its maximum stood; of several in one place the last stays."""
    *planes, h, w = output_shape
    (values,), places = wide(y), np.asarray(indices)
    x = np.zeros((*planes, h * w), values.dtype)
    for plane in np.ndindex(*planes):
        kept = places[plane] >= 0
        x[plane][places[plane][kept]] = values[plane][kept]
    return x.reshape(output_shape)


def sum_pool2d(
    x: ArrayLike, kernel_size: Pair, stride: Pair | None = None, padding: Padding = 0,
    ceil_mode: bool = False, *, dilation: Pair = 1, pad_mode: PadMode = "constant",
    pad_value: complex = 0,
) -> Array:  # fmt: skip
    """Sum of the cells of every window; its gradient is `avg_pool2d_grad` with a divisor of 1."""
    (images,) = wide(x)
    size, step = images.shape[-2:], kernel_size if stride is None else stride
    windows = place_windows(size, kernel_size, step, padding, dilation, pad_mode, ceil_mode)
    y: Array = windows.take(images, pad_value).sum(axis=-3)
    return y


def avg_pool2d(
    x: ArrayLike, kernel_size: Pair, stride: Pair | None = None, padding: Padding = 0,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
    *, dilation: Pair = 1, pad_mode: PadMode = "constant", pad_value: complex = 0,
) -> Array:  # fmt: skip
    """Sum of the cells of every window, divided by the number of those that count."""
    images = fractional(x)
    if not count_include_pad:
        pad_mode, pad_value = "constant", 0
    geometry: Any = {
        "kernel_size": kernel_size, "stride": stride, "padding": padding, "ceil_mode": ceil_mode,
        "dilation": dilation, "pad_mode": pad_mode,
    }  # fmt: skip
    total = sum_pool2d(images, **geometry, pad_value=pad_value)
    ones = np.ones((1, *images.shape[-2:]))
    counted: Any = sum_pool2d(ones, **geometry, pad_value=float(count_include_pad))
    with np.errstate(invalid="ignore"):
        y: Array = total / (counted if divisor_override is None else divisor_override)
    return y


def avg_pool2d_grad(
    dy: ArrayLike, input_shape: Sequence[int], kernel_size: Pair, stride: Pair | None = None,
    padding: Padding = 0, ceil_mode: bool = False, count_include_pad: bool = True,
    divisor_override: int | None = None, *, dilation: Pair = 1, pad_mode: PadMode = "constant",
) -> Array:  # fmt: skip
    """Every gradient, shared equally among the cells of its window."""
    mode: PadMode = pad_mode if count_include_pad else "constant"
    size, step = input_shape[-2:], kernel_size if stride is None else stride
    windows = place_windows(size, kernel_size, step, padding, dilation, mode, ceil_mode)
    gradient = fractional(dy)
    counted = windows.take(np.ones(windows.size), float(count_include_pad)).sum(axis=0)
    if divisor_override is not None:
        counted = np.full_like(counted, divisor_override)
    share = np.divide(gradient, counted, out=np.zeros_like(gradient), where=counted != 0)
    taps = len(windows.cells())
    return windows.put(np.repeat(share[..., np.newaxis, :, :], taps, axis=-3))


def lp_pool2d(
    x: ArrayLike, norm_type: float, kernel_size: Pair, stride: Pair | None = None,
    ceil_mode: bool = False, *, padding: Padding = 0, dilation: Pair = 1,
) -> Array:  # fmt: skip
    """p-norm of every window; padded cells are zero."""
    size, step = np.shape(x)[-2:], kernel_size if stride is None else stride
    windows = place_windows(size, kernel_size, step, padding, dilation, ceil_mode=ceil_mode)
    taken = windows.take(np.abs(fractional(x)))
    y: Array = (
        taken.max(axis=-3)
        if np.isinf(norm_type)
        else (taken**norm_type).sum(axis=-3) ** (1 / norm_type)
    )
    return y


def _parts(size: Sequence[int], output_size: Pair) -> Iterator[tuple[Size, tuple[slice, slice]]]:
    """Cells of the result and what each covers: cell i of m, ``floor(i*n/m)...ceil((i+1)*n/m)``."""
    (h, w), (oh, ow) = size, pair(output_size)
    for i, j in np.ndindex(oh, ow):
        rows = slice(i * h // oh, -(-(i + 1) * h // oh))
        yield (i, j), (rows, slice(j * w // ow, -(-(j + 1) * w // ow)))


def adaptive_avg_pool2d(x: ArrayLike, output_size: Pair) -> Array:
    """Mean of every part."""
    images = fractional(x)
    y = np.empty((*images.shape[:-2], *pair(output_size)), images.dtype)
    for at, part in _parts(images.shape[-2:], output_size):
        y[..., *at] = images[..., *part].mean(axis=(-2, -1))
    return y


def adaptive_avg_pool2d_grad(dy: ArrayLike, input_shape: Sequence[int]) -> Array:
    """Every gradient, shared equally among the cells of its part."""
    gradient = fractional(dy)
    dx = np.zeros(input_shape, gradient.dtype)
    output_size = gradient.shape[-2:]
    for at, part in _parts(input_shape[-2:], output_size):
        covered = dx[..., *part]
        covered += gradient[..., *at, None, None] / (covered.shape[-1] * covered.shape[-2])
    return dx


def adaptive_max_pool2d(x: ArrayLike, output_size: Pair, return_indices: bool = False) -> Any:
    """Largest cell of every part, and the first place where it stands."""
    images = _ordered(x)
    (h, w), planes, size = images.shape[-2:], images.shape[:-2], pair(output_size)
    places = np.arange(h * w).reshape(h, w)
    y, indices = np.empty((*planes, *size), images.dtype), np.empty((*planes, *size), np.int64)
    for at, part in _parts((h, w), size):
        cells = images[..., *part]
        cells = cells.reshape(*planes, cells.shape[-2] * cells.shape[-1])
        first = cells.argmax(axis=-1)
        y[..., *at] = np.take_along_axis(cells, first[..., None], axis=-1)[..., 0]
        indices[..., *at] = places[*part].ravel()[first]
    return (y, indices) if return_indices else y


def global_avg_pool2d(x: ArrayLike) -> Array:
    """Mean of every plane."""
    return adaptive_avg_pool2d(x, 1)


def global_max_pool2d(x: ArrayLike, return_indices: bool = False) -> Any:
    """Largest cell of every plane."""
    return adaptive_max_pool2d(x, 1, return_indices)
