"""Images with channels last that are read, and results that are written, where they stand."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import convpool
from cases import integers, normal
from convpool import reference

# Channels: less than a vector, one, some, and a rest; and a power of two that would crowd caches.
CHANNELS = [2, 4, 8, 17, 35, 256]
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_mode = pytest.mark.parametrize("mode", ["constant", "reflect", "symmetric", "edge", "wrap"])

CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "1x1": dict(kernel=(1, 1)),
    "1x1, stride": dict(kernel=(1, 1), stride=(2, 3)),
    "3x3": dict(kernel=(3, 3), padding=1),
    "3x3, no padding": dict(kernel=(3, 3)),
    "3x3, stride": dict(kernel=(3, 3), padding=1, stride=2),
    "5x2, dilated": dict(kernel=(5, 2), padding=((3, 1), (0, 2)), dilation=(2, 3)),
    "cropped": dict(kernel=(2, 2), padding=((-1, 2), (1, -2))),
    "wider than the image": dict(kernel=(3, 9), padding=(2, 7)),
    "15x15": dict(kernel=(15, 15), padding=7),
    "17x17": dict(kernel=(17, 17), padding=8),
}


def last(images: Any) -> Any:
    return np.ascontiguousarray(np.moveaxis(images, -3, -1))


def first(images: Any) -> Any:
    return np.moveaxis(images, -1, -3)


def inside_nan(images: Any) -> Any:
    """Return the same images, between NaN: what is read before or behind them shows."""
    memory = np.full(images.size + 200, np.nan, images.dtype)
    view = memory[100:-100].reshape(images.shape)
    view[...] = images
    return view


def problem(name: str, channels: tuple[int, int], groups: int, dtype: Any) -> tuple[Any, Any, Any]:
    """Return images and weights with so many channels a group, and the other arguments."""
    options = dict(CONVOLUTIONS[name], groups=groups)
    kernel = options.pop("kernel")
    ic, oc = channels
    x = integers((2, ic * groups, 11, 10), dtype, seed=1)
    return x, integers((oc * groups, ic, *kernel), dtype, seed=2), options


def check(x: Any, w: Any, bias: Any, **options: Any) -> None:
    expected = reference.conv2d(x, w, bias, **options)
    before = last(np.full(expected.shape, np.nan, x.dtype))
    for threads in (1, 2):
        for algorithm in ("auto", "implicit_gemm"):
            kwargs: Any = dict(**options, layout="NHWC", algorithm=algorithm, threads=threads)
            y = convpool.conv2d(inside_nan(last(x)), w, bias, **kwargs)
            assert y.flags.c_contiguous
            assert_array_equal(first(y), expected)
            out = inside_nan(before)
            convpool.conv2d(last(x), w, bias, **kwargs, out=out)
            assert_array_equal(first(out), expected)
            assert np.isnan(out.base[:100]).all() and np.isnan(out.base[-100:]).all()


@every_dtype
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_depthwise(name: str, channels: int, dtype: Any) -> None:
    x, w, options = problem(name, (1, 1), channels, dtype)
    for bias in (None, integers((channels,), dtype, seed=3)):
        check(x, w, bias, **options)


@every_dtype
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("channels", [(1, 16), (3, 32), (34, 48), (16, 10), (128, 24), (260, 33)])
@pytest.mark.parametrize("name", [name for name in CONVOLUTIONS if name not in ("15x15", "17x17")])
def test_products(name: str, channels: tuple[int, int], groups: int, dtype: Any) -> None:
    x, w, options = problem(name, channels, groups, dtype)
    for bias in (None, integers((w.shape[0],), dtype, seed=6)):
        check(x, w, bias, **options)


def check_gradients(x: Any, w: Any, bias: Any, **options: Any) -> None:
    dy = integers(reference.conv2d(x, w, **options).shape, x.dtype, seed=10)
    shape = last(x).shape
    dx = reference.conv2d_grad_input(dy, w, x.shape, **options)
    dw = reference.conv2d_grad_weight(dy, x, w.shape[2:], **options)
    for threads in (1, 2):
        kwargs: Any = dict(**options, layout="NHWC", threads=threads)
        given = inside_nan(last(dy))
        assert_array_equal(first(convpool.conv2d_grad_input(given, w, shape, **kwargs)), dx)
        grad_weight = convpool.conv2d_grad_weight(given, inside_nan(last(x)), w.shape[2:], **kwargs)
        assert_array_equal(grad_weight, dw)
    if options.get("padding", 0) in (0, 1):
        y = convpool.conv2d_transpose(given, w, bias, **kwargs)
        assert_array_equal(first(y), reference.conv2d_transpose(dy, w, bias, **options))


@every_dtype
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_gradients_of_depthwise_layers(name: str, channels: int, dtype: Any) -> None:
    x, w, options = problem(name, (1, 1), channels, dtype)
    check_gradients(x, w, integers((channels,), dtype, seed=3), **options)


@every_dtype
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("channels", [(16, 1), (32, 3), (10, 16), (24, 128), (33, 260)])
@pytest.mark.parametrize("name", [name for name in CONVOLUTIONS if name not in ("15x15", "17x17")])
def test_gradients_of_products(
    name: str, channels: tuple[int, int], groups: int, dtype: Any
) -> None:
    x, w, options = problem(name, channels, groups, dtype)
    check_gradients(x, w, integers((x.shape[1],), dtype, seed=6), **options)


@pytest.mark.parametrize("groups", [1, 24])
@pytest.mark.parametrize("stride", [1, 2])
def test_infinite_weights_do_not_meet_what_is_beside_dy(stride: int, groups: int) -> None:
    dy, w = normal((2, 24, 9, 9), seed=1), normal((24, 24 // groups, 3, 3), seed=2)
    w[3, 0, 0, 0] = np.inf
    shape = (2, 24, 9 * stride, 9 * stride)
    dx = convpool.conv2d_grad_input(
        last(dy), w, (2, *shape[2:], 24), stride, 1, groups=groups, layout="NHWC"
    )
    expected = convpool.conv2d_grad_input(
        dy, w, shape, stride, 1, groups=groups, algorithm="direct"
    )
    assert np.isinf(expected).any()
    assert_allclose(first(dx), expected, rtol=1e-5, atol=1e-4)


@every_mode
@pytest.mark.parametrize("groups", [1, 40])
def test_padding_modes(mode: Any, groups: int) -> None:
    x, w = integers((2, 40, 9, 8), seed=7), integers((40, 40 // groups, 3, 4), seed=8)
    value = 2 if mode == "constant" else 0
    options: Any = dict(padding=((2, 3), (1, 4)), groups=groups, pad_mode=mode, pad_value=value)
    check(x, w, None, **options)
    check(x, w, integers((40,), seed=9), stride=2, **options)


@pytest.mark.parametrize("groups", [1, 24])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_windows(groups: int, value: float) -> None:
    x, w = normal((1, 24, 9, 9), seed=1), normal((24, 24 // groups, 3, 3), seed=2)
    x[0, 5, 4, 4] = value
    kwargs: Any = dict(padding=1, groups=groups)
    y = first(convpool.conv2d(last(x), w, **kwargs, layout="NHWC"))
    expected = reference.conv2d(x, w, **kwargs)
    assert_array_equal(np.isfinite(y), np.isfinite(expected))
    assert_array_equal(np.isnan(y), np.isnan(expected))


@pytest.mark.parametrize("groups", [1, 24])
def test_infinite_weights_meet_the_padding(groups: int) -> None:
    x, w = normal((1, 24, 9, 9), seed=1), normal((24, 24 // groups, 3, 3), seed=2)
    w[3, 0, 0, 0] = np.inf
    kwargs: Any = dict(padding=1, groups=groups)
    y = first(convpool.conv2d(last(x), w, **kwargs, layout="NHWC"))
    with np.errstate(invalid="ignore"):
        expected = reference.conv2d(x, w, **kwargs)
    assert_array_equal(np.isnan(y), np.isnan(expected))


@pytest.mark.parametrize("groups", [1, 4, 64])
def test_same_bits_for_all_threads_and_batches(groups: int) -> None:
    x, w = normal((5, 30, 29, 64), seed=1), normal((64, 64 // groups, 3, 3), seed=2)
    kwargs: Any = dict(padding=1, groups=groups, layout="NHWC")
    y = convpool.conv2d(x, w, **kwargs, threads=1)
    assert_array_equal(convpool.conv2d(x, w, **kwargs, threads=4), y)
    alone = [convpool.conv2d(x[i : i + 1], w, **kwargs) for i in range(5)]
    assert_array_equal(np.concatenate(alone), y)
    prepared = convpool.prepare_conv2d(w, **kwargs)
    assert_array_equal(prepared(x), y)
    expected = reference.conv2d(first(x), w, padding=1, groups=groups)
    assert_allclose(first(y), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", [(0, 7, 6, 16), (2, 7, 6, 0)])
def test_empty_images(shape: tuple[int, ...]) -> None:
    n, h, _, c = shape
    x, w = np.zeros(shape, np.float32), np.ones((8, c, 3, 3), np.float32)
    y = convpool.conv2d(x, w, padding=1, layout="NHWC")
    assert y.shape == (n, h, 6, 8)
    assert not y.any()


def test_plans_leave_channels_where_they_are() -> None:
    def scratch(layout: Any, x: tuple[int, ...], w: tuple[int, ...], groups: int = 1) -> int:
        return convpool.explain_conv2d(x, w, padding=1, groups=groups, layout=layout).scratch_bytes

    wide = scratch("NHWC", (1, 200, 200, 64), (64, 64, 3, 3))
    assert wide < 4 * 200 * 200 * 64
    assert wide < 2 * scratch("NCHW", (1, 64, 200, 200), (64, 64, 3, 3))
    assert scratch("NHWC", (1, 200, 200, 64), (64, 1, 3, 3), 64) < 4 * 64 * 210
    plan = convpool.explain_conv2d((1, 56, 56, 64), (64, 1, 3, 3), groups=64, layout="NHWC")
    assert plan.reason == "depthwise, channels last"


POOLS: dict[str, dict[str, Any]] = {
    "2x2": dict(kernel_size=2),
    "3x3, stride 2": dict(kernel_size=3, stride=2, padding=1),
    "3x3": dict(kernel_size=3, stride=1, padding=1),
    "5x3, stride 3, 1": dict(kernel_size=(5, 3), stride=(3, 1), padding=((2, 0), (1, 1))),
    "2x3, dilated": dict(kernel_size=(2, 3), stride=2, padding=(1, 2), dilation=(3, 2)),
    "9x10": dict(kernel_size=(9, 10), stride=1, padding=(4, 5)),
    "9x9, stride 9": dict(kernel_size=9, stride=9, padding=4),
    "ceil mode": dict(kernel_size=3, stride=3, ceil_mode=True),
    "cropped": dict(kernel_size=2, stride=1, padding=((-1, 0), (0, -2))),
    "all": dict(kernel_size=(14, 13)),
}


@every_dtype
@pytest.mark.parametrize("channels", [*CHANNELS, 1])
@pytest.mark.parametrize("name", POOLS)
def test_pools(name: str, channels: int, dtype: Any) -> None:
    x, options = integers((2, channels, 14, 13), dtype, seed=1), POOLS[name]
    x[1, channels // 2, 3, 4] = np.nan
    for threads in (1, 2):
        kwargs: Any = dict(**options, layout="NHWC", threads=threads)
        for pool in ("max_pool2d", "min_pool2d"):
            y, places = getattr(convpool, pool)(inside_nan(last(x)), **kwargs, return_indices=True)
            expected, at = getattr(reference, pool)(x, **options, return_indices=True)
            assert_array_equal(first(y), expected)
            assert_array_equal(first(places), at)
        for pool in ("avg_pool2d", "sum_pool2d"):
            y = getattr(convpool, pool)(inside_nan(last(x)), **kwargs)
            assert_allclose(first(y), getattr(reference, pool)(x, **options), rtol=1e-6)
        y = convpool.avg_pool2d(last(x), **kwargs, count_include_pad=False)
        expected = reference.avg_pool2d(x, **options, count_include_pad=False)
        assert_allclose(first(y), expected, rtol=1e-6)


@every_mode
def test_pools_with_padding_modes(mode: Any) -> None:
    x = integers((2, 19, 9, 8), seed=1)
    options: Any = dict(kernel_size=(4, 3), stride=(1, 2), padding=((3, 2), (2, 3)), pad_mode=mode)
    y = convpool.avg_pool2d(last(x), **options, layout="NHWC")
    assert_allclose(first(y), reference.avg_pool2d(x, **options), rtol=1e-6, atol=1e-6)
    if mode == "constant":
        y = convpool.sum_pool2d(last(x), **options, pad_value=2, layout="NHWC")
        assert_allclose(first(y), reference.sum_pool2d(x, **options, pad_value=2), rtol=1e-6)


# Windows of at most 13 columns, of more, and of more than a kernel joins at once.
@pytest.mark.parametrize(
    ("columns", "size"),
    [(13, size) for size in (1, (1, 1), (3, 2), (14, 13), (17, 5))]
    + [(130, (3, 7)), (130, (3, 2))],
)
@pytest.mark.parametrize("channels", CHANNELS)
def test_adaptive_pools(channels: int, columns: int, size: Any) -> None:
    x = integers((2, channels, 14, columns), seed=1)
    y = convpool.adaptive_avg_pool2d(last(x), size, layout="NHWC")
    assert_allclose(first(y), reference.adaptive_avg_pool2d(x, size), rtol=2e-6, atol=1e-6)
    y, places = convpool.adaptive_max_pool2d(last(x), size, return_indices=True, layout="NHWC")
    expected, at = reference.adaptive_max_pool2d(x, size, return_indices=True)
    assert_array_equal(first(y), expected)
    assert_array_equal(first(places), at)


@every_mode
def test_windows_that_see_little_but_padding(mode: Any) -> None:
    x = integers((2, 19, 2, 3), seed=1)
    options: Any = dict(kernel_size=(2, 40), stride=(1, 30), padding=((1, 0), (150, 150)))
    if mode == "constant":
        y = convpool.min_pool2d(last(x), **options, layout="NHWC")
        assert_array_equal(first(y), reference.min_pool2d(x, **options))
    y = convpool.avg_pool2d(last(x), **options, pad_mode=mode, layout="NHWC")
    expected = reference.avg_pool2d(x, **options, pad_mode=mode)
    assert_allclose(first(y), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("power", [1, 2, 3.5, np.inf])
def test_power_means(power: float) -> None:
    x = normal((2, 21, 9, 8), seed=1)
    y = convpool.lp_pool2d(last(x), power, 3, stride=2, padding=1, layout="NHWC")
    assert_allclose(first(y), reference.lp_pool2d(x, power, 3, stride=2, padding=1), rtol=1e-5)


def test_sums_that_floats_cannot_hold() -> None:
    x = np.full((1, 16, 6, 6), 3e38, np.float32)
    x[0, 3, 2, 2] = np.inf
    y = convpool.avg_pool2d(last(x), 3, stride=1, layout="NHWC")
    assert_array_equal(first(y), reference.avg_pool2d(x, 3, stride=1))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_whole_numbers(dtype: Any) -> None:
    x = np.random.default_rng(0).integers(0, 100, (2, 40, 9, 8)).astype(dtype)
    options: Any = dict(kernel_size=3, stride=2, padding=1, return_indices=True)
    y, places = convpool.max_pool2d(last(x), **options, layout="NHWC")
    expected, at = reference.max_pool2d(x, **options)
    assert_array_equal(first(y), expected)
    assert_array_equal(first(places), at)
    y = convpool.sum_pool2d(last(x), 3, stride=2, padding=1, layout="NHWC")
    assert_array_equal(first(y), reference.sum_pool2d(x, 3, stride=2, padding=1))


@every_dtype
@pytest.mark.parametrize("channels", [1, 2, 17, 300])
@pytest.mark.parametrize("name", POOLS)
def test_gradients_of_pools(name: str, channels: int, dtype: Any) -> None:
    x, options = normal((2, channels, 14, 13), dtype, seed=1), POOLS[name]
    y, places = convpool.max_pool2d(x, **options, return_indices=True)
    dy = integers(y.shape, dtype, seed=2)
    dy[0, channels // 2, 0, 0] = np.inf
    for threads in (1, 2):
        kwargs: Any = dict(layout="NHWC", threads=threads)
        dx = convpool.max_pool2d_grad(inside_nan(last(dy)), last(places), last(x).shape, **kwargs)
        assert_array_equal(first(dx), convpool.max_pool2d_grad(dy, places, x.shape))
        back = convpool.max_unpool2d(inside_nan(last(y)), last(places), last(x).shape, **kwargs)
        assert_array_equal(first(back), convpool.max_unpool2d(y, places, x.shape))
        for count in (True, False):
            kwargs |= dict(options, count_include_pad=count)
            dx = convpool.avg_pool2d_grad(inside_nan(last(dy)), last(x).shape, **kwargs)
            expected = reference.avg_pool2d_grad(dy, x.shape, **options, count_include_pad=count)
            assert_allclose(first(dx), expected, rtol=1e-6, atol=1e-6)


# Beyond 128 KiB: bands of rows, between which windows may lie.
@every_dtype
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_gradients_of_averages_in_bands(
    layout: Any, kernel: int, stride: int, padding: int, dtype: Any
) -> None:
    shape = (2, 36, 50, 21) if layout == "NHWC" else (1, 2, 150, 301)
    options: Any = dict(kernel_size=kernel, stride=stride, padding=padding)
    x = np.zeros((shape[0], shape[3], *shape[1:3]) if layout == "NHWC" else shape)
    dy = normal(reference.avg_pool2d(x, **options).shape, dtype, seed=1)
    dy[0, 0, 3, 3] = np.inf
    given = last(dy) if layout == "NHWC" else dy
    once, twice = (
        convpool.avg_pool2d_grad(given, shape, **options, layout=layout, threads=threads)
        for threads in (1, 2)
    )
    assert_array_equal(once, twice)
    expected = reference.avg_pool2d_grad(dy, x.shape, **options)
    dx = first(once) if layout == "NHWC" else once
    assert_allclose(dx, expected.astype(dtype), rtol=1e-6, atol=1e-6)


# Images of more than 2 MiB go through all phases one by one.
@pytest.mark.parametrize("kernel", [3, 4])
def test_strided_gradients_of_several_large_images(kernel: int) -> None:
    shape, stride = (3, 65, 150, 56), (2, 3)
    w = integers((56, 1, kernel, kernel), seed=1)
    bias = integers((56,), seed=2)
    y = convpool.conv2d_output_shape((3, 56, 65, 150), w.shape, stride, 1, groups=56)
    dy = integers(y, seed=3)
    dx = convpool.conv2d_grad_input(last(dy), w, shape, stride, 1, groups=56, layout="NHWC")
    expected = reference.conv2d_grad_input(dy, w, (3, 56, 65, 150), stride, 1, groups=56)
    assert_array_equal(first(dx), expected)
    y = convpool.conv2d_transpose(last(dy), w, bias, stride, 1, groups=56, layout="NHWC")
    assert_array_equal(first(y), reference.conv2d_transpose(dy, w, bias, stride, 1, groups=56))


@pytest.mark.parametrize("size", [1, (3, 2), (17, 5)])
def test_gradients_of_adaptive_pools(size: Any) -> None:
    dy = integers(reference.adaptive_avg_pool2d(np.zeros((2, 19, 14, 13)), size).shape, seed=1)
    dx = convpool.adaptive_avg_pool2d_grad(last(dy), (2, 14, 13, 19), layout="NHWC")
    expected = reference.adaptive_avg_pool2d_grad(dy, (2, 19, 14, 13))
    assert_allclose(first(dx), expected, rtol=1e-6, atol=1e-6)


def test_indices_are_checked_before_out_is_written() -> None:
    dy, places = np.ones((1, 2, 2, 20), np.float32), np.zeros((1, 2, 2, 20), np.int64)
    places[0, 1, 1, 19] = 16
    out = np.full((1, 4, 4, 20), 7, np.float32)
    with pytest.raises(IndexError, match="between -1 and 15, got 16"):
        convpool.max_pool2d_grad(dy, places, out.shape, layout="NHWC", out=out)
    assert (out == 7).all()


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_one_window_does_not_see_what_is_cropped(layout: Any) -> None:
    x = np.arange(16 * 25.0).reshape(1, 16, 5, 5)
    options: Any = dict(kernel_size=5, stride=5, padding=((0, -1), (0, -1)), ceil_mode=True)
    images = last(x) if layout == "NHWC" else x
    for pool in ("max_pool2d", "sum_pool2d", "avg_pool2d"):
        y = getattr(convpool, pool)(images, **options, layout=layout)
        expected = getattr(reference, pool)(x, **options)
        assert_array_equal(first(y) if layout == "NHWC" else y, expected)


def test_images_without_columns() -> None:
    x, w = np.zeros((1, 16, 3, 0), np.float32), np.ones((16, 1, 1, 3), np.float32)
    options: Any = dict(padding=(0, 2), groups=16)
    y = convpool.conv2d(last(x), w, **options, pad_value=2, layout="NHWC")
    assert_array_equal(first(y), reference.conv2d(x, w, **options, pad_value=2))
    dy = np.ones((1, 16, 3, 2), np.float32)
    dw = convpool.conv2d_grad_weight(last(dy), last(x), (1, 3), **options, layout="NHWC")
    assert_array_equal(dw, np.zeros_like(w))
    assert_array_equal(convpool.conv2d_grad_weight(dy, x, (1, 3), **options), dw)


def test_views_of_channels_first() -> None:
    x, w = integers((2, 24, 9, 8), seed=1), integers((24, 1, 3, 3), seed=2)
    view = np.moveaxis(x, 1, -1)
    y = convpool.conv2d(view, w, padding=1, groups=24, layout="NHWC")
    assert_array_equal(first(y), convpool.conv2d(x, w, padding=1, groups=24))
    dw = convpool.conv2d_grad_weight(y, view, (3, 3), padding=1, groups=24, layout="NHWC")
    expected = convpool.conv2d_grad_weight(first(y), x, (3, 3), padding=1, groups=24)
    assert_array_equal(dw, expected)
    pooled = convpool.max_pool2d(view, 3, stride=1, layout="NHWC")
    assert_array_equal(first(pooled), convpool.max_pool2d(x, 3, stride=1))
