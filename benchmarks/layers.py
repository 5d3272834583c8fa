"""What is timed: layers of real networks and image filters, as data, in classes.

To add a layer, add a line to its class; a new class also needs a title in `GROUPS`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from layer import AnyLayer, Layer, Pool

__all__ = ["GROUPS", "LAYERS"]

GROUPS = {
    "chapter": "the chapter's call",
    "lenet": "LeNet",
    "first": "first layers",
    "large": "large layers, 1x1 and 3x3",
    "depthwise": "depthwise",
    "grouped": "32 groups",
    "image": "one-channel images",
    "pool": "pools",
    "float64": "float64",
    "input gradient": "input gradients",
    "weight gradient": "weight gradients",
    "pool gradient": "gradients of pools",
    "last": "channels last",
    "high": '3x3 with `precision="high"`',
}
"""Title of each class, in the order of the tables."""


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
        name if batch == 1 else f"{name}, batch {batch}",
        group,
        (batch, ic, size, size),
        (oc, ic // groups, kernel, kernel),
        stride,
        kernel // 2,
        groups=groups,
        quick=quick,
    )


def _lenet(batch: int) -> list[Layer]:
    c1 = _square("LeNet c1 5x5 1-6 @28", "lenet", (1, 6), 28, 5, batch=batch, quick=batch == 1)
    c3 = Layer("LeNet c3 5x5 6-16 @14", "lenet", (batch, 6, 14, 14), (16, 6, 5, 5))
    if batch == 1:
        return [c1, c3]
    return [c1, replace(c3, name=f"{c3.name}, batch {batch}", quick=True)]


def _large(batch: int) -> list[Layer]:
    def layer(channels: tuple[int, int], size: int, kernel: int, stride: int = 1) -> Layer:
        step = "" if stride == 1 else f" s{stride}"
        return _square(
            f"ResNet {kernel}x{kernel}{step} {channels[0]}-{channels[1]} @{size}",
            "large",
            channels,
            size,
            kernel,
            stride=stride,
            batch=batch,
            quick=batch == 1 and (kernel, stride, size) in ((1, 1, 56), (3, 1, 56), (3, 1, 14)),
        )

    layers = [
        layer((64, 256), 56, 1),
        layer((64, 64), 56, 3),
        layer((128, 128), 56, 3, stride=2),
        layer((256, 1024), 14, 1),
        layer((256, 256), 14, 3),
        layer((512, 512), 7, 3),
    ]
    if batch == 1:
        return [*layers, layer((128, 128), 28, 3), layer((512, 2048), 7, 1)]
    return layers


def _depthwise(
    channels: int, size: int, kernel: int, stride: int = 1, *, quick: bool = False
) -> Layer:
    step = "" if stride == 1 else f" s{stride}"
    return _square(
        f"depthwise {kernel}x{kernel}{step} {channels} @{size}",
        "depthwise",
        (channels, channels),
        size,
        kernel,
        stride=stride,
        groups=channels,
        quick=quick,
    )


def _grouped(channels: int, size: int, stride: int = 1, *, quick: bool = False) -> Layer:
    step = "" if stride == 1 else f" s{stride}"
    name = f"ResNeXt 3x3{step} {channels}-{channels} g32 @{size}"
    both = (channels, channels)
    return _square(name, "grouped", both, size, 3, stride=stride, groups=32, quick=quick)


def _images(height: int, width: int, *, quick: Sequence[int] = ()) -> list[Layer]:
    return [
        Layer(
            f"image {height}x{width}, {kernel}x{kernel}",
            "image",
            (1, 1, height, width),
            (1, 1, kernel, kernel),
            padding=kernel // 2,
            quick=kernel in quick,
        )
        for kernel in (3, 5, 7, 11, 15, 31)
    ]


def _pool(
    kind: str, kernel: int, stride: int, padding: int, channels: int, size: int, batch: int = 1
) -> Pool:
    step = "" if stride == 1 else f" s{stride}"
    name = f"{kind} {kernel}x{kernel}{step} {channels} @{size}"
    return Pool(
        name if batch == 1 else f"{name}, batch {batch}",
        "pool",
        {"max": "max_pool2d", "average": "avg_pool2d"}[kind],
        (batch, channels, size, size),
        kernel,
        stride,
        padding,
        quick=(size, stride, batch) == (112, 2, 1) and kernel == {"max": 3, "average": 2}[kind],
    )


FORWARD: list[AnyLayer] = [
    Layer("chapter 6x8, 1x2", "chapter", (1, 1, 6, 8), (1, 1, 1, 2), quick=True),
    *_lenet(1),
    *_lenet(256),
    _square("ResNet 7x7 s2 3-64 @224", "first", (3, 64), 224, 7, stride=2, quick=True),
    _square("VGG 3x3 3-64 @224", "first", (3, 64), 224, 3),
    _square("MobileNet 3x3 s2 3-32 @224", "first", (3, 32), 224, 3, stride=2),
    *_large(1),
    *_large(16),
    _depthwise(32, 112, 3, quick=True),
    _depthwise(64, 112, 3, 2),
    _depthwise(144, 56, 3),
    _depthwise(512, 14, 3),
    _depthwise(96, 56, 7),
    _depthwise(384, 14, 7),
    _depthwise(64, 112, 7, 2),
    _grouped(128, 56, quick=True),
    _grouped(256, 56, 2),
    _grouped(512, 14),
    *_images(512, 512, quick=(3, 7)),
    *_images(1080, 1920),
    _pool("max", 2, 2, 0, 64, 112),
    _pool("max", 3, 2, 1, 64, 112),
    _pool("max", 3, 2, 1, 64, 112, batch=16),
    _pool("max", 3, 1, 1, 192, 28),
    _pool("max", 5, 1, 2, 256, 20),
    _pool("max", 13, 1, 6, 512, 13),
    _pool("average", 2, 2, 0, 64, 112),
    _pool("average", 2, 2, 0, 64, 112, batch=16),
    _pool("average", 3, 1, 1, 192, 28),
    _pool("average", 5, 3, 0, 768, 17),
    _pool("average", 13, 1, 0, 1000, 13),
]


def _named(*names: str) -> list[AnyLayer]:
    by_name = {layer.name: layer for layer in FORWARD}
    return [by_name[name] for name in names]


SomeLayer = TypeVar("SomeLayer", bound=AnyLayer)


def _derived(layer: SomeLayer, group: str, suffix: str, quick: Sequence[str]) -> SomeLayer:
    """Give a forward layer another name and class."""
    return replace(layer, name=f"{layer.name}, {suffix}", group=group, quick=layer.name in quick)


def _float64() -> list[AnyLayer]:
    layers = _named(
        "LeNet c3 5x5 6-16 @14, batch 256",
        "ResNet 7x7 s2 3-64 @224",
        "ResNet 1x1 64-256 @56",
        "ResNet 3x3 64-64 @56",
        "ResNet 3x3 256-256 @14",
        "depthwise 3x3 32 @112",
        "ResNeXt 3x3 128-128 g32 @56",
        "image 512x512, 3x3",
        "image 512x512, 7x7",
        "max 3x3 s2 64 @112",
        "average 2x2 s2 64 @112",
    )
    quick = ("ResNet 3x3 256-256 @14",)
    return [
        replace(_derived(layer, "float64", "float64", quick), dtype="float64") for layer in layers
    ]


def _gradients() -> list[AnyLayer]:
    layers = _named(
        "LeNet c3 5x5 6-16 @14, batch 256",
        "ResNet 7x7 s2 3-64 @224",
        "ResNet 1x1 64-256 @56",
        "ResNet 3x3 64-64 @56",
        "ResNet 3x3 s2 128-128 @56",
        "ResNet 3x3 256-256 @14",
        "ResNet 3x3 512-512 @7",
        "ResNet 3x3 64-64 @56, batch 16",
        "depthwise 3x3 32 @112",
        "depthwise 3x3 s2 64 @112",
        "depthwise 7x7 96 @56",
        "ResNeXt 3x3 128-128 g32 @56",
        "ResNeXt 3x3 s2 256-256 g32 @56",
        "image 512x512, 5x5",
    )
    quick = ("ResNet 3x3 64-64 @56", "depthwise 3x3 32 @112")
    return [
        replace(_derived(layer, group, suffix, quick), operation=operation)
        for operation, group, suffix in (
            ("conv2d_grad_input", "input gradient", "dx"),
            ("conv2d_grad_weight", "weight gradient", "dw"),
        )
        for layer in layers
    ]


def _pool_gradients() -> list[AnyLayer]:
    layers = _named(
        "max 2x2 s2 64 @112",
        "max 3x3 s2 64 @112",
        "max 5x5 256 @20",
        "average 2x2 s2 64 @112",
        "average 3x3 192 @28",
        "average 5x5 s3 768 @17",
    )
    quick = ("max 3x3 s2 64 @112", "average 2x2 s2 64 @112")
    return [
        replace(_derived(layer, "pool gradient", "dx", quick), operation=f"{layer.operation}_grad")
        for layer in layers
    ]


def _channels_last(layers: list[AnyLayer]) -> list[AnyLayer]:
    names = (
        "ResNet 7x7 s2 3-64 @224",
        "MobileNet 3x3 s2 3-32 @224",
        "ResNet 1x1 64-256 @56",
        "ResNet 3x3 64-64 @56",
        "ResNet 3x3 256-256 @14",
        "depthwise 3x3 s2 64 @112",
        "depthwise 3x3 144 @56",
        "depthwise 7x7 96 @56",
        "ResNeXt 3x3 128-128 g32 @56",
        "max 2x2 s2 64 @112",
        "max 3x3 s2 64 @112",
        "max 3x3 192 @28",
        "average 2x2 s2 64 @112",
        "average 3x3 192 @28",
        "average 5x5 s3 768 @17",
        "average 13x13 1000 @13",
        "ResNet 3x3 64-64 @56, dx",
        "depthwise 3x3 s2 64 @112, dx",
        "ResNet 3x3 64-64 @56, dw",
        "depthwise 3x3 s2 64 @112, dw",
        "max 3x3 s2 64 @112, dx",
        "average 2x2 s2 64 @112, dx",
    )
    quick = ("depthwise 3x3 144 @56", "max 3x3 s2 64 @112")
    by_name = {layer.name: layer for layer in layers}
    return [
        replace(_derived(by_name[name], "last", "channels last", quick), channels_last=True)
        for name in names
    ]


def _high(layers: list[AnyLayer]) -> list[AnyLayer]:
    names = (
        "ResNet 3x3 64-64 @56",
        "ResNet 3x3 128-128 @28",
        "ResNet 3x3 64-64 @56, batch 16",
        "ResNet 3x3 64-64 @56, dx",
    )
    by_name = {layer.name: layer for layer in layers if isinstance(layer, Layer)}
    vgg = [
        _square(f"VGG 3x3 {channels}-{channels} @{size}", "large", (channels, channels), size, 3)
        for channels, size in ((64, 224), (128, 112), (256, 56), (512, 28))
    ]
    return [
        replace(_derived(layer, "high", "high", quick=names[:1]), precision="high")
        for layer in [*map(by_name.__getitem__, names), *vgg]
    ]


LAYERS: list[AnyLayer] = [*FORWARD, *_float64(), *_gradients(), *_pool_gradients()]
LAYERS += [*_channels_last(LAYERS), *_high(LAYERS)]
