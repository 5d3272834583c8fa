"""Problem shapes as data, named by what breaks, and the numbers to fill them with.

The matrix products behind a convolution have M, N, K = output channels, pixels, taps forward;
taps, pixels, output channels for the input's gradient; output channels, taps, pixels for the
weight's. So each list of sizes around a tile or a block appears once for each role.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from convpool._typing import Array, Padding, Pair


def integers(shape: tuple[int, ...], dtype: DTypeLike = np.float32, *, seed: int = 0) -> Array:
    """Draw whole numbers from -3 to 3: sums of millions of their products are exact in float32.

    The same shape and seed give the same numbers.
    """
    rng = np.random.default_rng([seed, *shape])
    return rng.integers(-3, 4, shape).astype(dtype)


def normal(shape: tuple[int, ...], dtype: DTypeLike = np.float32, *, seed: int = 0) -> Array:
    """Draw normally distributed numbers; the same shape and seed give the same numbers."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def embedded(x: Array) -> Array:
    """Return the same images as a view into NaN: what is read outside of an image shows."""
    n, c, h, w = x.shape
    around = np.full((n, c, h + 2, w + 3), np.nan, x.dtype)
    around[:, :, 1:-1, 1:-2] = x
    return around[:, :, 1:-1, 1:-2]


@dataclass(frozen=True)
class Case:
    """A convolution."""

    name: str
    x_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    stride: Pair = 1
    padding: Padding = 0
    dilation: Pair = 1
    groups: int = 1

    @property
    def geometry(self) -> dict[str, Any]:
        """The keyword arguments that all functions of a convolution share."""
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class PoolCase:
    """A pooling."""

    name: str
    x_shape: tuple[int, ...]
    kernel_size: Pair
    stride: Pair | None = None
    padding: Padding = 0
    dilation: Pair = 1
    ceil_mode: bool = False

    @property
    def geometry(self) -> dict[str, Any]:
        """The keyword arguments that all pooling functions share."""
        return {
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "ceil_mode": self.ceil_mode,
        }

    def __str__(self) -> str:
        return self.name


SIZES = [
    Case("single pixel", (1, 1, 1, 1), (1, 1, 1, 1)),
    Case("single pixel, many channels", (2, 17, 1, 1), (9, 17, 1, 1)),
    Case("kernel equals input", (2, 3, 5, 4), (4, 3, 5, 4)),
    Case("kernel larger than input, padded", (1, 2, 3, 2), (3, 2, 5, 6), padding=2),
    Case("one-channel image", (1, 1, 37, 41), (1, 1, 3, 3)),
    Case("one-channel image, 11x11", (1, 1, 30, 29), (1, 1, 11, 11), padding=5),
    Case("long and thin", (1, 3, 1, 300), (5, 3, 1, 9)),
    Case("tall and thin", (1, 3, 300, 1), (5, 3, 9, 1)),
    Case("one column out", (2, 3, 40, 7), (5, 3, 3, 7)),
    Case("one row out", (2, 3, 7, 40), (5, 3, 7, 3)),
    Case("column kernel", (1, 2, 9, 8), (3, 2, 4, 1)),
    Case("even kernel", (1, 2, 9, 8), (3, 2, 2, 4), padding="same"),
    Case("kernel 1x1, in place", (2, 5, 6, 7), (4, 5, 1, 1)),
    Case("kernel 1x1, many pixels", (1, 3, 45, 46), (5, 3, 1, 1)),
    Case("kernel 1x1, stride 2", (2, 5, 6, 7), (4, 5, 1, 1), stride=2),
    Case("kernel 1x1, padded", (2, 5, 6, 7), (4, 5, 1, 1), padding=1),
    Case("kernel 1x1, cropped", (2, 5, 6, 7), (4, 5, 1, 1), padding=((-1, 0), (0, -2))),
    # Padding shifts the image and keeps its size, so that only the pads tell it from in place.
    Case("kernel 1x1, shifted", (2, 5, 6, 7), (4, 5, 1, 1), padding=((1, -1), (-1, 1))),
    Case("first layer", (1, 3, 45, 43), (16, 3, 7, 7), stride=2, padding=3),
    Case("several pixel blocks", (1, 64, 120, 130), (4, 64, 3, 3), padding=1),
    Case("several pixel blocks, 1x1", (1, 70, 61, 67), (9, 70, 1, 1)),
    Case("pixel blocks end inside a row", (2, 48, 37, 91), (5, 48, 3, 3)),
    Case("many channels, small images", (9, 16, 5, 7), (44, 16, 3, 3), padding=1),
    Case("many channels, stride", (2, 56, 61, 44), (60, 28, 3, 3), (1, 2), (1, 2), (2, 1), 2),
    Case("many channels, bands", (1, 40, 50, 90), (30, 40, 5, 5), padding=2),
]

STEPS = [
    Case("stride 2, one row left over", (1, 2, 6, 6), (3, 2, 3, 3), stride=2),
    Case("stride 3, two rows left over", (1, 2, 10, 11), (3, 2, 2, 3), stride=3),
    Case("stride larger than kernel", (2, 2, 11, 12), (3, 2, 2, 1), stride=(3, 4)),
    Case("stride larger than image", (1, 2, 3, 4), (3, 2, 2, 2), stride=(7, 9)),
    Case("different strides", (1, 2, 9, 12), (3, 2, 3, 3), stride=(1, 3)),
    Case("dilation", (1, 2, 9, 12), (3, 2, 3, 3), dilation=2),
    Case("different dilations", (1, 2, 9, 12), (3, 2, 3, 2), dilation=(3, 5)),
    Case("dilation of one tap", (1, 2, 4, 4), (3, 2, 1, 1), dilation=50),
    Case("dilation with stride", (1, 2, 13, 12), (3, 2, 3, 3), stride=2, dilation=3),
    Case("dilation with stride and padding", (2, 2, 9, 8), (3, 2, 3, 3), (2, 3), 2, (3, 2)),
    Case("dilation beyond the image", (1, 2, 3, 4), (3, 2, 2, 2), padding=3, dilation=(6, 7)),
]

PADDINGS = [
    Case("padding", (1, 2, 5, 6), (3, 2, 3, 3), padding=1),
    Case("padding of rows", (1, 2, 5, 6), (3, 2, 3, 3), padding=(2, 0)),
    Case("per-side padding", (2, 2, 5, 6), (3, 2, 3, 3), padding=((1, 2), (0, 3))),
    Case("per-side padding, stride 2", (2, 2, 5, 6), (3, 2, 3, 3), 2, ((1, 2), (0, 3))),
    Case("padding as large as kernel", (1, 2, 5, 5), (3, 2, 3, 3), padding=3),
    Case("padding larger than kernel", (1, 2, 5, 5), (3, 2, 3, 3), padding=(4, 7)),
    Case("windows all in padding", (1, 2, 2, 3), (3, 2, 2, 2), stride=2, padding=5),
    Case("negative padding", (1, 2, 7, 8), (3, 2, 3, 3), padding=-1),
    Case("cropped before, padded after", (1, 2, 7, 8), (3, 2, 3, 3), 2, ((-2, 3), (4, -1))),
    Case("everything cropped, padded anew", (1, 2, 3, 3), (3, 2, 2, 2), padding=((-4, 5), (6, -3))),
    Case("padding valid", (1, 2, 5, 6), (3, 2, 3, 3), padding="valid"),
    Case("padding same", (1, 2, 5, 6), (3, 2, 3, 3), padding="same"),
    Case("padding same, stride 2", (1, 2, 6, 7), (3, 2, 3, 4), stride=2, padding="same"),
    Case("padding same, stride > kernel", (1, 2, 7, 8), (3, 2, 1, 2), stride=3, padding="same"),
    Case("padding same, dilation 3", (1, 2, 6, 7), (3, 2, 3, 2), padding="same", dilation=3),
    Case("padding same, everything", (1, 2, 9, 8), (3, 2, 3, 4), (2, 3), "same", (3, 2)),
    Case("padding same_lower", (1, 2, 6, 7), (3, 2, 4, 2), padding="same_lower"),
    Case("padding same_lower, stride 2", (1, 2, 6, 7), (3, 2, 3, 4), 2, "same_lower"),
    Case("padding full", (1, 2, 5, 6), (3, 2, 3, 4), padding="full"),
    Case("padding full, dilation with stride", (1, 2, 5, 6), (3, 2, 3, 4), 2, "full", 2),
]

GROUPS = [
    Case("groups", (2, 6, 7, 6), (8, 3, 3, 3), padding=1, groups=2),
    Case("groups 1x1", (2, 4, 6, 5), (16, 2, 1, 1), groups=2),
    Case("groups 3, stride 4", (1, 6, 13, 14), (9, 2, 3, 3), stride=(4, 4), groups=3),
    Case("groups, dilation 2", (1, 4, 9, 9), (6, 2, 3, 3), padding=2, dilation=2, groups=2),
    Case("depthwise", (2, 5, 7, 8), (5, 1, 3, 3), padding=1, groups=5),
    Case("depthwise 24, stride 2", (1, 24, 9, 10), (24, 1, 3, 3), stride=2, padding=1, groups=24),
    Case("depthwise with multiplier", (2, 3, 7, 8), (12, 1, 3, 3), padding=1, groups=3),
    Case("depthwise, one output", (1, 7, 3, 3), (7, 1, 3, 3), groups=7),
]

EMPTY = [
    Case("no images", (0, 2, 5, 5), (3, 2, 3, 3)),
    Case("no images, groups", (0, 4, 5, 5), (6, 2, 3, 3), groups=2),
    Case("no input channels", (1, 0, 5, 5), (3, 0, 3, 3)),
    Case("no output channels", (1, 2, 5, 5), (0, 2, 3, 3)),
    Case("no channels at all, groups", (2, 0, 5, 5), (0, 0, 3, 3), groups=2),
    Case("no rows, padded", (1, 2, 0, 5), (3, 2, 3, 3), padding=2),
    Case("no rows, same", (1, 2, 0, 5), (3, 2, 3, 3), padding="same"),
]

TILES = [
    *(
        Case(f"{m} output channels", (1, 3, 4, 5), (m, 3, 2, 2))
        for m in (*range(2, 18), 31, 33, 49, 65, 80, 191, 192, 193, 257, 385)
    ),
    *(
        Case(f"{m} output channels, {n} pixels", (1, 3, 2, n + 1), (m, 3, 2, 2))
        for m, n in ((32, 7), (48, 5), (48, 7), (48, 8), *((64, n) for n in range(1, 7)))
    ),
    Case("630 taps, 25 pixels", (1, 70, 7, 7), (40, 70, 3, 3)),
    *(
        Case(f"{n} pixels", (1, 3, 2, n + 1), (5, 3, 2, 2))
        for n in (2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 64, 255, 257, 385, 1025)
    ),
    *(
        Case(f"{n} pixels in place", (2, 3, 1, n), (5, 3, 1, 1))
        for n in (7, 8, 9, 15, 16, 17, 31, 33, 47, 48, 49, 257, 385, 1023, 1024, 1025, 2049)
    ),
    *(
        Case(f"{k} taps", (1, k, 1, 9), (5, k, 1, 1))
        for k in (2, 3, 255, 256, 257, 383, 384, 385, 511, 513, 769, 1025)
    ),
    Case("18900 taps", (1, 2100, 7, 8), (3, 2100, 3, 3)),
    Case("288 taps of 32 channels", (1, 32, 6, 9), (7, 32, 3, 3), padding=1),
]

CONV_CASES = SIZES + STEPS + PADDINGS + GROUPS + EMPTY + TILES

# PyTorch has the same paddings only where both sides are equal and not negative.
SYMMETRIC_CASES = [
    case
    for case in CONV_CASES
    if np.ndim(case.padding) < 2
    and not isinstance(case.padding, str)
    and np.min(case.padding) >= 0
    and prod(case.x_shape) * prod(case.weight_shape) > 0
]

POOL_CASES = [
    PoolCase("single pixel", (1, 1, 1, 1), 1),
    PoolCase("kernel equals input", (2, 3, 5, 4), (5, 4)),
    PoolCase("halves", (2, 3, 6, 8), 2),
    PoolCase("leftover rows", (2, 3, 7, 9), 2),
    PoolCase("overlapping", (2, 3, 7, 9), 3, 1),
    PoolCase("overlapping, stride 2, padded", (1, 5, 12, 11), 3, 2, 1),
    PoolCase("stride larger than kernel", (2, 3, 7, 9), 2, (3, 4)),
    PoolCase("stride larger than image", (2, 3, 3, 4), 2, 9),
    PoolCase("row kernel", (1, 2, 5, 40), (1, 7), 1),
    PoolCase("column kernel", (1, 2, 40, 5), (7, 1), 1),
    PoolCase("long and thin", (1, 2, 1, 300), (1, 5), 2),
    PoolCase("dilation", (1, 2, 9, 10), 3, 1, 0, 2),
    PoolCase("dilation with stride and padding", (1, 2, 9, 10), (3, 2), (2, 3), 1, (3, 2)),
    PoolCase("per-side padding", (2, 2, 5, 6), 3, 2, ((1, 2), (0, 3))),
    PoolCase("padding as large as kernel", (1, 2, 4, 5), 2, 1, 2),
    PoolCase("windows all in padding", (1, 2, 2, 3), 2, 1, ((5, 0), (1, 4))),
    PoolCase("taps step over the image", (1, 3, 1, 2), (1, 2), 1, (0, 1), (1, 3)),
    PoolCase("negative padding", (1, 2, 7, 8), 3, 2, -1),
    PoolCase("cropped before, padded after", (1, 2, 7, 8), 2, 2, ((-2, 1), (1, -3))),
    PoolCase("padding same", (1, 2, 7, 8), 3, 2, "same"),
    PoolCase("padding same, stride > kernel", (1, 2, 7, 8), 2, 3, "same"),
    PoolCase("padding same_lower", (1, 2, 7, 8), 2, 1, "same_lower"),
    PoolCase("padding same, dilation", (1, 2, 7, 8), 2, 2, "same", 3),
    PoolCase("padding full", (1, 2, 4, 5), (3, 2), 1, "full"),
    PoolCase("padding valid", (1, 2, 4, 5), (3, 2), 1, "valid"),
    PoolCase("ceil", (1, 2, 5, 6), 2, 2, 0, 1, True),
    PoolCase("ceil, exact fit", (1, 2, 6, 8), 2, 2, 0, 1, True),
    PoolCase("ceil, last window would start outside", (1, 2, 6, 7), 1, 2, 0, 1, True),
    PoolCase("ceil, last window would start in padding", (1, 2, 5, 5), 2, 2, 1, 1, True),
    PoolCase("ceil, last window starts in the image", (1, 2, 6, 6), 3, 2, 1, 1, True),
    PoolCase("ceil, window larger than image", (1, 2, 2, 3), 4, 3, 0, 1, True),
    PoolCase("ceil, dilation", (1, 2, 10, 11), 3, 3, 1, 2, True),
    PoolCase("ceil, per-side padding", (1, 2, 7, 6), 3, 2, ((0, 1), (1, 0)), 1, True),
    PoolCase("ceil, same", (1, 2, 7, 8), 3, 2, "same", 1, True),
    PoolCase("no images", (0, 3, 5, 5), 2),
    PoolCase("no channels", (2, 0, 5, 5), 2),
    PoolCase("no rows, padded", (1, 2, 0, 5), 3, 1, 2),
]
