"""Who is timed: each function prepares one way to compute a layer.

A builder gets a layer, the number of threads and the layer's inputs, does all that may be done
once, and returns a function without arguments that gives the result as an ndarray; only that
function is timed. `Unsupported` says why a peer leaves a layer out.
"""

import importlib
import importlib.util
from contextlib import AbstractContextManager
from functools import partial
from typing import cast

import convpool
import numpy_peers
from convpool._typing import Algorithm
from layers import Array, Layer, Pool
from peer import Builder, Call, Peer, Unsupported

__all__ = ["BASELINE", "PEERS"]


# convpool


def _convpool_conv2d(
    algorithm: Algorithm, layer: Layer, threads: int, x: Array, weight: Array
) -> Call:
    return partial(
        convpool.conv2d,
        x,
        weight,
        None,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
        algorithm=algorithm,
        threads=threads,
    )


def _convpool_pool2d(layer: Pool, threads: int, x: Array) -> Call:
    function = getattr(convpool, layer.operation)
    return partial(function, x, layer.kernel, layer.stride, layer.padding, threads=threads)


# PyTorch


def _torch_context() -> AbstractContextManager[object]:
    return cast("AbstractContextManager[object]", importlib.import_module("torch").inference_mode())


def _torch_conv2d(layer: Layer, threads: int, x: Array, weight: Array) -> Call:
    torch = importlib.import_module("torch")
    torch.set_num_threads(threads)
    geometry = (layer.stride, layer.padding, layer.dilation, layer.groups)
    tensors = torch.from_numpy(x), torch.from_numpy(weight)
    function = torch.nn.functional.conv2d
    return lambda: cast(Array, function(*tensors, None, *geometry).numpy())


def _torch_pool2d(layer: Pool, threads: int, x: Array) -> Call:
    torch = importlib.import_module("torch")
    torch.set_num_threads(threads)
    function = getattr(torch.nn.functional, layer.operation)
    tensor, geometry = torch.from_numpy(x), (layer.kernel, layer.stride, layer.padding)
    return lambda: cast(Array, function(tensor, *geometry).numpy())


# ONNX Runtime. A session packs the weights once, when it is built; no other peer here may.


def _onnx_session(
    node: str, threads: int, x: Array, initializers: dict[str, Array], **attributes: object
) -> Call:
    """Build a session for a graph of one node."""
    if importlib.util.find_spec("onnx") is None:
        raise Unsupported("needs the package onnx to build its model")
    onnx = importlib.import_module("onnx")
    ort = importlib.import_module("onnxruntime")
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(node, ["x", *initializers], ["y"], **attributes)],
        "layer",
        [helper.make_tensor_value_info("x", float32, x.shape)],
        [helper.make_tensor_value_info("y", float32, None)],
        [onnx.numpy_helper.from_array(data, name) for name, data in initializers.items()],
    )
    # An old operator set and file version, which every runtime of the last years reads.
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feed = {"x": x}
    return lambda: cast(Array, session.run(None, feed)[0])


def _onnxruntime_conv2d(layer: Layer, threads: int, x: Array, weight: Array) -> Call:
    return _onnx_session(
        "Conv",
        threads,
        x,
        {"weight": weight},
        strides=[layer.stride] * 2,
        pads=[layer.padding] * 4,
        dilations=[layer.dilation] * 2,
        group=layer.groups,
    )


def _onnxruntime_pool2d(layer: Pool, threads: int, x: Array) -> Call:
    attributes: dict[str, object] = {
        "kernel_shape": [layer.kernel] * 2,
        "strides": [layer.stride] * 2,
        "pads": [layer.padding] * 4,
    }
    if layer.operation == "max_pool2d":
        return _onnx_session("MaxPool", threads, x, {}, **attributes)
    return _onnx_session("AveragePool", threads, x, {}, **attributes, count_include_pad=1)


# SciPy and OpenCV filter one image by one kernel.


def _one_channel(layer: Layer, x: Array, weight: Array) -> tuple[Array, Array]:
    if layer.x_shape[:2] != (1, 1) or layer.weight_shape[0] != 1:
        raise Unsupported("has no batch and no channels")
    if (layer.stride, layer.dilation) != (1, 1):
        raise Unsupported("has no stride and no dilation")
    return x[0, 0], weight[0, 0]


def _scipy_conv2d(layer: Layer, threads: int, x: Array, weight: Array) -> Call:
    image, kernel = _one_channel(layer, x, weight)
    signal = importlib.import_module("scipy.signal")
    modes = {
        (1, 1): "valid",
        kernel.shape: "same",
        (2 * kernel.shape[0] - 1, 2 * kernel.shape[1] - 1): "full",
    }
    added = (2 * layer.padding + 1,) * 2
    if added not in modes:
        raise Unsupported(f"has no padding of {layer.padding}")
    mode = modes[added]
    return lambda: cast(Array, signal.correlate2d(image, kernel, mode)[None, None])


def _opencv_conv2d(layer: Layer, threads: int, x: Array, weight: Array) -> Call:
    image, kernel = _one_channel(layer, x, weight)
    cv2 = importlib.import_module("cv2")
    cv2.setNumThreads(threads)
    # filter2D gives a result for every cell of the image; a smaller padding takes its middle.
    _, _, oh, ow = layer.output_shape
    top, left = (size // 2 - layer.padding for size in kernel.shape)
    if top < 0 or left < 0:
        raise Unsupported("gives no result larger than the image")
    filter2d = partial(cv2.filter2D, image, -1, kernel, borderType=cv2.BORDER_CONSTANT)
    return lambda: cast(Array, filter2d()[None, None, top : top + oh, left : left + ow])


def _pools(builder: Builder) -> dict[str, Builder]:
    return {"max_pool2d": builder, "avg_pool2d": builder}


BASELINE = "convpool auto"
PEERS: list[Peer] = [
    Peer(
        BASELINE,
        "convpool",
        {"conv2d": partial(_convpool_conv2d, "auto"), **_pools(_convpool_pool2d)},
    ),
    Peer("convpool implicit", "convpool", {"conv2d": partial(_convpool_conv2d, "implicit_gemm")}),
    Peer("convpool im2col", "convpool", {"conv2d": partial(_convpool_conv2d, "im2col")}),
    Peer("convpool direct", "convpool", {"conv2d": partial(_convpool_conv2d, "direct")}),
    Peer(
        "numpy windows",
        "numpy",
        {"conv2d": numpy_peers.windows_conv2d, **_pools(numpy_peers.windows_pool2d)},
    ),
    Peer(
        "numpy loop",
        "numpy",
        {"conv2d": numpy_peers.loop_conv2d, **_pools(numpy_peers.loop_pool2d)},
    ),
    Peer("torch", "torch", {"conv2d": _torch_conv2d, **_pools(_torch_pool2d)}, _torch_context),
    Peer(
        "onnxruntime",
        "onnxruntime",
        {"conv2d": _onnxruntime_conv2d, **_pools(_onnxruntime_pool2d)},
    ),
    Peer("scipy correlate2d", "scipy", {"conv2d": _scipy_conv2d}),
    Peer("opencv filter2D", "cv2", {"conv2d": _opencv_conv2d}),
]
