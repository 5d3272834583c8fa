"""Input gradients of 3x3 kernels with stride 2: some instruction sets read dy where it stands."""

import numpy as np
import pytest

import convpool
from cases import integers
from convpool import reference

WIDTHS = [*range(1, 20), 30, 31, 32, 33, 34, 47, 48, 49, 63, 64, 65, 66, 97, 130]


def check(
    shape: tuple[int, ...], channels: int, groups: int, padding: object, dtype: type = np.float32
) -> None:
    w = integers((channels, shape[1] // groups, 3, 3), dtype, seed=channels)
    y = convpool.conv2d(np.zeros(shape, dtype), w, None, 2, padding, groups=groups)
    dy = integers(y.shape, dtype, seed=shape[3])
    expected = reference.conv2d_grad_input(dy, w, shape, 2, padding, groups=groups)
    for threads in (1, 2):
        memory = np.full(expected.size + 64, 77, dtype)
        out = memory[32:-32].reshape(shape)
        options = {"groups": groups, "algorithm": "implicit_gemm", "threads": threads, "out": out}
        convpool.conv2d_grad_input(dy, w, shape, 2, padding, **options)
        np.testing.assert_array_equal(out, expected)
        assert (memory[:32] == 77).all() and (memory[-32:] == 77).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("padding", [1, 2])
@pytest.mark.parametrize("width", WIDTHS)
def test_widths(width: int, padding: int, dtype: type) -> None:
    check((2, 3, 7, width), 3, 3, padding, dtype)
    check((1, 4, 6, width), 4, 1, padding, dtype)


@pytest.mark.parametrize(
    "padding", [0, 1, 3, 70, ((2, 0), (0, 2)), ((-1, 2), (3, -1)), ((0, 9), (70, 0))]
)
@pytest.mark.parametrize("height", [2, 3, 4, 9, 14])
def test_paddings(height: int, padding: object) -> None:
    for width in (5, 21, 40):
        if height > 3 or padding not in (0, ((-1, 2), (3, -1))):
            check((2, 2, height, width), 4, 2, padding)


@pytest.mark.parametrize("group_out", [1, 2, 5, 64, 65])
@pytest.mark.parametrize("group_in", [1, 2, 3, 4, 7, 8, 32, 33])
def test_channels_of_a_group(group_in: int, group_out: int) -> None:
    for groups in (1, 3):
        check((2, groups * group_in, 9, 17), groups * group_out, groups, 1)


@pytest.mark.parametrize("channels", [1, 6])
def test_transposed_convolution_has_a_bias(channels: int) -> None:
    x, w = integers((2, 6, 5, 19), seed=1), integers((6, channels, 3, 3), seed=2)
    bias = integers((channels,), seed=3)
    expected = reference.conv2d_transpose(x, w, bias, 2, 1)
    y = convpool.conv2d_transpose(x, w, bias, 2, 1, algorithm="implicit_gemm")
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("groups", [1, 4])
def test_same_bits_as_on_other_instruction_sets(groups: int) -> None:
    """Sums of an image whose gradients are spread, and of the same, dilated, whose are not."""
    rng = np.random.default_rng(4)
    w = rng.standard_normal((8, 8 // groups, 3, 3)).astype(np.float32)
    dy = rng.standard_normal((1, 8, 7, 18)).astype(np.float32)
    shape, wide = (1, 8, 13, 35), (1, 8, 26, 70)
    options = {"groups": groups, "algorithm": "implicit_gemm"}
    spread = convpool.conv2d_grad_input(dy, w, shape, 2, 1, **options)
    apart = convpool.conv2d_grad_input(dy, w, wide, 4, 2, 2, **options)
    np.testing.assert_array_equal(apart[:, :, ::2, ::2], spread)


def test_gradients_that_are_not_finite() -> None:
    for value, place in ((np.inf, (0, 0)), (np.nan, (3, 9)), (-np.inf, (6, 17))):
        dy = np.ones((1, 4, 7, 18), np.float32)
        dy[0, 1][place] = value
        w = integers((4, 1, 3, 3), seed=5)
        with np.errstate(invalid="ignore"):
            expected = reference.conv2d_grad_input(dy, w, (1, 4, 13, 35), 2, 1, groups=4)
        dx = convpool.conv2d_grad_input(dy, w, (1, 4, 13, 35), 2, 1, groups=4)
        np.testing.assert_array_equal(dx, expected)
