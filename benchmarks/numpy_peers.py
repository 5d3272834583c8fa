"""What people write who have NumPy alone; the padding is timed, as it is in every other peer."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from layer import Array, Layer, Pool
from peer import Call, Unsupported

__all__ = ["loop_conv2d", "loop_pool2d", "windows_conv2d", "windows_pool2d"]

# A quick look should not wait for Python loops, nor run a small machine out of memory.
LOOP_SECONDS = 0.3
WINDOW_BYTES = 2**30


def _pad(x: Array, padding: int, value: float = 0.0) -> Array:
    if padding == 0:
        return x
    cells = (padding, padding)
    return np.pad(x, ((0, 0), (0, 0), cells, cells), constant_values=value)


def loop_conv2d(layer: Layer, threads: int, x: Array, weight: Array) -> Call:
    """Loop over output pixels, as the textbook does; batch and channels are one product."""
    n, oc, oh, ow = layer.output_shape
    _, _, kh, kw = layer.weight_shape
    s, d, groups = layer.stride, layer.dilation, layer.groups
    if oh * ow * 4e-6 + layer.flops / 2e9 > LOOP_SECONDS:
        raise Unsupported(f"would take more than {LOOP_SECONDS:g} s")

    def call() -> Array:
        padded = _pad(x, layer.padding)
        matrices = weight.reshape(groups, oc // groups, -1).transpose(0, 2, 1)
        y = np.empty((n, oc, oh, ow), x.dtype)
        for i in range(oh):
            for j in range(ow):
                top, left = i * s, j * s
                window = padded[:, :, top : top + kh * d : d, left : left + kw * d : d]
                rows = window.reshape(n, groups, -1).swapaxes(0, 1)
                y[:, :, i, j] = (rows @ matrices).swapaxes(0, 1).reshape(n, oc)
        return y

    return call


def _windows(padded: Array, kernel: tuple[int, int], stride: int, dilation: int = 1) -> Array:
    """All windows as a view, `(N, C, H_out, W_out, kh, kw)`."""
    extent = tuple((k - 1) * dilation + 1 for k in kernel)
    views = sliding_window_view(padded, extent, axis=(2, 3))
    return views[:, :, ::stride, ::stride, ::dilation, ::dilation]


def windows_conv2d(layer: Layer, threads: int, x: Array, weight: Array) -> Call:
    """Sliding windows and one matrix product for each group."""
    n, oc, oh, ow = layer.output_shape
    _, icg, kh, kw = layer.weight_shape
    ocg = oc // layer.groups
    copied = n * oh * ow * icg * kh * kw * x.itemsize
    if copied > WINDOW_BYTES:
        raise Unsupported(f"would copy {copied / 2**30:.1f} GiB of windows")

    def product(windows: Array, kernels: Array) -> Array:
        return np.tensordot(kernels, windows, axes=((1, 2, 3), (1, 4, 5))).swapaxes(0, 1)

    def call() -> Array:
        padded = _pad(x, layer.padding)
        windows = _windows(padded, (kh, kw), layer.stride, layer.dilation)
        if layer.groups == 1:
            return product(windows, weight)
        y = np.empty((n, oc, oh, ow), x.dtype)
        for g in range(layer.groups):
            outs = slice(g * ocg, (g + 1) * ocg)
            y[:, outs] = product(windows[:, g * icg : (g + 1) * icg], weight[outs])
        return y

    return call


def loop_pool2d(layer: Pool, threads: int, x: Array) -> Call:
    """Loop over output pixels."""
    _, _, oh, ow = layer.output_shape
    reduce, fill = _reduction(layer)
    k, s = layer.kernel, layer.stride
    if oh * ow * 2e-5 + layer.flops / 5e8 > LOOP_SECONDS:
        raise Unsupported(f"would take more than {LOOP_SECONDS:g} s")

    def call() -> Array:
        padded = _pad(x, layer.padding, fill)
        y = np.empty(layer.output_shape, x.dtype)
        for i in range(oh):
            for j in range(ow):
                window = padded[:, :, i * s : i * s + k, j * s : j * s + k]
                y[:, :, i, j] = reduce(window, axis=(2, 3))
        return y

    return call


def windows_pool2d(layer: Pool, threads: int, x: Array) -> Call:
    """Sliding windows, reduced over their last two axes."""
    reduce, fill = _reduction(layer)

    def call() -> Array:
        padded = _pad(x, layer.padding, fill)
        windows = _windows(padded, (layer.kernel, layer.kernel), layer.stride)
        return cast(Array, reduce(windows, axis=(4, 5)))

    return call


def _reduction(layer: Pool) -> tuple[Callable[..., Any], float]:
    return (np.max, -np.inf) if layer.operation == "max_pool2d" else (np.mean, 0.0)
