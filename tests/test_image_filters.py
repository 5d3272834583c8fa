"""Planes and kernels of 3x3, 5x5 and 7x7: read in place by some instruction sets, else copied."""

import numpy as np
import pytest

import convpool
from cases import embedded, integers, normal
from convpool import reference


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("width", [*range(1, 20), 31, 32, 33, 34, 47, 48, 49, 66, 130])
def test_widths(width: int, stride: int, dtype: type) -> None:
    x = integers((2, 3, 9, width), dtype, seed=width)
    w = integers((3, 1, 3, 3), dtype, seed=1)
    expected = reference.conv2d(x, w, None, stride, 1, groups=3)
    y = convpool.conv2d(embedded(x), w, None, stride, 1, groups=3, algorithm="implicit_gemm")
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize(
    "padding", [0, 3, 70, ((2, 0), (0, 2)), ((-1, 2), (3, -1)), ((0, 9), (70, 0))]
)
def test_paddings(padding: object, stride: int) -> None:
    x, w = integers((2, 2, 14, 21), seed=2), integers((2, 1, 3, 3), seed=3)
    expected = reference.conv2d(x, w, None, stride, padding, groups=2)
    y = convpool.conv2d(embedded(x), w, None, stride, padding, groups=2, algorithm="implicit_gemm")
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(1, 7, 14, 14), (5, 1, 14, 14), (4, 3, 7, 7), (2, 2, 30, 260)])
def test_planes_and_bias(shape: tuple[int, ...], stride: int) -> None:
    x, w = integers(shape, seed=4), integers((shape[1], 1, 3, 3), seed=5)
    bias = integers((shape[1],), seed=6)
    expected = reference.conv2d(x, w, bias, stride, 1, groups=shape[1])
    for threads in (1, 2):
        options = {"groups": shape[1], "algorithm": "implicit_gemm", "threads": threads}
        y = convpool.conv2d(x, w, bias, stride, 1, **options)
        np.testing.assert_array_equal(y, expected)
        y = convpool.conv2d(embedded(x), w, bias, stride, 1, **options)
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("stride", [1, 2])
def test_channels_are_summed(stride: int) -> None:
    x, w = integers((2, 6, 10, 18), seed=7), integers((2, 3, 3, 3), seed=8)
    bias = integers((2,), seed=9)
    expected = reference.conv2d(x, w, bias, stride, 1, groups=2)
    y = convpool.conv2d(embedded(x), w, bias, stride, 1, groups=2, algorithm="implicit_gemm")
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("tap", range(9))
def test_infinite_weights_meet_the_padding(tap: int) -> None:
    w = np.ones((1, 1, 3, 3), np.float32)
    w.flat[tap] = np.inf
    x = np.ones((1, 1, 5, 20), np.float32)
    y = convpool.conv2d(x, w, padding=1, algorithm="implicit_gemm")
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(y, reference.conv2d(x, w, padding=1))
    assert np.isnan(y).any() == (tap != 4)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("width", [3, 5, 8, 9, 14, 23, 37])
def test_nothing_is_written_beside_the_rows(width: int, kernel: int, stride: int) -> None:
    x = integers((1, 2, 9, width), seed=10)
    for channels, bias in ((1, None), (2, None), (1, integers((2,), seed=12))):
        w = integers((2, channels, kernel, kernel), seed=11)
        options = {"stride": stride, "padding": kernel // 2, "groups": 2 // channels}
        expected = reference.conv2d(x, w, bias, **options)
        memory = np.full(expected.size + 64, 77, np.float32)
        out = memory[32:-32].reshape(expected.shape)
        convpool.conv2d(x, w, bias, algorithm="implicit_gemm", out=out, **options)
        np.testing.assert_array_equal(out, expected)
        assert (memory[:32] == 77).all() and (memory[-32:] == 77).all()


LARGE_PLANES = [
    *((33 + width % 4, width) for width in range(125, 142)),
    (1400, 3),
    (700, 7),
    (1, 4500),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (7, 1)])
@pytest.mark.parametrize("plane", LARGE_PLANES)
def test_planes_beyond_the_first_level_cache(
    plane: tuple[int, int], kernel: int, stride: int, dtype: type
) -> None:
    x, bias = integers((1, 2, *plane), dtype, seed=13), integers((2,), dtype, seed=14)
    w = integers((2, 2, kernel, kernel), dtype, seed=15)
    for padding in (1, 3, ((2, 0), (0, 9)), ((0, 2), (20, -1))):
        (top, bottom), (left, right) = np.broadcast_to(padding, (2, 2))
        if plane[0] + top + bottom < kernel or plane[1] + left + right < kernel:
            continue
        for weight, groups in ((w, 1), (w[:, :1], 2)):
            options = {"stride": stride, "padding": padding, "groups": groups}
            expected = reference.conv2d(x, weight, bias, **options)
            memory = np.full(expected.size + 64, 77, dtype)
            out = memory[32:-32].reshape(expected.shape)
            y = convpool.conv2d(embedded(x), weight, bias, algorithm="implicit_gemm", **options)
            np.testing.assert_array_equal(y, expected)
            convpool.conv2d(x, weight, bias, algorithm="implicit_gemm", out=out, **options)
            np.testing.assert_array_equal(out, expected)
            assert (memory[:32] == 77).all() and (memory[-32:] == 77).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [5, 7])
@pytest.mark.parametrize("width", [*range(3, 20), 31, 32, 33, 40, 41, 47, 48, 49, 66, 97, 130])
def test_widths_with_large_kernels(width: int, kernel: int, stride: int, dtype: type) -> None:
    w = integers((3, 1, kernel, kernel), dtype)
    for height in (6, 7, 8, 14, 40, 75):
        x = integers((1, 3, height, width), dtype)
        expected = reference.conv2d(x, w, None, stride, 3, groups=3)
        y = convpool.conv2d(embedded(x), w, None, stride, 3, groups=3, algorithm="implicit_gemm")
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [5, 7])
@pytest.mark.parametrize(
    "padding", [0, 4, 70, ((2, 0), (0, 2)), ((-1, 2), (3, -1)), ((0, 9), (70, 0))]
)
def test_paddings_with_large_kernels(padding: object, kernel: int, stride: int) -> None:
    x, w = integers((2, 6, 14, 150)), integers((2, 3, kernel, kernel))
    bias = integers((2,))
    expected = reference.conv2d(x, w, bias, stride, padding, groups=2)
    for threads in (1, 2):
        options = {"groups": 2, "algorithm": "implicit_gemm", "threads": threads}
        y = convpool.conv2d(embedded(x), w, bias, stride, padding, **options)
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [5, 7])
@pytest.mark.parametrize("width", [20, 500])
def test_large_kernels_that_are_not_finite_meet_the_padding(
    width: int, kernel: int, stride: int
) -> None:
    x = np.ones((1, 1, 9, width), np.float32)
    options = {"stride": stride, "padding": kernel // 2}
    for tap in range(kernel * kernel):
        w = np.ones((1, 1, kernel, kernel), np.float32)
        w.flat[tap] = np.inf if tap % 2 else np.nan
        y = convpool.conv2d(x, w, algorithm="implicit_gemm", **options)
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(y, reference.conv2d(x, w, **options))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("height", [*range(7, 20), *range(220, 250)])
def test_bits_depend_neither_on_threads_nor_on_company(
    height: int, kernel: int, stride: int
) -> None:
    for width in (9, 29, 250):  # the last in bands, whose heights depend on the number of threads
        x, w = normal((2, 1, height, width)), normal((1, 1, kernel, kernel), seed=1)
        options = {"stride": stride, "padding": kernel // 2, "algorithm": "implicit_gemm"}
        expected = convpool.conv2d(x, w, threads=1, **options)
        for threads in (2, 4, 16):
            for image in (0, 1):
                y = convpool.conv2d(x[image], w, threads=threads, **options)
                np.testing.assert_array_equal(y, expected[image])
