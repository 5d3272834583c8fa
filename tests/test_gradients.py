"""Gradients and the transposed convolution: exact on whole numbers, adjoints, differences."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import convpool
from cases import CONV_CASES, Case, embedded, integers, normal
from convpool import reference
from convpool._typing import Array

every_algorithm = pytest.mark.parametrize(
    "algorithm", ["auto", "direct", "im2col", "implicit_gemm"]
)
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_case = pytest.mark.parametrize("case", CONV_CASES, ids=str)


def operands(case: Case, dtype: Any) -> tuple[Array, Array, Array]:
    """Whole numbers for `x`, `weight` and `dy`."""
    y_shape = convpool.conv2d_output_shape(case.x_shape, case.weight_shape, **case.geometry)
    return (
        integers(case.x_shape, dtype),
        integers(case.weight_shape, dtype, seed=1),
        integers(y_shape, dtype, seed=2),
    )


@every_algorithm
@every_dtype
@every_case
def test_whole_numbers_are_exact(case: Case, dtype: Any, algorithm: Any) -> None:
    x, w, dy = operands(case, dtype)
    kernel = w.shape[2:]
    dx = convpool.conv2d_grad_input(dy, w, x.shape, **case.geometry, algorithm=algorithm)
    dw = convpool.conv2d_grad_weight(dy, x, kernel, **case.geometry, algorithm=algorithm)
    assert dx.dtype == dw.dtype == dtype
    assert_array_equal(dx, reference.conv2d_grad_input(dy, w, x.shape, **case.geometry))
    assert_array_equal(dw, reference.conv2d_grad_weight(dy, x, kernel, **case.geometry))


@every_case
def test_bias_gradient(case: Case) -> None:
    _, _, dy = operands(case, np.float32)
    db = convpool.conv2d_grad_bias(dy)
    assert db.dtype == np.float32
    assert_array_equal(db, reference.conv2d_grad_bias(dy))


@every_case
def test_gradients_are_adjoint_to_the_forward_map(case: Case) -> None:
    x, w, dy = operands(case, np.float64)
    y = convpool.conv2d(x, w, **case.geometry)
    dx = convpool.conv2d_grad_input(dy, w, x.shape, **case.geometry)
    dw = convpool.conv2d_grad_weight(dy, x, w.shape[2:], **case.geometry)
    assert (y * dy).sum() == (x * dx).sum() == (w * dw).sum()


@every_algorithm
@pytest.mark.parametrize("padding", [1, ((1, 2), (0, 3)), "same", "full", ((-1, 2), (1, -1))])
def test_weight_gradient_sees_the_pad_value(padding: Any, algorithm: Any) -> None:
    x, w = integers((2, 2, 5, 6)), integers((3, 2, 3, 3), seed=1)
    kwargs: Any = {"stride": 2, "padding": padding, "pad_value": 4}
    y = convpool.conv2d(x, w, **kwargs)
    dy = integers(y.shape, seed=2)
    dw = convpool.conv2d_grad_weight(dy, x, 3, **kwargs, algorithm=algorithm)
    assert_array_equal(dw, reference.conv2d_grad_weight(dy, x, 3, **kwargs))
    assert (dw * w).sum() == (y * dy).sum()
    dx = convpool.conv2d_grad_input(dy, w, x.shape, **kwargs, algorithm=algorithm)
    kwargs["pad_value"] = 0
    assert_array_equal(dx, reference.conv2d_grad_input(dy, w, x.shape, 2, padding))


@pytest.mark.parametrize(
    "case",
    [
        Case("everything", (2, 4, 6, 5), (6, 2, 2, 3), (2, 1), ((1, 0), (2, 1)), (1, 2), 2),
        Case("depthwise", (1, 3, 5, 5), (6, 1, 3, 3), 2, "same", 1, 3),
        Case("cropped", (1, 2, 6, 6), (2, 2, 3, 2), 1, -1),
    ],
    ids=str,
)
def test_finite_differences(case: Case) -> None:
    x, w = normal(case.x_shape, np.float64), normal(case.weight_shape, np.float64, seed=1)
    bias = normal(w.shape[:1], np.float64, seed=2)
    dy = normal(convpool.conv2d(x, w, bias, **case.geometry).shape, np.float64, seed=3)

    def loss() -> float:
        return float((convpool.conv2d(x, w, bias, **case.geometry) * dy).sum())

    def differences(variable: Array) -> Array:
        slope = np.empty_like(variable)
        for place in np.ndindex(variable.shape):
            kept = variable[place]
            variable[place] = kept + 0.5
            above = loss()
            variable[place] = kept - 0.5
            slope[place] = above - loss()
            variable[place] = kept
        return slope

    # The loss is linear in each number, so that a difference over 1 has rounding errors only.
    close: Any = {"rtol": 1e-10, "atol": 1e-11}
    dx = convpool.conv2d_grad_input(dy, w, x.shape, **case.geometry)
    assert_allclose(dx, differences(x), **close)
    dw = convpool.conv2d_grad_weight(dy, x, w.shape[2:], **case.geometry)
    assert_allclose(dw, differences(w), **close)
    assert_allclose(convpool.conv2d_grad_bias(dy), differences(bias), **close)


@every_algorithm
def test_rounding(algorithm: Any) -> None:
    x, w = normal((3, 20, 31, 30)), normal((40, 20, 3, 3), seed=1)
    dy = normal((3, 40, 29, 28), seed=2)
    # As in test_conv2d.py: eps * sqrt(terms) / 2 times the sum of the terms' sizes.
    half_eps = np.finfo(np.float32).eps / 2
    dx = convpool.conv2d_grad_input(dy, w, x.shape, algorithm=algorithm)
    error = np.abs(dx - reference.conv2d_grad_input(dy, w, x.shape))
    scale = reference.conv2d_grad_input(np.abs(dy), np.abs(w), x.shape)
    assert np.all(error <= half_eps * np.sqrt(40 * 9) * scale)
    dw = convpool.conv2d_grad_weight(dy, x, 3, algorithm=algorithm)
    error = np.abs(dw - reference.conv2d_grad_weight(dy, x, 3))
    scale = reference.conv2d_grad_weight(np.abs(dy), np.abs(x), 3)
    assert np.all(error <= half_eps * np.sqrt(3 * 29 * 28) * scale)


def test_a_bias_gradient_of_many_cells_keeps_its_digits() -> None:
    dy = np.full((1, 1, 1000, 1000), 0.1, np.float32)
    assert_allclose(convpool.conv2d_grad_bias(dy), 1e6 * np.float64(np.float32(0.1)), rtol=1e-7)


@every_algorithm
def test_rows_that_no_window_reached_have_no_gradient(algorithm: Any) -> None:
    dx = convpool.conv2d_grad_input(
        np.ones((1, 2, 2)), np.ones((1, 1, 3, 3)), (1, 6, 6), stride=2, algorithm=algorithm
    )
    assert dx.shape == (1, 6, 6)
    assert not dx[:, 5].any()
    assert not dx[:, :, 5].any()
    assert dx[:, :5, :5].all()


@every_algorithm
def test_padding_larger_than_the_kernel(algorithm: Any) -> None:
    dy = np.ones(convpool.conv2d_output_shape((1, 5, 5), (1, 1, 3, 3), padding=4))
    dx = convpool.conv2d_grad_input(
        dy, np.ones((1, 1, 3, 3)), (1, 5, 5), padding=4, algorithm=algorithm
    )
    assert dx.sum() == 225


@every_algorithm
def test_no_images_have_zero_weight_gradients(algorithm: Any) -> None:
    dy, x = np.ones((0, 3, 3, 3)), np.ones((0, 2, 5, 5))
    assert_array_equal(
        convpool.conv2d_grad_weight(dy, x, 3, algorithm=algorithm), np.zeros((3, 2, 3, 3))
    )
    assert_array_equal(convpool.conv2d_grad_bias(dy), np.zeros(3))


@every_algorithm
def test_an_infinite_gradient_meets_the_padding(algorithm: Any) -> None:
    dy = np.zeros((1, 3, 3))
    dy[0, 0, 0] = np.inf
    dw = convpool.conv2d_grad_weight(dy, np.ones((1, 3, 3)), 3, padding=1, algorithm=algorithm)
    expected = np.full((3, 3), np.nan)
    expected[1:, 1:] = np.inf
    assert_array_equal(dw[0, 0], expected)


@every_algorithm
def test_gradients_in_nhwc(algorithm: Any) -> None:
    x, w, dy = normal((2, 4, 7, 6)), normal((6, 2, 3, 3), seed=1), normal((2, 6, 4, 3), seed=2)
    kwargs: Any = {"stride": 2, "padding": 1, "groups": 2, "algorithm": algorithm}
    dx = convpool.conv2d_grad_input(dy, w, x.shape, **kwargs)
    dw = convpool.conv2d_grad_weight(dy, x, 3, **kwargs)
    x, dy = x.transpose(0, 2, 3, 1), dy.transpose(0, 2, 3, 1)
    kwargs["layout"] = "NHWC"
    last = convpool.conv2d_grad_input(dy, w, x.shape, **kwargs)
    assert_array_equal(last, dx.transpose(0, 2, 3, 1))
    assert_array_equal(convpool.conv2d_grad_weight(dy, x, 3, **kwargs), dw)
    db = convpool.conv2d_grad_bias(dy, layout="NHWC")
    assert_array_equal(db, convpool.conv2d_grad_bias(dy.transpose(0, 3, 1, 2)))


# The transposed convolution


@every_algorithm
@every_dtype
@pytest.mark.parametrize("case", [case for case in CONV_CASES if min(case.x_shape) > 0], ids=str)
def test_transpose(case: Case, dtype: Any, algorithm: Any) -> None:
    _, w, dy = operands(case, dtype)
    geometry = case.geometry
    bias = integers((w.shape[1] * case.groups,), dtype, seed=3)
    y = convpool.conv2d_transpose(dy, w, bias, **geometry, algorithm=algorithm)
    assert y.dtype == dtype
    assert_array_equal(y, reference.conv2d_transpose(dy, w, bias, **geometry))
    plain = convpool.conv2d_transpose(dy, w, **geometry, algorithm=algorithm)
    assert_array_equal(plain, reference.conv2d_transpose(dy, w, **geometry))


@every_algorithm
@pytest.mark.parametrize(
    ("stride", "dilation", "output_padding", "padding"),
    [
        (2, 1, 1, 0),
        ((3, 2), 1, (2, 1), 1),
        (1, 3, 2, ((1, 0), (2, 1))),
        ((4, 1), (1, 3), (3, 2), (1, 2)),
        (2, 1, (0, 1), "valid"),
    ],
)
def test_output_padding(
    stride: Any, dilation: Any, output_padding: Any, padding: Any, algorithm: Any
) -> None:
    x, w = integers((2, 4, 4, 5)), integers((4, 3, 3, 2), seed=1)
    kwargs: Any = {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "output_padding": output_padding,
        "groups": 2,
    }
    y = convpool.conv2d_transpose(x, w, **kwargs, algorithm=algorithm)
    assert_array_equal(y, reference.conv2d_transpose(x, w, **kwargs))


@pytest.mark.parametrize("padding", ["same", "same_lower"])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_multiplies_the_size_by_the_stride(padding: Any, kernel: int, stride: int) -> None:
    x, w = integers((1, 2, 3, 4)), integers((2, 1, kernel, kernel), seed=1)
    y = convpool.conv2d_transpose(x, w, stride=stride, padding=padding)
    assert y.shape == (1, 1, 3 * stride, 4 * stride)
    assert_array_equal(y, reference.conv2d_transpose(x, w, stride=stride, padding=padding))


def test_full_crops_the_result_of_the_transpose() -> None:
    x, w = integers((1, 2, 6, 7)), integers((2, 3, 3, 2), seed=1)
    y = convpool.conv2d_transpose(x, w, padding="full")
    assert y.shape == (1, 3, 4, 6)
    assert_array_equal(y, reference.conv2d_transpose(x, w, padding="full"))


def test_transpose_is_the_gradient_of_the_input() -> None:
    dy, w = normal((2, 6, 5, 4)), normal((6, 2, 3, 3), seed=1)
    kwargs: Any = {"stride": 2, "padding": 1, "groups": 2}
    dx = convpool.conv2d_grad_input(dy, w, (2, 4, 10, 8), **kwargs)
    y = convpool.conv2d_transpose(dy, w, **kwargs, output_padding=1)
    assert_array_equal(y, dx)


def test_transpose_in_nhwc() -> None:
    x, w = integers((2, 4, 5, 3)), integers((4, 3, 3, 3), seed=1)
    bias = integers((3,), seed=2)
    y = convpool.conv2d_transpose(x, w, bias, stride=2, padding=1)
    last = convpool.conv2d_transpose(
        x.transpose(0, 2, 3, 1), w, bias, stride=2, padding=1, layout="NHWC"
    )
    assert_array_equal(last, y.transpose(0, 2, 3, 1))


# The input gradient as a convolution


@pytest.mark.parametrize("case", [c for c in CONV_CASES if c.stride in (1, (1, 1))], ids=str)
def test_input_gradient_as_a_convolution(case: Case) -> None:
    x, w = integers(case.x_shape), integers(case.weight_shape, seed=1)
    dy = integers(convpool.conv2d(x, w, **case.geometry).shape, seed=2)
    arguments: Any = dy, w, x.shape
    expected = convpool.conv2d_grad_input(*arguments, **case.geometry, algorithm="im2col")
    for threads in (1, 3):
        kwargs: Any = {**case.geometry, "algorithm": "implicit_gemm", "threads": threads}
        assert_array_equal(convpool.conv2d_grad_input(*arguments, **kwargs), expected)


def test_an_infinite_weight_does_not_meet_what_lies_beside_the_gradient() -> None:
    dy, w = np.ones((1, 1, 20, 20)), np.ones((1, 1, 3, 3))
    w[0, 0, 0, 0] = np.inf
    for algorithm in ("auto", "direct", "im2col", "implicit_gemm"):
        dx = convpool.conv2d_grad_input(dy, w, (1, 1, 22, 22), algorithm=algorithm)
        assert not np.isnan(dx).any()
        assert_array_equal(np.isinf(dx[0, 0, :20, :20]), True)
        assert dx[0, 0, 21, 21] == 1


def test_an_infinite_weight_is_found_by_its_results() -> None:
    dy, w = np.ones((1, 24, 1, 1), np.float32), np.ones((24, 24, 3, 3), np.float32)
    w[5, 7, 0, 0] = np.inf
    expected = np.full((1, 24, 3, 3), 24.0)
    expected[0, 7, 0, 0] = np.inf
    for algorithm in ("auto", "direct", "im2col", "implicit_gemm"):
        dx = convpool.conv2d_grad_input(dy, w, (1, 24, 3, 3), algorithm=algorithm)
        assert_array_equal(dx, expected)


def test_what_has_no_input_gradient_as_convolutions() -> None:
    dy, w = np.ones((1, 1, 1)), np.ones((1, 1, 2, 2))
    for refused in ({"stride": (9, 8)}, {"padding": 1, "stride": 4, "pad_mode": "edge"}):
        kwargs: Any = {**refused, "algorithm": "implicit_gemm"}
        with pytest.raises(NotImplementedError, match="implicit_gemm"):
            convpool.conv2d_grad_input(dy, w, (1, 3, 3), **kwargs)


@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2, 3, (4, 6)])
@pytest.mark.parametrize("kernel", [1, 2, 3, (5, 4)])
def test_phases_of_strides_and_dilations(kernel: Any, stride: Any, dilation: int) -> None:
    geometry: Any = {"stride": stride, "dilation": dilation, "padding": ((2, 1), (0, 3))}
    kh, kw = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    for shape, groups in (((2, 4, 17, 19), 2), ((1, 2, 16, 13), 2)):
        x, w = integers(shape), integers((4, shape[1] // groups, kh, kw), seed=1)
        y = convpool.conv2d(x, w, **geometry, groups=groups, algorithm="direct")
        dy = integers(y.shape, seed=2)
        dx = convpool.conv2d_grad_input(
            dy, w, x.shape, **geometry, groups=groups, algorithm="implicit_gemm"
        )
        expected = reference.conv2d_grad_input(dy, w, x.shape, **geometry, groups=groups)
        assert_array_equal(dx, expected)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("width", [5, 8, 9, 16, 19, 33])
def test_taps_that_do_not_read_a_cell_do_not_feel_it(width: int, channels: int) -> None:
    x, dy = normal((2, channels, 9, width)), normal((2, channels, 7, width - 2), seed=1)
    clean = convpool.conv2d_grad_weight(dy, x, 3, groups=channels)
    x[..., -1] = np.nan
    dw = convpool.conv2d_grad_weight(dy, x, 3, groups=channels)
    assert_array_equal(dw[..., :2], clean[..., :2])
    assert np.isnan(dw[..., 2]).all()


@pytest.mark.parametrize("channels", [(1, 1), (6, 16), (40, 64)])
@pytest.mark.parametrize("size", [7, 10, 14])
def test_an_image_has_the_same_bits_in_every_batch(size: int, channels: tuple[int, int]) -> None:
    c_in, c_out = channels
    x, w = normal((7, c_in, size, size)), normal((c_out, c_in, 3, 3), seed=1)
    bias = normal((c_out,), seed=2)
    y = convpool.conv2d(x, w, bias, padding=1)
    dx = convpool.conv2d_grad_input(y, w, x.shape, padding=1)
    for first in range(7):
        for count in (1, 3):
            part = slice(first, first + count)
            assert_array_equal(convpool.conv2d(x[part], w, bias, padding=1), y[part])
            part_dx = convpool.conv2d_grad_input(y[part], w, x[part].shape, padding=1)
            assert_array_equal(part_dx, dx[part])


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_phases_of_more_images_than_are_in_memory_at_once(threads: int) -> None:
    w, dy = normal((8, 16, 3, 3)), normal((9, 8, 48, 48), seed=1)
    kwargs: Any = {"stride": 2, "padding": 1, "threads": threads}
    dx = convpool.conv2d_grad_input(dy.astype(float), w.astype(float), (9, 16, 96, 96), **kwargs)
    for n in range(9):
        one = convpool.conv2d_grad_input(
            dy[n].astype(float), w.astype(float), (16, 96, 96), stride=2, padding=1
        )
        assert_array_equal(dx[n], one)
    expected = reference.conv2d_grad_input(dy, w, (9, 16, 96, 96), stride=2, padding=1)
    assert_allclose(dx, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("width", [100, 3000, 1_000_000])
def test_long_rows_are_summed_in_blocks(width: int) -> None:
    rng = np.random.default_rng(width)
    x = rng.random((1, 1, 1, width + 4), np.float32)
    dy = rng.random((1, 1, 1, width), np.float32)
    dw = convpool.conv2d_grad_weight(dy, x, (1, 5))
    expected = convpool.conv2d_grad_weight(dy.astype(float), x.astype(float), (1, 5))
    assert_allclose(dw, expected, rtol=3e-6)
    w = dy[..., : min(width, 16_000)]
    y = convpool.conv2d(x, w)
    assert_allclose(y, convpool.conv2d(x.astype(float), w.astype(float)), rtol=1e-6)


@pytest.mark.parametrize("channels", [(6, 96), (24, 40), (16, 130), (64, 20)])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("size", [(3, 17, 19), (2, 23, 23), (40, 4, 5)])
def test_weight_gradients_of_pixels(
    channels: tuple[int, int], groups: int, size: tuple[int, int, int]
) -> None:
    batch, height, width = size
    x = integers((batch, channels[0], height, width), seed=1)
    dy = integers((batch, channels[1], height, width), seed=2)
    expected = reference.conv2d_grad_weight(dy, x, 1, groups=groups)
    for threads in (1, 2):
        dw = convpool.conv2d_grad_weight(dy, x, 1, groups=groups, threads=threads)
        assert_array_equal(dw, expected)
        dw = convpool.conv2d_grad_weight(dy, embedded(x), 1, groups=groups, threads=threads)
        assert_array_equal(dw, expected)
