"""The specification itself: against numbers worked out by hand, and against other definitions."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from cases import CONV_CASES, POOL_CASES, SYMMETRIC_CASES, Case, PoolCase, integers
from convpool import reference
from convpool._typing import Array


def row(*numbers: float) -> Array:
    """Make an image of one row."""
    return np.array(numbers, dtype=np.float64).reshape(1, 1, -1)


def test_conv2d_by_hand() -> None:
    x = np.array([[[1, 2, 0], [0, 1, 3], [2, 0, 1]]])
    w = np.array([[[[1, 2], [0, -1]]]])
    # 1 + 4 - 1 = 4, 2 - 3 = -1; 2 + 0 = 2, 1 + 6 - 1 = 6
    assert_array_equal(reference.conv2d(x, w), [[[4, -1], [2, 6]]])
    assert_array_equal(reference.conv2d(x, w, [10], stride=2), [[[14]]])
    full = reference.conv2d(row(1, 2), row(3, 5)[np.newaxis], padding=(0, 1))
    assert_array_equal(full, row(5, 13, 6))
    assert_array_equal(
        reference.conv2d(row(1, 2, 3, 4), row(1, 10)[np.newaxis], dilation=2), row(31, 42)
    )


def test_channels_and_groups_by_hand() -> None:
    x = np.arange(1.0, 5.0).reshape(4, 1, 1)
    w = np.array([[1, 10], [2, 20], [3, 30], [4, 40]]).reshape(4, 2, 1, 1)
    y = reference.conv2d(x, w, groups=2)
    assert_array_equal(y.ravel(), [21, 42, 3 * 3 + 30 * 4, 4 * 3 + 40 * 4])


def test_padding_by_hand() -> None:
    three = np.ones((1, 1, 1, 3))
    x = row(1, 2, 3, 4, 5, 6)
    assert_array_equal(reference.conv2d(x, three, stride=2, padding="same"), row(6, 12, 11))
    assert_array_equal(reference.conv2d(x, three, stride=2, padding="same_lower"), row(3, 9, 15))
    assert_array_equal(reference.conv2d(x, three, stride=4, padding="full"), row(1, 12))
    assert_array_equal(reference.conv2d(x, three, padding=((0, 0), (-2, 1))), row(12, 15, 11))
    assert_array_equal(
        reference.conv2d(x, three, padding=((0, 0), (1, -3)), pad_value=100), row(103, 6)
    )


def test_gradients_by_hand() -> None:
    dy, w = row(1, 10), row(2, 3)[np.newaxis]
    assert_array_equal(reference.conv2d_grad_input(dy, w, (1, 1, 3)), row(2, 23, 30))
    assert_array_equal(
        reference.conv2d_grad_input(dy, w, (1, 1, 5), stride=2), row(2, 3, 20, 30, 0)
    )
    assert_array_equal(reference.conv2d_grad_weight(dy, row(1, 2, 3), (1, 2)), [[[[21, 32]]]])
    assert_array_equal(reference.conv2d_grad_bias(dy), [11])


def test_transpose_by_hand() -> None:
    x, w = row(1, 10), row(2, 3)[np.newaxis]
    assert_array_equal(reference.conv2d_transpose(x, w), row(2, 23, 30))
    assert_array_equal(reference.conv2d_transpose(x, w, [1], stride=2), row(3, 4, 21, 31))
    y = reference.conv2d_transpose(x, w, stride=2, output_padding=(0, 1))
    assert_array_equal(y, row(2, 3, 20, 30, 0))
    y = reference.conv2d_transpose(x, w, stride=3, padding="same")
    assert_array_equal(y[0, 0], [2, 3, 0, 20, 30, 0])


def test_columns_by_hand() -> None:
    cols = reference.im2col(row(1, 2, 3), (1, 2), padding=((0, 0), (1, 0)), pad_value=9)
    assert_array_equal(cols, [[9, 1, 2], [1, 2, 3]])
    assert_array_equal(reference.col2im(np.ones((2, 2)), (1, 1, 3), (1, 2)), row(1, 2, 1))


def test_pooling_by_hand() -> None:
    x = row(1, 5, 2, 5, -1)
    y, indices = reference.max_pool2d(x, (1, 2), return_indices=True)
    assert_array_equal(y, row(5, 5))
    assert_array_equal(indices, row(1, 3))
    assert_array_equal(reference.max_pool2d(x, (1, 2), ceil_mode=True), row(5, 5, -1))
    y, indices = reference.max_pool2d(x, (1, 2), 1, ((0, 0), (2, 0)), return_indices=True)
    assert_array_equal(y, row(-np.inf, 1, 5, 5, 5, 5))
    assert_array_equal(indices, row(-1, 0, 1, 1, 3, 3))
    assert_array_equal(reference.max_pool2d_grad(y[..., 1:], indices[..., 1:], x.shape).sum(), 21)
    assert_array_equal(
        reference.max_unpool2d(row(7, 8, 9), [[[1, 1, -1]]], (1, 1, 3)), row(0, 8, 0)
    )
    assert_array_equal(reference.avg_pool2d(x, (1, 2), ceil_mode=True), row(3, 3.5, -1))
    y = reference.avg_pool2d(x, (1, 2), 4, ((0, 0), (1, 1)))
    assert_array_equal(y, row(0.5, 2))
    y = reference.avg_pool2d(x, (1, 2), 4, ((0, 0), (1, 1)), count_include_pad=False)
    assert_array_equal(y, row(1, 2))
    dx = reference.avg_pool2d_grad(row(2, 4), (1, 1, 5), (1, 2))
    assert_array_equal(dx, row(1, 1, 2, 2, 0))


def test_a_window_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        reference.conv2d(np.ones((1, 2, 2)), np.ones((1, 1, 3, 3)))


# Small ones, with paddings that numpy.pad knows.
PLAIN_CASES = [
    case
    for case in CONV_CASES
    if np.prod(case.x_shape) < 1000
    and not isinstance(case.padding, str)
    and np.min(case.padding) >= 0
]


@pytest.mark.parametrize("case", PLAIN_CASES, ids=str)
def test_conv2d_is_the_sum_in_its_docstring(case: Case) -> None:
    """Compare with the definition, cell by cell; padding is the test's own."""
    x, w = integers(case.x_shape, np.float64), integers(case.weight_shape, np.float64, seed=1)
    y = reference.conv2d(x, w, **case.geometry)
    pads = np.asarray(case.padding)
    pads = np.broadcast_to(pads[:, np.newaxis] if pads.ndim == 1 else pads, (2, 2))
    padded = np.pad(x, [(0, 0), (0, 0), *pads])
    (sh, sw), (dh, dw) = np.broadcast_to(case.stride, 2), np.broadcast_to(case.dilation, 2)
    oc, group_in, kh, kw = w.shape
    for n, o, i, j in np.ndindex(y.shape):
        first = o // (oc // case.groups) * group_in
        window = padded[
            n,
            first : first + group_in,
            i * sh : i * sh + (kh - 1) * dh + 1 : dh,
            j * sw : j * sw + (kw - 1) * dw + 1 : dw,
        ]
        assert y[n, o, i, j] == (window * w[o]).sum()


@pytest.mark.parametrize("case", SYMMETRIC_CASES, ids=str)
def test_convolutions_agree_with_torch(case: Case) -> None:
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    x, w = integers(case.x_shape, np.float64), integers(case.weight_shape, np.float64, seed=1)
    bias = integers(case.weight_shape[:1], np.float64, seed=2)
    leaves = [torch.tensor(array, requires_grad=True) for array in (x, w, bias)]
    y = functional.conv2d(*leaves, **case.geometry)
    assert_array_equal(reference.conv2d(x, w, bias, **case.geometry), y.detach().numpy())
    dy = integers(tuple(y.shape), np.float64, seed=3)
    y.backward(torch.tensor(dy))
    dx, dw, db = (leaf.grad.numpy() for leaf in leaves)
    kernel = w.shape[2:]
    assert_array_equal(reference.conv2d_grad_input(dy, w, x.shape, **case.geometry), dx)
    assert_array_equal(reference.conv2d_grad_weight(dy, x, kernel, **case.geometry), dw)
    assert_array_equal(reference.conv2d_grad_bias(dy), db)
    y = functional.conv_transpose2d(torch.tensor(dy), torch.tensor(w), **case.geometry)
    assert_array_equal(reference.conv2d_transpose(dy, w, **case.geometry), y.numpy())


@pytest.mark.parametrize("case", POOL_CASES, ids=str)
def test_pooling_agrees_with_torch(case: PoolCase) -> None:
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    x = integers(case.x_shape, np.float64)
    tensor = torch.tensor(x, requires_grad=True)
    try:
        y, indices = functional.max_pool2d(tensor, **case.geometry, return_indices=True)
    except (RuntimeError, TypeError):
        pytest.skip("PyTorch has no such pooling")
    expected, places = reference.max_pool2d(x, **case.geometry, return_indices=True)
    if (places < 0).any():
        pytest.skip("PyTorch returns a wrong index for a window without cells")
    assert_array_equal(expected, y.detach().numpy())
    assert_array_equal(places, indices.numpy())
    dy = integers(places.shape, np.float64, seed=1)
    y.backward(torch.tensor(dy))
    assert_array_equal(reference.max_pool2d_grad(dy, places, x.shape), tensor.grad.numpy())
    if case.dilation != 1:
        return
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
            average = reference.avg_pool2d(x, **kwargs)
            np.testing.assert_allclose(average, y.detach().numpy(), rtol=1e-14)
            y.backward(torch.tensor(dy))
            dx = reference.avg_pool2d_grad(dy, x.shape, **kwargs)
            np.testing.assert_allclose(dx, tensor.grad.numpy(), rtol=1e-13, atol=1e-15)
