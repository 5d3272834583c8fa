"""What a layer is: shapes, work and inputs; how to compute it is the business of ``peers.py``."""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from convpool._typing import Precision

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, int, int, int]

__all__ = ["AnyLayer", "Array", "Layer", "Pool", "Shape"]


def _out_size(size: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> int:
    return (size + 2 * padding - (kernel - 1) * dilation - 1) // stride + 1


def _normal(shapes: tuple[Shape, ...], dtype: str) -> tuple[Array, ...]:
    """Random data: arithmetic on zeros or constants draws less power, so it runs faster."""
    return tuple(
        np.random.default_rng(seed).standard_normal(shape).astype(dtype)
        for seed, shape in enumerate(shapes, 1)
    )


def _channels_last(images: Array) -> Array:
    """Return the same images `(N, C, H, W)`, whose channels are last in memory."""
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def _bytes(shapes: tuple[Shape, ...], dtype: str) -> int:
    return np.dtype(dtype).itemsize * sum(math.prod(shape) for shape in shapes)


@dataclass(frozen=True)
class Layer:
    """A convolution; stride, padding and dilation are the same on both axes."""

    name: str
    group: str
    x_shape: Shape
    weight_shape: Shape
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1
    operation: str = "conv2d"
    """``"conv2d"``, ``"conv2d_grad_input"`` or ``"conv2d_grad_weight"``."""
    dtype: str = "float32"
    channels_last: bool = False
    """Whether images have their channels last in memory; shapes are `(N, C, H, W)` all the same."""
    precision: Precision = "highest"
    """convpool's argument; other libraries do what they do."""
    quick: bool = False

    @property
    def output_shape(self) -> Shape:
        """Shape of the convolution's result, `(N, C_out, H_out, W_out)`."""
        n, _, h, w = self.x_shape
        oc, _, kh, kw = self.weight_shape
        s, p, d = self.stride, self.padding, self.dilation
        return n, oc, _out_size(h, kh, s, p, d), _out_size(w, kw, s, p, d)

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """`x` and `weight` of the convolution, `dy` and the other one of a gradient."""
        return {
            "conv2d": (self.x_shape, self.weight_shape),
            "conv2d_grad_input": (self.output_shape, self.weight_shape),
            "conv2d_grad_weight": (self.output_shape, self.x_shape),
        }[self.operation]

    @property
    def result_shape(self) -> Shape:
        """Shape of what the operation returns."""
        return {
            "conv2d": self.output_shape,
            "conv2d_grad_input": self.x_shape,
            "conv2d_grad_weight": self.weight_shape,
        }[self.operation]

    @property
    def flops(self) -> int:
        """Operations of the definition, as many backward; a multiply-add counts two."""
        return 2 * math.prod(self.output_shape) * math.prod(self.weight_shape[1:])

    @property
    def bytes(self) -> int:
        """Size of inputs and result, each touched once."""
        return _bytes((*self.input_shapes, self.result_shape), self.dtype)

    def inputs(self) -> tuple[Array, ...]:
        """Arrays of `input_shapes`, the same in every run."""
        arrays = _normal(self.input_shapes, self.dtype)
        if not self.channels_last:
            return arrays
        return tuple(a if a.shape == self.weight_shape else _channels_last(a) for a in arrays)


@dataclass(frozen=True)
class Pool:
    """A pool, or with ``_grad`` after its name the gradient of one."""

    name: str
    group: str
    operation: str
    """``"max_pool2d"``, ``"avg_pool2d"``, ``"max_pool2d_grad"`` or ``"avg_pool2d_grad"``."""
    x_shape: Shape
    kernel: int
    stride: int
    padding: int = 0
    dtype: str = "float32"
    channels_last: bool = False
    quick: bool = False

    @property
    def output_shape(self) -> Shape:
        """Shape of the pool's result, `(N, C, H_out, W_out)`."""
        n, c, h, w = self.x_shape
        k, s, p = self.kernel, self.stride, self.padding
        return n, c, _out_size(h, k, s, p), _out_size(w, k, s, p)

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """`x` of a pool, `dy` and `x` of its gradient."""
        if self.operation.endswith("_grad"):
            return self.output_shape, self.x_shape
        return (self.x_shape,)

    @property
    def result_shape(self) -> Shape:
        """Shape of what the operation returns."""
        return self.x_shape if self.operation.endswith("_grad") else self.output_shape

    @property
    def flops(self) -> int:
        """One comparison or addition for each cell of each window, or for each maximum."""
        windows = math.prod(self.output_shape)
        return windows if self.operation == "max_pool2d_grad" else windows * self.kernel**2

    @property
    def bytes(self) -> int:
        """Size of image and result, or of their gradients; the indices of maxima come on top."""
        size = _bytes((self.x_shape, self.output_shape), self.dtype)
        if self.operation == "max_pool2d_grad":
            size += _bytes((self.output_shape,), "int64")
        return size

    def inputs(self) -> tuple[Array, ...]:
        """Arrays of `input_shapes`, the same in every run."""
        arrays = _normal(self.input_shapes, self.dtype)
        return tuple(map(_channels_last, arrays)) if self.channels_last else arrays


AnyLayer: TypeAlias = Layer | Pool
