"""The path of small calls: nothing is leaked, nothing is skipped that larger calls check or do."""

import gc
import sys
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import convpool
from calls import CALLS, WITH_OUT, W, X
from convpool import _core, reference

INVALID = {
    "no array": {"x": "image"},
    "objects": {"x": X.astype(object)},
    "masked": {"x": np.ma.masked_array(X)},
    "two axes": {"x": X[0, 0]},
    "six axes": {"x": X[np.newaxis, np.newaxis]},
    "channels": {"weight": W[:, :3]},
    "stride": {"stride": 0},
    "pair": {"stride": (1, 2, 3)},
    "word": {"layout": "CHWN"},
    "unknown": {"algorithm": "fastest"},
    "later": {"algorithm": "winograd", "stride": 2},
    "out": {"out": np.empty((1, 2, 3))},
    "number": {"pad_value": "0"},
}


def fails(arguments: dict[str, Any]) -> None:
    try:
        convpool.conv2d(**{"x": X, "weight": W, **arguments})
    except (TypeError, ValueError, NotImplementedError):
        return
    raise AssertionError("no exception")


def growth(call: Callable[[], object], times: int) -> int:
    """Return how many bytes Python and NumPy hold after so many calls, but did not before."""
    tracemalloc.start()
    try:
        call()
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(times):
            call()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before


def check_leaks(call: Callable[[], object], *objects: object) -> None:
    times = 100
    gc.collect()
    before = [sys.getrefcount(each) for each in objects]
    # Caches fill up, some by kilobytes and late; a leak goes on. No object is as small as 8 bytes.
    assert any(growth(call, times) < 8 * times for _ in range(16))
    after = [sys.getrefcount(each) for each in objects]
    assert all(abs(b - a) < times for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("name", CALLS)
def test_calls_leak_nothing(name: str) -> None:
    function, arguments = CALLS[name]
    dtype = np.dtype(np.float64)
    check_leaks(lambda: function(**arguments), dtype, "constant", *arguments.values())


@pytest.mark.parametrize("name", WITH_OUT)
def test_calls_that_convert_leak_nothing(name: str) -> None:
    function, arguments = CALLS[name]
    for dtype in (">f4", np.float16, np.complex64):
        converted = {
            key: value.astype(dtype)
            if isinstance(value, np.ndarray) and value.dtype == np.float64
            else value
            for key, value in arguments.items()
        }
        if dtype == np.complex64 and name == "max_pool2d":
            continue
        check_leaks(lambda c=converted: function(**c), np.dtype(np.float32), *converted.values())


@pytest.mark.parametrize("case", INVALID)
def test_errors_leak_nothing(case: str) -> None:
    arguments = INVALID[case]
    check_leaks(lambda: fails(arguments), X, W, np.dtype(np.float64), *arguments.values())


def test_out_and_indices_and_prepared_weights_leak_nothing() -> None:
    out = convpool.conv2d(X, W)
    check_leaks(lambda: convpool.conv2d(X, W, out=out), out, out.dtype)
    assert convpool.conv2d(X, W, out=out) is out
    check_leaks(lambda: convpool.max_pool2d(X, 2, return_indices=True), X, np.dtype(np.int64))
    prepared = convpool.prepare_conv2d(W, np.ones(6))
    check_leaks(lambda: prepared(X), X, prepared)
    check_leaks(lambda: convpool.prepare_conv2d(W), W)


def test_core_functions_take_all_arguments_by_position() -> None:
    with pytest.raises(TypeError, match="expected 5 arguments, got 1"):
        _core.conv2d_grad_bias(X)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="expected 5 arguments, got 6"):
        _core.conv2d_grad_bias(X, "NCHW", None, None, None, None)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="keyword"):
        _core.conv2d_grad_bias(X, "NCHW", None, None, out=None)  # type: ignore[call-arg]


def test_messages_show_shapes_of_any_length() -> None:
    for axes in (1, 2, 5, 6, 30):
        x = np.ones((1,) * axes)
        with pytest.raises(ValueError, match="4-D") as error:
            convpool.conv2d(x, W)
        assert str(error.value).endswith(f"got {axes}-D with shape {x.shape}")
    with pytest.raises(ValueError, match=r"got 5-D with shape \(1, 2, 3, 4, 5\)"):
        convpool.conv2d_output_shape((1, 2, 3, 4, 5), W.shape)


# With 1x2 kernels, 4 096 multiply-adds are those of 64 rows of 33 cells.
@pytest.mark.parametrize("height", [1, 6, 63, 64, 65, 200])
def test_results_are_right_whether_or_not_the_gil_is_released(height: int) -> None:
    rng = np.random.default_rng(height)
    x = rng.integers(-8, 8, (1, 1, height, 33)).astype(np.float32)
    weight = np.array([[[[1, -1]]]], np.float32)
    expected = reference.conv2d(x, weight)

    def compute(_: int) -> bool:
        return np.array_equal(convpool.conv2d(x, weight), expected)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(compute, range(200)))


@pytest.mark.parametrize("algorithm", ["direct", "auto"])
@pytest.mark.parametrize("width", [1, 7, 999, 1001])
def test_plain_loops_in_bands_of_rows(width: int, algorithm: Any) -> None:
    rng = np.random.default_rng(width)
    x = rng.integers(-8, 8, (2, 2, 11, width)).astype(np.float64)
    weight = rng.integers(-8, 8, (4, 1, 3, 1)).astype(np.float64)
    arguments: dict[str, Any] = dict(groups=2, padding=(1, 0), stride=(2, 1))
    y = convpool.conv2d(x, weight, np.arange(4.0), algorithm=algorithm, threads=2, **arguments)
    assert np.array_equal(y, reference.conv2d(x, weight, np.arange(4.0), **arguments))
