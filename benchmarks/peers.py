"""Who is timed: each function prepares one way to compute a layer.

A builder gets a layer, the number of threads and the layer's inputs, does all that may be done
once, and returns a function without arguments that gives the result as an ndarray; only that
function is timed. `Unsupported` says why a peer leaves a layer out.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import convpool
import numpy_peers
from convpool._typing import Algorithm
from layer import AnyLayer, Array, Layer, Pool
from library_peers import ONNXRUNTIME, OPENCV, SCIPY, TORCH, opencv_context, torch_context
from peer import Builder, Call, Peer, Unsupported

__all__ = ["BASELINE", "PEERS", "PREPARED"]

# The plain loops are here for tiny layers.
DIRECT_SECONDS = 0.1


def _layout(layer: AnyLayer) -> dict[str, Any]:
    return {"layout": "NHWC"} if layer.channels_last else {}


def _options(layer: Layer) -> dict[str, Any]:
    return {"precision": layer.precision, **_layout(layer)}


def _call(layer: AnyLayer, function: Callable[..., Array], *arguments: Any, **options: Any) -> Call:
    """Give convpool images with channels last as it takes them, and turn the result back."""
    if not layer.channels_last:
        return partial(function, *arguments, **options)

    def last(a: Any) -> Any:
        if isinstance(a, np.ndarray) and a.shape != getattr(layer, "weight_shape", None):
            return a.transpose(0, 2, 3, 1)
        return a

    call = partial(function, *map(last, arguments), **options)
    if layer.operation == "conv2d_grad_weight":
        return call
    return lambda: call().transpose(0, 3, 1, 2)


def _image_shape(layer: AnyLayer) -> tuple[int, ...]:
    n, c, h, w = layer.x_shape
    return (n, h, w, c) if layer.channels_last else (n, c, h, w)


def _conv2d(algorithm: Algorithm, layer: Layer, threads: int, x: Array, weight: Array) -> Call:
    if algorithm == "direct" and layer.flops / 3e9 > DIRECT_SECONDS:
        raise Unsupported(f"would take more than {DIRECT_SECONDS:g} s")
    geometry = (layer.stride, layer.padding, layer.dilation, layer.groups)
    arguments = (x, weight, None, *geometry)
    options = {"algorithm": algorithm, "threads": threads, **_options(layer)}
    return _call(layer, convpool.conv2d, *arguments, **options)


def _prepared_conv2d(layer: Layer, threads: int, x: Array, weight: Array) -> Call:
    geometry = (layer.stride, layer.padding, layer.dilation, layer.groups)
    prepared = convpool.prepare_conv2d(weight, None, *geometry, **_options(layer))
    return _call(layer, prepared, x, threads=threads)


def _conv2d_grad_input(layer: Layer, threads: int, dy: Array, weight: Array) -> Call:
    geometry = (layer.stride, layer.padding, layer.dilation, layer.groups)
    arguments = (dy, weight, _image_shape(layer), *geometry)
    return _call(layer, convpool.conv2d_grad_input, *arguments, threads=threads, **_options(layer))


def _conv2d_grad_weight(layer: Layer, threads: int, dy: Array, x: Array) -> Call:
    geometry = (layer.stride, layer.padding, layer.dilation, layer.groups)
    arguments = (dy, x, layer.weight_shape[2:], *geometry)
    return _call(layer, convpool.conv2d_grad_weight, *arguments, threads=threads, **_layout(layer))


def _pool2d(layer: Pool, threads: int, x: Array) -> Call:
    function = getattr(convpool, layer.operation)
    geometry = (layer.kernel, layer.stride, layer.padding)
    return _call(layer, function, x, *geometry, threads=threads, **_layout(layer))


def _max_pool2d_grad(layer: Pool, threads: int, dy: Array, x: Array) -> Call:
    geometry = (layer.kernel, layer.stride, layer.padding)
    _, indices = convpool.max_pool2d(x, *geometry, return_indices=True)
    if layer.channels_last:
        indices = np.ascontiguousarray(indices.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    arguments = (dy, indices, _image_shape(layer))
    return _call(layer, convpool.max_pool2d_grad, *arguments, threads=threads, **_layout(layer))


def _avg_pool2d_grad(layer: Pool, threads: int, dy: Array, x: Array) -> Call:
    geometry = (layer.kernel, layer.stride, layer.padding)
    arguments = (dy, _image_shape(layer), *geometry)
    return _call(layer, convpool.avg_pool2d_grad, *arguments, threads=threads, **_layout(layer))


CONVPOOL: dict[str, Builder] = {
    "conv2d": partial(_conv2d, "auto"),
    "conv2d_grad_input": _conv2d_grad_input,
    "conv2d_grad_weight": _conv2d_grad_weight,
    "max_pool2d": _pool2d,
    "avg_pool2d": _pool2d,
    "max_pool2d_grad": _max_pool2d_grad,
    "avg_pool2d_grad": _avg_pool2d_grad,
}
NUMPY_WINDOWS: dict[str, Builder] = {
    "conv2d": numpy_peers.windows_conv2d,
    "max_pool2d": numpy_peers.windows_pool2d,
    "avg_pool2d": numpy_peers.windows_pool2d,
}
NUMPY_LOOP: dict[str, Builder] = {
    "conv2d": numpy_peers.loop_conv2d,
    "max_pool2d": numpy_peers.loop_pool2d,
    "avg_pool2d": numpy_peers.loop_pool2d,
}

BASELINE = "convpool auto"
PREPARED = "convpool prepared"
PEERS: list[Peer] = [
    Peer(BASELINE, "convpool", CONVPOOL, scales=True),
    Peer(PREPARED, "convpool", {"conv2d": _prepared_conv2d}, packs_once=True),
    Peer("convpool implicit", "convpool", {"conv2d": partial(_conv2d, "implicit_gemm")}),
    Peer("convpool im2col", "convpool", {"conv2d": partial(_conv2d, "im2col")}),
    Peer("convpool direct", "convpool", {"conv2d": partial(_conv2d, "direct")}),
    Peer("torch", "torch", TORCH, torch_context, scales=True),
    Peer("onnxruntime", "onnxruntime", ONNXRUNTIME, packs_once=True, scales=True),
    Peer("scipy correlate2d", "scipy", SCIPY),
    Peer("opencv filter2D", "cv2", OPENCV, opencv_context, scales=True),
    Peer("numpy windows", "numpy", NUMPY_WINDOWS),
    Peer("numpy loop", "numpy", NUMPY_LOOP),
]
