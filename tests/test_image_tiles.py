"""3x3 convolutions with a few channels: read in place by some instruction sets, else copied."""

import numpy as np
import pytest

import convpool
from cases import embedded, integers
from convpool import reference


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("width", [*range(1, 20), *range(30, 37), 49, 56, 63, 64, 65, 66, 130])
def test_widths(width: int, stride: int, dtype: type) -> None:
    x = integers((2, 6, 5, width), dtype, seed=width)
    for channels in (2, 3, 4, 7, 8):
        w = integers((2 * channels, 3, 3, 3), dtype, seed=channels)
        bias = integers((2 * channels,), dtype)
        expected = reference.conv2d(x, w, bias, stride, 1, groups=2)
        y = convpool.conv2d(embedded(x), w, bias, stride, 1, groups=2, algorithm="implicit_gemm")
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [*range(2, 18), 24, 28, 29])
def test_channels(channels: int, stride: int) -> None:
    x, w = integers((1, channels, 9, 23)), integers((channels, channels, 3, 3))
    expected = reference.conv2d(x, w, None, stride, 1)
    for threads in (1, 2):
        options = {"algorithm": "implicit_gemm", "threads": threads}
        y = convpool.conv2d(embedded(x), w, None, stride, 1, **options)
        np.testing.assert_array_equal(y, expected)
    prepared = convpool.prepare_conv2d(w, stride=stride, padding=1)
    np.testing.assert_array_equal(prepared(x), expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "padding", [0, 1, 2, ((9, 0), (1, 0)), ((0, 2), (0, 1)), ((-1, 1), (-2, 1)), ((1, -1), (1, -3))]
)
def test_paddings(padding: object, stride: int) -> None:
    x, w = integers((2, 8, 14, 70)), integers((16, 4, 3, 3))
    expected = reference.conv2d(x, w, None, stride, padding, groups=2)
    y = convpool.conv2d(embedded(x), w, None, stride, padding, groups=2, algorithm="implicit_gemm")
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("width", [3, 14, 33, 56, 100])
def test_nothing_is_written_beside_the_rows(width: int, stride: int) -> None:
    x, w = integers((1, 8, 7, width)), integers((8, 4, 3, 3))
    expected = reference.conv2d(x, w, None, stride, 1, groups=2)
    memory = np.full(expected.size + 64, 77, np.float32)
    out = memory[32:-32].reshape(expected.shape)
    convpool.conv2d(x, w, None, stride, 1, groups=2, algorithm="implicit_gemm", out=out)
    np.testing.assert_array_equal(out, expected)
    assert (memory[:32] == 77).all() and (memory[-32:] == 77).all()


@pytest.mark.parametrize("stride", [1, 2])
def test_infinite_weights_meet_the_padding(stride: int) -> None:
    x = np.ones((1, 4, 5, 20), np.float32)
    for tap in range(9):
        w = np.ones((4, 4, 3, 3), np.float32)
        w[2, 3].flat[tap] = np.inf
        y = convpool.conv2d(x, w, None, stride, 1, algorithm="implicit_gemm")
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(y, reference.conv2d(x, w, None, stride, 1))


@pytest.mark.parametrize("channels", [4, 8, 16])
def test_sums_have_the_order_of_columns(channels: int) -> None:
    random = np.random.default_rng(channels)
    x = random.standard_normal((1, channels, 14, 37)).astype(np.float32)
    w = random.standard_normal((channels, channels, 3, 3)).astype(np.float32)
    for stride in (1, 2):
        y = convpool.conv2d(x, w, None, stride, 1, algorithm="implicit_gemm")
        columns = convpool.conv2d(x, w, None, stride, 1, algorithm="im2col")
        np.testing.assert_array_equal(y, columns)


@pytest.mark.parametrize("groups", [1, 2])
def test_input_gradients(groups: int) -> None:
    dy, w = integers((2, 8, 14, 30)), integers((8, 8 // groups, 3, 3))
    dx = convpool.conv2d_grad_input(dy, w, (2, 8, 14, 30), 1, 1, groups=groups)
    np.testing.assert_array_equal(
        dx, reference.conv2d_grad_input(dy, w, (2, 8, 14, 30), 1, 1, groups=groups)
    )
