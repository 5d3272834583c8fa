"""The forty cases, continued: every width, NaN and infinity, types, pooling, gradients, arrays."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import convpool
from cases import Case, integers, normal
from convpool import reference
from convpool._typing import Array
from test_edge_cases import check_gradients, every_algorithm, forward_algorithm, ones, row


@forward_algorithm
def test_case_21_every_width_kernel_and_padding(algorithm: Any) -> None:
    """modular#6712 and #6461: edge tiles read beyond the image; run it under ASan too."""
    rng = np.random.default_rng(21)
    sizes = [(16, 8, 7, 1)]
    for _ in range(150):
        width, kernel = int(rng.integers(1, 41)), int(rng.integers(1, 18))
        pad = int(rng.integers(0, kernel + 1))
        if width + 2 * pad >= kernel:
            sizes.append((width, kernel, pad, int(rng.integers(1, 4))))
    for width, kernel, pad, stride in sizes:
        x, w = integers((1, 2, 3, width)), integers((2, 2, 2, kernel), seed=1)
        kwargs: Any = {"stride": stride, "padding": (0, pad), "algorithm": algorithm}
        y = convpool.conv2d(x, w, **kwargs)
        del kwargs["algorithm"]
        assert_array_equal(y, reference.conv2d(x, w, **kwargs))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3, 5, 8, 17])
def test_case_22_nan_in_a_maximum(channels: int, dtype: Any) -> None:
    """tf#125965; ONNX Runtime's answer depends on the place; PyTorch gives the last NaN."""
    window = normal((1, channels, 3, 3), dtype)
    for where in range(9):
        x = window.copy()
        x.reshape(1, channels, 9)[:, :, where] = np.nan
        for layout in ("NCHW", "NHWC"):
            laid = x if layout == "NCHW" else x.transpose(0, 2, 3, 1)
            kwargs: Any = {"layout": layout}
            y, indices = convpool.max_pool2d(laid, 3, return_indices=True, **kwargs)
            assert np.isnan(y).all()
            assert (indices == where).all()
            assert np.isnan(convpool.max_pool2d(laid, 3, **kwargs)).all()
    window.reshape(1, channels, 9)[:, :, [2, 6]] = np.nan
    _, indices = convpool.max_pool2d(window, 3, return_indices=True)
    assert (indices == 2).all()


def test_case_23_a_dilated_window_without_any_cell() -> None:
    """PyTorch writes behind the buffer, ONNX Runtime returns index -3; XNNPACK PR#10457."""
    x = np.arange(1.0, 7.0).reshape(1, 3, 1, 2)
    geometry: Any = {"kernel_size": (1, 2), "stride": 1, "padding": (0, 1), "dilation": (1, 3)}
    y, indices = convpool.max_pool2d(x, **geometry, return_indices=True)
    assert_array_equal(y, np.full((1, 3, 1, 1), -np.inf))
    assert_array_equal(indices, np.full((1, 3, 1, 1), -1))
    dy = np.array([10.0, 20, 30]).reshape(1, 3, 1, 1)
    assert_array_equal(convpool.max_pool2d_grad(dy, indices, x.shape), np.zeros_like(x))
    y, indices = convpool.min_pool2d(x, **geometry, return_indices=True)
    assert_array_equal(y, np.full((1, 3, 1, 1), np.inf))
    assert_array_equal(indices, np.full((1, 3, 1, 1), -1))


def test_case_24_the_smallest_numbers_and_the_padding() -> None:
    """TensorFlow and ONNX Runtime return -3.4e38 for -inf; scikit-image returns 0."""
    y, indices = convpool.max_pool2d(np.full((1, 2, 2), -np.inf), 2, return_indices=True)
    assert y.item() == -np.inf
    assert indices.item() == 0
    assert (convpool.max_pool2d(np.full((1, 4, 4), -5.0), 3, 1, 1) == -5).all()
    x = np.full((1, 3, 3), -128, np.int8)
    y, indices = convpool.max_pool2d(x, 3, 1, 1, return_indices=True)
    assert_array_equal(y, x)
    assert_array_equal(indices, [[[0, 0, 1], [0, 0, 1], [3, 3, 4]]])


@forward_algorithm
@pytest.mark.parametrize("kernel", [3, 13])
def test_case_25_one_nan_stays_where_it_is(kernel: int, algorithm: Any) -> None:
    """SciPy's FFT spreads it over 900 results, OpenCV's 13x13 filter over 4096."""
    x, w = normal((1, 1, 32, 32)), normal((1, 1, kernel, kernel), seed=1)
    x[0, 0, 0, 0] = np.nan
    y = convpool.conv2d(x, w, algorithm=algorithm)
    assert np.isnan(y).sum() == 1
    x[0, 0, 0, 0], x[0, 0, 16, 16] = 0, np.inf
    y = convpool.conv2d(x, w, algorithm=algorithm)
    assert (~np.isfinite(y)).sum() == kernel**2


@forward_algorithm
def test_case_26_infinite_weights_over_zero_padding(algorithm: Any) -> None:
    """PyTorch, JAX, ONNX Runtime and SciPy agree: 0 * inf is NaN in the padding too."""
    w = np.full((1, 1, 3, 3), np.inf, np.float32)
    expected = np.full((1, 4, 4), np.nan)
    expected[0, 1:3, 1:3] = np.inf
    y = convpool.conv2d(ones(1, 4, 4), w, padding=1, algorithm=algorithm)
    assert_array_equal(y, expected)
    x = np.full((1, 3, 3), np.inf, np.float32)
    assert np.isnan(convpool.conv2d(x, 0 * ones(1, 1, 3, 3), algorithm=algorithm)).all()


@forward_algorithm
def test_case_27_sums_of_bytes(algorithm: Any) -> None:
    """ONNX' ConvInteger gives 2295; SciPy, PyTorch and JAX 247, OpenCV 255."""
    x, w = np.full((1, 3, 3), 255, np.uint8), np.ones((1, 1, 3, 3), np.uint8)
    y = convpool.conv2d(x, w, algorithm=algorithm)
    assert y.item() == 2295
    assert y.dtype == np.sum(x).dtype
    narrow = convpool.conv2d(x, w, dtype=np.uint8, algorithm=algorithm)
    assert narrow.item() == 247
    assert narrow.dtype == np.uint8


@forward_algorithm
def test_case_28_halves_are_summed_in_float32(algorithm: Any) -> None:
    """MIOpen#2109 and oneflow#9170: a sum of float16 ends at 2048 or in inf."""
    x = np.ones((1, 64, 64), np.float16)
    y = convpool.conv2d(x, np.ones((1, 1, 64, 64), np.float16), algorithm=algorithm)
    assert y.dtype == np.float16
    assert y.item() == 4096
    y = convpool.avg_pool2d(np.full((1, 4, 4), 60000, np.float16), 4)
    assert y.dtype == np.float16
    assert y.item() == np.float16(60000)


@forward_algorithm
def test_case_29_a_million_tenths(algorithm: Any) -> None:
    """SciPy's ``correlate2d`` gives 99759.9, its ``correlate`` 100958.3."""
    x = np.full((1, 1000, 1000), 0.1, np.float32)
    y = convpool.conv2d(x, ones(1, 1, 1000, 1000), algorithm=algorithm)
    assert_allclose(y.item(), 100000.0015, rtol=1e-6)
    assert_allclose(convpool.avg_pool2d(x, 1000).item(), np.float32(0.1), rtol=1e-6)


@forward_algorithm
def test_case_30_denormal_weights(algorithm: Any) -> None:
    """pytorch#21734 and #23862; a library must not flush the caller's numbers either."""
    smallest = np.finfo(np.float32).smallest_subnormal
    x, w = integers((1, 8, 12, 13)), integers((4, 8, 3, 3), seed=1)
    y = convpool.conv2d(x, w * smallest, algorithm=algorithm)
    assert_array_equal(y, reference.conv2d(x, w) * float(smallest))
    assert np.any(y != 0)
    half = np.full(64, np.finfo(np.float32).tiny) * np.float32(0.5)
    assert (half != 0).all()
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        np.ones(4, np.float32) / np.zeros(4, np.float32)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "expected"),
    [
        ((5, 5), 2, 2, 1, (3, 3)),
        ((6, 7), 1, 2, 0, (3, 4)),
        ((32, 32), 1, 2, 0, (16, 16)),
        ((6, 6), 2, 2, 0, (3, 3)),
        ((5, 6), 3, 2, 0, (2, 3)),
    ],
)
def test_case_31_windows_of_ceil_mode(
    size: tuple[int, int], kernel: int, stride: int, padding: int, expected: tuple[int, int]
) -> None:
    """Pytorch PR#46558 and burn#5791: no window starts behind the image."""
    shape = convpool.pool2d_output_shape((1, *size), kernel, stride, padding, ceil_mode=True)
    assert shape == (1, *expected)
    y = convpool.max_pool2d(-ones(1, *size), kernel, stride, padding, ceil_mode=True)
    assert_array_equal(y, -ones(1, *expected))


def test_case_32_divisors_of_ceil_mode() -> None:
    """tract#2851 and ort#16203: explicit padding counts, what overhangs does not."""
    y = convpool.avg_pool2d(row(1, 2, 3, 4, 5), (1, 2), ceil_mode=True)
    assert_array_equal(y, row(1.5, 3.5, 5))
    kwargs: Any = {"kernel_size": (1, 3), "stride": (1, 2), "padding": (0, 1), "ceil_mode": True}
    x = row(1, 1, 1, 1, 1, 1)
    assert_array_equal(convpool.avg_pool2d(x, **kwargs), row(2 / 3, 1, 1, 1 / 2))
    y = convpool.avg_pool2d(x, **kwargs, count_include_pad=False)
    assert_array_equal(y, row(1, 1, 1, 1))


def test_case_33_norms_of_negative_numbers() -> None:
    """PyTorch's ``lp_pool2d`` gives NaN; ONNX Runtime takes absolute values."""
    x = np.array([[[-1.0, -2.0], [-3.0, -4.0]]])
    assert_allclose(convpool.lp_pool2d(x, 3, 2).item(), 100 ** (1 / 3), rtol=1e-15)
    assert convpool.lp_pool2d(x, np.inf, 2).item() == 4


def test_case_34_ties_and_overlaps_in_the_gradient_of_a_maximum() -> None:
    """PyTorch and JAX are right: the first maximum takes all, overlaps add up."""
    x = row(5, 5, 5, 5)
    y, indices = convpool.max_pool2d(x, (1, 2), return_indices=True)
    dx = convpool.max_pool2d_grad(np.ones_like(y), indices, x.shape)
    assert_array_equal(dx, row(1, 0, 1, 0))
    x = row(1, 9, 1)
    _, indices = convpool.max_pool2d(x, (1, 2), 1, return_indices=True)
    assert_array_equal(convpool.max_pool2d_grad(row(10, 1), indices, x.shape), row(0, 11, 0))


def test_case_35_indices_of_unpooling() -> None:
    """pytorch#197409 (int64 narrowed to int32) and #78249 (duplicates)."""
    y = np.array([[[7.0]]])
    for index in (-2, 3, 2**32 + 1, 2**63 - 1, -(2**63)):
        with pytest.raises(IndexError, match=rf"indices.* {index}\b"):
            convpool.max_unpool2d(y, np.array([[[index]]]), (1, 1, 3))
    assert_array_equal(convpool.max_unpool2d(y, np.array([[[-1]]]), (1, 1, 3)), row(0, 0, 0))
    for _ in range(10):
        x = convpool.max_unpool2d(row(1, 2, 3), np.array([[[1, 1, 1]]]), (1, 1, 3))
        assert_array_equal(x, row(0, 3, 0))


@pytest.mark.parametrize(
    "case",
    [
        Case("24 groups", (1, 24, 9, 10), (24, 1, 3, 3), stride=2, padding=1, groups=24),
        Case("2 groups, 1x1", (2, 4, 6, 5), (16, 2, 1, 1), groups=2),
        Case("3 groups, stride 4", (1, 6, 13, 14), (9, 2, 3, 3), stride=(4, 4), groups=3),
        Case("dilation 2", (1, 4, 9, 9), (6, 2, 3, 3), padding=2, dilation=2, groups=2),
        Case("multiplier", (2, 3, 7, 8), (12, 1, 3, 3), padding=1, groups=3),
    ],
    ids=str,
)
def test_case_36_gradients_of_groups(case: Case) -> None:
    """pytorch#50042, #19912, #68868, #51430, #13008: each was silently wrong once."""
    x = integers(case.x_shape, np.float64)
    w = integers(case.weight_shape, np.float64, seed=1)
    dx, dw = check_gradients(x, w, **case.geometry)
    y = convpool.conv2d(x, w, **case.geometry)
    dy = integers(y.shape, np.float64, seed=7)
    # The map is linear: on whole numbers a difference of size 1 is exact.
    for place in ((0, 0, 1, 1), (0, x.shape[1] - 1, 2, 3)):
        moved = x.copy()
        moved[place] += 1
        change = convpool.conv2d(moved, w, **case.geometry) - y
        assert (change * dy).sum() == dx[place]
    for place in ((0, 0, 0, 0), tuple(size - 1 for size in w.shape)):
        moved = w.copy()
        moved[place] += 1
        change = convpool.conv2d(x, moved, **case.geometry) - y
        assert (change * dy).sum() == dw[place]


@every_algorithm
def test_case_37_leftover_rows(algorithm: Any) -> None:
    """keras#9883: a stride leaves the size of the input open."""
    dy, w = ones(1, 1, 2, 2), ones(1, 1, 3, 3)
    dx = convpool.conv2d_grad_input(dy, w, (1, 1, 6, 6), 2, algorithm=algorithm)
    assert dx.shape == (1, 1, 6, 6)
    assert not dx[..., -1, :].any()
    assert not dx[..., -1].any()
    assert convpool.conv2d_transpose(dy, w, stride=2).shape == (1, 1, 5, 5)
    y = convpool.conv2d_transpose(dy, w, stride=2, output_padding=1, algorithm=algorithm)
    assert_array_equal(y, dx)
    assert convpool.conv2d_transpose(dy, w, dilation=2, output_padding=1).shape == (1, 1, 7, 7)
    with pytest.raises(ValueError, match="output_padding"):
        convpool.conv2d_transpose(dy, w, stride=2, output_padding=2)


@every_algorithm
def test_case_38_the_same_bits_every_time(algorithm: Any) -> None:
    """PyTorch's weight gradient depends on the threads, its forward pass on the batch."""
    # Large enough to be cut for several threads.
    x, w = normal((5, 6, 41, 43)), normal((7, 6, 3, 3), seed=1)
    kwargs: Any = {"padding": 1, "algorithm": algorithm}

    def everything(x: Array, layout: str, threads: int | None = None) -> list[Array]:
        same: Any = {"layout": layout, "threads": threads}
        images = x if layout == "NCHW" else x.transpose(0, 2, 3, 1)
        y = convpool.conv2d(images, w, **kwargs, **same)
        dx = convpool.conv2d_grad_input(y, w, images.shape, **kwargs, **same)
        dw = convpool.conv2d_grad_weight(y, images, 3, **kwargs, **same)
        db = convpool.conv2d_grad_bias(y, **same)
        if layout == "NHWC":
            y, dx = y.transpose(0, 3, 1, 2), dx.transpose(0, 3, 1, 2)
        return [y, dx, dw, db]

    first = everything(x, "NCHW", threads=1)
    for threads in [None, 1, 2, 8] * 8:
        for one, other in zip(first, everything(x, "NCHW", threads), strict=True):
            assert_array_equal(one, other)
    for one, other in zip(first, everything(x, "NHWC"), strict=True):
        assert_array_equal(one, other)
    for n in range(5):
        y, dx, *_ = everything(x[n : n + 1], "NCHW")
        assert_array_equal(y, first[0][n : n + 1])
        assert_array_equal(dx, first[1][n : n + 1])


def test_case_39_any_array() -> None:
    """pytorch#92680 and numpy#23349: negative strides, byte orders and read-only memory."""
    x, w = integers((2, 4, 7, 6)), integers((6, 4, 3, 3), seed=1)
    expected = convpool.conv2d(x, w)
    memory = np.zeros(x.nbytes + 1, np.uint8)
    unaligned = memory[1:].view(np.float32).reshape(x.shape)
    unaligned[...] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    for same in (
        x[..., ::-1].copy()[..., ::-1],
        np.repeat(x, 2, axis=3)[..., ::2],
        np.asfortranarray(x),
        unaligned,
        frozen,
        x.astype(">f4"),
        x.tolist(),
    ):
        assert_array_equal(convpool.conv2d(same, w), expected)
    spread = np.broadcast_to(x[:, :, :1, :1], x.shape)
    assert_array_equal(convpool.conv2d(spread, w), convpool.conv2d(spread.copy(), w))
    assert convpool.conv2d(x, w.astype(np.float64)).dtype == np.float64
    for wrong in (x.astype(object), x.astype(str), None):
        with pytest.raises(TypeError, match="x"):
            convpool.conv2d(wrong, w)  # type: ignore[arg-type]
    for out in (np.empty((2, 6, 5, 5), "f4"), np.empty((2, 6, 5, 4), "f8"), frozen[..., :5, :4]):
        with pytest.raises((ValueError, TypeError), match="out"):
            convpool.conv2d(x, w, out=out)
    w = integers((4, 4, 3, 3), seed=1)
    expected = convpool.conv2d(x, w, padding=1)
    assert_array_equal(convpool.conv2d(x, w, padding=1, out=x), expected)
