"""Gradients by ``algorithm="fft"``: the definition's results, and when they are chosen."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import convpool
from cases import CONV_CASES, Case, integers, normal
from convpool import _fft, reference
from convpool._typing import Array

# Several tiles in each direction; for weight gradients, several parts of dy.
LARGE = [
    Case("several tiles", (2, 2, 350, 701), (3, 2, 9, 8), padding=4),
    Case("several tiles, groups", (2, 4, 420, 390), (6, 2, 12, 11), (2, 1), 3, (1, 2), 2),
    Case("several tiles, strides", (1, 2, 700, 801), (3, 2, 9, 8), (2, 3), 4, (3, 2)),
]
SQUARE = Case("a square", (3, 2, 350, 341), (4, 1, 15, 17), padding=(7, 8), groups=2)


def fft_gradients(case: Case, x: Array, w: Array, dy: Array, **options: Any) -> tuple[Array, Array]:
    options = {"algorithm": "fft", **case.geometry, **options}
    dx = convpool.conv2d_grad_input(dy, w, x.shape, **options)
    return dx, convpool.conv2d_grad_weight(dy, x, w.shape[2:], **options)


def gradients(case: Case, x: Array, w: Array, dy: Array) -> tuple[Array, Array]:
    dx = reference.conv2d_grad_input(dy, w, x.shape, **case.geometry)
    return dx, reference.conv2d_grad_weight(dy, x, w.shape[2:], **case.geometry)


def dy_shape(case: Case) -> tuple[int, ...]:
    return convpool.conv2d_output_shape(case.x_shape, case.weight_shape, **case.geometry)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", [*CONV_CASES, *LARGE], ids=str)
def test_whole_numbers(case: Case, dtype: Any) -> None:
    """Rounding to float32 makes results exact; in float64 the last digits are wrong."""
    x, w = integers(case.x_shape, dtype), integers(case.weight_shape, dtype, seed=1)
    dy = integers(dy_shape(case), dtype, seed=2)
    for actual, expected in zip(
        fft_gradients(case, x, w, dy), gradients(case, x, w, dy), strict=True
    ):
        assert actual.dtype == dtype
        assert_allclose(actual, expected, rtol=0, atol=0 if dtype == np.float32 else 1e-8)


@pytest.mark.parametrize("type_code", ["f2", "i1", "u1", "i8", "?", "c8"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_types_layouts_and_out(layout: Any, type_code: str) -> None:
    case = Case("", (2, 4, 15, 14), (6, 2, 5, 4), padding=3, stride=(1, 2), groups=2)
    x, w = (integers(s, seed=3).astype(type_code) for s in (case.x_shape, case.weight_shape))
    dy = integers(dy_shape(case), seed=4).astype(type_code)
    options: Any = {**case.geometry, "algorithm": "direct"}
    dx = convpool.conv2d_grad_input(dy, w, x.shape, **options)
    dw = convpool.conv2d_grad_weight(dy, x, (5, 4), **options)
    if layout == "NHWC":
        x, dy, dx = (a.transpose(0, 2, 3, 1) for a in (x, dy, dx))
    options |= {"algorithm": "fft", "layout": layout}
    out = np.empty_like(dx)
    assert convpool.conv2d_grad_input(dy, w, x.shape, **options, out=out) is out
    assert_array_equal(out, dx)
    out = np.empty_like(dw)
    assert convpool.conv2d_grad_weight(dy, x, (5, 4), **options, out=out) is out
    assert_array_equal(out, dw)


@pytest.mark.parametrize("mode", ["constant", "reflect", "symmetric", "edge", "wrap"])
def test_padding_modes(mode: Any) -> None:
    x, dy = integers((2, 2, 9, 8)), integers((2, 3, 14, 13), seed=1)
    options: Any = {"padding": ((2, 5), (4, 3)), "pad_mode": mode, "dilation": (1, 2)}
    options |= {"pad_value": 2} if mode == "constant" else {}
    dw = convpool.conv2d_grad_weight(dy, x, (3, 2), **options, algorithm="fft")
    assert_array_equal(dw, reference.conv2d_grad_weight(dy, x, (3, 2), **options))
    w = integers((3, 2, 3, 2))
    if mode != "constant":
        with pytest.raises(NotImplementedError, match=r"fft.* padding mode"):
            convpool.conv2d_grad_input(dy, w, x.shape, **options, algorithm="fft")


@pytest.mark.parametrize("stride", [1, 2, (2, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_transposed_convolution(stride: Any, dtype: Any) -> None:
    x, w = integers((2, 4, 70, 60), dtype), integers((4, 3, 13, 14), dtype, seed=1)
    bias = integers((6,), dtype, seed=2)
    options: Any = {"stride": stride, "padding": 4, "groups": 2}
    options |= {"output_padding": 0 if stride == 1 else 1}
    y = convpool.conv2d_transpose(x, w, bias, **options, algorithm="fft")
    expected = reference.conv2d_transpose(x, w, bias, **options)
    assert_allclose(y, expected, rtol=0, atol=0 if dtype == np.float32 else 1e-9)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_local(value: float) -> None:
    """In any of the arrays."""
    case = LARGE[0]
    arrays = integers(case.x_shape), integers(case.weight_shape, seed=1), integers(dy_shape(case))
    for changed in range(3):
        x, w, dy = (a.copy() for a in arrays)
        (x, w, dy)[changed][1, 1, 3, 4] = value
        with np.errstate(invalid="ignore"):
            expected = gradients(case, x, w, dy)
        for actual, exact in zip(fft_gradients(case, x, w, dy), expected, strict=True):
            assert_array_equal(actual, exact)


def test_every_float32_output_is_as_good_as_a_plain_sum() -> None:
    x, w, dy = normal((1, 1, 300, 310)), normal((1, 1, 31, 30), seed=1), normal((1, 1, 270, 281))
    x[..., 100:] = 0
    dy[..., 90:] *= np.float32(1e-12)
    case = Case("", x.shape, w.shape)
    for actual, expected, sizes in zip(
        fft_gradients(case, x, w, dy),
        gradients(case, x, w, dy),
        gradients(case, np.abs(x), np.abs(w), np.abs(dy)),
        strict=True,
    ):
        assert (np.abs(actual - expected) <= (64 * sizes + np.abs(expected)) * 2.0**-24).all()


@pytest.mark.parametrize("taps", [9, 99])
def test_sums_that_cancel(taps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few are computed by their definition, more make transforms useless."""
    period = normal((1, 1, 50, 120))
    x, half = np.tile(period, 3), normal((1, 1, 50, 120), seed=1)
    dy = np.concatenate([half, -half, np.zeros((1, 1, 50, 121 - taps), np.float32)], axis=-1)
    settled = []
    settle = _fft._Kernels._settled

    def record(*arguments: Any) -> bool:
        settled.append(settle(*arguments))
        return settled[-1]

    monkeypatch.setattr(_fft._Kernels, "_settled", record)
    dw = convpool.conv2d_grad_weight(dy, x, (1, taps), algorithm="fft")
    assert settled == [taps < 64]
    sizes = convpool.conv2d_grad_weight(np.abs(dy), np.abs(x), (1, taps))
    assert (np.abs(dw) < (1e-15 if taps < 64 else 64 * 2.0**-24) * sizes).all()


def test_bits_depend_on_nothing_but_the_shapes() -> None:
    case = SQUARE
    x, w, dy = normal(case.x_shape), normal(case.weight_shape, seed=1), normal(dy_shape(case))
    dx, dw = fft_gradients(case, x, w, dy, threads=1)
    for threads in (2, 5):
        for actual, expected in zip(
            fft_gradients(case, x, w, dy, threads=threads), (dx, dw), strict=True
        ):
            assert_array_equal(actual, expected)
    for n in range(3):
        alone = fft_gradients(case, x[n], w, dy[n])[0]
        assert_array_equal(alone, dx[n])


@pytest.mark.parametrize(
    ("x_shape", "weight_shape", "dtype", "chosen"),
    [
        ((1, 1, 512, 512), (1, 1, 31, 31), np.float32, True),
        ((1, 1, 512, 512), (1, 1, 31, 31), np.float64, False),
        ((2, 8, 128, 128), (8, 8, 31, 31), np.float32, True),
        ((1, 64, 56, 56), (64, 64, 3, 3), np.float32, False),
    ],
)
def test_auto_takes_it_for_large_kernels(
    x_shape: Any, weight_shape: Any, dtype: Any, chosen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case("", x_shape, weight_shape, padding=weight_shape[-1] // 2)
    x, w = normal(x_shape, dtype), normal(weight_shape, dtype, seed=1)
    dy = normal(dy_shape(case), dtype)
    calls = []
    convolve = _fft._convolve

    def record(*arguments: Any, **options: Any) -> bool:
        calls.append(arguments)
        return convolve(*arguments, **options)

    monkeypatch.setattr(_fft, "_convolve", record)
    dx, dw = fft_gradients(case, x, w, dy, algorithm="auto")
    assert len(calls) == (2 if chosen else 0)
    epsilon = np.finfo(dtype).eps
    for actual, expected in zip(
        (dx, dw), fft_gradients(case, x, w, dy, algorithm="im2col"), strict=True
    ):
        assert_allclose(actual, expected, rtol=0, atol=30 * epsilon * np.abs(expected).max())
