"""``algorithm="fft"``: the definition's results, also where transforms alone would lose them."""

import tracemalloc
from threading import Thread
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import convpool
from cases import CONV_CASES, Case, integers, normal
from convpool import _fft, reference
from convpool._typing import Array

# Several tiles in each direction, the last of which are not full.
LARGE = Case("several tiles", (2, 2, 350, 701), (3, 2, 9, 8), padding=4)


def fft(x: Array, weight: Array, bias: Array | None = None, **options: Any) -> Array:
    return convpool.conv2d(x, weight, bias, algorithm="fft", **options)


def sums_of_magnitudes(x: Array, weight: Array, **options: Any) -> Array:
    return np.asarray(reference.conv2d(np.abs(x), np.abs(weight), **options))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", [*CONV_CASES, LARGE], ids=str)
def test_whole_numbers(case: Case, dtype: Any) -> None:
    """Rounding to float32 makes results exact; in float64 the last digits are wrong."""
    x, w = integers(case.x_shape, dtype), integers(case.weight_shape, dtype, seed=1)
    bias = integers((len(w),), dtype, seed=2)
    y = fft(x, w, bias, **case.geometry)
    expected = reference.conv2d(x, w, bias, **case.geometry)
    assert y.dtype == dtype
    assert_allclose(y, expected, rtol=0, atol=0 if dtype == np.float32 else 1e-9)


@pytest.mark.parametrize("type_code", ["f2", "i1", "u1", "i4", "i8", "?", "c8", "c16"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_types_layouts_and_out(layout: Any, type_code: str) -> None:
    x = integers((2, 4, 15, 14), seed=3).astype(type_code)
    w = integers((6, 2, 5, 4), seed=4).astype(type_code)
    options: Any = {"padding": 3, "stride": (1, 2), "groups": 2}
    expected = convpool.conv2d(x, w, algorithm="direct", **options)
    if layout == "NHWC":
        x, expected = x.transpose(0, 2, 3, 1), expected.transpose(0, 2, 3, 1)
    out = np.empty_like(expected)
    y = fft(x, w, layout=layout, out=out, **options)
    assert y is out
    assert_allclose(y, expected, rtol=0, atol=1e-10 if type_code == "c16" else 0)
    assert_array_equal(fft(x[0], w, layout=layout, **options), y[0])


@pytest.mark.parametrize("mode", ["constant", "reflect", "symmetric", "edge", "wrap"])
@pytest.mark.parametrize("padding", [2, ((-2, 9), (11, -3)), ((0, 20), (25, 1)), "full"])
def test_padding_modes(padding: Any, mode: Any) -> None:
    x, w = integers((1, 2, 9, 8)), integers((3, 2, 3, 4), seed=1)
    options: Any = {"padding": padding, "pad_mode": mode, "dilation": (2, 1)}
    options |= {"pad_value": 2} if mode == "constant" else {}
    assert_array_equal(fft(x, w, **options), reference.conv2d(x, w, **options))


@pytest.mark.parametrize("bits", [20, 29, 45])
def test_whole_numbers_are_exact_where_sums_are_large(bits: int) -> None:
    """Rounding is exact for the first; not for the second; the third is modulo 2**64."""
    x = np.random.default_rng(0).integers(0, 2**bits, (1, 1, 60, 70))
    w = np.random.default_rng(1).integers(0, 2**14, (1, 1, 31, 31))
    assert_array_equal(fft(x, w), reference.conv2d(x, w))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_local(value: float) -> None:
    """In the image, in the padding and in a kernel."""
    x, w = integers((1, 2, 350, 360)), integers((2, 2, 5, 6), seed=1)
    special, kernels = x.copy(), w.copy()
    special[0, 1, 3, 4] = kernels[1, 0, 2, 2] = value
    for operands, options in (
        ((special, w), {}),
        ((x, kernels), {"padding": 2}),
        ((x, w), {"padding": ((2, 0), (0, 1)), "pad_value": value}),
    ):
        with np.errstate(invalid="ignore"):
            expected = reference.conv2d(*operands, **options)
        assert not np.isfinite(expected).all()
        assert np.isfinite(expected).any()
        assert_array_equal(fft(*operands, **options), expected)


def images_of_uneven_numbers() -> dict[str, Array]:
    flat, edge = normal((1, 1, 150, 160)), normal((1, 1, 150, 160))
    flat[0, 0, 70, 80] = 1e12
    edge[0, 0, :, 60:] = 0
    tiny = normal((1, 1, 150, 160)) * np.float32(1e-38)
    huge = normal((1, 1, 150, 160)) * np.float32(1e36)
    return {"one peak": flat, "half black": edge, "denormal": tiny, "huge": huge}


@pytest.mark.parametrize("name", images_of_uneven_numbers())
def test_every_float32_output_is_as_good_as_a_plain_sum(name: str) -> None:
    """Relative to its own products, not to the largest of the image."""
    x, w = images_of_uneven_numbers()[name], normal((1, 1, 31, 31), seed=1)
    y = fft(x, w)
    expected = reference.conv2d(x, w)
    least = np.finfo(np.float32).smallest_subnormal
    bound = (64 * sums_of_magnitudes(x, w) + np.abs(expected)) * 2.0**-24 + least
    assert (np.abs(y - expected) <= bound).all()
    if name == "half black":
        assert_array_equal(y[..., 60:], 0)


def test_black_parts_are_transformed(monkeypatch: pytest.MonkeyPatch) -> None:
    x = normal((1, 2, 300, 400))
    x[..., 100:250, 150:] = 0
    w = normal((2, 2, 21, 20), seed=1)
    for options in ({}, {"stride": (2, 3)}, {"dilation": 2}):
        y = fft(x, w, **options)
        with monkeypatch.context() as patched:
            patched.delattr(_fft._Kernels, "_defined")
            assert_array_equal(fft(x, w, **options), y)
        expected = convpool.conv2d(x, w, algorithm="direct", **options)
        assert_array_equal(y == 0, expected == 0)
        assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_error_bound_in_float64() -> None:
    """The docs promise ``1e-15 * max|x| * sum|w|``."""
    x = normal((1, 3, 300, 310), np.float64)
    w = normal((2, 3, 31, 29), np.float64, seed=1)
    exact = convpool.conv2d(x, w, algorithm="direct")
    error = np.abs(fft(x, w) - exact).max()
    assert error < 1e-15 * np.abs(x).max() * np.abs(w).sum(axis=(1, 2, 3)).max()
    assert fft(1e-170 * x, 1e-170 * w).max() == 0
    assert_allclose(fft(1e160 * x, 1e-160 * w), exact, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("groups", [1, 2])
def test_bits_depend_on_nothing_but_the_image(groups: int) -> None:
    x, w = normal((3, 2, 350, 341)), normal((4, 2 // groups, 15, 17), seed=1)
    options: Any = {"groups": groups, "padding": "same"}
    y = fft(x, w, threads=1, **options)
    for threads in (2, 5):
        assert_array_equal(fft(x, w, threads=threads, **options), y)
    for n in range(3):
        assert_array_equal(fft(x[n], w, **options), y[n])
    prepared = convpool.prepare_conv2d(w, algorithm="fft", **options)
    assert_array_equal(prepared(x), y)


def test_without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = normal((1, 1, 700, 690)), normal((1, 1, 15, 17), seed=1)
    y = fft(x, w, threads=3)

    def refuse(self: Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", refuse)
    assert_array_equal(fft(x, w, threads=3), y)


def test_an_error_in_a_tile_ends_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_fft._Problem, "copy_cells", fail)
    with pytest.raises(KeyboardInterrupt):
        fft(normal((1, 1, 700, 690)), normal((1, 1, 15, 17)), threads=3)


@pytest.mark.parametrize(
    ("x_shape", "weight_shape", "dtype", "algorithm"),
    [
        ((1, 1, 512, 512), (1, 1, 63, 63), np.float32, "fft"),
        ((1, 1, 512, 512), (1, 1, 63, 63), np.float16, "fft"),
        ((1, 1, 512, 512), (1, 1, 63, 63), np.uint8, "fft"),
        ((1, 1, 512, 512), (1, 1, 63, 63), np.float64, "implicit_gemm"),
        ((1, 1, 512, 512), (1, 1, 63, 63), np.complex128, "implicit_gemm"),
        ((1, 1, 512, 512), (1, 1, 31, 31), np.float32, "fft"),
        ((1, 1, 512, 512), (1, 1, 15, 15), np.float32, "implicit_gemm"),
        ((1, 16, 256, 256), (16, 16, 15, 15), np.float32, "fft"),
        ((1, 1, 80, 80), (1, 1, 63, 63), np.float32, "implicit_gemm"),
        ((1, 64, 56, 56), (64, 64, 3, 3), np.float32, "implicit_gemm"),
    ],
)
def test_auto_takes_it_for_large_kernels(
    x_shape: Any, weight_shape: Any, dtype: Any, algorithm: str
) -> None:
    plan = convpool.explain_conv2d(x_shape, weight_shape, dtype=dtype)
    assert plan.algorithm == algorithm
    many = convpool.explain_conv2d((64, *x_shape[1:]), weight_shape, dtype=dtype, threads=64)
    assert many.algorithm == algorithm


def test_plan() -> None:
    shapes: Any = (1, 1, 600, 500), (2, 1, 40, 41)
    plan = convpool.explain_conv2d(*shapes, algorithm="fft", threads=2)
    assert (plan.algorithm, plan.reason) == ("fft", "requested")
    assert plan.instruction_set == convpool._core.build_config()["instruction_set"]
    assert all(size >= kernel for size, kernel in zip(plan.tile, (40, 41), strict=True))
    assert plan.flops == 2 * 2 * 561 * 460 * 40 * 41
    plane = plan.tile[0] * plan.tile[1] * 8
    assert plan.scratch_bytes < 30 * plane
    x, w = normal(shapes[0]), normal(shapes[1])
    fft(x, w, threads=2)
    for value in (0, np.nan):  # by transforms, and by the definition
        x[0, 0, ::50, ::50] = value
        tracemalloc.start()
        y = fft(x, w, threads=2)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < plan.scratch_bytes + y.nbytes
    many: Any = (1, 16, 48, 48), (64, 16, 31, 31)
    plan = convpool.explain_conv2d(*many, padding=15, algorithm="fft", threads=1)
    x, w = normal(many[0]), normal(many[1])
    tracemalloc.start()
    y = fft(x, w, padding=15, threads=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Weights are converted one by one; their spectra are not traced.
    assert peak < 2e6 + y.nbytes
    assert plan.scratch_bytes > 2e6
    empty = convpool.explain_conv2d((0, 1, 9, 9), (1, 1, 3, 3), algorithm="fft")
    assert empty.reason == "nothing to transform"
    large = convpool.explain_conv2d(*shapes, algorithm="fft", dtype=np.int64)
    assert large.reason == "sums too large for exact transforms"


def test_memory_that_cannot_be_had() -> None:
    with pytest.raises(MemoryError):
        fft(normal((1, 1, 9, 9)), normal((1, 1, 3, 3)), padding=2**28, dilation=2**28)
