"""Channels last: the same numbers as channels first, whatever sizes, strides, types and threads."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import convpool
from cases import integers

SIZES = [(1, 5, 7), (2, 30, 31), (3, 33, 40), (4, 1, 300), (5, 64, 64), (8, 9, 1), (17, 13, 11)]
SIZES += [(70, 6, 6), (300, 5, 5), (1030, 2, 3), (64, 40, 41)]
DTYPES = [np.float32, np.float64, np.int64, np.uint8, np.float16]


def last(images: Any) -> Any:
    return np.ascontiguousarray(np.moveaxis(images, -3, -1))


def first(images: Any) -> Any:
    return np.moveaxis(images, -1, -3)


def among_others(images: Any) -> Any:
    channels = images.shape[-1]
    more = np.full((*images.shape[:-1], channels + 3), 77, images.dtype)
    more[..., 1:-2] = images
    return more[..., 1:-2]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("batch", [(), (3,)])
def test_pools(batch: tuple[int, ...], size: tuple[int, int, int], dtype: Any) -> None:
    x = integers((*batch, *size), dtype, seed=1)
    expected, places = convpool.max_pool2d(x, 2, 1, padding=1, return_indices=True)
    for threads in (1, 2):
        options: Any = dict(padding=1, return_indices=True, threads=threads, layout="NHWC")
        for images in (last(x), among_others(last(x)), last(x[..., ::-1])[..., ::-1, :]):
            y, indices = convpool.max_pool2d(images, 2, 1, **options)
            assert y.flags.c_contiguous
            assert_array_equal(first(y), expected)
            assert_array_equal(first(indices), places)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_convolutions_and_gradients(size: tuple[int, int, int], dtype: Any) -> None:
    x, w = integers((2, *size), dtype, seed=2), integers((6, size[0], 1, 2), dtype, seed=3)
    expected = convpool.conv2d(x, w, padding=1)
    dy = integers(expected.shape, dtype, seed=4)
    options: Any = dict(padding=1, layout="NHWC")
    out = np.empty(last(expected).shape, expected.dtype)
    for threads in (1, 2):
        y = convpool.conv2d(last(x), w, **options, threads=threads)
        assert_array_equal(first(y), expected)
        convpool.conv2d(last(x), w, **options, threads=threads, out=out)
        assert_array_equal(first(out), expected)
        dx = convpool.conv2d_grad_input(last(dy), w, last(x).shape, **options, threads=threads)
        assert_array_equal(first(dx), convpool.conv2d_grad_input(dy, w, x.shape, padding=1))
        dw = convpool.conv2d_grad_weight(last(dy), last(x), (1, 2), **options, threads=threads)
        assert_array_equal(dw, convpool.conv2d_grad_weight(dy, x, (1, 2), padding=1))


def test_transforms_return_arrays_of_their_own() -> None:
    x, w = integers((1, 2, 40, 40), seed=5), integers((3, 2, 20, 20), seed=6)
    y = convpool.conv2d(last(x), w, layout="NHWC", algorithm="fft")
    assert_array_equal(first(y), convpool.conv2d(x, w, algorithm="fft"))


def test_plans_count_the_copies() -> None:
    plan = convpool.explain_conv2d((2, 7, 40, 41), (5, 7, 3, 3))
    moved = convpool.explain_conv2d((2, 40, 41, 7), (5, 7, 3, 3), layout="NHWC")
    copies = 4 * 2 * (7 * 40 * 41 + 5 * 38 * 39)
    assert moved.scratch_bytes == plan.scratch_bytes + copies


def test_out_may_be_the_input() -> None:
    x, w = integers((2, 9, 9, 5), seed=7), integers((5, 5, 3, 3), seed=8)
    expected = convpool.conv2d(x, w, padding=1, layout="NHWC")
    out = x.copy()
    convpool.conv2d(out, w, padding=1, layout="NHWC", out=out)
    assert_array_equal(out, expected)
