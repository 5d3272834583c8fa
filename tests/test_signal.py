"""SciPy's `correlate2d` and `convolve2d`: by hand, and against SciPy where it is installed."""

from itertools import product
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from cases import integers
from convpool import signal
from convpool._typing import Array

FUNCTIONS = ["correlate2d", "convolve2d"]
MODES = ["full", "valid", "same"]
BOUNDARIES = ["fill", "wrap", "symm"]
SHAPES = [(1, 1), (3, 4), (4, 1), (2, 7)]
# Odd, even, a row, larger than the image along one axis, many times larger along both.
KERNELS = [(1, 1), (3, 3), (2, 2), (1, 4), (6, 3), (9, 16)]
DTYPES = [
    ("u1", "u1"),
    ("i1", "u2"),
    ("i8", "u4"),
    ("u8", "u8"),
    ("?", "i2"),
    ("f4", "f4"),
    ("f4", "i4"),
    ("f8", "?"),
    ("F", "f4"),
    ("D", "F"),
    (">f8", ">i4"),
]
K22 = np.array([[1, 2], [3, 4]])

every_function = pytest.mark.parametrize("name", FUNCTIONS)


@pytest.fixture(scope="module")
def scipy_signal() -> ModuleType:
    module: ModuleType = pytest.importorskip("scipy.signal")
    return module


def same(result: Array, expected: Any, dtype: Any = int) -> None:
    assert result.dtype == dtype
    assert result.shape == np.shape(expected)
    assert_array_equal(result, expected)


def numbers(shape: tuple[int, int], dtype: str, seed: int = 0) -> Array:
    """Whole numbers, so that every sum is exact; unsigned ones wrap."""
    drawn = integers(shape, np.int64, seed=seed)
    if np.dtype(dtype).kind == "c":
        return (drawn + 1j * integers(shape, np.int64, seed=seed + 1)).astype(dtype)
    return drawn.astype(dtype)


def test_full_is_a_product_of_polynomials() -> None:
    # (1 + 2x + 3y + 4xy) squared
    same(signal.convolve2d(K22, K22), [[1, 4, 4], [6, 20, 16], [9, 24, 16]])
    same(signal.correlate2d(K22, K22), [[4, 11, 6], [14, 30, 14], [6, 11, 4]])


def test_valid_is_the_chapter() -> None:
    x, k = np.arange(9.0).reshape(3, 3), np.arange(4.0).reshape(2, 2)
    same(signal.correlate2d(x, k, "valid"), [[19, 25], [37, 43]], float)
    same(signal.convolve2d(x, k, "valid"), [[5, 11], [23, 29]], float)


def test_same_shows_where_an_even_kernel_stands() -> None:
    impulse = np.zeros((4, 4), int)
    impulse[1, 1] = 1
    convolved, correlated = np.zeros((2, 4, 4), int)
    convolved[1:3, 1:3] = K22
    correlated[:2, :2] = K22[::-1, ::-1]
    same(signal.convolve2d(impulse, K22, "same"), convolved)
    same(signal.correlate2d(impulse, K22, "same"), correlated)


def test_boundaries_and_their_other_names() -> None:
    before = {"fill": 9, "pad": 9, "wrap": 3, "circular": 3, "symm": 1, "symmetric": 1}
    for boundary, cell in before.items():
        same(signal.correlate2d([[1, 2, 3]], [[1, 0, 0]], "same", boundary, 9), [[cell, 1, 2]])


def test_boundaries_repeat_for_a_kernel_larger_than_the_image() -> None:
    ones = np.ones((1, 7), int)
    # The seven cells around each of 1, 2 in ...2 1 2 (1 2) 1 2 1... and ...2 2 1 (1 2) 2 1 1...
    same(signal.correlate2d([[1, 2]], ones, "same", "wrap"), [[11, 10]])
    same(signal.correlate2d([[1, 2]], ones, "same", "symm"), [[11, 10]])


def test_valid_changes_the_roles_of_a_small_image() -> None:
    row, pair = [[1, 2, 3]], [[1, 10]]
    same(signal.correlate2d(row, pair, "valid"), [[21, 32]])
    same(signal.correlate2d(pair, row, "valid"), [[32, 21]])
    same(signal.convolve2d(row, pair, "valid"), [[12, 23]])
    same(signal.convolve2d(pair, row, "valid"), [[12, 23]])


def test_correlation_conjugates_its_second_argument() -> None:
    same(signal.correlate2d([[2j]], [[3j]]), [[6]], complex)
    same(signal.convolve2d([[2j]], [[3j]]), [[-6]], complex)
    # Documented: with changed roles SciPy conjugates what stands second then.
    same(signal.correlate2d([[1j]], [[1, 2]], "valid"), [[-2j, -1j]], complex)


def test_integers_wrap_in_the_promoted_dtype() -> None:
    full = np.full((3, 3), 255, np.uint8)
    same(signal.correlate2d(full, np.ones((3, 3), np.uint8), "valid"), [[247]], np.uint8)
    same(signal.correlate2d(full, np.ones((3, 3), np.int8), "valid"), [[2295]], np.int16)
    same(signal.convolve2d(full, np.ones((3, 3), np.float32), "valid"), [[2295]], np.float32)
    same(signal.convolve2d(np.array([[5]], np.int64), np.array([[3]], np.uint64)), [[15]], float)


def test_types_that_scipy_refuses() -> None:
    yes = np.ones((2, 2), bool)
    same(signal.correlate2d(yes, yes, "valid"), [[4]], int)
    same(signal.correlate2d(yes.astype("e"), yes.astype("e"), "valid"), [[4]], np.float16)


@pytest.mark.parametrize(
    ("dtype", "fill", "value"),
    [
        ("u1", 2.9, 2),
        ("i1", -2.9, -2),
        ("u1", [7], 7),
        ("i8", 2**53, 2**53),
        ("f4", 2.5, 2.5),
        ("f8", 10**30, 1e30),
        ("F", 1 + 2j, 1 + 2j),
    ],
)
def test_fillvalue(dtype: str, fill: Any, value: Any) -> None:
    one = np.ones((1, 1), dtype)
    pick = np.array([[1, 0]], dtype)
    same(signal.correlate2d(one, pick, fillvalue=fill), [[value, 1]], dtype)


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [("u1", -1), ("u1", 256), ("i8", 1j), ("i8", np.nan), ("i4", np.inf), ("f8", 1j), ("f4", "a")],
)
@every_function
def test_fillvalue_that_does_not_fit(name: str, dtype: str, fill: Any) -> None:
    one = np.ones((1, 1), dtype)
    with pytest.raises(ValueError, match=f"could not cast `fillvalue`.*{np.dtype(dtype)}"):
        getattr(signal, name)(one, one, fillvalue=fill)
    # Where nothing is filled, nobody looks at it.
    getattr(signal, name)(one, one, boundary="wrap", fillvalue=fill)


@every_function
def test_what_is_refused(name: str) -> None:
    function: Any = getattr(signal, name)
    a, wide, tall = np.ones((3, 3)), np.ones((2, 3)), np.ones((3, 2))
    for x, k in ((a[0], a), (a, a[0]), (a[None], a[None]), (1, 2)):
        with pytest.raises(ValueError, match="must both be 2-D arrays"):
            function(x, k)
    for x, k in ((wide, tall), (tall, wide)):
        with pytest.raises(ValueError, match="at least as large"):
            function(x, k, "valid")
    for mode in ("sane", 1, None):
        with pytest.raises(ValueError, match="mode must be"):
            function(a, a, mode)
    for boundary in ("reflect", 0, None):
        with pytest.raises(ValueError, match="boundary must be"):
            function(a, a, "full", boundary)
    for fill in ([], [1, 2]):
        with pytest.raises(ValueError, match="`fillvalue` must be scalar"):
            function(a, a, fillvalue=fill)
    for bad in ([["a"]], [[None]], [[np.datetime64("2020-01-01")]]):
        with pytest.raises(ValueError, match="must be an array of numbers"):
            function(a, bad)
    if np.dtype("g").itemsize > 8:
        with pytest.raises(NotImplementedError, match="is not implemented"):
            function(a.astype("g"), a)
    with pytest.raises(TypeError, match=r"in1\.filled"):
        function(np.ma.masked_array(a, a > 0), a)


@every_function
def test_arrays_without_elements(name: str) -> None:
    function: Any = getattr(signal, name)
    none, k = np.ones((0, 3)), np.ones((2, 2))
    same(function(none, k), np.zeros((1, 4)), float)
    same(function(none, k, "same"), none, float)
    same(function(none, k[:1]), np.ones((0, 4)), float)
    same(function(none.astype("u1"), k.astype("i1"), "same"), none, np.int16)
    with pytest.raises(ValueError, match="has elements"):
        function(k, none)
    for boundary in ("wrap", "symm"):
        with pytest.raises(ValueError):
            function(none, k, boundary=boundary)


@every_function
def test_the_arguments_are_not_changed(name: str) -> None:
    x, k = numbers((5, 4), "D"), numbers((3, 2), "D", 5)
    x_before, k_before = x.copy(), k.copy()
    getattr(signal, name)(x, k, boundary="wrap")
    assert_array_equal(x, x_before)
    assert_array_equal(k, k_before)


@pytest.mark.parametrize("dtypes", DTYPES, ids="-".join)
@every_function
def test_against_scipy(scipy_signal: ModuleType, name: str, dtypes: tuple[str, str]) -> None:
    ours, theirs = getattr(signal, name), getattr(scipy_signal, name)
    for shape, kernel, mode, boundary in product(SHAPES, KERNELS, MODES, BOUNDARIES):
        x, k = numbers(shape, dtypes[0]), numbers(kernel, dtypes[1], 5)
        fill = 3 if boundary == "fill" else 0
        try:
            expected = theirs(x, k, mode, boundary, fill)
        except ValueError:
            with pytest.raises(ValueError):
                ours(x, k, mode, boundary, fill)
        else:
            same(ours(x, k, mode, boundary, fill), expected, expected.dtype)


@pytest.mark.parametrize("dtype", ["f4", "f8", "F", "D"])
@every_function
def test_rounding_against_scipy(scipy_signal: ModuleType, name: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, k = (rng.normal(size=(*shape, 2)) @ [1, 1j] for shape in ((60, 50), (8, 7)))
    if dtype in ("f4", "f8"):
        x, k = x.real, k.real
    x, k = x.astype(dtype), k.astype(dtype)
    for mode, boundary in product(MODES, BOUNDARIES):
        expected = getattr(scipy_signal, name)(x, k, mode, boundary)
        result = getattr(signal, name)(x, k, mode, boundary)
        # Sums of 56 products of size 1: each side errs by some units of the last place of 8.
        atol = 56 * 8 * float(np.finfo(dtype).eps)
        assert_allclose(result, expected, rtol=0, atol=atol)
