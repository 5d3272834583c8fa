"""Pools in vectors: every width, whole planes, rounding of averages, NaN among small images."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import convpool
from cases import integers, normal
from convpool import reference

POOLS = ("max_pool2d", "min_pool2d", "sum_pool2d", "avg_pool2d")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.uint16, np.int64])
@pytest.mark.parametrize("kernel", [(2, 1), (3, 3), (5, 2), (4, 5)])
def test_rows_of_every_width(kernel: tuple[int, int], dtype: Any) -> None:
    for width in range(kernel[1], 75):
        x = integers((1, 3, 7, width), dtype, seed=width)
        for pool in POOLS:
            for stride in ((1, 1), (2, 3)):
                y = getattr(convpool, pool)(x, kernel, stride)
                expected = getattr(reference, pool)(x, kernel, stride)
                assert_array_equal(y, expected.astype(y.dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.uint16, np.int64])
def test_whole_planes_of_every_size(dtype: Any) -> None:
    for size in [*range(1, 68), 127, 256, 257, 300]:
        x = integers((2, 67, 1, size), dtype, seed=size)
        for pool in POOLS:
            y = getattr(convpool, pool)(x, (1, size))
            assert_array_equal(y, getattr(reference, pool)(x, (1, size)).astype(y.dtype))


def test_whole_planes_of_every_layout() -> None:
    x = normal((3, 5, 7, 9), np.float32)
    for pool in POOLS:
        y = getattr(convpool, pool)(x, (7, 9))
        turned = np.ascontiguousarray(x.T).T
        assert_array_equal(getattr(convpool, pool)(turned, (7, 9)), y)
        last = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        y_last = getattr(convpool, pool)(last, (7, 9), layout="NHWC")
        assert_array_equal(y_last.transpose(0, 3, 1, 2), y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_and_inf_in_whole_planes(dtype: Any) -> None:
    clean = normal((1, 70, 3, 7), dtype)
    for value in (np.nan, np.inf, -np.inf):
        for position in range(21):
            x = clean.copy()
            x[0, position].ravel()[position] = value
            for pool in (*POOLS, "global_max_pool2d", "global_avg_pool2d"):
                arguments = () if pool.startswith("global") else ((3, 7),)
                function = getattr(convpool, pool)
                y, expected = function(x, *arguments), function(clean, *arguments)
                others = np.arange(70) != position
                assert_array_equal(y[0, others], expected[0, others])
                plane = x[0, position]
                if "max" in pool or "min" in pool:
                    assert_array_equal(y[0, position, 0, 0], getattr(plane, pool.split("_")[-2])())
                else:
                    assert_array_equal(y[0, position, 0, 0], plane.mean())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize("kernel", [2, 3, 5, 6, 7, 11, 13])
def test_averages_are_rounded_once(kernel: int, count_include_pad: bool, dtype: Any) -> None:
    # The sums are whole, so the only rounding is the division's.
    x = np.random.default_rng(kernel).integers(-(2**15), 2**15, (2, 5, 23, 29)).astype(dtype)
    geometry: dict[str, Any] = {"stride": 1, "padding": kernel // 2}
    sums = convpool.sum_pool2d(x, kernel, **geometry)
    cells = convpool.sum_pool2d(np.ones_like(x), kernel, **geometry)
    divisor = dtype(kernel**2) if count_include_pad else cells
    y = convpool.avg_pool2d(x, kernel, **geometry, count_include_pad=count_include_pad)
    assert_array_equal(y, sums / divisor)
    sevenths = convpool.avg_pool2d(x, kernel, **geometry, divisor_override=7)
    assert_array_equal(sevenths, sums / dtype(7))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_averages_of_infinite_cells(value: float) -> None:
    for dtype in (np.float32, np.float64):
        x = normal((1, 2, 12, 12), dtype)
        x[0, 1, 6, 6] = value
        y = convpool.avg_pool2d(x, 3, 1)
        assert_array_equal(y[0, 1, 4:7, 4:7], np.full((3, 3), value))
        assert np.isfinite(y).sum() == y.size - 9


@pytest.mark.parametrize("size", [1, 4, 5, 9, 20])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_infinite_and_missing_cells_among_small_images(value: float, size: int) -> None:
    clean = normal((2, 50, size, size), np.float32)
    geometry: dict[str, Any] = {"kernel_size": 3, "stride": 1, "padding": 1}
    expected = {pool: getattr(convpool, pool)(clean, **geometry) for pool in POOLS}
    for image, channel in ((0, 0), (0, 37), (1, 49)):
        x = clean.copy()
        x[image, channel, size // 2, size - 1] = value
        for pool in POOLS:
            y = getattr(convpool, pool)(x, **geometry)
            assert_array_equal(y, getattr(convpool, pool)(x[:, :, ::-1][:, :, ::-1], **geometry))
            others = np.full((2, 50), True)
            others[image, channel] = False
            assert_array_equal(y[others], expected[pool][others])
            if pool in ("max_pool2d", "min_pool2d"):
                assert_array_equal(y, getattr(reference, pool)(x, **geometry).astype(np.float32))


SPREADS: list[dict[str, Any]] = [
    {"kernel_size": 3, "stride": 1},
    {"kernel_size": (5, 2), "stride": (1, 2), "padding": (2, 1)},
    {"kernel_size": (2, 9), "stride": (2, 4), "padding": (0, 3), "ceil_mode": True},
    {"kernel_size": (3, 3), "stride": (4, 5), "dilation": (2, 1), "padding": 1},
    {"kernel_size": 4, "stride": 4},
    {"kernel_size": (3, 2), "stride": 2, "padding": ((-1, 2), (-2, -1)), "ceil_mode": True},
    {"kernel_size": 3, "stride": 2, "padding": 2, "pad_mode": "reflect"},
    {"kernel_size": 3, "stride": 1, "padding": ((0, 1), (2, 0)), "pad_mode": "wrap"},
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("geometry", SPREADS, ids=str)
def test_average_gradients_of_every_width(geometry: dict[str, Any], dtype: Any) -> None:
    for width in [*range(10, 45), 70]:
        shape = (2, 3, 11, width)
        windows = convpool.avg_pool2d(np.zeros(shape), **geometry).shape
        dy = integers(windows, dtype, seed=width)
        # Whole numbers as long as nothing is divided, hence exact.
        dx = convpool.avg_pool2d_grad(dy, shape, **geometry, divisor_override=1)
        expected = reference.avg_pool2d_grad(dy, shape, **geometry, divisor_override=1)
        assert_array_equal(dx, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_average_gradients_keep_nan_and_inf_local(value: float, dtype: Any) -> None:
    dy = normal((2, 3, 8, 10), dtype)
    shape, geometry = (2, 3, 10, 12), {"kernel_size": 3, "stride": 1}
    clean = convpool.avg_pool2d_grad(dy, shape, **geometry)
    dy[1, 1, 4, 5] = value
    dx = convpool.avg_pool2d_grad(dy, shape, **geometry)
    reached = np.zeros(shape, bool)
    reached[1, 1, 4:7, 5:8] = True
    assert_array_equal(dx[reached], np.full(9, value))
    # The rest of that plane is summed in float64.
    np.testing.assert_allclose(dx[~reached], clean[~reached], rtol=1e-5, atol=1e-6)
    assert_array_equal(dx[0], clean[0])


def test_average_gradients_that_overflow_float32_are_summed_in_float64() -> None:
    dy = np.array([3e38, 3e38, -3e38, 1], np.float32).reshape(1, 1, 4)
    dx = convpool.avg_pool2d_grad(dy, (1, 1, 6), (1, 3), 1, divisor_override=1)
    expected = np.array([3e38, np.inf, 3e38, 1, -3e38, 1], np.float32)
    assert_array_equal(dx[0, 0], expected)


PLANES = [
    (size, stride, padding) for size in (2, 3, 5) for stride in (1, 2, 3) for padding in (0, 1)
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size, stride, padding", [*PLANES, (5, 1, 2), (5, 2, 2)])
def test_planes_of_every_width(size: int, stride: int, padding: int, dtype: Any) -> None:
    geometry = {"kernel_size": size, "stride": stride, "padding": padding}
    for width in [*range(size, 70), 97, 128, 131, 140]:
        x = integers((1, 3, 5 + width % 4, width), dtype, seed=width)
        for pool in POOLS:
            expected = getattr(reference, pool)(x, **geometry).astype(dtype)
            guarded = np.full(expected.size + 32, 77, dtype)
            out = guarded[16:-16].reshape(expected.shape)
            getattr(convpool, pool)(x, **geometry, out=out)
            if pool == "avg_pool2d":
                np.testing.assert_allclose(out, expected, rtol=1e-6)
            else:
                assert_array_equal(out, expected)
            assert_array_equal(guarded[:16], 77)
            assert_array_equal(guarded[-16:], 77)


@pytest.mark.parametrize("size, stride, padding", PLANES)
def test_nan_and_inf_at_every_cell_of_a_plane(size: int, stride: int, padding: int) -> None:
    geometry = {"kernel_size": size, "stride": stride, "padding": padding}
    cells = np.arange(8 * 19)
    for value in (np.nan, np.inf, -np.inf):
        x = integers((cells.size, 1, 8, 19), np.float32, seed=size)
        x.reshape(cells.size, -1)[cells, cells] = value
        for pool in POOLS:
            y = getattr(convpool, pool)(x, **geometry)
            expected = getattr(reference, pool)(x, **geometry)
            np.testing.assert_allclose(y, expected, rtol=1e-6)
            for cell in cells:
                alone = getattr(convpool, pool)(x[cell], **geometry)
                assert_array_equal(alone, y[cell])
        y, indices = convpool.max_pool2d(x, **geometry, return_indices=True)
        y_expected, expected = reference.max_pool2d(x, **geometry, return_indices=True)
        assert_array_equal(y, y_expected.astype(np.float32))
        assert_array_equal(indices, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size, stride, padding", PLANES)
def test_planes_have_the_same_bits_with_and_without_nan(
    size: int, stride: int, padding: int, dtype: Any
) -> None:
    geometry = {"kernel_size": size, "stride": stride, "padding": padding}
    rng = np.random.default_rng(size)
    for width in (16, 33, 70):
        zeros = rng.choice([0.0, -0.0], (1, 4, 12, width)).astype(dtype)
        ties = rng.choice([0.0, -0.0, -1.0], zeros.shape).astype(dtype)
        for x in (zeros, ties, normal(zeros.shape, dtype)):
            other = x.copy()
            other[..., -1, -1] = np.nan  # these planes take the two passes
            for pool in POOLS:
                y = getattr(convpool, pool)(x, **geometry)
                y_other = getattr(convpool, pool)(other, **geometry)
                same = ~np.isnan(y_other)
                assert y[same].tobytes() == y_other[same].tobytes()


@pytest.mark.parametrize("count_include_pad", [True, False])
def test_planes_with_a_padding_value_or_few_counted_cells(count_include_pad: bool) -> None:
    x = integers((2, 3, 11, 21), np.float64)
    geometry: dict[str, Any] = {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}
    geometry["count_include_pad"] = count_include_pad
    for pad_value in (0, 3):
        y = convpool.avg_pool2d(x, **geometry, pad_value=pad_value)
        expected = reference.avg_pool2d(x, **geometry, pad_value=pad_value)
        np.testing.assert_allclose(y, expected, rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [4, 6, 7, 8, 9, 13, 16, 17])
def test_large_windows_of_planes(size: int, dtype: Any) -> None:
    for shape in ((size, size + 1), (7, 9), (20, 33), (5, 70), (40, 16)):
        geometry = {"kernel_size": size, "stride": 1, "padding": size // 2}
        x = integers((1, 2, *shape), dtype, seed=size)
        ties = np.random.default_rng(size).choice([0.0, -0.0, -1.0], x.shape).astype(dtype)
        for pool in ("max_pool2d", "min_pool2d"):
            expected = getattr(reference, pool)(x, **geometry).astype(dtype)
            assert_array_equal(getattr(convpool, pool)(x, **geometry), expected)
            for cells in (x, ties):
                other = cells.copy()
                other[..., shape[0] // 2, shape[1] // 3] = np.nan
                y = getattr(convpool, pool)(cells, **geometry)
                y_other = getattr(convpool, pool)(other, **geometry)
                same = ~np.isnan(y_other)
                assert y[same].tobytes() == y_other[same].tobytes()
                assert_array_equal(same, ~np.isnan(getattr(reference, pool)(other, **geometry)))
