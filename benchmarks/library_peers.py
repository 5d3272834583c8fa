"""How PyTorch, ONNX Runtime, SciPy and OpenCV compute a layer: see ``peers.py``."""

import importlib
import importlib.util
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, cast

import numpy as np

from layer import AnyLayer, Array, Layer, Pool
from peer import Builder, Call, Unsupported

__all__ = ["ONNXRUNTIME", "OPENCV", "SCIPY", "TORCH", "opencv_context", "torch_context"]


# PyTorch. A result is taken as an ndarray inside the timing, which costs well below 1 µs.


def torch_context(threads: int) -> AbstractContextManager[object]:
    """Set the threads; leave out the record for automatic differentiation."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(threads)
    return cast("AbstractContextManager[object]", torch.inference_mode())


def _torch_weight(layer: Layer, weight: Array) -> Any:
    # In the order that PyTorch prefers; images with channels last it recognises by their strides.
    torch = importlib.import_module("torch")
    tensor = torch.from_numpy(weight)
    return tensor.contiguous(memory_format=torch.channels_last) if layer.channels_last else tensor


def _torch_conv2d(layer: Layer, threads: int, x: Array, weight: Array) -> Call:
    torch = importlib.import_module("torch")
    geometry = (layer.stride, layer.padding, layer.dilation, layer.groups)
    tensors = torch.from_numpy(x), _torch_weight(layer, weight)
    function = torch.nn.functional.conv2d
    return lambda: cast(Array, function(*tensors, None, *geometry).numpy())


def _torch_conv2d_backward(
    layer: Layer, dy: Array, x: Array, weight: Array, *, wanted: tuple[bool, bool, bool]
) -> Call:
    torch = importlib.import_module("torch")
    function = torch.ops.aten.convolution_backward.default
    tensors = [torch.from_numpy(dy), torch.from_numpy(x), _torch_weight(layer, weight)]
    geometry = [[size, size] for size in (layer.stride, layer.padding, layer.dilation)]
    arguments = [*tensors, None, *geometry, False, [0, 0], layer.groups, list(wanted)]
    result = wanted.index(True)
    return lambda: cast(Array, function(*arguments)[result].numpy())


def _torch_conv2d_grad_input(layer: Layer, threads: int, dy: Array, weight: Array) -> Call:
    # Of the image only the shape is read.
    x = np.zeros_like(dy, shape=layer.x_shape)
    return _torch_conv2d_backward(layer, dy, x, weight, wanted=(True, False, False))


def _torch_conv2d_grad_weight(layer: Layer, threads: int, dy: Array, x: Array) -> Call:
    weight = np.zeros(layer.weight_shape, dy.dtype)
    return _torch_conv2d_backward(layer, dy, x, weight, wanted=(False, True, False))


def _torch_pool2d(layer: Pool, threads: int, x: Array) -> Call:
    torch = importlib.import_module("torch")
    function = getattr(torch.nn.functional, layer.operation)
    tensor, geometry = torch.from_numpy(x), (layer.kernel, layer.stride, layer.padding)
    return lambda: cast(Array, function(tensor, *geometry).numpy())


def _torch_max_pool2d_grad(layer: Pool, threads: int, dy: Array, x: Array) -> Call:
    torch = importlib.import_module("torch")
    function = torch.ops.aten.max_pool2d_with_indices_backward.default
    image, geometry = torch.from_numpy(x), (layer.kernel, layer.stride, layer.padding)
    _, indices = torch.nn.functional.max_pool2d(image, *geometry, return_indices=True)
    sizes = [[size, size] for size in (*geometry, 1)]
    arguments = [torch.from_numpy(dy), image, *sizes, False, indices]
    return lambda: cast(Array, function(*arguments).numpy())


def _torch_avg_pool2d_grad(layer: Pool, threads: int, dy: Array, x: Array) -> Call:
    torch = importlib.import_module("torch")
    function = torch.ops.aten.avg_pool2d_backward.default
    sizes = [[size, size] for size in (layer.kernel, layer.stride, layer.padding)]
    arguments = [torch.from_numpy(dy), torch.from_numpy(x), *sizes, False, True, None]
    return lambda: cast(Array, function(*arguments).numpy())


TORCH: dict[str, Builder] = {
    "conv2d": _torch_conv2d,
    "conv2d_grad_input": _torch_conv2d_grad_input,
    "conv2d_grad_weight": _torch_conv2d_grad_weight,
    "max_pool2d": _torch_pool2d,
    "avg_pool2d": _torch_pool2d,
    "max_pool2d_grad": _torch_max_pool2d_grad,
    "avg_pool2d_grad": _torch_avg_pool2d_grad,
}


# ONNX Runtime. A session packs the weights once, when it is built.


def _onnx_session(
    layer: AnyLayer,
    node: str,
    threads: int,
    x: Array,
    initializers: dict[str, Array],
    **attributes: object,
) -> Call:
    """Build a session for a graph of one node."""
    if layer.channels_last:
        raise Unsupported("has no channels last")
    if importlib.util.find_spec("onnx") is None:
        raise Unsupported("needs the package onnx to build its model")
    onnx = importlib.import_module("onnx")
    ort = importlib.import_module("onnxruntime")
    helper = onnx.helper
    element = {"float32": onnx.TensorProto.FLOAT, "float64": onnx.TensorProto.DOUBLE}[layer.dtype]
    graph = helper.make_graph(
        [helper.make_node(node, ["x", *initializers], ["y"], **attributes)],
        "layer",
        [helper.make_tensor_value_info("x", element, x.shape)],
        [helper.make_tensor_value_info("y", element, None)],
        [onnx.numpy_helper.from_array(data, name) for name, data in initializers.items()],
    )
    # An old operator set and file version, which every runtime of the last years reads.
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    try:
        session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except ort.capi.onnxruntime_pybind11_state.NotImplemented:
        raise Unsupported(f"has no {node} in {layer.dtype}") from None
    feed = {"x": x}
    return lambda: cast(Array, session.run(None, feed)[0])


def _onnxruntime_conv2d(layer: Layer, threads: int, x: Array, weight: Array) -> Call:
    return _onnx_session(
        layer,
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
        return _onnx_session(layer, "MaxPool", threads, x, {}, **attributes)
    return _onnx_session(layer, "AveragePool", threads, x, {}, **attributes, count_include_pad=1)


ONNXRUNTIME: dict[str, Builder] = {
    "conv2d": _onnxruntime_conv2d,
    "max_pool2d": _onnxruntime_pool2d,
    "avg_pool2d": _onnxruntime_pool2d,
}


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


SCIPY: dict[str, Builder] = {"conv2d": _scipy_conv2d}


def opencv_context(threads: int) -> AbstractContextManager[object]:
    """Set the threads."""
    importlib.import_module("cv2").setNumThreads(threads)
    return nullcontext()


def _opencv_conv2d(layer: Layer, threads: int, x: Array, weight: Array) -> Call:
    image, kernel = _one_channel(layer, x, weight)
    cv2 = importlib.import_module("cv2")
    # filter2D gives a result for every cell of the image; a smaller padding takes its middle.
    _, _, oh, ow = layer.output_shape
    top, left = (size // 2 - layer.padding for size in kernel.shape)
    if top < 0 or left < 0:
        raise Unsupported("gives no result larger than the image")
    filter2d = partial(cv2.filter2D, image, -1, kernel, borderType=cv2.BORDER_CONSTANT)
    return lambda: cast(Array, filter2d()[None, None, top : top + oh, left : left + ow])


OPENCV: dict[str, Builder] = {"conv2d": _opencv_conv2d}
