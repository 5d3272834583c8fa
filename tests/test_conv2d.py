"""`conv2d`, `im2col` and the dry runs: exact on whole numbers, literals, rounding, NaN and inf."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import convpool
from cases import CONV_CASES, Case, integers, normal
from convpool import reference
from convpool._typing import Array

ALGORITHMS = ["auto", "direct", "im2col", "implicit_gemm"]
DTYPES = [np.float32, np.float64]

every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_case = pytest.mark.parametrize("case", CONV_CASES, ids=str)


def row(*numbers: float) -> Array:
    """Make an image of one row."""
    return np.array(numbers, dtype=np.float64).reshape(1, 1, -1)


@every_algorithm
@every_dtype
@every_case
def test_whole_numbers_are_exact(case: Case, dtype: Any, algorithm: Any) -> None:
    x, w = integers(case.x_shape, dtype), integers(case.weight_shape, dtype, seed=1)
    bias = integers(case.weight_shape[:1], dtype, seed=2)
    y = convpool.conv2d(x, w, bias, **case.geometry, algorithm=algorithm)
    assert y.dtype == dtype
    assert_array_equal(y, reference.conv2d(x, w, bias, **case.geometry))
    plain = convpool.conv2d(x, w, **case.geometry, algorithm=algorithm)
    assert_array_equal(plain, reference.conv2d(x, w, **case.geometry))


@every_case
def test_the_shape_is_known_in_advance(case: Case) -> None:
    x, w = np.ones(case.x_shape), np.ones(case.weight_shape)
    expected = reference.conv2d(x, w, **case.geometry).shape
    assert convpool.conv2d_output_shape(x.shape, w.shape, **case.geometry) == expected


@every_dtype
@every_case
def test_im2col(case: Case, dtype: Any) -> None:
    x = integers(case.x_shape, dtype)
    kernel = case.weight_shape[2:]
    geometry = {name: value for name, value in case.geometry.items() if name != "groups"}
    cols = convpool.im2col(x, kernel, **geometry, pad_value=5)
    assert cols.dtype == dtype
    assert_array_equal(cols, reference.im2col(x, kernel, **geometry, pad_value=5))
    back = convpool.col2im(cols, x.shape, kernel, **geometry)
    assert back.dtype == dtype
    assert_array_equal(back, reference.col2im(cols, x.shape, kernel, **geometry))


@every_algorithm
@pytest.mark.parametrize("pad_value", [-2, 7, np.inf, np.nan])
def test_pad_value(pad_value: float, algorithm: Any) -> None:
    x, w = integers((2, 2, 5, 6)), integers((3, 2, 3, 3), seed=1)
    for padding in (1, ((0, 3), (2, 1)), "same", "full", ((-1, 2), (1, -1))):
        kwargs: Any = {"padding": padding, "pad_value": pad_value, "stride": (1, 2)}
        y = convpool.conv2d(x, w, **kwargs, algorithm=algorithm)
        with np.errstate(invalid="ignore"):
            assert_array_equal(y, reference.conv2d(x, w, **kwargs))


@every_algorithm
@pytest.mark.parametrize(
    ("padding", "stride", "expected"),
    [
        ("same", 2, [6, 12, 11]),
        ("same_lower", 2, [3, 9, 15]),
        ("same", 1, [3, 6, 9, 12, 15, 11]),
        ("valid", 2, [6, 12]),
        ("full", 1, [1, 3, 6, 9, 12, 15, 11, 6]),
        ("same", 4, [6, 11]),
    ],
)
def test_padding_rules_on_a_row(
    padding: Any, stride: int, expected: list[float], algorithm: Any
) -> None:
    kwargs: Any = {"padding": padding, "stride": (1, stride), "algorithm": algorithm}
    y = convpool.conv2d(row(1, 2, 3, 4, 5, 6), np.ones((1, 1, 1, 3)), **kwargs)
    assert_array_equal(y, row(*expected))


@pytest.mark.parametrize(("padding", "first"), [("same", 1), ("same_lower", 2)])
def test_even_kernel_keeps_the_size(padding: Any, first: int) -> None:
    x = np.zeros((1, 5, 5))
    x[0, 2, 2] = 1
    expected = np.zeros((1, 5, 5))
    expected[0, first : first + 2, first : first + 2] = [[4, 3], [2, 1]]
    kernel = np.arange(1.0, 5.0).reshape(1, 1, 2, 2)
    assert_array_equal(convpool.conv2d(x, kernel, padding=padding), expected)


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
def test_same_divides_the_size_by_the_stride(kernel: int, dilation: int, stride: int) -> None:
    for size in range(1, 12):
        shape = convpool.conv2d_output_shape(
            (1, 1, size, size), (1, 1, kernel, kernel), stride, "same", dilation
        )
        assert shape[2:] == (-(-size // stride),) * 2


@every_algorithm
def test_the_kernel_is_not_flipped(algorithm: Any) -> None:
    y = convpool.conv2d(row(0, 0, 1, 0, 0), row(1, 2, 3)[np.newaxis], algorithm=algorithm)
    assert_array_equal(y, row(3, 2, 1))


@every_algorithm
def test_what_remains_when_a_dimension_is_empty(algorithm: Any) -> None:
    def conv(x_shape: tuple[int, ...], weight_shape: tuple[int, ...], **kwargs: Any) -> Array:
        bias = np.arange(1.0, weight_shape[0] + 1)
        return convpool.conv2d(
            np.ones(x_shape), np.ones(weight_shape), bias, algorithm=algorithm, **kwargs
        )

    def filled(shape: tuple[int, ...]) -> Array:
        return np.broadcast_to(np.arange(1.0, shape[1] + 1)[:, None, None], shape)

    assert conv((0, 2, 5, 5), (3, 2, 3, 3)).shape == (0, 3, 3, 3)
    assert conv((1, 2, 5, 5), (0, 2, 3, 3)).shape == (1, 0, 3, 3)
    assert_array_equal(conv((1, 0, 5, 5), (3, 0, 3, 3)), filled((1, 3, 3, 3)))
    assert_array_equal(conv((1, 2, 0, 5), (3, 2, 3, 3), padding=2), filled((1, 3, 2, 7)))


# Rounding


def largest_error(x: Array, w: Array, **geometry: Any) -> Array:
    """``c * eps * sum |x| |w|`` with ``c = sqrt(K) / 2`` for sums of K products.

    Each operation rounds by eps/2 at most, so a plain sum may be off by ``K/2 * eps`` times that
    sum; roundings of independent signs add up to its square root, which is what is asked for here.
    """
    c = max(1.0, float(np.sqrt(np.prod(w.shape[1:]))) / 2)
    scale: Array = reference.conv2d(np.abs(x), np.abs(w), **geometry)
    return c * float(np.finfo(x.dtype).eps) * scale


@every_algorithm
@pytest.mark.parametrize(
    "case",
    [
        Case("27 taps", (1, 3, 40, 40), (16, 3, 3, 3)),
        Case("first layer", (1, 3, 45, 43), (16, 3, 7, 7), stride=2, padding=3),
        Case("256 taps", (1, 256, 30, 30), (8, 256, 1, 1)),
        Case("groups", (2, 6, 7, 6), (8, 3, 3, 3), padding=1, groups=2),
        Case("4608 taps", (1, 512, 9, 9), (4, 512, 3, 3), padding=1),
    ],
    ids=str,
)
def test_rounding(case: Case, algorithm: Any) -> None:
    x, w = normal(case.x_shape), normal(case.weight_shape, seed=1)
    y = convpool.conv2d(x, w, **case.geometry, algorithm=algorithm)
    error = np.abs(y - reference.conv2d(x, w, **case.geometry))
    assert np.all(error <= largest_error(x, w, **case.geometry))


@every_algorithm
def test_a_sum_of_a_million_equal_products(algorithm: Any) -> None:
    x, w = np.full((1, 1000, 1000), 0.1, np.float32), np.ones((1, 1, 1000, 1000), np.float32)
    expected = 1e6 * np.float64(x[0, 0, 0])
    y = convpool.conv2d(x, w, algorithm=algorithm)
    assert np.abs(y - expected) <= 1e3 / 2 * np.finfo(np.float32).eps * expected


@every_algorithm
def test_float64_is_computed_in_float64(algorithm: Any) -> None:
    x, w = normal((2, 30, 9, 9), np.float64), normal((5, 30, 3, 3), np.float64, seed=1)
    y = convpool.conv2d(x, w, algorithm=algorithm)
    assert np.all(np.abs(y - reference.conv2d(x, w)) <= largest_error(x, w))


@every_algorithm
def test_denormal_numbers_are_not_flushed(algorithm: Any) -> None:
    smallest = np.finfo(np.float32).smallest_subnormal
    x, w = integers((1, 9, 11, 12)), integers((5, 9, 3, 3), seed=1)
    y = convpool.conv2d(x, w * smallest, algorithm=algorithm)
    assert_array_equal(y, reference.conv2d(x, w) * float(smallest))


@every_algorithm
def test_each_image_is_computed_as_if_it_were_alone(algorithm: Any) -> None:
    # One and several output channels, each from far below to far above the sizes at which "auto"
    # may change its mind: a batch must not be taken for a larger problem than its images.
    small = [(8, 1, size, size) for size in (4, 6, 8, 11, 15, 20, 26)]
    for oc in (1, 5):
        for shape in [*small, (8, 3, 31, 32), (3, 40, 17, 19)]:
            x, w = normal(shape), normal((oc, shape[1], 3, 3), seed=1)
            together = convpool.conv2d(x, w, algorithm=algorithm)
            alone = [convpool.conv2d(image, w, algorithm=algorithm) for image in x]
            assert_array_equal(together, np.stack(alone))
            assert_array_equal(together, convpool.conv2d(x, w, algorithm=algorithm))


@every_algorithm
def test_layouts_agree_in_every_bit(algorithm: Any) -> None:
    x, w = normal((2, 6, 9, 8)), normal((4, 3, 3, 2), seed=1)
    y = convpool.conv2d(x, w, padding="same", groups=2, algorithm=algorithm)
    kwargs: Any = {"padding": "same", "groups": 2, "algorithm": algorithm, "layout": "NHWC"}
    last = convpool.conv2d(x.transpose(0, 2, 3, 1), w, **kwargs)
    assert_array_equal(last, y.transpose(0, 2, 3, 1))


@every_algorithm
def test_calls_in_several_threads_do_not_disturb_each_other(algorithm: Any) -> None:
    jobs = [
        (normal((2, ic, 20, 21), seed=ic), normal((5, ic, 3, 3), seed=ic + 1))
        for ic in (1, 3, 8, 40)
    ] * 8
    expected = [convpool.conv2d(x, w, algorithm=algorithm) for x, w in jobs]
    with ThreadPoolExecutor(4) as pool:
        results = pool.map(lambda job: convpool.conv2d(*job, algorithm=algorithm), jobs)
        for y, alone in zip(results, expected, strict=True):
            assert_array_equal(y, alone)


# NaN and infinity


@every_algorithm
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("kernel", "where"), [(3, (0, 0)), (3, (31, 31)), (13, (16, 5))])
def test_nan_and_inf_stay_local(
    kernel: int, where: tuple[int, int], value: float, algorithm: Any
) -> None:
    x, w = normal((1, 3, 32, 32)), normal((4, 3, kernel, kernel), seed=1)
    clean = convpool.conv2d(x, w, algorithm=algorithm)
    x[0, 1][where] = value
    y = convpool.conv2d(x, w, algorithm=algorithm)
    touched = np.zeros((1, 1, 32, 32))
    touched[0, 0][where] = 1
    reached = reference.conv2d(touched, np.ones((1, 1, kernel, kernel)))[0, 0] > 0
    assert not np.isfinite(y[..., reached]).any()
    assert_array_equal(y[..., ~reached], clean[..., ~reached])


@every_algorithm
def test_an_infinite_weight_meets_the_padding_as_numpy_pad_would(algorithm: Any) -> None:
    x, w = np.ones((1, 4, 4), np.float32), np.full((1, 1, 3, 3), np.inf, np.float32)
    expected = np.full((1, 4, 4), np.nan)
    expected[0, 1:3, 1:3] = np.inf
    assert_array_equal(convpool.conv2d(x, w, padding=1, algorithm=algorithm), expected)
    w[...] = np.array([[0, 0, 0], [0, 1, 0], [0, 0, np.inf]])
    y = convpool.conv2d(x, w, padding=1, algorithm=algorithm)
    expected = np.full((1, 4, 4), np.inf)
    expected[0, 3, :] = expected[0, :, 3] = np.nan
    assert_array_equal(y, expected)


@every_algorithm
def test_a_zero_weight_does_not_hide_an_infinite_cell(algorithm: Any) -> None:
    x = np.ones((1, 3, 5))
    x[0, 1, 2] = np.inf
    y = convpool.conv2d(x, np.zeros((20, 1, 3, 3)), algorithm=algorithm)
    assert np.isnan(y).all()


@every_algorithm
def test_a_nan_in_one_weight_stays_in_its_channel(algorithm: Any) -> None:
    x, w = normal((2, 3, 7, 7)), normal((19, 3, 3, 3), seed=1)
    w[4, 2, 1, 1] = np.nan
    y = convpool.conv2d(x, w, algorithm=algorithm)
    assert_array_equal(np.isnan(y).all(axis=(0, 2, 3)), np.arange(19) == 4)
    assert_array_equal(np.isnan(y).any(axis=(0, 2, 3)), np.arange(19) == 4)


# What will be done


def test_explain_tells_the_algorithm_and_the_cost() -> None:
    shapes: Any = (2, 6, 20, 21), (8, 3, 3, 5)
    geometry: Any = {"stride": 2, "padding": 1, "groups": 2}
    for algorithm in ("direct", "im2col", "implicit_gemm"):
        plan = convpool.explain_conv2d(*shapes, **geometry, algorithm=algorithm)
        assert plan.algorithm == algorithm
        assert plan.output_shape == convpool.conv2d_output_shape(*shapes, **geometry)
        assert plan.flops == 2 * np.prod(plan.output_shape) * 3 * 3 * 5
        assert plan.scratch_bytes > 0
        assert algorithm in str(plan)
    assert plan.instruction_set == convpool._core.build_config()["instruction_set"]


@every_case
def test_both_matrix_products_give_the_same_bits(case: Case) -> None:
    x, w = normal(case.x_shape), normal(case.weight_shape, seed=1)
    with_columns = convpool.conv2d(x, w, **case.geometry, algorithm="im2col")
    without = convpool.conv2d(x, w, **case.geometry, algorithm="implicit_gemm")
    assert_array_equal(without, with_columns)


def test_explain_depends_on_the_type() -> None:
    shapes: Any = (1, 64, 56, 56), (64, 64, 3, 3)
    (_, single), (_, double) = (
        convpool.explain_conv2d(*shapes, dtype=dtype, algorithm="im2col").tile
        for dtype in (np.float32, np.float64)
    )
    assert single == 2 * double


def test_auto_takes_plain_loops_only_for_small_problems() -> None:
    assert convpool.explain_conv2d((1, 1, 3, 3), (1, 1, 2, 2)).algorithm == "direct"
    for size in (7, 66):
        shapes = (1, 64, size, size), (64, 64, 3, 3)
        assert convpool.explain_conv2d(*shapes).algorithm == "implicit_gemm"
    assert convpool.explain_conv2d((1, 64, 56, 56), (64, 64, 1, 1)).algorithm == "im2col"


def test_taps_that_are_further_apart_than_memory_is_long() -> None:
    far = 2**32 - 8
    x, w = np.ones((1, 1, 8, 8), np.float32), np.ones((4, 1, 2, 2), np.float32)
    kwargs: Any = {"dilation": (far, far - 8), "padding": (far // 2, (far - 8) // 2)}
    assert convpool.explain_conv2d(x.shape, w.shape, **kwargs).algorithm == "im2col"
    assert_array_equal(convpool.conv2d(x, w, **kwargs), np.zeros((1, 4, 8, 8)))
    with pytest.raises(MemoryError):
        convpool.conv2d(x, w, **kwargs, algorithm="implicit_gemm")
