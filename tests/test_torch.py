"""Against PyTorch where it is installed: whole numbers exactly, others within rounding."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import convpool
from cases import POOL_CASES, SYMMETRIC_CASES, Case, PoolCase, integers, normal

torch = pytest.importorskip("torch")
functional = torch.nn.functional

every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_case = pytest.mark.parametrize("case", SYMMETRIC_CASES, ids=str)


@every_dtype
@every_case
def test_convolution_and_gradients(case: Case, dtype: Any) -> None:
    x, w = integers(case.x_shape, dtype), integers(case.weight_shape, dtype, seed=1)
    bias = integers(case.weight_shape[:1], dtype, seed=2)
    leaves = [torch.tensor(array, requires_grad=True) for array in (x, w, bias)]
    y = functional.conv2d(*leaves, **case.geometry)
    assert_array_equal(convpool.conv2d(x, w, bias, **case.geometry), y.detach().numpy())
    dy = integers(tuple(y.shape), dtype, seed=3)
    y.backward(torch.tensor(dy))
    dx, dw, db = (leaf.grad.numpy() for leaf in leaves)
    kernel = w.shape[2:]
    assert_array_equal(convpool.conv2d_grad_input(dy, w, x.shape, **case.geometry), dx)
    assert_array_equal(convpool.conv2d_grad_weight(dy, x, kernel, **case.geometry), dw)
    assert_array_equal(convpool.conv2d_grad_bias(dy), db)


@every_dtype
@every_case
def test_transposed_convolution(case: Case, dtype: Any) -> None:
    shape = convpool.conv2d_output_shape(case.x_shape, case.weight_shape, **case.geometry)
    x, w = integers(shape, dtype), integers(case.weight_shape, dtype, seed=1)
    bias = integers((w.shape[1] * case.groups,), dtype, seed=2)
    tensors = [torch.tensor(array) for array in (x, w, bias)]
    steps = np.maximum(*np.broadcast_arrays(case.stride, case.dilation, [1, 1])[:2])
    for output_padding in (0, tuple(int(step) - 1 for step in steps)):
        kwargs: Any = {**case.geometry, "output_padding": output_padding}
        expected = functional.conv_transpose2d(*tensors, **kwargs).numpy()
        assert_array_equal(convpool.conv2d_transpose(x, w, bias, **kwargs), expected)


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
def test_rounding(algorithm: Any) -> None:
    x, w = normal((2, 32, 28, 27)), normal((24, 32, 3, 3), seed=1)
    y = functional.conv2d(torch.tensor(x), torch.tensor(w), padding=1).numpy()
    ours = convpool.conv2d(x, w, padding=1, algorithm=algorithm)
    # Sums of 288 products of size 1: each side errs by some units of the last place of 17.
    assert_allclose(ours, y, rtol=0, atol=1e-4)


@every_case
def test_columns(case: Case) -> None:
    kernel = case.weight_shape[2:]
    geometry: dict[str, Any] = {k: v for k, v in case.geometry.items() if k != "groups"}
    x = integers(case.x_shape)
    cols = functional.unfold(torch.tensor(x), kernel, **geometry)
    assert_array_equal(convpool.im2col(x, kernel, **geometry), cols.numpy())
    back = functional.fold(cols, x.shape[2:], kernel, **geometry)
    assert_array_equal(convpool.col2im(cols.numpy(), x.shape, kernel, **geometry), back.numpy())


@every_dtype
@pytest.mark.parametrize("case", POOL_CASES, ids=str)
def test_pooling(case: PoolCase, dtype: Any) -> None:
    x = integers(case.x_shape, dtype)
    tensor = torch.tensor(x, requires_grad=True)
    try:
        y, indices = functional.max_pool2d(tensor, **case.geometry, return_indices=True)
    except (RuntimeError, TypeError):
        pytest.skip("PyTorch has no such pooling")
    ours, places = convpool.max_pool2d(x, **case.geometry, return_indices=True)
    if (places < 0).any():
        pytest.skip("PyTorch returns a wrong index for a window without cells")
    assert_array_equal(ours, y.detach().numpy())
    assert_array_equal(places, indices.numpy())
    dy = integers(places.shape, dtype, seed=1)
    y.backward(torch.tensor(dy))
    assert_array_equal(convpool.max_pool2d_grad(dy, places, x.shape), tensor.grad.numpy())
    if case.dilation == 1:
        geometry: dict[str, Any] = {k: v for k, v in case.geometry.items() if k != "dilation"}
        for count_include_pad in (False, True):
            for divisor in (None, 3):
                kwargs = {
                    **geometry,
                    "count_include_pad": count_include_pad,
                    "divisor_override": divisor,
                }
                tensor = torch.tensor(x, requires_grad=True)
                y = functional.avg_pool2d(tensor, **kwargs)
                y.backward(torch.tensor(dy))
                rtol = 4 * np.finfo(dtype).eps
                average = convpool.avg_pool2d(x, **kwargs)
                assert_allclose(average, y.detach().numpy(), rtol=rtol)
                dx = convpool.avg_pool2d_grad(dy, x.shape, **kwargs)
                assert_allclose(dx, tensor.grad.numpy(), rtol=4 * rtol, atol=4 * rtol)


def test_unpooling() -> None:
    x = normal((2, 3, 8, 9))
    y, indices = functional.max_pool2d(torch.tensor(x), 2, return_indices=True)
    expected = functional.max_unpool2d(y, indices, 2, output_size=(8, 9)).numpy()
    ours = convpool.max_unpool2d(y.numpy(), indices.numpy(), x.shape)
    assert_array_equal(ours, expected)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
def test_same_padding() -> None:
    x = integers((1, 2, 7, 8))
    for kernel in (1, 2, 3, 4):
        for dilation in (1, 2, 3):
            w = integers((3, 2, kernel, kernel), seed=1)
            tensors = torch.tensor(x), torch.tensor(w)
            y = functional.conv2d(*tensors, padding="same", dilation=dilation).numpy()
            assert_array_equal(convpool.conv2d(x, w, padding="same", dilation=dilation), y)
