"""Any kind of array is accepted: mixed types, strides, byte orders, no batch, any `out`."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import convpool
from calls import CALLS, DY, INDICES, POOLED, WITH_OUT, W, X, call
from cases import integers, normal
from convpool._typing import Array


@pytest.mark.parametrize("dtype", [np.float32, np.float64, "f8", float])
@pytest.mark.parametrize("name", ["conv2d", "conv2d_grad_weight", "im2col", "col2im", "avg_pool2d"])
def test_dtype_converts_the_arrays(name: str, dtype: Any) -> None:
    y = call(name, dtype=dtype)
    assert y.dtype == np.dtype(dtype)
    arrays = {
        argument: value.astype(dtype)
        for argument, value in CALLS[name][1].items()
        if isinstance(value, np.ndarray)
    }
    assert_array_equal(y, call(name, **arrays))


@pytest.mark.parametrize("bias_dtype", [None, np.float32, np.float64])
@pytest.mark.parametrize("weight_dtype", [np.float32, np.float64])
@pytest.mark.parametrize("x_dtype", [np.float32, np.float64])
def test_mixed_types_are_promoted(x_dtype: Any, weight_dtype: Any, bias_dtype: Any) -> None:
    x, w, bias = X.astype(x_dtype), W.astype(weight_dtype), None
    arrays = [x, w]
    if bias_dtype:
        bias = normal((6,), bias_dtype)
        arrays.append(bias)
    expected = np.result_type(*arrays)
    y = convpool.conv2d(x, w, bias)
    assert y.dtype == expected
    wide = None if bias is None else bias.astype(expected)
    assert_array_equal(y, convpool.conv2d(x.astype(expected), w.astype(expected), wide))
    dx = convpool.conv2d_grad_input(DY.astype(x_dtype), w, X.shape)
    assert dx.dtype == np.result_type(x_dtype, weight_dtype)


# Arrays


def unaligned(array: Array) -> Array:
    """Copy to an odd address."""
    memory = np.zeros(array.nbytes + 1, np.uint8)
    view = memory[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    assert not view.flags.aligned
    return view


def spread(array: Array) -> Array:
    """Copy to every second cell of something larger, which holds nonsense elsewhere."""
    larger = np.full([2 * size + 1 for size in array.shape], -12345, array.dtype)
    view = larger[tuple(slice(1, None, 2) for _ in array.shape)]
    view[...] = array
    return view


def frozen(array: Array) -> Array:
    """Copy to read-only memory."""
    copy = array.copy()
    copy.flags.writeable = False
    return copy


FORMS: dict[str, Callable[[Array], Any]] = {
    "negative strides": lambda a: a[..., ::-1, ::-1].copy()[..., ::-1, ::-1],
    "Fortran order": np.asfortranarray,
    "transposed": lambda a: a.T.copy().T,
    "every second cell": spread,
    "unaligned": unaligned,
    "read-only": frozen,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "little-endian": lambda a: a.astype(a.dtype.newbyteorder("<")),
    "nested lists": lambda a: a.tolist(),
    "memoryview": lambda a: a.data,
}


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("name", WITH_OUT)
def test_forms_of_arrays(name: str, form: str) -> None:
    # Lists become float64, so that everything is compared in float64.
    arrays = {
        argument: value.astype(np.float64) if value.dtype.kind == "f" else value
        for argument, value in CALLS[name][1].items()
        if isinstance(value, np.ndarray)
    }
    expected = call(name, **arrays)
    given = {argument: FORMS[form](value) for argument, value in arrays.items()}
    before = [np.array(value) for value in given.values()]
    assert_array_equal(call(name, **given), expected)
    for value, copy in zip(given.values(), before, strict=True):
        assert_array_equal(np.array(value), copy)


def test_broadcast_arrays() -> None:
    x = np.broadcast_to(X[:1, :, :1], X.shape)
    w = np.broadcast_to(np.float32(2), W.shape)
    bias = np.broadcast_to(np.float32(3), 6)
    assert_array_equal(
        convpool.conv2d(x, w, bias), convpool.conv2d(x.copy(), w.copy(), bias.copy())
    )
    assert_array_equal(convpool.max_pool2d(x, 2), convpool.max_pool2d(x.copy(), 2))


def test_subclasses_of_arrays_are_taken_as_arrays() -> None:
    class Tagged(np.ndarray):
        """A subclass without behaviour of its own."""

    y = convpool.conv2d(X.view(Tagged), W)
    assert_array_equal(np.asarray(y), convpool.conv2d(X, W))


def test_steps_may_be_numpy_integers_and_arrays() -> None:
    expected = convpool.conv2d(X, W, stride=(2, 1), padding=((1, 2), (0, 3)))
    given: Any = {"stride": np.array([2, 1]), "padding": np.array([[1, 2], [0, 3]])}
    y = convpool.conv2d(X, W, **given)
    assert_array_equal(y, expected)
    given = {"stride": [np.int32(2), np.uint8(1)], "padding": [[1, 2], [0, 3]]}
    y = convpool.conv2d(X, W, **given)
    assert_array_equal(y, expected)
    given = {"stride": np.int64(2), "padding": np.int8(1)}
    y = convpool.conv2d(X, W, **given)
    assert_array_equal(y, convpool.conv2d(X, W, stride=2, padding=1))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("name", [name for name in WITH_OUT if name != "conv2d_grad_weight"])
def test_an_image_without_batch_is_a_batch_of_one(name: str, layout: str) -> None:
    batch: dict[str, Any] = {"layout": layout}
    single: dict[str, Any] = {"layout": layout}
    for argument, value in CALLS[name][1].items():
        if argument in ("x", "dy", "y", "indices"):
            one = value[:1] if layout == "NCHW" else value[:1].transpose(0, 2, 3, 1)
            batch[argument], single[argument] = one, one[0]
        elif argument == "cols":
            batch[argument], single[argument] = value[:1], value[0]
        elif argument in ("input_shape", "output_shape"):
            _, c, h, w = value
            single[argument] = (c, h, w) if layout == "NCHW" else (h, w, c)
            batch[argument] = 1, *single[argument]
    expected = call(name, **batch)
    if name != "conv2d_grad_bias":
        expected = expected[0]
    assert_array_equal(call(name, **single), expected)


def test_weight_gradient_without_batch() -> None:
    dw = convpool.conv2d_grad_weight(DY[0], X[0], 3)
    assert_array_equal(dw, convpool.conv2d_grad_weight(DY[:1], X[:1], 3))
    with pytest.raises(ValueError, match="dy"):
        convpool.conv2d_grad_weight(DY[0], X[:1], 3)


# out


@pytest.mark.parametrize("name", WITH_OUT)
def test_out_receives_the_result(name: str) -> None:
    expected = call(name)
    for form in (np.ascontiguousarray, np.asfortranarray, spread, unaligned):
        out = form(np.full_like(expected, np.nan))
        assert call(name, out=out) is out
        assert_array_equal(out, expected)
    out = np.full_like(expected[..., ::-1], np.nan)[..., ::-1]
    assert call(name, out=out) is out
    assert_array_equal(out, expected)


def test_out_in_nhwc() -> None:
    x = X.transpose(0, 2, 3, 1)
    expected = convpool.conv2d(x, W, layout="NHWC")
    out = np.full_like(expected, np.nan)
    assert convpool.conv2d(x, W, layout="NHWC", out=out) is out
    assert_array_equal(out, expected)


def test_out_with_indices() -> None:
    out = np.full_like(POOLED, np.nan)
    y, indices = convpool.max_pool2d(X, 2, return_indices=True, out=out)
    assert y is out
    assert_array_equal(y, POOLED)
    assert_array_equal(indices, INDICES)


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
def test_out_may_overlap_the_input(algorithm: Any) -> None:
    w = normal((4, 4, 3, 3), seed=1)
    kwargs: Any = {"padding": 1, "algorithm": algorithm}
    expected = convpool.conv2d(X, w, **kwargs)
    x = X.copy()
    assert_array_equal(convpool.conv2d(x, w, **kwargs, out=x), expected)
    memory = np.zeros(X.size + 5, np.float32)
    x, out = memory[: X.size].reshape(X.shape), memory[5:].reshape(X.shape)
    x[...] = X
    assert_array_equal(convpool.conv2d(x, w, **kwargs, out=out), expected)
    memory = np.zeros((2, *X.shape), np.float32)
    x, out = memory[0], memory[0][::-1, :, ::-1]
    x[...] = X
    assert_array_equal(convpool.conv2d(x, w, **kwargs, out=out), expected)


def test_out_may_overlap_any_operand() -> None:
    w = integers((6, 6, 1, 1))
    x = integers((6, 1, 1), seed=1)
    expected = convpool.conv2d(x, w)
    weight = w.copy()
    assert_array_equal(convpool.conv2d(x, weight, out=weight[0]), expected)
    bias = np.arange(6, dtype=np.float32)
    out = bias.reshape(6, 1, 1)
    result = convpool.conv2d(x, w, bias.copy())
    assert_array_equal(convpool.conv2d(x, w, bias, out=out), result)
    dy = DY.copy()
    db = convpool.conv2d_grad_bias(dy)
    assert_array_equal(convpool.conv2d_grad_bias(dy, out=dy[0, 0, 0, :1].repeat(6)), db)
    assert_array_equal(convpool.conv2d_grad_bias(dy, out=dy.reshape(-1)[7:13]), db)
    x = X.copy()
    pooled = convpool.avg_pool2d(x, 3, 1, 1)
    assert_array_equal(convpool.avg_pool2d(x, 3, 1, 1, out=x), pooled)
    x = X.copy()
    pooled = convpool.max_pool2d(x, 3, 1, 1)
    assert_array_equal(convpool.max_pool2d(x, 3, 1, 1, out=x), pooled)


def test_results_are_fresh_contiguous_and_writeable() -> None:
    for name in WITH_OUT:
        result = call(name)
        assert result.flags.c_contiguous
        assert result.flags.writeable
        assert result.flags.owndata
        assert result is not call(name)


# Strides that NumPy does not look at


@pytest.mark.parametrize("algorithm", ["auto", "im2col"])
def test_columns_of_one_cell_with_any_stride(algorithm: Any) -> None:
    x = np.arange(100.0).reshape(1, 2, 50)[..., np.newaxis]
    assert x.strides[-1] == 0
    w = np.arange(8.0).reshape(4, 2, 1, 1)
    dy = np.ones((1, 4, 50, 1))
    y = convpool.conv2d(x, w, algorithm=algorithm)
    assert_array_equal(y, convpool.conv2d(x.copy(), w, algorithm="direct"))
    dw = convpool.conv2d_grad_weight(dy, x, 1, algorithm=algorithm)
    assert_array_equal(dw, convpool.conv2d_grad_weight(dy, x.copy(), 1, algorithm="direct"))
