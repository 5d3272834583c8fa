"""Weight gradients of few output channels a group: sums of products of rows."""

from itertools import product

import numpy as np
import pytest

import convpool
from cases import embedded, integers
from convpool import reference

WIDTHS = [*range(3, 20), 24, 25, 31, 32, 33, 40, 41, 47, 48, 49, 66]


def check(x: np.ndarray, channels: int, kernel: object, *geometry: object, groups: int = 1) -> None:
    """Compare with the definition; `geometry` is stride, padding and dilation."""
    options = {"groups": groups, "algorithm": "implicit_gemm"}
    weight = (channels, x.shape[1] // groups, *np.broadcast_to(kernel, 2))
    y = convpool.conv2d(x, np.zeros(weight, x.dtype), None, *geometry, groups=groups)
    dy = integers(y.shape, seed=channels).astype(x.dtype)
    expected = reference.conv2d_grad_weight(dy, x, kernel, *geometry, groups=groups)
    for cells in (x, embedded(x)):
        dw = convpool.conv2d_grad_weight(dy, cells, kernel, *geometry, **options)
        np.testing.assert_array_equal(dw, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("width", WIDTHS)
def test_widths(width: int, stride: int, dtype: type) -> None:
    x = integers((2, 3, 11, width), dtype, seed=width)
    check(x, 3, 3, stride, 1, groups=3)
    check(x, 3, 5, stride, 2, groups=3)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [*product(range(1, 5), repeat=2), 5, 7, 11, (9, 2), (1, 13)])
def test_kernels(kernel: object, stride: int) -> None:
    x = integers((1, 2, 21, 28), seed=1)
    for dilation in (1, (2, 1)):
        check(x, 2, kernel, stride, 0, dilation, groups=2)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("height", range(1, 9))
def test_few_rows(height: int, stride: int) -> None:
    for kernel in (2, 3, 4, 5):
        check(integers((1, 2, height, 23), seed=2), 2, kernel, stride, kernel - 1, groups=2)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", range(1, 10))
def test_channels_of_a_group(channels: int, stride: int) -> None:
    x = integers((2, 6, 30, 29), seed=3)
    for kernel in (3, 5):
        check(x, 3 * channels, kernel, stride, 1, groups=3)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "padding", [0, 3, 70, ((2, 0), (0, 2)), ((-1, 2), (3, -1)), ((0, 9), (70, 0))]
)
def test_paddings(padding: object, stride: int) -> None:
    check(integers((2, 2, 14, 21), seed=4), 4, 3, stride, padding, groups=2)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("height", [2, 3, 5, 9, 40])
def test_blocks_of_columns(height: int, stride: int) -> None:
    for width in (129, 300, 517, 1100):
        check(integers((1, 1, stride * height, width), seed=6), 1, 3, stride, 1)
        check(integers((1, 1, stride * height, width), seed=6), 1, (2, 5), stride, 2)


def test_large_images() -> None:
    check(integers((1, 1, 3, 5000), seed=5), 1, 3, 1, 1)
    check(integers((1, 1, 130, 150), seed=5), 2, 3, 1, 1)
    check(integers((1, 1, 130, 150), seed=5), 1, 7, 2, 3)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_infinite_cells_meet_their_windows_alone(stride: int, kernel: int) -> None:
    """And infinite gradients the padding, where they give NaN."""
    for place in product((0, 1, 7, 8), (0, 1, 13, 18, 19)):
        x = np.ones((1, 2, 9, 20), np.float32)
        x[0, 1][place] = np.inf
        shape = convpool.conv2d(x, np.ones((2, 1, kernel, kernel)), None, stride, 1, groups=2).shape
        for infinite in (False, True):
            dy = np.ones(shape, np.float32)
            if infinite:
                dy[0, :, 0, 0] = -np.inf
            with np.errstate(invalid="ignore"):
                expected = reference.conv2d_grad_weight(dy, x, kernel, stride, 1, groups=2)
            for cells in (x, embedded(x)):
                dw = convpool.conv2d_grad_weight(
                    dy, cells, kernel, stride, 1, groups=2, algorithm="implicit_gemm"
                )
                np.testing.assert_array_equal(dw, expected)
