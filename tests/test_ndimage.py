"""SciPy's filters for two-dimensional arrays: by hand, and against SciPy where it is installed."""

from itertools import product
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from cases import integers, normal
from convpool import ndimage
from convpool._typing import Array

MODES = ["reflect", "constant", "nearest", "mirror", "wrap"]
SHAPES = [(1, 1), (4, 5), (1, 3), (0, 3)]
# Odd, even, a row, many times larger than the image.
SIZES = [(1, 1), (3, 3), (2, 4), (1, 5), (6, 11)]
SUMS = ["correlate", "convolve"]
EXTREMES = ["maximum_filter", "minimum_filter"]
REAL = ["?", "u1", "i2", "i8", "f4", "f8", ">f4"]
NAN, INF = np.nan, np.inf


@pytest.fixture(scope="module")
def scipy_ndimage() -> ModuleType:
    module: ModuleType = pytest.importorskip("scipy.ndimage")
    return module


def same(result: Array, expected: Any, dtype: Any = int) -> None:
    assert result.dtype == dtype
    assert result.shape == np.shape(expected)
    assert_array_equal(result, expected)


def numbers(shape: tuple[int, int], dtype: str, seed: int = 0) -> Array:
    """Whole numbers, so that every sum is exact."""
    drawn = integers(shape, np.int64, seed=seed) * 10
    if np.dtype(dtype).kind == "c":
        return (drawn + 1j * integers(shape, np.int64, seed=seed + 1)).astype(dtype)
    return drawn.astype(dtype)


def agree(name: str, theirs: ModuleType, *args: Any, **kwargs: Any) -> None:
    """Compare with SciPy, errors and the dtype included; exactly, but for means of fractions."""
    ours = getattr(ndimage, name)
    try:
        expected = getattr(theirs, name)(*args, **kwargs)
    except (RuntimeError, ValueError, TypeError) as error:
        with pytest.raises(type(error)):
            ours(*args, **kwargs)
    else:
        result = ours(*args, **kwargs)
        if name == "uniform_filter" and expected.dtype.kind in "fc":
            # Cells up to 255, and two sums that round differently.
            atol = 8 * 255 * np.finfo(expected.dtype).eps
            assert_allclose(result, expected, rtol=0, atol=atol)
            expected = result
        same(result, expected, expected.dtype)


def test_modes_by_hand() -> None:
    x = [[1, 2, 3, 4]]
    left = {
        "reflect": [3, 2, 1, 1],
        "grid-mirror": [3, 2, 1, 1],
        "constant": [9, 9, 9, 1],
        "grid-constant": [9, 9, 9, 1],
        "nearest": [1, 1, 1, 1],
        "mirror": [4, 3, 2, 1],
        "wrap": [2, 3, 4, 1],
        "grid-wrap": [2, 3, 4, 1],
    }
    for mode, cells in left.items():
        same(ndimage.correlate(x, [[1, 0, 0, 0, 0, 0, 0]], mode=mode, cval=9), [cells])


def test_origin_moves_the_window_up_and_left() -> None:
    x = np.diag([1, 2, 3])
    for origin, cells in ((0, [0, 2, 0]), ((1, 0), [1, 0, 0]), ((1, 1), [1, 1, 0])):
        picked = ndimage.correlate(x, [[0, 0, 0], [0, 1, 0], [0, 0, 0]], origin=origin)
        same(picked[1], cells)
    # An even window without an origin begins one cell further up and left.
    same(ndimage.correlate([[1, 2, 3]], [[1, 0]]), [[1, 1, 2]])
    same(ndimage.correlate([[1, 2, 3]], [[1, 0]], origin=(0, -1)), [[1, 2, 3]])
    same(ndimage.convolve([[1, 2, 3]], [[1, 0]]), [[2, 3, 3]])
    same(ndimage.convolve([[1, 2, 3]], [[1, 0]], origin=(0, -1)), [[1, 2, 3]])
    same(ndimage.convolve([[0, 1, 0, 0]], [[5, 6, 7]], origin=(0, 1)), [[6, 7, 0, 0]])


def test_whole_numbers_are_cut_and_wrap() -> None:
    x = np.array([[200, 3]], np.uint8)
    same(ndimage.correlate(x, [[2]]), [[144, 6]], np.uint8)
    same(ndimage.correlate(x, [[-1]]), [[56, 253]], np.uint8)
    same(ndimage.correlate(x, [[-0.5]], output=np.int16), [[-100, -1]], np.int16)
    same(ndimage.correlate(x, [[0.5]], output=float), [[100, 1.5]], float)
    large = np.array([[2**63, 2**62]], np.uint64)
    same(ndimage.correlate(large, [[1.5]]), [[2**63 + 2**62, 2**62 + 2**61]], np.uint64)
    same(ndimage.correlate(x > 5, [[0.4], [0.4]]), [[False, False]], bool)
    same(ndimage.correlate(x > 5, [[256]]), [[True, False]], bool)


def test_float32_sums_are_kept_in_double() -> None:
    x = np.array([[1e8, 1, -1e8]], np.float32)
    same(ndimage.correlate(x, [[1, 1, 1]])[:, 1:2], [[1]], np.float32)


def test_uniform_filter_casts_between_the_axes() -> None:
    x = np.array([[0, 0], [0, 3]])
    same(ndimage.uniform_filter(x, 2), [[0, 0], [0, 0]])
    same(ndimage.uniform_filter(x, 2, output=float), [[0, 0], [0, 0.75]], float)
    same(ndimage.uniform_filter(x, (2, 1), mode=["wrap", "nearest"]), [[0, 1], [0, 1]])


@pytest.mark.parametrize("size", [3, 5, 7, 49, 98])
def test_means_of_equal_whole_numbers_are_exact(size: int) -> None:
    x = np.full((4, 5), 7)
    same(ndimage.uniform_filter(x, size), x)


def test_complex_numbers() -> None:
    row = [[1, 2j]]
    same(ndimage.correlate(row, [[1j]]), [[-1j, 2]], complex)
    same(ndimage.convolve(row, [[1j]]), [[1j, -2]], complex)
    same(ndimage.correlate(np.ones((1, 1), np.float32), [[1j]]), [[-1j]], np.complex64)
    same(ndimage.correlate([[1j]], [[1, 0, 0]], mode="constant", cval=2 + 3j), [[2 + 3j]], complex)
    same(ndimage.uniform_filter(row, (1, 2), mode="wrap"), [[0.5 + 1j, 0.5 + 1j]], complex)


def test_nan_and_infinity_stay_in_the_windows_that_hold_them() -> None:
    x = np.ones((1, 7))
    x[0, 2] = NAN
    expected = [[1, NAN, NAN, NAN, 1, 1, 1]]
    same(ndimage.uniform_filter(x, (1, 3)), expected, float)
    same(ndimage.maximum_filter(x, (1, 3)), expected, float)
    same(ndimage.minimum_filter(x, (1, 3)), expected, float)
    same(ndimage.correlate(x, [[0, 1, 0]]), expected, float)
    x[0, 2] = INF
    same(ndimage.uniform_filter(x, (1, 3)), [[1, INF, INF, INF, 1, 1, 1]], float)


def test_extremes_by_hand() -> None:
    x = np.array([[5, 1, 4], [2, 9, 3]])
    same(ndimage.maximum_filter(x, (1, 2)), [[5, 5, 4], [2, 9, 9]])
    same(ndimage.maximum_filter(x, (1, 2), origin=(0, -1)), [[5, 4, 4], [9, 9, 3]])
    same(ndimage.minimum_filter(x, 3, mode="constant"), np.zeros((2, 3)))
    same(ndimage.minimum_filter(x, footprint=np.ones((2, 1))), [[5, 1, 4], [2, 1, 3]])
    large = np.array([[2**53 + 1, 0]])
    same(ndimage.maximum_filter(large, 3), np.full((1, 2), 2**53 + 1))
    # A cval that the input's dtype cannot hold is compared as it is and cast at the end.
    byte = np.array([[7]], np.uint8)
    same(ndimage.minimum_filter(byte, 3, mode="constant", cval=0.5, output=float), [[0.5]], float)
    same(ndimage.maximum_filter(byte, 3, mode="constant", cval=300), [[44]], np.uint8)


def test_output_array_may_be_the_input() -> None:
    for name, argument in (
        ("correlate", [[1, 0, 0]]),
        ("uniform_filter", 3),
        ("maximum_filter", 3),
        ("minimum_filter", (1, 1)),
    ):
        x = normal((6, 7))
        expected = getattr(ndimage, name)(x, argument)
        wide = np.zeros((6, 7))
        assert getattr(ndimage, name)(x, argument, output=wide) is wide
        assert_allclose(wide, expected, rtol=1e-6)
        assert getattr(ndimage, name)(x, argument, output=x) is x
        assert_array_equal(x, expected)


def test_output_dtypes() -> None:
    x = np.ones((2, 2), ">i4")
    for dtype in ("f4", np.float32, np.dtype("f4")):
        same(ndimage.correlate(x, [[1.5]], output=dtype), np.full((2, 2), 1.5), np.float32)
    assert ndimage.correlate(x, [[1]]).dtype.isnative
    with pytest.warns(UserWarning, match="promoting specified output dtype to complex") as caught:
        same(ndimage.correlate(x, [[1j]], output=float), np.full((2, 2), -1j), complex)
    assert caught[0].filename == __file__
    wrong: list[tuple[Any, str]] = [
        ("f8", "must be a complex dtype"),
        ("bool", "must be a numeric dtype"),
        (np.zeros((2, 2)), "must be complex"),
        (np.zeros((2, 3), complex), r"shape \(2, 2\)"),
        (3, r"shape \(2, 2\)"),
    ]
    for output, message in wrong:
        with pytest.raises(RuntimeError, match=message):
            ndimage.correlate(x, [[1j]], output=output)


@pytest.mark.parametrize("name", [*SUMS, "uniform_filter", *EXTREMES])
def test_what_is_refused(name: str) -> None:
    function: Any = getattr(ndimage, name)
    x, window = np.ones((3, 3)), np.ones((3, 3)) if name in SUMS else 3
    for bad in (x[0], x[None], 1):
        with pytest.raises(ValueError, match="input must have 2 dimensions"):
            function(bad, window)
    for bad in ([["a"]], [[None]]):
        with pytest.raises(TypeError, match="input must be an array of numbers"):
            function(bad, window)
    with pytest.raises(TypeError, match=r"input\.filled"):
        function(np.ma.masked_array(x, x > 0), window)
    with pytest.raises(RuntimeError, match="mode must be one of"):
        function(x, window, mode="symmetric")
    with pytest.raises(RuntimeError, match="mode must be"):
        function(x, window, mode=None)
    for origin in (2, -2, (0, 2)):
        with pytest.raises(ValueError, match="origin must be from -1 to 1 for a window of size 3"):
            function(x, window, origin=origin)
    for origins in ((1,), (0, 0, 0)):
        with pytest.raises(RuntimeError, match="one entry for each of 2 axes"):
            function(x, window, origin=origins)
    with pytest.raises(TypeError):
        function(x, window, mode="constant", cval=1j)


@pytest.mark.parametrize("name", SUMS)
def test_what_sums_refuse(name: str) -> None:
    function: Any = getattr(ndimage, name)
    x = np.ones((3, 3))
    for weights in (x[0], x[None], x[:0]):
        with pytest.raises(RuntimeError, match="weights must have 2 dimensions"):
            function(x, weights)
    with pytest.raises(RuntimeError, match="one word for both axes"):
        function(x, x, mode=["wrap", "wrap"])
    with pytest.raises(ValueError, match="cval must be real"):
        function(x, x * 1j, mode="constant", cval=1j)
    with pytest.raises(TypeError, match=r"weights\.filled"):
        function(x, np.ma.masked_array(x, x > 0))


def test_what_windows_refuse() -> None:
    x = np.ones((3, 3))
    for filter_ in (ndimage.uniform_filter, ndimage.maximum_filter, ndimage.minimum_filter):
        for size in (0, (3, -1)):
            with pytest.raises(RuntimeError, match="size must be at least 1"):
                filter_(x, size)
        with pytest.raises(RuntimeError, match="one entry for each of 2 axes"):
            filter_(x, 3, mode=["wrap"])
    for extreme in (ndimage.maximum_filter, ndimage.minimum_filter):
        with pytest.raises(TypeError, match="complex"):
            extreme(x * 1j, 1)
        with pytest.raises(RuntimeError, match="size or footprint"):
            extreme(x)
        with pytest.raises(NotImplementedError, match="all true"):
            extreme(x, footprint=np.eye(3))
        with pytest.raises(ValueError, match="true element"):
            extreme(x, footprint=np.zeros((3, 3)))
        with pytest.warns(UserWarning, match="ignoring size") as caught:
            extreme(x, 3, np.ones((2, 2)))
        assert caught[0].filename == __file__


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", SUMS)
def test_sums_against_scipy(scipy_ndimage: ModuleType, name: str, mode: str) -> None:
    for dtype, weights, shape, size in product([*REAL, "F", "D"], ["f8", "i4", "D"], SHAPES, SIZES):
        x, w = numbers(shape, dtype), numbers(size, weights, 5)
        for origin in (0, -1, (0, 1), (-2, 0)):
            agree(name, scipy_ndimage, x, w, mode=mode, cval=3, origin=origin)


@pytest.mark.parametrize("mode", [*MODES, ["wrap", "mirror"]], ids=str)
@pytest.mark.parametrize("name", ["uniform_filter", *EXTREMES])
def test_windows_against_scipy(scipy_ndimage: ModuleType, name: str, mode: Any) -> None:
    dtypes = REAL if name in EXTREMES else [*REAL, "F", "D"]
    for dtype, shape, size in product(dtypes, SHAPES, [*SIZES, (8, 2)]):
        x = numbers(shape, dtype)
        for origin, output in product((0, -1, (0, 1)), (None, "f8", np.int32)):
            kwargs = {"mode": mode, "cval": 2.5, "origin": origin}
            if x.dtype.kind != "c":
                kwargs["output"] = output
            agree(name, scipy_ndimage, x, size, **kwargs)


@pytest.mark.parametrize("dtype", ["f4", "f8", "F", "D"])
def test_rounding_against_scipy(scipy_ndimage: ModuleType, dtype: str) -> None:
    x = normal((40, 30, 2), np.float64) @ [1, 1j]
    w = normal((7, 6, 2), np.float64, seed=1) @ [1, 1j]
    if dtype in ("f4", "f8"):
        x, w = x.real, w.real
    x = x.astype(dtype)
    for mode in MODES:
        tolerance: dict[str, Any] = {"rtol": 0, "atol": 42 * 8 * np.finfo(dtype).eps}
        for name in SUMS:
            expected = getattr(scipy_ndimage, name)(x, w, mode=mode)
            assert_allclose(getattr(ndimage, name)(x, w, mode=mode), expected, **tolerance)
        expected = scipy_ndimage.uniform_filter(x, (5, 4), mode=mode)
        assert_allclose(ndimage.uniform_filter(x, (5, 4), mode=mode), expected, **tolerance)


def test_fractional_weights_with_whole_results(scipy_ndimage: ModuleType) -> None:
    """Sums that are whole but for rounding may fall on either side."""
    x = np.random.default_rng(0).integers(0, 256, (40, 30)).astype(np.uint8)
    w = np.full((3, 3), 1 / 9)
    difference = ndimage.correlate(x, w, output=int) - scipy_ndimage.correlate(x, w, output=int)
    assert np.abs(difference).max() <= 1
    assert (difference != 0).mean() < 0.2
