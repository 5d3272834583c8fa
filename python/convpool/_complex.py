"""Complex convolutions and pools as real ones of the real and the imaginary parts.

The compiled module checks every argument and calls these functions with channels before rows; they
call it again with real arrays. No conjugation in the forward maps; gradients conjugate, so that
``vdot(y, dy)`` and ``vdot(x, dx)`` have equal real parts.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from convpool import _core
from convpool._typing import Array


def _real_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    return np.empty(0, dtype).real.dtype


def _join(real: Array, imag: Array, dtype: DTypeLike) -> Array:
    joined = np.empty(real.shape, dtype)
    joined.real = real
    joined.imag = imag
    return joined


def _of_parts(function: Callable[[Array], Array], x: Array, dtype: DTypeLike) -> Array:
    """Apply a real linear map to both parts."""
    return _join(function(x.real), function(x.imag), dtype)


def _stack(parts: tuple[Array, Array], axis: int) -> Array:
    """Alternate two arrays along an axis: a0, b0, a1, b1, ..."""
    stacked = np.stack(parts, axis + 1 if axis >= 0 else axis)
    shape = list(parts[0].shape)
    shape[axis] *= 2
    return stacked.reshape(shape)


def _unstack(stacked: Array, axis: int) -> tuple[Array, Array]:
    even: list[slice] = [slice(None)] * stacked.ndim
    odd = even.copy()
    even[axis], odd[axis] = slice(0, None, 2), slice(1, None, 2)
    return stacked[tuple(even)], stacked[tuple(odd)]


def _channels(x: Array) -> int:
    return x.ndim - 3


def conv2d(
    x: Array, weight: Array, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int,
    pad_mode: str, pad_value: complex, precision: str, algorithm: str, dtype: DTypeLike,
) -> Array:  # fmt: skip
    """Two real convolutions, each with twice the output channels."""
    wr, wi = weight.real, weight.imag
    pad = complex(pad_value)

    def convolve(part: Array, kernels: tuple[Array, Array], fill: float) -> Array:
        return _core.conv2d(
            part, _stack(kernels, 0), None, stride, padding, dilation, groups, pad_mode, fill,
            "NCHW", _real_dtype(dtype), precision, algorithm, None, None,
        )  # fmt: skip

    stacked = convolve(x.real, (wr, wi), pad.real) + convolve(x.imag, (-wi, wr), pad.imag)
    y = _join(*_unstack(stacked, _channels(x)), dtype)
    if bias is not None:
        y += np.asarray(bias)[:, None, None]
    return y


def _transposed(
    function: Callable[[Array, Array], Array], y: Array, weight: Array, dtype: DTypeLike
) -> Array:
    """``function(y, weight)``, which maps outputs back to inputs, without conjugation."""
    stacked = _stack((y.real, y.imag), _channels(y))
    real = function(stacked, _stack((weight.real, -weight.imag), 0))
    imag = function(stacked, _stack((weight.imag, weight.real), 0))
    return _join(real, imag, dtype)


def conv2d_transpose(
    x: Array, weight: Array, bias: Any, stride: Any, padding: Any, output_padding: Any,
    groups: int, dilation: Any, precision: str, algorithm: str, dtype: DTypeLike,
) -> Array:  # fmt: skip
    """Two real transposed convolutions of twice the channels."""

    def transpose(stacked: Array, kernels: Array) -> Array:
        return _core.conv2d_transpose(
            stacked, kernels, None, stride, padding, output_padding, groups, dilation,
            "NCHW", _real_dtype(dtype), precision, algorithm, None, None,
        )  # fmt: skip

    y = _transposed(transpose, x, weight, dtype)
    if bias is not None:
        y += np.asarray(bias)[:, None, None]
    return y


def conv2d_grad_input(
    dy: Array, weight: Array, input_shape: Sequence[int], stride: Any, padding: Any, dilation: Any,
    groups: int, pad_mode: str, precision: str, algorithm: str, dtype: DTypeLike,
) -> Array:  # fmt: skip
    """As the transposed convolution, with the conjugate weight."""

    def transpose(stacked: Array, kernels: Array) -> Array:
        return _core.conv2d_grad_input(
            stacked, kernels, input_shape, stride, padding, dilation, groups, pad_mode, 0,
            "NCHW", _real_dtype(dtype), precision, algorithm, None, None,
        )  # fmt: skip

    return _transposed(transpose, dy, weight.conj(), dtype)


def conv2d_grad_weight(
    dy: Array, x: Array, kernel_size: Any, stride: Any, padding: Any, dilation: Any, groups: int,
    pad_mode: str, pad_value: complex, precision: str, algorithm: str, dtype: DTypeLike,
) -> Array:  # fmt: skip
    """Correlate `dy` with the conjugate of `x`."""
    stacked = _stack((dy.real, dy.imag), _channels(dy))
    pad = complex(pad_value)

    def correlate(part: Array, fill: float) -> tuple[Array, Array]:
        products = _core.conv2d_grad_weight(
            stacked, part, kernel_size, stride, padding, dilation, groups, pad_mode, fill,
            "NCHW", _real_dtype(dtype), precision, algorithm, None, None,
        )  # fmt: skip
        return _unstack(products, 0)

    rr, ir = correlate(x.real, pad.real)
    ri, ii = correlate(x.imag, pad.imag)
    return _join(rr + ii, ir - ri, dtype)


def conv2d_grad_bias(dy: Array, dtype: DTypeLike) -> Array:
    """Sum both parts."""
    real = _real_dtype(dtype)
    return _of_parts(lambda part: _core.conv2d_grad_bias(part, "NCHW", real, None, None), dy, dtype)


def im2col(
    x: Array, kernel_size: Any, stride: Any, padding: Any, dilation: Any, pad_mode: str,
    pad_value: complex, dtype: DTypeLike,
) -> Array:  # fmt: skip
    """Copy both parts; each has its part of the padding value."""
    pad = complex(pad_value)

    def copy(part: Array, fill: float) -> Array:
        return _core.im2col(
            part, kernel_size, stride, padding, dilation, pad_mode, fill,
            "NCHW", _real_dtype(dtype), None, None,
        )  # fmt: skip

    return _join(copy(x.real, pad.real), copy(x.imag, pad.imag), dtype)


def col2im(
    cols: Array, input_shape: Sequence[int], kernel_size: Any, stride: Any, padding: Any,
    dilation: Any, pad_mode: str, dtype: DTypeLike,
) -> Array:  # fmt: skip
    """Add both parts."""
    real = _real_dtype(dtype)
    return _of_parts(
        lambda part: _core.col2im(
            part, input_shape, kernel_size, stride, padding, dilation, pad_mode, "NCHW", real,
            None, None,
        ),
        cols,
        dtype,
    )  # fmt: skip


def avg_pool2d(
    x: Array, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool,
    count_include_pad: bool, divisor_override: int | None, dilation: Any, pad_mode: str,
    pad_value: complex, dtype: DTypeLike,
) -> Array:  # fmt: skip
    """Average both parts; each has its part of the padding value."""
    pad = complex(pad_value)

    def average(part: Array, fill: float) -> Array:
        return _core.avg_pool2d(
            part, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override,
            dilation, pad_mode, fill, "NCHW", _real_dtype(dtype), None, None,
        )  # fmt: skip

    return _join(average(x.real, pad.real), average(x.imag, pad.imag), dtype)


def sum_pool2d(
    x: Array, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, dilation: Any,
    pad_mode: str, pad_value: complex, dtype: DTypeLike,
) -> Array:  # fmt: skip
    """Sum both parts; each has its part of the padding value."""
    pad = complex(pad_value)

    def add(part: Array, fill: float) -> Array:
        return _core.sum_pool2d(
            part, kernel_size, stride, padding, ceil_mode, dilation, pad_mode, fill, "NCHW",
            _real_dtype(dtype), None, None,
        )  # fmt: skip

    return _join(add(x.real, pad.real), add(x.imag, pad.imag), dtype)


def avg_pool2d_grad(
    dy: Array, input_shape: Sequence[int], kernel_size: Any, stride: Any, padding: Any,
    ceil_mode: bool, count_include_pad: bool, divisor_override: int | None, dilation: Any,
    pad_mode: str, dtype: DTypeLike,
) -> Array:  # fmt: skip
    """Share out both parts."""
    real = _real_dtype(dtype)
    return _of_parts(
        lambda part: _core.avg_pool2d_grad(
            part, input_shape, kernel_size, stride, padding, ceil_mode, count_include_pad,
            divisor_override, dilation, pad_mode, "NCHW", real, None, None,
        ),
        dy,
        dtype,
    )  # fmt: skip


def adaptive_avg_pool2d(x: Array, output_size: Any, dtype: DTypeLike) -> Array:
    """Average both parts."""
    real = _real_dtype(dtype)
    return _of_parts(
        lambda part: _core.adaptive_avg_pool2d(part, output_size, "NCHW", real, None, None),
        x,
        dtype,
    )


def adaptive_avg_pool2d_grad(dy: Array, input_shape: Sequence[int], dtype: DTypeLike) -> Array:
    """Share out both parts."""
    real = _real_dtype(dtype)
    return _of_parts(
        lambda part: _core.adaptive_avg_pool2d_grad(part, input_shape, "NCHW", real, None, None),
        dy,
        dtype,
    )


def max_pool2d_grad(dy: Array, indices: Array, input_shape: Sequence[int]) -> Array:
    """Scatter both parts."""
    return _of_parts(
        lambda part: _core.max_pool2d_grad(part, indices, input_shape, "NCHW", None, None),
        dy,
        dy.dtype,
    )
