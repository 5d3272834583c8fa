"""Pooling and unpooling: exact on whole numbers, literals, ties, NaN, windows without cells."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import convpool
from cases import POOL_CASES, PoolCase, integers, normal
from convpool import reference
from convpool._typing import Array

every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_case = pytest.mark.parametrize("case", POOL_CASES, ids=str)
counted = pytest.mark.parametrize(
    ("count_include_pad", "divisor_override"), [(True, None), (False, None), (True, 5), (False, 3)]
)


def row(*numbers: float) -> Array:
    """Make an image of one row."""
    return np.array(numbers, dtype=np.float64).reshape(1, 1, -1)


def pooled_shape(case: PoolCase) -> tuple[int, ...]:
    """Shape of the case's result."""
    return convpool.pool2d_output_shape(case.x_shape, **case.geometry)


@every_case
def test_the_shape_is_known_in_advance(case: PoolCase) -> None:
    expected = reference.avg_pool2d(np.ones(case.x_shape), **case.geometry).shape
    assert pooled_shape(case) == expected


# Maximum


@every_dtype
@every_case
def test_max(case: PoolCase, dtype: Any) -> None:
    # Few different numbers, so that most windows have ties.
    x = integers(case.x_shape, dtype)
    y, indices = convpool.max_pool2d(x, **case.geometry, return_indices=True)
    expected, places = reference.max_pool2d(x, **case.geometry, return_indices=True)
    assert y.dtype == dtype
    assert indices.dtype == np.int64
    assert_array_equal(y, expected)
    assert_array_equal(indices, places)
    assert_array_equal(convpool.max_pool2d(x, **case.geometry), expected)


@every_dtype
@every_case
def test_max_gradient(case: PoolCase, dtype: Any) -> None:
    x = integers(case.x_shape, dtype)
    _, indices = convpool.max_pool2d(x, **case.geometry, return_indices=True)
    dy = integers(indices.shape, dtype, seed=1)
    dx = convpool.max_pool2d_grad(dy, indices, x.shape)
    assert dx.dtype == dtype
    assert_array_equal(dx, reference.max_pool2d_grad(dy, indices, x.shape))
    assert dx.sum() == dy[indices >= 0].sum()


@every_dtype
@every_case
def test_max_unpool(case: PoolCase, dtype: Any) -> None:
    x = integers(case.x_shape, dtype)
    y, indices = convpool.max_pool2d(x, **case.geometry, return_indices=True)
    y = integers(y.shape, dtype, seed=1)
    back = convpool.max_unpool2d(y, indices, x.shape)
    assert back.dtype == dtype
    assert_array_equal(back, reference.max_unpool2d(y, indices, x.shape))


@every_dtype
@pytest.mark.parametrize("channels", [1, 3, 5, 8, 17])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_nan_wins_wherever_it_stands(layout: Any, channels: int, dtype: Any) -> None:
    geometry: Any = {"kernel_size": (3, 4), "stride": (2, 3), "padding": 1}
    clean = normal((1, channels, 7, 10), dtype)
    for where in np.ndindex(7, 10):
        x = clean.copy()
        x[(0, channels - 1, *where)] = np.nan
        expected, places = reference.max_pool2d(x, **geometry, return_indices=True)
        laid = x if layout == "NCHW" else x.transpose(0, 2, 3, 1)
        pooled = convpool.max_pool2d(laid, **geometry, layout=layout, return_indices=True)
        alone = convpool.max_pool2d(laid, **geometry, layout=layout)
        y, indices = (a if layout == "NCHW" else a.transpose(0, 3, 1, 2) for a in pooled)
        assert_array_equal(y, expected)
        assert_array_equal(indices, places)
        assert_array_equal(alone, pooled[0])


def test_the_first_of_several_nans_is_found() -> None:
    x = row(1, np.nan, 7, np.nan, np.inf, 2)
    y, indices = convpool.max_pool2d(x, (1, 3), (1, 1), return_indices=True)
    assert_array_equal(y, row(np.nan, np.nan, np.nan, np.nan))
    assert_array_equal(indices, row(1, 1, 3, 3))


def test_the_first_of_equal_maxima_takes_the_gradient() -> None:
    x = row(3, 3, 2, 3)
    y, indices = convpool.max_pool2d(x, (1, 2), return_indices=True)
    assert_array_equal(indices, row(0, 3))
    assert_array_equal(convpool.max_pool2d_grad(np.ones_like(y), indices, x.shape), row(1, 0, 0, 1))


def test_windows_that_share_a_maximum_add_their_gradients() -> None:
    x = row(0, 0, 9, 0, 0)
    _, indices = convpool.max_pool2d(x, (1, 3), 1, return_indices=True)
    assert_array_equal(indices, row(2, 2, 2))
    dx = convpool.max_pool2d_grad(row(1, 10, 100), indices, x.shape)
    assert_array_equal(dx, row(0, 0, 111, 0, 0))


def test_padding_never_wins() -> None:
    x = np.full((1, 1, 4, 4), -5.0, np.float32)
    y, indices = convpool.max_pool2d(x, 3, 1, 2, return_indices=True)
    assert (y == -5).all()
    assert (indices >= 0).all()


def test_an_image_of_minus_infinity_has_its_maximum_in_the_image() -> None:
    x = np.full((1, 1, 2, 2), -np.inf)
    y, indices = convpool.max_pool2d(x, 2, 1, 1, return_indices=True)
    assert_array_equal(y, np.full((1, 1, 3, 3), -np.inf))
    assert_array_equal(indices[0, 0], [[0, 0, 1], [0, 0, 1], [2, 2, 3]])


def test_a_window_without_cells_has_no_maximum() -> None:
    x = np.arange(1.0, 7.0).reshape(1, 3, 1, 2)
    y, indices = convpool.max_pool2d(
        x, (1, 2), stride=1, padding=(0, 1), dilation=(1, 3), return_indices=True
    )
    assert_array_equal(y, np.full((1, 3, 1, 1), -np.inf))
    assert_array_equal(indices, np.full((1, 3, 1, 1), -1))
    dx = convpool.max_pool2d_grad(np.full((1, 3, 1, 1), 10.0), indices, x.shape)
    assert_array_equal(dx, np.zeros_like(x))
    assert_array_equal(convpool.max_unpool2d(y, indices, x.shape), np.zeros_like(x))


def test_indices_count_in_the_image_without_padding() -> None:
    x = np.arange(12.0).reshape(1, 3, 4)
    _, indices = convpool.max_pool2d(x, 2, 2, ((1, 0), (1, 1)), return_indices=True)
    assert_array_equal(indices, [[[0, 2, 3], [8, 10, 11]]])


def test_indices_of_a_cropped_image_count_in_the_whole_one() -> None:
    x = np.arange(12.0).reshape(1, 3, 4)
    _, indices = convpool.max_pool2d(x, 1, 1, ((-1, 0), (-2, 0)), return_indices=True)
    assert_array_equal(indices, [[[6, 7], [10, 11]]])


def test_pooling_and_unpooling_restores_the_maxima() -> None:
    x = normal((2, 3, 8, 6))
    y, indices = convpool.max_pool2d(x, 2, return_indices=True)
    back = convpool.max_unpool2d(y, indices, x.shape)
    assert_array_equal(convpool.max_pool2d(np.where(back == 0, -np.inf, back), 2), y)
    assert np.count_nonzero(back) == y.size


def test_the_last_of_several_values_in_one_place_stays() -> None:
    back = convpool.max_unpool2d(row(5, 6, 7), np.array([[[1, 1, 0]]]), (1, 1, 3))
    assert_array_equal(back, row(7, 6, 0))


@pytest.mark.parametrize("index", [-2, 6, 2**32 + 3, -(2**63), 2**63 - 1])
@pytest.mark.parametrize("function", [convpool.max_unpool2d, convpool.max_pool2d_grad])
def test_an_index_outside_the_plane_is_refused(function: Any, index: int) -> None:
    indices = np.array([[[0, 5, index]]])
    out = np.full((1, 2, 3), 77.0)
    with pytest.raises(IndexError, match=f"indices must be between -1 and 5, got {index}"):
        function(row(1, 2, 3), indices, (1, 2, 3), out=out)
    assert_array_equal(out, np.full((1, 2, 3), 77.0))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32, np.int64, ">i8"])
def test_indices_may_be_of_any_integer_type(dtype: Any) -> None:
    indices = np.array([[[2, 1]]], dtype=dtype)
    assert_array_equal(convpool.max_unpool2d(row(5, 6), indices, (1, 1, 3)), row(0, 6, 5))
    assert_array_equal(convpool.max_pool2d_grad(row(5, 6), indices, (1, 1, 3)), row(0, 6, 5))


def test_unsigned_indices_do_not_wrap_around() -> None:
    indices = np.array([[[2**64 - 1, 1]]], dtype=np.uint64)
    with pytest.raises(IndexError, match="indices"):
        convpool.max_unpool2d(row(5, 6), indices, (1, 1, 3))


# Average


@counted
@every_dtype
@every_case
def test_average(
    case: PoolCase, dtype: Any, count_include_pad: bool, divisor_override: int | None
) -> None:
    x = integers(case.x_shape, dtype)
    kwargs: Any = {
        **case.geometry,
        "count_include_pad": count_include_pad,
        "divisor_override": divisor_override,
    }
    y = convpool.avg_pool2d(x, **kwargs)
    assert y.dtype == dtype
    # One division, then one rounding: the same in both.
    assert_array_equal(y, reference.avg_pool2d(x, **kwargs).astype(dtype))


@counted
@every_dtype
@every_case
def test_average_gradient(
    case: PoolCase, dtype: Any, count_include_pad: bool, divisor_override: int | None
) -> None:
    kwargs: Any = {
        **case.geometry,
        "count_include_pad": count_include_pad,
        "divisor_override": divisor_override,
    }
    # Numbers that every divisor here divides keep the shares whole, and the sums exact.
    dy = integers(pooled_shape(case), dtype) * 2**3 * 3**3 * 5 * 7
    dx = convpool.avg_pool2d_grad(dy, case.x_shape, **kwargs)
    expected = reference.avg_pool2d_grad(dy, case.x_shape, **kwargs)
    assert dx.dtype == dtype
    assert_array_equal(dx, expected.astype(dtype))
    x = integers(case.x_shape, np.float64, seed=1)
    y = np.nan_to_num(reference.avg_pool2d(x, **kwargs))
    assert_allclose((x * dx).sum(), (y * dy).sum(), rtol=1e-12)


@counted
def test_average_sees_the_pad_value(count_include_pad: bool, divisor_override: int | None) -> None:
    x = integers((2, 3, 5, 6))
    for padding in (1, ((0, 3), (2, 1)), "same", "full", ((-1, 2), (1, -1))):
        for ceil_mode in (False, True):
            kwargs: Any = {
                "kernel_size": (3, 2),
                "stride": 2,
                "padding": padding,
                "ceil_mode": ceil_mode,
                "count_include_pad": count_include_pad,
                "divisor_override": divisor_override,
                "pad_value": 4,
            }
            expected = reference.avg_pool2d(x, **kwargs).astype(np.float32)
            assert_array_equal(convpool.avg_pool2d(x, **kwargs), expected)


@pytest.mark.parametrize("pad_value", [np.inf, np.nan])
def test_a_pad_value_that_is_not_finite_stays_at_the_border(pad_value: float) -> None:
    x = np.ones((1, 4, 4))
    y = convpool.avg_pool2d(x, 2, 1, 1, pad_value=pad_value)
    expected = np.full((1, 5, 5), pad_value)
    expected[0, 1:4, 1:4] = 1
    assert_array_equal(y, expected)
    y = convpool.avg_pool2d(x, 2, 1, 1, count_include_pad=False, pad_value=pad_value)
    assert_array_equal(y, np.ones((1, 5, 5)))


def test_explicit_padding_counts_and_the_overhang_does_not() -> None:
    y = convpool.avg_pool2d(row(1, 2, 3, 4, 5), (1, 2), (1, 2), ceil_mode=True)
    assert_array_equal(y, row(1.5, 3.5, 5))
    kwargs: Any = {"kernel_size": (1, 3), "stride": (1, 2), "padding": (0, 1), "ceil_mode": True}
    ones = row(1, 1, 1, 1, 1, 1)
    y = convpool.avg_pool2d(ones, **kwargs)
    assert_array_equal(y, row(2 / 3, 1, 1, 1 / 2))
    y = convpool.avg_pool2d(ones, **kwargs, count_include_pad=False)
    assert_array_equal(y, row(1, 1, 1, 1))


def test_a_divisor_replaces_the_count() -> None:
    y = convpool.avg_pool2d(row(1, 2, 3, 4, 5), (1, 2), ceil_mode=True, divisor_override=1)
    assert_array_equal(y, row(3, 7, 5))


def test_the_mean_of_no_cells() -> None:
    kwargs: Any = {"kernel_size": (1, 2), "stride": 1, "padding": (0, 3)}
    x = row(1, 3)
    y = convpool.avg_pool2d(x, **kwargs, count_include_pad=False)
    assert_array_equal(y, row(np.nan, np.nan, 1, 2, 3, np.nan, np.nan))
    y = convpool.avg_pool2d(x, **kwargs, count_include_pad=False, divisor_override=2)
    assert_array_equal(y, row(0, 0, 0.5, 2, 1.5, 0, 0))
    dx = convpool.avg_pool2d_grad(np.ones_like(y), x.shape, **kwargs, count_include_pad=False)
    assert_array_equal(dx, row(1.5, 1.5))


def test_sums_are_kept_in_float64() -> None:
    x = np.full((1, 1, 1000, 1000), 0.1, np.float32)
    assert convpool.avg_pool2d(x, 1000)[0, 0, 0, 0] == np.float32(0.1)
    huge = np.full((1, 4, 4), 3e38, np.float32)
    assert_array_equal(convpool.avg_pool2d(huge, 4), huge[:, :1, :1])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_inf_stay_local(value: float) -> None:
    x = normal((1, 3, 9, 9))
    clean = convpool.avg_pool2d(x, 3, 1)
    x[0, 1, 4, 8] = value
    y = convpool.avg_pool2d(x, 3, 1)
    reached = np.zeros(y.shape, bool)
    reached[0, 1, 2:5, 6] = True
    assert not np.isfinite(y[reached]).any()
    assert_array_equal(y[~reached], clean[~reached])


TALL_AND_WIDE = [
    ((40, 70), {"kernel_size": (13, 1), "stride": 1}),
    ((40, 70), {"kernel_size": (1, 13), "stride": 1}),
    ((61, 75), {"kernel_size": 13, "stride": 1, "padding": 6}),
    ((61, 75), {"kernel_size": (29, 30), "stride": (2, 3), "padding": ((3, 20), (11, 0))}),
    ((90, 150), {"kernel_size": (40, 64), "stride": 1, "ceil_mode": True}),
    ((33, 80), {"kernel_size": (9, 8), "stride": (1, 2), "dilation": (1, 3)}),
    ((200, 300), {"kernel_size": (50, 7), "stride": (4, 2), "padding": (25, 3)}),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.int16, np.int64])
@pytest.mark.parametrize(("size", "geometry"), TALL_AND_WIDE, ids=str)
def test_windows_that_share_their_cells(
    size: tuple[int, int], geometry: dict[str, Any], dtype: Any
) -> None:
    x = integers((2, 2, *size), dtype)
    for pool in ("max_pool2d", "min_pool2d", "sum_pool2d", "avg_pool2d"):
        y = getattr(convpool, pool)(x, **geometry)
        assert_array_equal(y, getattr(reference, pool)(x, **geometry).astype(y.dtype))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_inf_stay_local_in_windows_that_share_their_cells(value: float) -> None:
    clean = normal((1, 1, 70, 90), np.float32)
    geometry: dict[str, Any] = {"kernel_size": (17, 19), "stride": 1}
    for row, column in [(0, 0), (16, 18), (17, 19), (35, 44), (69, 89)]:
        x = clean.copy()
        x[0, 0, row, column] = value
        for pool in (convpool.avg_pool2d, convpool.max_pool2d):
            expected, y = pool(clean, **geometry), pool(x, **geometry)
            reached = np.zeros(y.shape, bool)
            top, left = max(row - 16, 0), max(column - 18, 0)
            reached[0, 0, top : row + 1, left : column + 1] = True
            assert not np.isfinite(y[reached]).any()
            assert_array_equal(y[~reached], expected[~reached])


@pytest.mark.parametrize("position", range(40))
def test_the_first_nan_of_a_row_of_any_length_is_found(position: int) -> None:
    for width in (position + 1, position + 2, 41, 64):
        x = np.zeros((1, 3, width))
        x[0, 1, position] = np.nan
        for dtype in (np.float32, np.float64):
            y, places = convpool.max_pool2d(x.astype(dtype), (3, 1), 1, return_indices=True)
            assert_array_equal(np.isnan(y[0, 0]), np.arange(width) == position)
            assert places[0, 0, position] == width + position
            assert np.isnan(convpool.max_pool2d(x.astype(dtype), (3, width))).all()


def test_sums_that_overflow_float32_are_taken_in_float64() -> None:
    x = np.full((1, 3, 12), 3e38, np.float32)
    x[0, 1] = -3e38
    assert_allclose(convpool.avg_pool2d(x, (3, 1)), np.full((1, 1, 12), 1e38), rtol=1e-6)
    assert_allclose(convpool.avg_pool2d(x, (1, 5), 1)[0, 0], np.full(8, 3e38), rtol=1e-6)
    assert_array_equal(convpool.sum_pool2d(x, (1, 5), 1)[0, 0], np.full(8, np.inf))


def test_dtype_narrows_the_average() -> None:
    x = normal((1, 2, 6, 6), np.float64)
    y = convpool.avg_pool2d(x, 2, dtype=np.float32)
    assert y.dtype == np.float32
    dx = convpool.avg_pool2d_grad(y, x.shape, 2, dtype=np.float64)
    assert dx.dtype == np.float64


# Sizes


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "expected"),
    [
        ((5, 5), 2, 2, 1, (3, 3)),
        ((6, 7), 1, 2, 0, (3, 4)),
        ((32, 32), 1, 2, 0, (16, 16)),
        ((6, 6), 3, 2, 1, (4, 4)),
    ],
)
def test_a_last_window_starts_in_the_image_or_the_padding_before_it(
    size: tuple[int, int], kernel: int, stride: int, padding: int, expected: tuple[int, int]
) -> None:
    shape = convpool.pool2d_output_shape((1, *size), kernel, stride, padding, ceil_mode=True)
    assert shape == (1, *expected)


def test_ceil_mode_never_removes_a_window() -> None:
    for size in range(1, 6):
        for kernel in range(1, 4):
            for before in range(-1, 4):
                for after in range(-1, 4):
                    if size + before + after < kernel or min(size + before, size + after) < 1:
                        continue
                    padding = ((before, after), (0, 0))
                    floor, ceil = (
                        convpool.pool2d_output_shape(
                            (1, size, 1), (kernel, 1), (2, 1), padding, ceil_mode=mode
                        )[1]
                        for mode in (False, True)
                    )
                    assert ceil in (floor, floor + 1)
                    y = convpool.avg_pool2d(
                        np.ones((1, size, 1)), (kernel, 1), (2, 1), padding, ceil_mode=True
                    )
                    assert not np.isnan(y).any(), "a window that ceil_mode added sees nothing"


@every_case
def test_pooling_in_nhwc(case: PoolCase) -> None:
    x = integers(case.x_shape)
    last = x.transpose(0, 2, 3, 1)
    geometry = case.geometry
    y, indices = convpool.max_pool2d(x, **geometry, return_indices=True)
    y_last, indices_last = convpool.max_pool2d(last, **geometry, layout="NHWC", return_indices=True)
    assert_array_equal(y_last, y.transpose(0, 2, 3, 1))
    assert_array_equal(indices_last, indices.transpose(0, 2, 3, 1))
    dy = integers(y.shape, seed=1)
    dy_last = dy.transpose(0, 2, 3, 1)
    for function in (convpool.max_pool2d_grad, convpool.max_unpool2d):
        dx = function(dy, indices, x.shape)
        dx_last = function(dy_last, indices_last, last.shape, layout="NHWC")
        assert_array_equal(dx_last, dx.transpose(0, 2, 3, 1))
    average = convpool.avg_pool2d(x, **geometry)
    average_last = convpool.avg_pool2d(last, **geometry, layout="NHWC")
    assert_array_equal(average_last, average.transpose(0, 2, 3, 1))
    dx = convpool.avg_pool2d_grad(dy, x.shape, **geometry)
    dx_last = convpool.avg_pool2d_grad(dy_last, last.shape, **geometry, layout="NHWC")
    assert_array_equal(dx_last, dx.transpose(0, 2, 3, 1))
