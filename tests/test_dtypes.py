"""The rules of types: integers are exact, halves round once, mixed types promote as in NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.testing import assert_allclose, assert_array_equal

import convpool
from cases import CONV_CASES, Case, integers
from convpool import reference
from convpool._typing import Array

try:
    from ml_dtypes import bfloat16

    HALVES: list[Any] = [np.float16, bfloat16]
except ImportError:
    HALVES = [np.float16]

INTEGERS: list[Any] = [bool, *(np.dtype(code).type for code in "bhilBHIL")]
FLOATS: list[Any] = [np.float32, np.float64]
COMPLEX: list[Any] = [np.complex64, np.complex128]
ALGORITHMS = ["auto", "direct", "im2col"]
every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)
forward_algorithm = pytest.mark.parametrize("algorithm", [*ALGORITHMS, "implicit_gemm", "fft"])
every_integer = pytest.mark.parametrize("dtype", INTEGERS)
every_half = pytest.mark.parametrize("dtype", HALVES)
every_complex = pytest.mark.parametrize("dtype", COMPLEX)


def anything(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> Array:
    """Draw from all numbers of an integer type, or small complex ones."""
    rng = np.random.default_rng([seed, *shape])
    kind = np.dtype(dtype).kind
    if kind in "iu":
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    if kind == "c":
        parts = rng.integers(-3, 4, (2, *shape))
        numbers: Array = parts[0] + 1j * parts[1]
        return numbers.astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)


def sum_dtype(*dtypes: Any) -> Any:
    """Type in which NumPy sums numbers of the common type."""
    common = np.result_type(*dtypes)
    return np.sum(np.empty(0, common)).dtype if common.kind in "biu" else common


GEOMETRY: Any = {"stride": (2, 1), "padding": ((1, 2), (0, 1)), "dilation": (1, 2), "groups": 2}
WINDOWS: Any = {name: value for name, value in GEOMETRY.items() if name != "groups"}
X_SHAPE, W_SHAPE = (2, 4, 7, 8), (6, 2, 3, 2)
Y_SHAPE = convpool.conv2d_output_shape(X_SHAPE, W_SHAPE, **GEOMETRY)


def family(dtype: Any, **kwargs: Any) -> dict[str, tuple[Any, Any]]:
    """All functions of a convolution on drawn numbers, each with its specification."""
    x, w, dy = anything(X_SHAPE, dtype), anything(W_SHAPE, dtype, 1), anything(Y_SHAPE, dtype, 2)
    small = anything((4,), dtype, 3)
    bias = anything((6,), dtype, 4)
    cols = anything(convpool.im2col(np.zeros(X_SHAPE), (3, 2), **WINDOWS).shape, dtype, 5)
    algorithm = {k: v for k, v in kwargs.items() if k == "algorithm"}
    rest = {k: v for k, v in kwargs.items() if k != "algorithm"}

    def both(name: str, *args: Any, **more: Any) -> tuple[Any, Any]:
        chosen = algorithm if name.startswith("conv2d") and name != "conv2d_grad_bias" else {}
        ours = getattr(convpool, name)(*args, **more, **chosen, **rest)
        return ours, getattr(reference, name)(*args, **more)

    return {
        "conv2d": both("conv2d", x, w, bias, **GEOMETRY),
        "conv2d_transpose": both("conv2d_transpose", dy, w, small, **GEOMETRY),
        "conv2d_grad_input": both("conv2d_grad_input", dy, w, X_SHAPE, **GEOMETRY),
        "conv2d_grad_weight": both("conv2d_grad_weight", dy, x, (3, 2), **GEOMETRY),
        "conv2d_grad_bias": both("conv2d_grad_bias", dy),
        "im2col": both("im2col", x, (3, 2), **WINDOWS),
        "col2im": both("col2im", cols, X_SHAPE, (3, 2), **WINDOWS),
    }


@pytest.mark.parametrize("dtype", [np.int16, np.uint64, np.float16, np.complex64])
@pytest.mark.parametrize("case", CONV_CASES, ids=str)
def test_every_shape(case: Case, dtype: Any) -> None:
    # Whole numbers so small that halves hold all sums but the longest, which round once.
    x, w = integers(case.x_shape, np.int8).astype(dtype), integers(case.weight_shape, seed=1)
    w = w.astype(np.int8).astype(dtype)
    y = convpool.conv2d(x, w, **case.geometry)
    dy = integers(y.shape, np.int8, seed=2).astype(dtype)
    dx = convpool.conv2d_grad_input(dy, w, x.shape, **case.geometry)
    dw = convpool.conv2d_grad_weight(dy, x, w.shape[2:], **case.geometry)
    kept = sum_dtype(dtype)
    for ours, expected in (
        (y, reference.conv2d(x, w, **case.geometry)),
        (dx, reference.conv2d_grad_input(dy, w, x.shape, **case.geometry)),
        (dw, reference.conv2d_grad_weight(dy, x, w.shape[2:], **case.geometry)),
    ):
        assert ours.dtype == kept
        assert_array_equal(ours, expected.astype(kept))


# Integers


@every_algorithm
@every_integer
def test_integers_are_exact_modulo_two_to_the_64(dtype: Any, algorithm: Any) -> None:
    for name, (ours, expected) in family(dtype, algorithm=algorithm).items():
        kept = np.dtype(dtype) if name == "im2col" else sum_dtype(dtype)
        assert ours.dtype == kept, name
        assert_array_equal(ours, expected.astype(kept), err_msg=name)


@forward_algorithm
@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_wrap_around_by_the_integers_of_python(dtype: Any, algorithm: Any) -> None:
    x, w = anything((1, 3, 6, 7), dtype), anything((2, 3, 3, 2), dtype, 1)
    y = convpool.conv2d(x, w, algorithm=algorithm)
    windows = sliding_window_view(x.astype(object), (3, 2), axis=(2, 3))
    exact = np.einsum("ncijpq,ocpq->noij", windows, w.astype(object))
    assert abs(exact).max() > 2**64
    assert_array_equal(y.astype(np.uint64).astype(object), exact % 2**64)


@forward_algorithm
def test_long_sums_of_small_integers(algorithm: Any) -> None:
    # More than 2^31, and with odd partial sums beyond what float64 or float32 could hold.
    x, w = np.full((1, 700, 9, 9), 32767, np.int16), np.full((2, 700, 9, 9), 32767, np.int16)
    w[1, -1, -1, -1] = 0
    y = convpool.conv2d(x, w, algorithm=algorithm)
    assert y.ravel().tolist() == [32767**2 * 56700, 32767**2 * 56699]
    odd = np.array([2**53, 1, 1], np.int64).reshape(1, 1, 1, 3)
    assert convpool.conv2d(odd, np.ones_like(odd), algorithm=algorithm).item() == 2**53 + 2


@forward_algorithm
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.uint64])
def test_dtype_narrows_integers(dtype: Any, algorithm: Any) -> None:
    x, w = anything((2, 3, 6, 7), np.uint8), anything((4, 3, 3, 3), np.uint8, 1)
    y = convpool.conv2d(x, w, dtype=dtype, algorithm=algorithm)
    assert y.dtype == dtype
    assert_array_equal(y, reference.conv2d(x, w).astype(dtype))
    bytes_ = np.full((1, 3, 3), 255, np.uint8)
    assert convpool.conv2d(bytes_, np.ones((1, 1, 3, 3), np.uint8), dtype="u1").item() == 247


@every_integer
def test_sums_and_averages_of_integers(dtype: Any) -> None:
    x = anything((2, 3, 6, 7), dtype)
    y = convpool.sum_pool2d(x, 3, 1, 1)
    assert y.dtype == sum_dtype(dtype)
    assert_array_equal(y, reference.sum_pool2d(x, 3, 1, 1))
    small = anything((2, 3, 6, 7), np.int8 if np.dtype(dtype).kind == "i" else bool).astype(dtype)
    for name, args in (("avg_pool2d", (2,)), ("adaptive_avg_pool2d", (3,))):
        y = getattr(convpool, name)(small, *args)
        assert y.dtype == np.float64
        assert_array_equal(y, getattr(reference, name)(small, *args))
    assert convpool.global_avg_pool2d(small).dtype == np.float64
    assert convpool.avg_pool2d(np.array([[[0, 1], [1, 1]]], dtype), 2).item() == 0.75


# Halves


@every_algorithm
@every_half
def test_halves_are_rounded_once(dtype: Any, algorithm: Any) -> None:
    for name, (ours, expected) in family(dtype, algorithm=algorithm).items():
        assert ours.dtype == dtype, name
        assert_array_equal(ours, expected.astype(dtype), err_msg=name)
    # 2049 is no float16 and no bfloat16, but 2049 - 1 is: the bias comes before the rounding.
    x, w = np.ones((1, 2049, 1, 1), dtype), np.ones((1, 2049, 1, 1), dtype)
    y = convpool.conv2d(x, w, np.array([-1], dtype), algorithm=algorithm)
    assert float(y.item()) == 2048
    # The sum of squares passes the largest float16 on its way and comes back.
    x = np.array([300, 300, 300, 300], dtype).reshape(1, 4, 1, 1)
    w = np.array([300, 300, -300, -300], dtype).reshape(1, 4, 1, 1)
    assert float(convpool.conv2d(x, w, algorithm=algorithm).item()) == 0


@every_half
def test_pools_keep_halves(dtype: Any) -> None:
    x = integers((2, 3, 6, 7), dtype)
    for name, args in (
        ("max_pool2d", (3,)),
        ("min_pool2d", (3,)),
        ("sum_pool2d", (3,)),
        ("avg_pool2d", (2,)),
        ("adaptive_max_pool2d", (2,)),
        ("global_max_pool2d", ()),
    ):
        y = getattr(convpool, name)(x, *args)
        assert y.dtype == dtype, name
        expected = getattr(reference, name)(x, *args)
        assert_array_equal(y, expected.astype(dtype), err_msg=name)
    assert convpool.lp_pool2d(x, 2, 2).dtype == dtype
    assert convpool.global_avg_pool2d(x).dtype == dtype
    assert convpool.adaptive_avg_pool2d(x, 2).dtype == dtype
    ones = np.ones((1, 64, 64), dtype)
    assert float(convpool.sum_pool2d(ones, 64).item()) == 4096
    assert float(convpool.global_avg_pool2d(np.full((1, 99, 99), 9, dtype)).item()) == 9


def test_float16_overflows_only_in_the_result() -> None:
    x = np.full((1, 2, 2), 60000, np.float16)
    with np.errstate(over="ignore"):
        assert convpool.conv2d(x, np.ones((1, 1, 2, 2), np.float16)).item() == np.inf
    assert convpool.conv2d(x, np.full((1, 1, 2, 2), 0.25, np.float16)).item() == 60000
    assert convpool.conv2d(x, np.ones((1, 1, 2, 2), np.float16), dtype="f4").item() == 240000


# Complex numbers


@every_algorithm
@every_complex
def test_complex(dtype: Any, algorithm: Any) -> None:
    for name, (ours, expected) in family(dtype, algorithm=algorithm).items():
        assert ours.dtype == dtype, name
        assert_array_equal(ours, expected, err_msg=name)


@every_complex
def test_complex_by_hand(dtype: Any) -> None:
    x, w = np.array([[[1 + 2j]]], dtype), np.array([[[[3 - 1j]]]], dtype)
    assert convpool.conv2d(x, w).item() == 5 + 5j
    assert convpool.conv2d_grad_input(x, w, (1, 1, 1)).item() == (1 + 2j) * (3 + 1j)
    assert convpool.conv2d_grad_weight(w[0], x, 1).item() == (3 - 1j) * (1 - 2j)


@every_complex
def test_complex_gradients_are_adjoint(dtype: Any) -> None:
    x, w = anything(X_SHAPE, dtype), anything(W_SHAPE, dtype, 1)
    y = convpool.conv2d(x, w, **GEOMETRY)
    dy = anything(y.shape, dtype, 2)
    dx = convpool.conv2d_grad_input(dy, w, X_SHAPE, **GEOMETRY)
    dw = convpool.conv2d_grad_weight(dy, x, (3, 2), **GEOMETRY)
    assert np.vdot(dy, y) == np.vdot(dx, x) == np.vdot(dw, w)


def test_complex_gradients_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch")
    x, w = anything(X_SHAPE, np.complex128), anything(W_SHAPE, np.complex128, 1)
    leaves = [torch.tensor(array, requires_grad=True) for array in (x, w)]
    kwargs: Any = {"stride": 2, "padding": 1, "groups": 2}
    y = torch.nn.functional.conv2d(*leaves, **kwargs)
    dy = anything(tuple(y.shape), np.complex128, 2)
    y.backward(torch.tensor(dy))
    assert_array_equal(convpool.conv2d(x, w, **kwargs), y.detach().numpy())
    dx = convpool.conv2d_grad_input(dy, w, X_SHAPE, **kwargs)
    assert_array_equal(dx, leaves[0].grad.resolve_conj().numpy())
    dw = convpool.conv2d_grad_weight(dy, x, (3, 2), **kwargs)
    assert_array_equal(dw, leaves[1].grad.resolve_conj().numpy())
    transposed = torch.nn.functional.conv_transpose2d(torch.tensor(dy), torch.tensor(w), groups=2)
    assert_array_equal(convpool.conv2d_transpose(dy, w, groups=2), transposed.numpy())


@every_complex
def test_averages_and_sums_of_complex_numbers(dtype: Any) -> None:
    x = anything((2, 3, 6, 8), dtype)
    arguments: dict[str, tuple[Any, ...]] = {
        "avg_pool2d": (2,),
        "sum_pool2d": (3, 2),
        "adaptive_avg_pool2d": ((3, 4),),
        "global_avg_pool2d": (),
    }
    for name, args in arguments.items():
        y = getattr(convpool, name)(x, *args)
        assert y.dtype == dtype
        expected = getattr(reference, name)(x, *args)
        assert_allclose(y, expected, rtol=4 * np.finfo(dtype).eps)
    dy = anything((2, 3, 3, 4), dtype)
    dx = convpool.avg_pool2d_grad(dy, x.shape, 2)
    assert dx.dtype == dtype
    assert_array_equal(dx, reference.avg_pool2d_grad(dy, x.shape, 2))
    real = x.real.copy()
    _, indices = convpool.max_pool2d(real, 2, return_indices=True)
    dx = convpool.max_pool2d_grad(dy, indices, x.shape)
    assert dx.dtype == dtype
    assert_array_equal(dx, reference.max_pool2d_grad(dy, indices, x.shape))


# Mixed types and dtype=


def test_every_pair_of_types() -> None:
    numbers = [*INTEGERS, *FLOATS, *COMPLEX, *HALVES]
    for first in numbers:
        for second in numbers:
            x, w = np.array([[[1, 0]]], first), np.array([[[[1]]], [[[1]]]], second)
            try:
                expected = sum_dtype(x.dtype, w.dtype)
            except TypeError:  # bfloat16 has no common type with some others
                with pytest.raises(TypeError):
                    convpool.conv2d(x, w)
                continue
            y = convpool.conv2d(x, w)
            assert y.dtype == expected, (first, second)
            assert y.astype(complex).real.tolist() == [[[1, 0]], [[1, 0]]]
            dx = convpool.conv2d_grad_input(y, w, x.shape)
            assert dx.dtype == sum_dtype(y.dtype, w.dtype), (first, second)


def test_the_bias_counts_in_the_common_type() -> None:
    x, w = np.ones((1, 1, 1), np.int8), np.ones((1, 1, 1, 1), np.int8)
    assert convpool.conv2d(x, w, np.array([0.5])).dtype == np.float64
    assert convpool.conv2d(x, w, np.array([0.5], np.float32)).item() == 1.5
    assert convpool.conv2d(x, w, np.array([1j], np.complex64)).item() == 1 + 1j


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128, np.float16])
def test_dtype_widens(dtype: Any) -> None:
    x, w = anything((2, 3, 6, 7), np.int8) // 16, anything((4, 3, 3, 3), bool, 1)
    y = convpool.conv2d(x, w, dtype=dtype)
    assert y.dtype == dtype
    assert_array_equal(y, reference.conv2d(x, w).astype(dtype))
    assert convpool.im2col(x, 3, dtype=dtype).dtype == dtype
    assert convpool.sum_pool2d(x, 3, dtype=dtype).dtype == dtype


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        (np.float32, np.int64),
        (np.float64, np.int8),
        (np.complex64, np.float64),
        (np.complex128, np.int32),
        (np.float16, np.int64),
    ],
)
def test_dtype_casts_within_a_kind_only(given: Any, asked: Any) -> None:
    x, w = np.ones((1, 3, 3), given), np.ones((1, 1, 2, 2), given)
    with pytest.raises(TypeError, match=np.dtype(asked).name):
        convpool.conv2d(x, w, dtype=asked)
    with pytest.raises(TypeError, match=np.dtype(asked).name):
        convpool.sum_pool2d(x, 2, dtype=asked)


# Maxima


REAL = [*INTEGERS, *FLOATS, *HALVES]


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("name", ["max_pool2d", "min_pool2d"])
def test_extremes_keep_the_type(name: str, dtype: Any) -> None:
    x = anything((2, 3, 7, 8), dtype)
    geometry: Any = {"kernel_size": 3, "stride": 2, "padding": ((1, 3), (4, 0))}
    y, indices = getattr(convpool, name)(x, **geometry, return_indices=True)
    expected, places = getattr(reference, name)(x, **geometry, return_indices=True)
    assert y.dtype == dtype
    assert_array_equal(y, expected.astype(dtype))
    assert_array_equal(indices, places)
    assert (indices == -1).any()
    dy = anything(y.shape, dtype, 1)
    for function, argument in (("max_pool2d_grad", dy), ("max_unpool2d", y)):
        back = getattr(convpool, function)(argument, indices, x.shape)
        assert back.dtype == dtype
        expected = getattr(reference, function)(argument, indices, x.shape)
        assert_array_equal(back, expected.astype(dtype))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64, np.int64])
def test_windows_without_cells_hold_the_extreme_integer(dtype: Any) -> None:
    x = np.ones((1, 1, 2), dtype)
    geometry: Any = {"kernel_size": (1, 2), "stride": 1, "padding": (0, 1), "dilation": (1, 3)}
    assert convpool.max_pool2d(x, **geometry).item() == np.iinfo(dtype).min
    assert convpool.min_pool2d(x, **geometry).item() == np.iinfo(dtype).max


def test_neighbours_beyond_float64_are_told_apart() -> None:
    x = np.array([[[2**63 - 2, 2**63 - 1], [2**63 - 3, 2**63 - 2]]], np.int64)
    assert convpool.max_pool2d(x, 2).item() == 2**63 - 1
    assert convpool.min_pool2d(x, 2).item() == 2**63 - 3
    assert convpool.global_max_pool2d(x.astype(np.uint64) * 2).item() == 2**64 - 2


# What is refused

ONE_ARRAY: list[tuple[str, Callable[[Any], Any]]] = [
    ("conv2d", lambda x: convpool.conv2d(x, np.ones((1, 1, 2, 2)))),
    ("weight", lambda x: convpool.conv2d(np.ones((1, 3, 3)), x)),
    ("conv2d_transpose", lambda x: convpool.conv2d_transpose(x, np.ones((1, 1, 2, 2)))),
    ("conv2d_grad_bias", convpool.conv2d_grad_bias),
    ("im2col", lambda x: convpool.im2col(x, 2)),
    ("col2im", lambda x: convpool.col2im(x[0], (1, 2, 3), (1, 1))),
    ("max_pool2d", lambda x: convpool.max_pool2d(x, 2)),
    ("min_pool2d", lambda x: convpool.min_pool2d(x, 2)),
    ("avg_pool2d", lambda x: convpool.avg_pool2d(x, 2)),
    ("sum_pool2d", lambda x: convpool.sum_pool2d(x, 2)),
    ("lp_pool2d", lambda x: convpool.lp_pool2d(x, 2, 2)),
    ("adaptive_avg_pool2d", lambda x: convpool.adaptive_avg_pool2d(x, 2)),
    ("adaptive_max_pool2d", lambda x: convpool.adaptive_max_pool2d(x, 2)),
    ("global_avg_pool2d", convpool.global_avg_pool2d),
    ("global_max_pool2d", convpool.global_max_pool2d),
]
every_function = pytest.mark.parametrize(
    "function", [pytest.param(function, id=name) for name, function in ONE_ARRAY]
)


@every_function
def test_no_numbers(function: Callable[[Any], Any]) -> None:
    for dtype in (object, "U3", "S3", "M8[s]", "m8[s]", "V4", [("a", "f4")]):
        with pytest.raises(TypeError, match=r"^(x|weight|dy|cols)\b"):
            function(np.zeros((1, 1, 3, 3), dtype))
    with pytest.raises(TypeError, match="masked"):
        function(np.ma.masked_array(np.ones((1, 1, 3, 3))))


@every_function
def test_extended_precision(function: Callable[[Any], Any]) -> None:
    if np.finfo(np.longdouble).nmant == np.finfo(np.float64).nmant:
        pytest.skip("longdouble is float64 here")
    for dtype in (np.longdouble, np.clongdouble):
        with pytest.raises((NotImplementedError, TypeError), match=np.dtype(dtype).name):
            function(np.ones((1, 1, 3, 3), dtype))


@pytest.mark.parametrize(
    "name", ["max_pool2d", "min_pool2d", "adaptive_max_pool2d", "global_max_pool2d"]
)
def test_complex_numbers_have_no_maximum(name: str) -> None:
    args: Any = () if name.startswith("global") else (2,)
    with pytest.raises(TypeError, match="complex"):
        getattr(convpool, name)(np.ones((1, 4, 4), np.complex64), *args)


def test_whole_numbers_where_doubles_end() -> None:
    for number in (2**53 - 1, 2**53, 2**53 + 1):
        x, one = np.array([[[number]]]), np.ones((1, 1, 1, 1), int)
        assert convpool.conv2d(x, one).item() == number
        assert convpool.conv2d(x, one, [1]).item() == number + 1
        assert convpool.conv2d_transpose(x, one).item() == number


def test_padding_values_of_whole_numbers() -> None:
    x = np.ones((1, 1, 1), np.int8)
    assert convpool.im2col(x, 1, padding=(0, 1), pad_value=-128).tolist() == [[-128, 1, -128]]
    for value in (0.5, 300, -129, np.nan, np.inf):
        with pytest.raises(ValueError, match="pad_value"):
            convpool.im2col(x, 1, padding=1, pad_value=value)
    for value in (0.5, 2**53 + 2, np.nan, np.inf, 1e300):
        with pytest.raises(ValueError, match="pad_value"):
            convpool.conv2d(x, np.ones((1, 1, 1, 1), int), padding=1, pad_value=value)
