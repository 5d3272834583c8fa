"""Minimum, sum, norm, adaptive and global pools; maximum and average are in `test_pool2d`."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import convpool
from cases import POOL_CASES, PoolCase, integers, normal
from convpool import reference
from convpool._typing import Array

every_case = pytest.mark.parametrize("case", POOL_CASES, ids=str)
every_float = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_layout = pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
ADAPTIVE = [
    ((2, 3, 6, 8), (3, 4)),
    ((2, 3, 7, 9), (3, 4)),
    ((1, 2, 10, 7), (7, 7)),
    ((1, 2, 5, 6), (5, 6)),
    ((1, 2, 3, 4), (7, 9)),
    ((1, 1, 1, 1), (3, 2)),
    ((1, 2, 31, 30), (1, 8)),
    ((3, 5, 6, 7), 2),
    ((0, 3, 5, 5), 2),
    ((2, 0, 5, 5), (2, 3)),
]
every_size = pytest.mark.parametrize(("shape", "size"), ADAPTIVE, ids=str)


def last(array: Array) -> Array:
    """Move the channels to the end."""
    return np.moveaxis(array, -3, -1)


# Minimum


@every_float
@every_case
def test_min(case: PoolCase, dtype: Any) -> None:
    x = integers(case.x_shape, dtype)
    y, indices = convpool.min_pool2d(x, **case.geometry, return_indices=True)
    expected, places = reference.min_pool2d(x, **case.geometry, return_indices=True)
    assert y.dtype == dtype
    assert indices.dtype == np.int64
    assert_array_equal(y, expected)
    assert_array_equal(indices, places)
    assert_array_equal(convpool.min_pool2d(x, **case.geometry), expected)
    assert_array_equal(y, -convpool.max_pool2d(-x, **case.geometry))
    dy = integers(y.shape, dtype, seed=1)
    dx = convpool.max_pool2d_grad(dy, indices, x.shape)
    assert dx.sum() == dy[indices >= 0].sum()


@every_layout
@pytest.mark.parametrize("channels", [1, 3, 8, 17])
@pytest.mark.parametrize("name", ["max_pool2d", "min_pool2d"])
def test_nan_and_infinities(name: str, channels: int, layout: Any) -> None:
    x = normal((2, channels, 11, 23))
    rng = np.random.default_rng(1)
    x[rng.random(x.shape) < 0.1] = np.nan
    x[rng.random(x.shape) < 0.1] = np.inf
    x[rng.random(x.shape) < 0.1] = -np.inf
    for geometry in ((3, 2, 1), ((1, 5), 1, 0), ((4, 1), (1, 3), ((0, 3), (0, 0)))):
        expected, places = getattr(reference, name)(x, *geometry, return_indices=True)
        given = x if layout == "NCHW" else last(x)
        kwargs: Any = {"layout": layout, "return_indices": True}
        y, indices = getattr(convpool, name)(given, *geometry, **kwargs)
        alone = getattr(convpool, name)(given, *geometry, layout=layout)
        assert_array_equal(y, expected if layout == "NCHW" else last(expected))
        assert_array_equal(indices, places if layout == "NCHW" else last(places))
        assert_array_equal(alone, y)


def test_min_of_ties_and_padding() -> None:
    x = np.array([[[2.0, 1.0, 1.0, 3.0]]])
    y, indices = convpool.min_pool2d(x, (1, 3), 1, (0, 1), return_indices=True)
    assert_array_equal(y, [[[1, 1, 1, 1]]])
    assert_array_equal(indices, [[[1, 1, 1, 2]]])


# Sum


@every_float
@every_case
def test_sum(case: PoolCase, dtype: Any) -> None:
    x = integers(case.x_shape, dtype)
    for pad_value in (0, -2):
        y = convpool.sum_pool2d(x, **case.geometry, pad_value=pad_value)
        assert y.dtype == dtype
        assert_array_equal(y, reference.sum_pool2d(x, **case.geometry, pad_value=pad_value))
    y = convpool.sum_pool2d(x, **case.geometry)
    assert_array_equal(y, convpool.avg_pool2d(x, **case.geometry, divisor_override=1))
    dy = integers(y.shape, dtype, seed=1)
    dx = convpool.avg_pool2d_grad(dy, x.shape, **case.geometry, divisor_override=1)
    exact: Any = {"dtype": np.float64}
    assert (y * dy).sum(**exact) == (x * dx).sum(**exact)


def test_sum_of_a_window_without_cells_is_zero() -> None:
    x = np.ones((1, 1, 2))
    y = convpool.sum_pool2d(x, (1, 2), 1, (0, 1), dilation=(1, 3))
    assert_array_equal(y, [[[0]]])


def test_nan_stays_in_its_windows() -> None:
    x = np.ones((1, 6, 9))
    x[0, 2, 3] = np.nan
    touched = reference.max_pool2d(np.isnan(x), 3, 1, 1)
    for name in ("sum_pool2d", "avg_pool2d"):
        y = getattr(convpool, name)(x, 3, 1, 1)
        assert_array_equal(np.isnan(y), touched)


# Norms


@every_float
@pytest.mark.parametrize("p", [1, 2, 3, 0.5, 1.5, np.inf])
@every_case
def test_lp(case: PoolCase, p: float, dtype: Any) -> None:
    x = normal(case.x_shape, dtype)
    y = convpool.lp_pool2d(x, p, **case.geometry)
    assert y.dtype == dtype
    expected = reference.lp_pool2d(x, p, **case.geometry)
    assert_allclose(y, expected, rtol=16 * np.finfo(dtype).eps)


def test_norms_by_hand() -> None:
    x = np.array([[[3.0, -4.0]]])
    norms = [convpool.lp_pool2d(x, p, (1, 2)).item() for p in (1, 2, np.inf)]
    assert norms == [7, 5, 4]
    assert convpool.lp_pool2d(np.array([[[3, -4]]]), 2, (1, 2)).dtype == np.float64
    assert np.isnan(convpool.lp_pool2d(np.array([[[np.nan, 1]]]), np.inf, (1, 2)).item())
    assert np.isnan(convpool.lp_pool2d(np.array([[[np.nan, 1]]]), 2, (1, 2)).item())
    assert convpool.lp_pool2d(np.array([[[-np.inf, 1]]]), 2, (1, 2)).item() == np.inf
    # Neither padding nor a window without cells adds to a norm.
    assert convpool.lp_pool2d(x, 2, (1, 2), 1, padding=(0, 1)).ravel().tolist() == [3, 5, 4]
    for p in (2, np.inf):
        assert convpool.lp_pool2d(x, p, (1, 2), 1, padding=(0, 1), dilation=(1, 3)).item() == 0


@pytest.mark.parametrize("p", [0, -1, -np.inf, np.nan])
def test_norms_that_are_none(p: float) -> None:
    with pytest.raises(ValueError, match="norm_type"):
        convpool.lp_pool2d(np.ones((1, 4, 4)), p, 2)


# Adaptive and global


@every_float
@every_size
def test_adaptive_average(shape: tuple[int, ...], size: Any, dtype: Any) -> None:
    x = normal(shape, dtype)
    y = convpool.adaptive_avg_pool2d(x, size)
    assert y.dtype == dtype
    close: Any = {"rtol": 4 * np.finfo(dtype).eps, "atol": 4 * np.finfo(dtype).eps}
    assert_allclose(y, reference.adaptive_avg_pool2d(x, size), **close)
    dy = normal(y.shape, dtype, seed=1)
    dx = convpool.adaptive_avg_pool2d_grad(dy, shape)
    assert dx.dtype == dtype
    assert_allclose(dx, reference.adaptive_avg_pool2d_grad(dy, shape), **close)
    assert_allclose((x * dx).sum(), (y * dy).sum(), rtol=1e-4, atol=1e-4)


@every_float
@every_size
def test_adaptive_maximum(shape: tuple[int, ...], size: Any, dtype: Any) -> None:
    x = integers(shape, dtype)
    if x.size:
        x.flat[x.size // 2] = np.nan
    y, indices = convpool.adaptive_max_pool2d(x, size, return_indices=True)
    expected, places = reference.adaptive_max_pool2d(x, size, return_indices=True)
    assert y.dtype == dtype
    assert_array_equal(y, expected)
    assert_array_equal(indices, places)
    assert_array_equal(convpool.adaptive_max_pool2d(x, size), expected)
    dy = integers(y.shape, dtype, seed=1)
    dx = convpool.max_pool2d_grad(dy, indices, shape)
    assert_array_equal(dx, reference.max_pool2d_grad(dy, places, shape))


def test_adaptive_parts_by_hand() -> None:
    x = np.arange(1.0, 6.0).reshape(1, 1, 5)
    # 0...2, 1...4, 3...5: neighbours share a cell.
    assert_array_equal(convpool.adaptive_avg_pool2d(x, (1, 3)), [[[1.5, 3, 4.5]]])
    assert_array_equal(convpool.adaptive_max_pool2d(x, (1, 3)), [[[2, 4, 5]]])
    assert_array_equal(convpool.adaptive_max_pool2d(x[..., :2], (1, 4)), [[[1, 1, 2, 2]]])
    dx = convpool.adaptive_avg_pool2d_grad(np.array([[[2.0, 3.0, 4.0]]]), x.shape)
    assert_array_equal(dx, [[[1, 2, 1, 3, 2]]])
    assert_array_equal(convpool.adaptive_avg_pool2d(x, 1), [[[3]]])


@every_layout
def test_layouts_and_no_batch(layout: Any) -> None:
    x = normal((2, 5, 7, 9))
    given = x if layout == "NCHW" else last(x)
    kwargs: Any = {"layout": layout}
    calls: dict[str, tuple[Any, ...]] = {
        "min_pool2d": (3, 2, 1),
        "sum_pool2d": (3, 2, 1),
        "lp_pool2d": (2, 3, 2),
        "adaptive_avg_pool2d": ((3, 4),),
        "adaptive_max_pool2d": ((3, 4),),
        "global_avg_pool2d": (),
        "global_max_pool2d": (),
    }
    for name, args in calls.items():
        function = getattr(convpool, name)
        plain = function(x, *args)
        y = function(given, *args, **kwargs)
        assert_array_equal(y, plain if layout == "NCHW" else last(plain))
        assert_array_equal(function(given[1], *args, **kwargs), y[1])
        out = np.empty_like(y)
        assert function(given, *args, **kwargs, out=out) is out
        assert_array_equal(out, y)
        flipped = np.ascontiguousarray(given[::-1, ..., ::-1])[::-1, ..., ::-1]
        assert_array_equal(function(flipped, *args, **kwargs), y)
    dy = normal((2, 5, 3, 4), seed=1)
    dx = convpool.adaptive_avg_pool2d_grad(dy, x.shape)
    moved = convpool.adaptive_avg_pool2d_grad(
        dy if layout == "NCHW" else last(dy), given.shape, **kwargs
    )
    assert_array_equal(moved, dx if layout == "NCHW" else last(dx))


def test_global_pools() -> None:
    x = normal((2, 5, 7, 9))
    y = convpool.global_avg_pool2d(x)
    assert y.shape == (2, 5, 1, 1)
    mean = x.mean(axis=(2, 3), keepdims=True, dtype=np.float64)
    assert_allclose(y, mean, rtol=1e-6)
    y, indices = convpool.global_max_pool2d(x, return_indices=True)
    assert_array_equal(y, x.max(axis=(2, 3), keepdims=True))
    assert_array_equal(indices[..., 0, 0], x.reshape(2, 5, -1).argmax(axis=-1))
    x[1, 3, 2, 2] = x[1, 3, 4, 4] = np.nan
    y, indices = convpool.global_max_pool2d(x, return_indices=True)
    assert np.isnan(y[1, 3, 0, 0])
    assert indices[1, 3, 0, 0] == 2 * 9 + 2
    assert np.isnan(convpool.global_avg_pool2d(x)).sum() == 1


def test_parts_of_nothing() -> None:
    for shape in ((1, 2, 0, 5), (1, 2, 5, 0)):
        for name in ("adaptive_avg_pool2d", "adaptive_max_pool2d"):
            with pytest.raises(ValueError, match=r"x|output_size"):
                getattr(convpool, name)(np.ones(shape), 2)
        for name in ("global_avg_pool2d", "global_max_pool2d"):
            with pytest.raises(ValueError, match=r"(height|width) 0"):
                getattr(convpool, name)(np.ones(shape))


# Against others


@every_size
def test_adaptive_pools_are_those_of_torch(shape: tuple[int, ...], size: Any) -> None:
    torch = pytest.importorskip("torch")
    if 0 in shape:
        pytest.skip("PyTorch refuses some empty arrays")
    functional = torch.nn.functional
    x = normal(shape, np.float64)
    tensor = torch.tensor(x, requires_grad=True)
    y = functional.adaptive_avg_pool2d(tensor, size)
    close: Any = {"rtol": 1e-13, "atol": 1e-13}
    assert_allclose(convpool.adaptive_avg_pool2d(x, size), y.detach().numpy(), **close)
    dy = normal(tuple(y.shape), np.float64, seed=1)
    y.backward(torch.tensor(dy))
    dx = convpool.adaptive_avg_pool2d_grad(dy, shape)
    assert_allclose(dx, tensor.grad.numpy(), **close)
    y, indices = functional.adaptive_max_pool2d(torch.tensor(x), size, return_indices=True)
    ours, places = convpool.adaptive_max_pool2d(x, size, return_indices=True)
    assert_array_equal(ours, y.numpy())
    assert_array_equal(places, indices.numpy())


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_norms_are_those_of_torch_for_positive_numbers(ceil_mode: bool) -> None:
    torch = pytest.importorskip("torch")
    x = np.abs(normal((2, 3, 8, 8), np.float64))
    for p in (1.0, 2.0, 3.0):
        # Where a window overhangs, PyTorch divides by its cells and multiplies by the kernel's.
        kernel, stride = (2, 2) if ceil_mode else (3, 2)
        y = torch.nn.functional.lp_pool2d(torch.tensor(x), p, kernel, stride, ceil_mode)
        ours = convpool.lp_pool2d(x, p, kernel, stride, ceil_mode)
        assert_allclose(ours, y.numpy(), rtol=1e-12)


@pytest.mark.parametrize("rule", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("name", ["AveragePool", "LpPool"])
def test_onnx_runtime(name: str, rule: str) -> None:
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    helper = onnx.helper
    x = normal((2, 3, 9, 10))
    attributes: dict[str, Any] = {"kernel_shape": [3, 4], "strides": [2, 3], "auto_pad": rule}
    attributes |= {"p": 3} if name == "LpPool" else {"count_include_pad": 0}
    node = helper.make_node(name, ["x"], ["y"], **attributes)
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [node],
        "pool",
        [helper.make_tensor_value_info("x", kind, x.shape)],
        [helper.make_tensor_value_info("y", kind, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (expected,) = session.run(None, {"x": x})
    padding: Any = "same" if rule == "SAME_UPPER" else "same_lower"
    if name == "LpPool":
        y = convpool.lp_pool2d(x, 3, (3, 4), (2, 3), padding=padding)
    else:
        y = convpool.avg_pool2d(x, (3, 4), (2, 3), padding, count_include_pad=False)
    assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
