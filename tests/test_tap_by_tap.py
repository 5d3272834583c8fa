"""Small images with many channels, whose products are summed tap by tap, without the padding."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import convpool
from cases import integers, normal
from convpool import reference


def expected_of(x: Any, w: Any, bias: Any = None, *, layout: str = "NCHW", **arguments: Any) -> Any:
    if layout == "NCHW":
        return reference.conv2d(x, w, bias, **arguments)
    y = reference.conv2d(np.moveaxis(x, 3, 1), w, bias, **arguments)
    return np.moveaxis(y, 1, 3)


# Name, image, weight, arguments. Channels fill neither vectors nor panels nor blocks of 256.
CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "3x3": ((3, 130, 7, 7), (19, 130, 3, 3), {"padding": 1}),
    "two blocks of channels": ((2, 300, 6, 5), (33, 300, 3, 3), {"padding": 1}),
    "several lots of images": ((45, 64, 7, 7), (16, 64, 3, 3), {"padding": 1}),
    "stride": ((2, 140, 9, 8), (17, 140, 3, 3), {"padding": 1, "stride": 2}),
    "dilation": ((2, 140, 9, 8), (17, 140, 3, 3), {"padding": 2, "dilation": 2}),
    "5x4, padded unevenly": ((1, 96, 6, 7), (40, 96, 5, 4), {"padding": ((2, 1), (0, 3))}),
    "groups": ((2, 200, 7, 7), (34, 100, 3, 3), {"padding": 1, "groups": 2}),
    "NHWC": ((2, 7, 6, 128), (17, 128, 3, 3), {"padding": 1, "layout": "NHWC"}),
    "1x1": ((3, 150, 7, 7), (35, 150, 1, 1), {}),
    "1x1 with groups": ((3, 260, 7, 7), (70, 130, 1, 1), {"groups": 2}),
    "1x1, NHWC": ((2, 5, 5, 130), (20, 130, 1, 1), {"layout": "NHWC"}),
    "cropped": ((2, 130, 9, 9), (18, 130, 3, 3), {"padding": ((-1, 2), (1, -2))}),
    "a tap that meets padding only": ((1, 128, 1, 5), (16, 128, 3, 3), {"padding": 1}),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("name", list(CASES))
def test_it_is_the_definition(name: str, dtype: Any) -> None:
    x_shape, w_shape, arguments = CASES[name]
    x, w = integers(x_shape).astype(dtype), integers(w_shape, seed=1).astype(dtype)
    bias = integers(w_shape[:1], seed=2).astype(dtype)
    expected = expected_of(x, w, bias, **arguments)
    for b in (None, bias):
        y = convpool.conv2d(x, w, b, algorithm="implicit_gemm", **arguments)
        channel = -1 if "layout" in arguments else 1
        shape = [1, 1, 1, 1]
        shape[channel] = -1
        assert_array_equal(y, expected if b is not None else expected - bias.reshape(shape))
    assert_array_equal(convpool.conv2d(x, w, bias, **arguments), expected)


@pytest.mark.parametrize("name", list(CASES))
def test_the_same_bits_for_threads_batches_and_packed_weights(name: str) -> None:
    x_shape, w_shape, arguments = CASES[name]
    x, w = normal(x_shape), normal(w_shape, seed=1)
    y = convpool.conv2d(x, w, threads=1, **arguments)
    exact = expected_of(x, w, **arguments)
    assert_allclose(y, exact, rtol=0, atol=4e-6 * float(np.abs(exact).max()))
    prepared = convpool.prepare_conv2d(w, **arguments)
    for threads in (1, 2, 5):
        assert_array_equal(convpool.conv2d(x, w, threads=threads, **arguments), y)
        assert_array_equal(prepared(x, threads=threads), y)
    for image in range(min(len(x), 3)):
        assert_array_equal(convpool.conv2d(x[image], w, **arguments), y[image])


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("tap", [(0, 0), (0, 1), (1, 1), (2, 0), (2, 2)])
def test_weights_that_are_not_finite_meet_the_padding(tap: tuple[int, int], value: float) -> None:
    x, w = normal((2, 128, 5, 6)), normal((18, 128, 3, 3), seed=1)
    w[17, 100, *tap] = value
    y = convpool.conv2d(x, w, padding=1, algorithm="implicit_gemm")
    expected = convpool.conv2d(x, w, padding=1, algorithm="direct")
    assert_allclose(y, expected, rtol=0, atol=2e-4)
    assert np.isfinite(y[:, :17]).all()


def test_images_that_are_not_finite_stay_where_they_are() -> None:
    x, w = normal((2, 128, 7, 7)), normal((18, 128, 3, 3), seed=1)
    x[1, 5, 0, 6], x[0, 127, 3, 3] = np.inf, np.nan
    y = convpool.conv2d(x, w, padding=1, algorithm="implicit_gemm")
    assert_allclose(y, convpool.conv2d(x, w, padding=1, algorithm="direct"), rtol=0, atol=2e-4)


@pytest.mark.parametrize("padding", [{"pad_value": 3}, {"pad_mode": "reflect"}])
def test_other_padding_is_no_zero(padding: Any) -> None:
    x, w = integers((2, 130, 7, 7)), integers((16, 130, 3, 3), seed=1)
    expected = reference.conv2d(x, w, padding=1, **padding)
    assert_array_equal(convpool.conv2d(x, w, padding=1, **padding), expected)


def test_strides_of_views() -> None:
    x, w = normal((2, 7, 260, 14)), normal((16, 130, 3, 3), seed=1)
    view = x[:, ::-1, ::2, ::2].transpose(0, 2, 1, 3)
    expected = convpool.conv2d(np.ascontiguousarray(view), w, padding=1)
    assert_array_equal(convpool.conv2d(view, w, padding=1), expected)


def test_prepared_weights_serve_images_of_every_size() -> None:
    w = normal((16, 128, 3, 3))
    prepared = convpool.prepare_conv2d(w, padding=1)
    for size in (7, 40, 7, 1):
        x = normal((1, 128, size, size), seed=size)
        assert_array_equal(prepared(x), convpool.conv2d(x, w, padding=1))
        double = x.astype(np.float64)
        assert_array_equal(prepared(double), convpool.conv2d(double, w, padding=1))
