"""Bad input is refused: the message names the argument and the numbers, and `out` is untouched."""

import re
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import convpool
from calls import (
    CALLS,
    COLS,
    CONVOLUTIONS,
    DY,
    INDICES,
    KERNEL_SIZES,
    POOLED,
    POOLS,
    WINDOWS,
    WITH_OUT,
    W,
    X,
    call,
)
from cases import normal
from convpool._typing import Array


def refused(error: type[Exception], *words: object, name: str, **changed: Any) -> None:
    """Check that a call fails, that the message has these words, and that `out` is untouched."""
    if name in WITH_OUT:
        expected = call(name)
        out = np.full_like(expected, 77)
        with pytest.raises(error):
            call(name, **changed, **({} if "out" in changed else {"out": out}))
        assert_array_equal(out, np.full_like(expected, 77))
    with pytest.raises(error) as caught:
        call(name, **changed)
    for word in words:
        assert str(word) in str(caught.value)


def filled(shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    """Zeros that take no memory."""
    return np.broadcast_to(np.zeros((), dtype), shape)


# Steps and sizes


@pytest.mark.parametrize("name", WINDOWS + POOLS)
@pytest.mark.parametrize("argument", ["stride", "dilation"])
def test_steps(name: str, argument: str) -> None:
    value: Any
    for value in (0, -1, (0, 1), (2, -3)):
        numbers = (value,) if isinstance(value, int) else value
        refused(ValueError, argument, min(numbers), "at least 1", name=name, **{argument: value})
    for value in ((1, 2, 3), (), (1,)):
        refused(ValueError, argument, value, name=name, **{argument: value})
    for value in (1.5, "2", None, (1, 2.0), [1, [2, 3]]):
        if value is None and argument == "stride" and name in POOLS:
            continue
        refused(TypeError, argument, name=name, **{argument: value})
    for value in (2**62, 2**63 - 1, 2**63, 2**70, -(2**63)):
        refused(ValueError, argument, value, name=name, **{argument: value})


@pytest.mark.parametrize("name", KERNEL_SIZES)
def test_kernel_size(name: str) -> None:
    for value in (0, -2, (0, 2), (2, 0)):
        number = value if isinstance(value, int) else 0
        refused(ValueError, "kernel", number, "at least 1", name=name, kernel_size=value)
    refused(ValueError, "kernel", "(1, 2, 3)", name=name, kernel_size=(1, 2, 3))
    refused(TypeError, "kernel", "2.5", name=name, kernel_size=2.5)
    refused(TypeError, "kernel", "'3'", name=name, kernel_size="3")
    refused(ValueError, "kernel", 2**62, name=name, kernel_size=2**62)


@pytest.mark.parametrize("name", ["conv2d", "conv2d_transpose", "conv2d_grad_input"])
def test_weight_shape(name: str) -> None:
    refused(ValueError, "weight", "4-D", "3-D", "(6, 4, 3)", name=name, weight=W[..., 0])
    for shape in ((6, 4, 0, 3), (6, 4, 3, 0)):
        refused(ValueError, "kernel", "at least 1", 0, name=name, weight=np.ones(shape, "f4"))


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_groups(name: str) -> None:
    for value in (0, -1):
        refused(ValueError, "groups", value, "at least 1", name=name, groups=value)
    refused(ValueError, "groups", 2**62, name=name, groups=2**62)
    refused(TypeError, "groups", "1.5", name=name, groups=1.5)
    refused(TypeError, "groups", "(1, 2)", name=name, groups=(1, 2))


def test_channels_of_the_weight_and_the_groups_make_those_of_the_image() -> None:
    refused(ValueError, "x has 4 channels", "groups=2", "4 x 2", name="conv2d", groups=2)
    refused(ValueError, "x has 4 channels", "3", name="conv2d", weight=W[:, :3])
    refused(ValueError, "output channels", 6, "groups", 4, name="conv2d", weight=W[:, :1], groups=4)
    refused(ValueError, "x has 5 channels", 6, name="conv2d_transpose", x=DY[:, :5])
    refused(ValueError, "channels of x", 6, "groups", 4, name="conv2d_transpose", groups=4)
    refused(ValueError, "4 channels", 3, name="conv2d_grad_input", weight=W[:, :3])
    refused(ValueError, "groups", 4, 3, name="conv2d_grad_weight", groups=3)
    refused(ValueError, "groups", 6, 4, name="conv2d_grad_weight", groups=4)


@pytest.mark.parametrize("name", ["conv2d", "conv2d_transpose"])
def test_bias(name: str) -> None:
    channels = {"conv2d": 6, "conv2d_transpose": 4}[name]
    for shape in ((5,), (), (channels, 1), (1,)):
        bias = np.ones(shape, np.float32)
        refused(ValueError, "bias", f"({channels},)", shape, name=name, bias=bias)


@pytest.mark.parametrize("name", WINDOWS + POOLS)
def test_padding(name: str) -> None:
    value: Any
    for value in ("SAME", "", "reflect"):
        refused(ValueError, "padding", repr(value), "'same_lower'", name=name, padding=value)
    for value in ((1, 2, 3), ((1, 2), (3, 4), (5, 6)), ((1, 2, 3), (1, 2, 3)), (1, (2, 3)), ()):
        refused(ValueError, "padding", value, name=name, padding=value)
    for value in (1.0, None, (1, 0.5), ((1, 2), (3, "4"))):
        refused(TypeError, "padding", name=name, padding=value)
    for value in (2**62, -(2**62), 2**63, 2**70):
        refused(ValueError, "padding", value, name=name, padding=value)


@pytest.mark.parametrize("name", [name for name in WINDOWS + POOLS if name != "conv2d_transpose"])
def test_a_window_larger_than_the_padded_image(name: str) -> None:
    refused(ValueError, "height", "exceeds", 7 - 6, name=name, padding=(-3, 0))
    refused(ValueError, "width", "exceeds", 6 - 9, name=name, padding=((0, 0), (-4, -5)))
    for dilation in (8, 2**31 - 1, 2**31 + 1, 2**40):
        refused(ValueError, "exceeds", "dilation", dilation, name=name, dilation=dilation)


def test_the_message_shows_the_sum() -> None:
    with pytest.raises(ValueError, match=re.escape("kernel height 9 exceeds")) as caught:
        convpool.conv2d(X, np.ones((1, 4, 9, 1)), padding=((2, -3), (0, 0)))
    assert "6" in str(caught.value)
    assert "2 + 7 - 3" in str(caught.value)
    with pytest.raises(ValueError, match=re.escape("5 (3 taps, dilation 2)")):
        convpool.conv2d(normal((1, 4, 4)), np.ones((1, 1, 3, 3)), dilation=2)


def test_transpose_sizes() -> None:
    name = "conv2d_transpose"
    for value, stride in ((1, 1), ((0, 2), 2), (3, (4, 3))):
        refused(ValueError, "output_padding", name=name, output_padding=value, stride=stride)
    refused(ValueError, "output_padding", -1, "at least 0", name=name, output_padding=-1)
    refused(TypeError, "output_padding", "0.5", name=name, output_padding=0.5)
    refused(ValueError, "padding", 4, 7, name=name, padding=4)
    refused(
        ValueError, "output_padding", "same", name=name, padding="same", stride=2, output_padding=1
    )


# Shapes


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("conv2d", "x"),
        ("conv2d_transpose", "x"),
        ("conv2d_grad_weight", "x"),
        ("conv2d_grad_weight", "dy"),
        ("conv2d_grad_bias", "dy"),
        ("im2col", "x"),
        ("max_pool2d", "x"),
        ("avg_pool2d", "x"),
    ],
)
@pytest.mark.parametrize("shape", [(), (4,), (7, 6), (1, 2, 4, 7, 6)])
def test_number_of_dimensions(name: str, argument: str, shape: tuple[int, ...]) -> None:
    array = np.ones(shape, np.float32)
    words = argument, "4-D", "3-D", f"{len(shape)}-D"
    refused(ValueError, *words, name=name, **{argument: array})


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("conv2d_output_shape", "x_shape"),
        ("explain_conv2d", "x_shape"),
        ("pool2d_output_shape", "x_shape"),
        ("conv2d_grad_input", "input_shape"),
        ("col2im", "input_shape"),
        ("max_pool2d_grad", "input_shape"),
        ("avg_pool2d_grad", "input_shape"),
        ("max_unpool2d", "output_shape"),
    ],
)
def test_given_shapes(name: str, argument: str) -> None:
    word = argument.removesuffix("_shape")
    value: Any
    for value in ((), (7, 6), (1, 1, 4, 7, 6)):
        refused(ValueError, word, "4-D", "3-D", value, name=name, **{argument: value})
    for value in ((2, -4, 7, 6), (-1, 7, 6), (2, 4, 2**62, 6), (2, 4, 2**70, 6)):
        refused(ValueError, word, name=name, **{argument: value})
    for value in (7, None, (2, 4, 7.0, 6), "2476"):
        refused(TypeError, argument, name=name, **{argument: value})


def test_gradients_must_have_the_shape_of_the_result() -> None:
    refused(ValueError, "dy", (2, 6, 5, 4), (2, 6, 5, 3), name="conv2d_grad_input", dy=DY[..., 1:])
    refused(ValueError, "dy", (2, 6, 5, 4), (6, 5, 4), name="conv2d_grad_input", dy=DY[0])
    refused(ValueError, "dy", (2, 6, 5, 4), (1, 6, 5, 4), name="conv2d_grad_weight", dy=DY[:1])
    refused(ValueError, "dy", (2, 6, 3, 2), (2, 6, 5, 4), name="conv2d_grad_weight", stride=2)
    refused(
        ValueError, "dy", (2, 4, 3, 3), (2, 4, 3, 2), name="avg_pool2d_grad", dy=POOLED[..., 1:]
    )
    refused(ValueError, "cols", (2, 36, 20), (2, 35, 20), name="col2im", cols=COLS[:, 1:])
    refused(ValueError, "cols", (2, 36, 20), (36, 20), name="col2im", cols=COLS[0])


@pytest.mark.parametrize("name", ["max_pool2d_grad", "max_unpool2d"])
def test_indices(name: str) -> None:
    refused(ValueError, "indices", INDICES.shape, name=name, indices=INDICES[:, :, 1:])
    refused(TypeError, "indices", "float64", name=name, indices=INDICES * 1.0)
    refused(TypeError, "indices", "bool", name=name, indices=INDICES > 0)
    refused(IndexError, "indices", 42, 41, name=name, indices=np.full_like(INDICES, 42))
    shape = {"max_pool2d_grad": "input_shape", "max_unpool2d": "output_shape"}[name]
    for value in ((2, 3, 7, 6), (1, 4, 7, 6), (4, 7, 6)):
        refused(ValueError, name=name, **{shape: value})


def test_sizes_that_overflow_are_refused() -> None:
    huge = filled((1, 1, 2**20, 2**20))
    weight = np.ones((1, 1, 1, 1), np.float32)
    with pytest.raises((ValueError, MemoryError)):
        convpool.conv2d(huge, weight, padding=2**40)
    with pytest.raises((ValueError, MemoryError)):
        convpool.im2col(filled((1, 1, 2**20, 2**20)), 2**19)
    with pytest.raises((ValueError, MemoryError)):
        convpool.conv2d_transpose(filled((1, 1, 2, 2)), weight, stride=2**40)
    with pytest.raises((ValueError, MemoryError)):
        convpool.conv2d_output_shape((2**40, 2**40, 1, 1), (1, 2**40, 1, 1))
    with pytest.raises((ValueError, MemoryError)):
        convpool.pool2d_output_shape((1, 1, 2**40, 2**40), 1, 1, padding=2**40)
    with pytest.raises((ValueError, MemoryError)):
        convpool.max_pool2d(np.ones((1, 1, 1)), 1, 1, padding=2**25)


def test_large_steps_are_no_error_where_one_window_fits() -> None:
    for stride in (2**31 - 1, 2**31 + 1, 2**40):
        for algorithm in ("direct", "im2col", "implicit_gemm"):
            y = convpool.conv2d(X, W, stride=stride, algorithm=algorithm)
            assert_array_equal(y, convpool.conv2d(X, W, algorithm=algorithm)[..., :1, :1])
            # One output channel has planes of vectors, not of gathered cells.
            y = convpool.conv2d(X, W[:1], stride=stride, algorithm=algorithm)
            assert_array_equal(y, convpool.conv2d(X, W[:1], algorithm=algorithm)[..., :1, :1])
        y = convpool.max_pool2d(X, 2, stride)
        assert_array_equal(y, POOLED[..., :1, :1])
    for dilation in (2**31 - 1, 2**31 + 1, 2**40):
        assert_array_equal(convpool.max_pool2d(X, 1, 1, dilation=dilation), X)


# Words and numbers


@pytest.mark.parametrize("name", list(CALLS))
def test_layout(name: str) -> None:
    refused(ValueError, "layout", "'NCHW'", "'NHWC'", "'CHWN'", name=name, layout="CHWN")
    refused(TypeError, "layout", name=name, layout=3)


@pytest.mark.parametrize("name", ["conv2d", "conv2d_grad_input", "conv2d_grad_weight", "im2col"])
def test_pad_mode(name: str) -> None:
    refused(ValueError, "pad_mode", "'zeros'", "'constant'", name=name, pad_mode="zeros")
    refused(TypeError, "pad_mode", name=name, pad_mode=None)
    refused(TypeError, "pad_value", "'0'", name=name, pad_value="0")


@pytest.mark.parametrize("name", CONVOLUTIONS[:4])
def test_algorithm_and_precision(name: str) -> None:
    if name == "conv2d_grad_weight":
        refused(NotImplementedError, "algorithm", "winograd", name=name, algorithm="winograd")
    refused(ValueError, "algorithm", "'gemm'", "'im2col'", name=name, algorithm="gemm")
    refused(TypeError, "algorithm", name=name, algorithm=None)
    refused(ValueError, "precision", "'low'", "'highest'", name=name, precision="low")
    expected = call(name)
    for word in ("highest", "high", "medium"):
        assert_array_equal(call(name, precision=word), expected)


@pytest.mark.parametrize("name", WITH_OUT)
def test_threads(name: str) -> None:
    for value in (0, -1):
        refused(ValueError, "threads", value, "at least 1", name=name, threads=value)
    refused(TypeError, "threads", name=name, threads=1.5)
    assert_array_equal(call(name, threads=1), call(name))


def test_divisor_override() -> None:
    for name in ("avg_pool2d", "avg_pool2d_grad"):
        refused(ValueError, "divisor_override", 0, name=name, divisor_override=0)
        refused(ValueError, "divisor_override", -2, name=name, divisor_override=-2)
        refused(TypeError, "divisor_override", name=name, divisor_override=1.5)


# Types


@pytest.mark.parametrize("name", WITH_OUT)
def test_types_that_are_not_built_yet(name: str) -> None:
    argument = next(iter(CALLS[name][1]))
    array = CALLS[name][1][argument]
    for dtype in (np.longdouble, np.clongdouble):
        if np.dtype(dtype).itemsize <= 16 and np.finfo(dtype).nmant == 52:
            continue
        converted = array.astype(dtype)
        word = np.dtype(dtype).name
        refused(NotImplementedError, argument, word, name=name, **{argument: converted})


@pytest.mark.parametrize("name", WITH_OUT)
def test_types_that_are_not_numbers(name: str) -> None:
    argument = next(iter(CALLS[name][1]))
    array = CALLS[name][1][argument]
    for dtype in ("U3", "S3", object, "M8[s]", "m8[s]", [("a", "f4")]):
        refused(TypeError, argument, name=name, **{argument: np.zeros(array.shape, dtype)})
    masked = np.ma.masked_array(array, array > 0)
    refused(TypeError, argument, "masked", name=name, **{argument: masked})
    refused(TypeError, argument, name=name, **{argument: None})


@pytest.mark.parametrize("argument", ["weight", "bias"])
def test_types_of_the_other_arrays(argument: str) -> None:
    arrays = {"weight": W, "bias": np.ones(6, np.float32)}
    array = arrays[argument]
    refused(TypeError, argument, name="conv2d", **{argument: array.astype(str)})
    refused(TypeError, argument, "masked", name="conv2d", **{argument: np.ma.array(array)})
    extended = array.astype(np.longdouble)
    if np.finfo(np.longdouble).nmant > 52:
        refused(
            NotImplementedError,
            argument,
            extended.dtype.name,
            name="conv2d",
            **{argument: extended},
        )


@pytest.mark.parametrize("name", ["conv2d", "conv2d_grad_weight", "im2col", "col2im", "avg_pool2d"])
def test_dtype(name: str) -> None:
    refused(TypeError, "int64", "float32", name=name, dtype=np.int64)
    refused(TypeError, name=name, dtype="U3")
    refused(TypeError, name=name, dtype="no such type")


@pytest.mark.parametrize("name", WITH_OUT)
def test_out_must_fit(name: str) -> None:
    expected = call(name)
    shape = expected.shape
    wrong = np.ones((*shape[:-1], shape[-1] + 1), expected.dtype)
    refused(ValueError, "out", shape, wrong.shape, name=name, out=wrong)
    assert (wrong == 1).all()
    refused(ValueError, "out", name=name, out=np.ones((1, *shape), expected.dtype))
    refused(TypeError, "out", "float64", "float32", name=name, out=np.ones(shape))
    expected.flags.writeable = False
    refused(ValueError, "out", "read-only", name=name, out=expected)
    refused(TypeError, "out", name=name, out=expected.tolist())
    refused(TypeError, "out", name=name, out=np.ones(shape, ">f4"))
