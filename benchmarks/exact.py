"""The result in float64 that errors are measured against, computed unlike any peer."""

from collections.abc import Iterator

import numpy as np

from layer import AnyLayer, Array, Layer, Pool

__all__ = ["float64_result"]

# Tap by tap, a filter of 31x31 would make 961 passes over its image.
LARGEST_TAPPED_KERNEL = 7


def float64_result(layer: AnyLayer, inputs: tuple[Array, ...]) -> Array:
    """Compute the layer in float64, tap by tap, so with little memory; large filters by FFT."""
    data = [a.astype(np.float64) for a in inputs]
    if isinstance(layer, Pool):
        return _pool2d(layer, *data) if len(data) == 1 else _pool2d_grad(layer, *data)
    if layer.operation == "conv2d_grad_input":
        return _conv2d_grad_input(layer, *data)
    if layer.operation == "conv2d_grad_weight":
        return _conv2d_grad_weight(layer, *data)
    one_channel = layer.weight_shape[:2] == (1, 1) and layer.stride == layer.dilation == 1
    if one_channel and max(layer.weight_shape) > LARGEST_TAPPED_KERNEL:
        return _filter2d(layer, *data)
    return _conv2d(layer, *data)


def _pad(layer: AnyLayer, x: Array, value: float = 0.0) -> Array:
    cells = (layer.padding, layer.padding)
    return np.pad(x, ((0, 0), (0, 0), cells, cells), constant_values=value)


def _crop(layer: AnyLayer, padded: Array) -> Array:
    _, _, h, w = layer.x_shape
    p = layer.padding
    return padded[:, :, p : p + h, p : p + w]


def _taps(layer: AnyLayer, padded: Array) -> Iterator[tuple[int, int, Array]]:
    """Yield each cell of the kernel with a view of what it sees, `(N, C, H_out, W_out)`."""
    _, _, oh, ow = layer.output_shape
    s = layer.stride
    if isinstance(layer, Pool):
        kh, kw, d = layer.kernel, layer.kernel, 1
    else:
        kh, kw, d = *layer.weight_shape[2:], layer.dilation
    for i in range(kh):
        for j in range(kw):
            rows = slice(i * d, i * d + (oh - 1) * s + 1, s)
            columns = slice(j * d, j * d + (ow - 1) * s + 1, s)
            yield i, j, padded[:, :, rows, columns]


def _by_group(layer: Layer, a: Array) -> Array:
    """Reshape `(N, C, H, W)` to `(N, groups, C / groups, H*W)`."""
    n, c, h, w = a.shape
    return a.reshape(n, layer.groups, c // layer.groups, h * w)


def _kernels(layer: Layer, weight: Array) -> Array:
    return weight.reshape(layer.groups, -1, *layer.weight_shape[1:])


def _conv2d(layer: Layer, x: Array, weight: Array) -> Array:
    kernels = _kernels(layer, weight)
    y = _by_group(layer, np.zeros(layer.output_shape))
    for i, j, tap in _taps(layer, _pad(layer, x)):
        y += kernels[..., i, j] @ _by_group(layer, tap)
    return y.reshape(layer.output_shape)


def _filter2d(layer: Layer, x: Array, weight: Array) -> Array:
    """Multiply spectra; what a circular correlation wraps around is cut off."""
    _, _, oh, ow = layer.output_shape
    padded = _pad(layer, x)
    spectrum = np.fft.rfft2(padded) * np.conj(np.fft.rfft2(weight, padded.shape[2:]))
    return np.fft.irfft2(spectrum, padded.shape[2:])[:, :, :oh, :ow]


def _conv2d_grad_input(layer: Layer, dy: Array, weight: Array) -> Array:
    kernels = _kernels(layer, weight).swapaxes(1, 2)
    dx = _pad(layer, np.zeros(layer.x_shape))
    for i, j, tap in _taps(layer, dx):
        tap += (kernels[..., i, j] @ _by_group(layer, dy)).reshape(tap.shape)
    return _crop(layer, dx)


def _conv2d_grad_weight(layer: Layer, dy: Array, x: Array) -> Array:
    dw = np.empty((layer.groups, layer.weight_shape[0] // layer.groups, *layer.weight_shape[1:]))
    for i, j, tap in _taps(layer, _pad(layer, x)):
        products = _by_group(layer, dy) @ _by_group(layer, tap).swapaxes(2, 3)
        dw[..., i, j] = products.sum(axis=0)
    return dw.reshape(layer.weight_shape)


def _pool2d(layer: Pool, x: Array) -> Array:
    largest = layer.operation.startswith("max")
    fill = -np.inf if largest else 0.0
    y = np.full(layer.output_shape, fill)
    for _, _, tap in _taps(layer, _pad(layer, x, fill)):
        y = np.maximum(y, tap) if largest else y + tap
    return y if largest else y / layer.kernel**2


def _pool2d_grad(layer: Pool, dy: Array, x: Array) -> Array:
    dx = _pad(layer, np.zeros(layer.x_shape))
    if layer.operation == "avg_pool2d_grad":
        for _, _, tap in _taps(layer, dx):
            tap += dy / layer.kernel**2
        return _crop(layer, dx)
    maxima, free = _pool2d(layer, x), np.full(layer.output_shape, True)
    cells = _taps(layer, _pad(layer, x, -np.inf))
    for (_, _, tap), (_, _, cell) in zip(_taps(layer, dx), cells, strict=True):
        first = free & (cell == maxima)
        tap += dy * first
        free &= ~first
    return _crop(layer, dx)
