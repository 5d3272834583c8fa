"""Prepared convolutions give the bits of plain ones, whatever they are called with."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import convpool
from cases import CONV_CASES, Case, integers, normal


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("algorithm", ["auto", "direct", "im2col", "implicit_gemm", "fft"])
@pytest.mark.parametrize("case", CONV_CASES, ids=str)
def test_same_bits(case: Case, algorithm: Any, dtype: Any) -> None:
    x = normal(case.x_shape).astype(dtype)
    w = normal(case.weight_shape, seed=1).astype(dtype)
    bias = normal((w.shape[0],), seed=2).astype(dtype)
    options: Any = {**case.geometry, "algorithm": algorithm}
    prepared = convpool.prepare_conv2d(w, bias, **options)
    for threads in (1, 3):
        assert_array_equal(prepared(x, threads=threads), convpool.conv2d(x, w, bias, **options))


@pytest.mark.parametrize("weight_type", ["f2", "f4", "f8", "i1", "i8", "u1", "?", "c8", "c16"])
@pytest.mark.parametrize("image_type", ["f2", "f4", "f8", "i2", "c8"])
def test_types(image_type: str, weight_type: str) -> None:
    x = integers((2, 3, 9, 8)).astype(image_type)
    w = integers((4, 3, 3, 3), seed=1).astype(weight_type)
    expected = convpool.conv2d(x, w)
    y = convpool.prepare_conv2d(w)(x)
    assert y.dtype == expected.dtype
    assert_array_equal(y, expected)
    if expected.dtype != np.float16:
        assert_array_equal(convpool.prepare_conv2d(w, dtype=np.complex128)(x), expected)


def test_it_keeps_copies() -> None:
    x, w, bias = normal((1, 3, 20, 20)), normal((5, 3, 3, 3)), normal((5,))
    prepared = convpool.prepare_conv2d(w, bias, padding="same")
    expected = convpool.conv2d(x, w, bias, padding="same")
    w[:] = bias[:] = 0
    for shape in ((3, 20, 20), (1, 3, 20, 20), (1, 3, 20, 20)):
        assert_array_equal(
            prepared(x.reshape(shape)),
            expected.reshape(-1, 5, 20, 20)[-1 if len(shape) == 3 else slice(None)],
        )
    out = np.empty_like(expected)
    assert prepared(x, out=out) is out
    assert_array_equal(out, expected)


def test_errors() -> None:
    w = np.ones((4, 2, 3, 3))
    with pytest.raises(ValueError, match="groups"):
        convpool.prepare_conv2d(w, groups=3)
    with pytest.raises(ValueError, match="weight"):
        convpool.prepare_conv2d(w[0])
    with pytest.raises(ValueError, match="3 channels"):
        convpool.prepare_conv2d(w)(np.ones((3, 5, 5)))
    with pytest.raises(TypeError, match="weight"):
        convpool.prepare_conv2d(w.astype(str))
