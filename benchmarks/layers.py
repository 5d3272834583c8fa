"""What is timed: layers of real networks and image filters, as data.

A layer knows its shapes, its work and its inputs; how to compute it is the business of
``peers.py``. To add one, add a line to `LAYERS`.
"""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, int, int, int]

__all__ = ["LAYERS", "AnyLayer", "Array", "Layer", "Pool"]


def _out_size(size: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> int:
    return (size + 2 * padding - (kernel - 1) * dilation - 1) // stride + 1


def _normal(shape: tuple[int, ...], seed: int) -> Array:
    """Random data: arithmetic on zeros or constants draws less power, so it runs faster."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


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
    quick: bool = False

    @property
    def operation(self) -> str:
        """Key of this layer's builder in `peers.Peer.operations`."""
        return "conv2d"

    @property
    def output_shape(self) -> Shape:
        """Shape of the result, `(N, C_out, H_out, W_out)`."""
        n, _, h, w = self.x_shape
        oc, _, kh, kw = self.weight_shape
        s, p, d = self.stride, self.padding, self.dilation
        return n, oc, _out_size(h, kh, s, p, d), _out_size(w, kw, s, p, d)

    @property
    def flops(self) -> int:
        """Operations of the definition; a multiply-add counts two."""
        return 2 * math.prod(self.output_shape) * math.prod(self.weight_shape[1:])

    def inputs(self) -> tuple[Array, ...]:
        """Image and weight, the same in every run."""
        return _normal(self.x_shape, seed=1), _normal(self.weight_shape, seed=2)


@dataclass(frozen=True)
class Pool:
    """A pooling layer: `operation` is ``"max_pool2d"`` or ``"avg_pool2d"``."""

    name: str
    group: str
    operation: str
    x_shape: Shape
    kernel: int
    stride: int
    padding: int = 0
    quick: bool = False

    @property
    def output_shape(self) -> Shape:
        """Shape of the result, `(N, C, H_out, W_out)`."""
        n, c, h, w = self.x_shape
        k, s, p = self.kernel, self.stride, self.padding
        return n, c, _out_size(h, k, s, p), _out_size(w, k, s, p)

    @property
    def flops(self) -> int:
        """One comparison or addition for each cell of each window."""
        return math.prod(self.output_shape) * self.kernel**2

    def inputs(self) -> tuple[Array, ...]:
        """Image, the same in every run."""
        return (_normal(self.x_shape, seed=1),)


AnyLayer: TypeAlias = Layer | Pool


def _square(
    name: str,
    group: str,
    channels: tuple[int, int],
    size: int,
    kernel: int,
    *,
    stride: int = 1,
    groups: int = 1,
    batch: int = 1,
    quick: bool = False,
) -> Layer:
    """Build a layer on square images that pads as networks do, by half the kernel."""
    ic, oc = channels
    return Layer(
        name,
        group,
        (batch, ic, size, size),
        (oc, ic // groups, kernel, kernel),
        stride,
        kernel // 2,
        groups=groups,
        quick=quick,
    )


def _lenet(batch: int) -> list[Layer]:
    suffix = f", batch {batch}"
    return [
        _square(f"LeNet c1 5x5 1-6 @28{suffix}", "lenet", (1, 6), 28, 5, batch=batch, quick=True),
        Layer(
            f"LeNet c3 5x5 6-16 @14{suffix}",
            "lenet",
            (batch, 6, 14, 14),
            (16, 6, 5, 5),
            quick=batch > 1,
        ),
    ]


def _image(kernel: int) -> Layer:
    name = f"image 512x512, {kernel}x{kernel}"
    return _square(name, "image", (1, 1), 512, kernel, quick=kernel in (3, 7))


LAYERS: list[AnyLayer] = [
    Layer("chapter 6x8, 1x2", "chapter", (1, 1, 6, 8), (1, 1, 1, 2), quick=True),
    *_lenet(1),
    *_lenet(256),
    _square("ResNet 7x7 s2 3-64 @224", "first", (3, 64), 224, 7, stride=2, quick=True),
    _square("VGG 3x3 3-64 @224", "first", (3, 64), 224, 3),
    _square("ResNet 1x1 64-256 @56", "large", (64, 256), 56, 1, quick=True),
    _square("ResNet 3x3 64-64 @56", "large", (64, 64), 56, 3, quick=True),
    _square("ResNet 3x3 s2 128-128 @56", "large", (128, 128), 56, 3, stride=2),
    _square("ResNet 3x3 256-256 @14", "large", (256, 256), 14, 3, quick=True),
    _square("ResNet 3x3 512-512 @7", "large", (512, 512), 7, 3),
    _square("depthwise 3x3 32 @112", "depthwise", (32, 32), 112, 3, groups=32, quick=True),
    _square("depthwise 3x3 s2 64 @112", "depthwise", (64, 64), 112, 3, stride=2, groups=64),
    _square("depthwise 3x3 512 @14", "depthwise", (512, 512), 14, 3, groups=512),
    _square("ResNeXt 3x3 128-128 g32 @56", "grouped", (128, 128), 56, 3, groups=32, quick=True),
    *(_image(kernel) for kernel in (3, 5, 7, 15, 31)),
    Pool("max 3x3 s2 64 @112", "pool", "max_pool2d", (1, 64, 112, 112), 3, 2, 1, quick=True),
    Pool("average 2x2 s2 64 @112", "pool", "avg_pool2d", (1, 64, 112, 112), 2, 2, quick=True),
]
