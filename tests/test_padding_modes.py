"""Padding with reflected, repeated and wrapped cells: `numpy.pad` first, then a plain convolution.

Gradients are checked twice: against the specification, and through the adjoint identity, which on
whole numbers holds in every bit.
"""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import convpool
from calls import call
from cases import Case, PoolCase, integers, normal
from convpool import reference
from convpool._typing import Array, PadMode

MODES: list[PadMode] = ["reflect", "symmetric", "edge", "wrap"]
every_mode = pytest.mark.parametrize("mode", MODES)
ALGORITHMS = ["auto", "direct", "im2col"]
every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)
forward_algorithm = pytest.mark.parametrize("algorithm", [*ALGORITHMS, "implicit_gemm", "fft"])

PAD_CASES = [
    Case("one cell", (2, 2, 5, 6), (3, 2, 3, 3), padding=1),
    Case("each side", (2, 2, 5, 6), (3, 2, 3, 3), padding=((1, 2), (0, 3))),
    Case("one side", (1, 2, 5, 6), (3, 2, 2, 3), padding=((0, 0), (0, 4))),
    Case("as far as a reflection goes", (1, 2, 5, 6), (3, 2, 3, 3), padding=(4, 5)),
    Case("one cell further", (1, 2, 5, 6), (3, 2, 3, 3), padding=(5, 6)),
    Case("several times the image", (1, 2, 3, 4), (3, 2, 3, 2), padding=(13, 18)),
    Case("different turns", (1, 1, 3, 5), (2, 1, 3, 3), padding=((8, 1), (2, 17))),
    Case("two cells", (1, 1, 2, 2), (2, 1, 3, 3), padding=((5, 4), (3, 6))),
    Case("one row", (1, 2, 1, 5), (3, 2, 3, 3), padding=2),
    Case("one column", (1, 2, 5, 1), (3, 2, 3, 3), padding=2),
    Case("one pixel", (2, 1, 1, 1), (3, 1, 2, 3), padding=3),
    Case("cropped on one side", (1, 2, 7, 8), (3, 2, 3, 3), padding=((-1, 2), (3, -2))),
    Case("cropped along one axis", (1, 2, 7, 8), (3, 2, 3, 3), padding=((-2, -1), (2, 2))),
    Case("a cell that is cropped is reflected", (1, 1, 4, 4), (1, 1, 2, 2), 1, ((3, -3), (-3, 3))),
    Case("nothing left but padding", (1, 1, 3, 3), (2, 1, 2, 2), padding=((-4, 5), (6, -3))),
    Case("stride", (1, 2, 7, 8), (3, 2, 3, 3), stride=(2, 3), padding=3),
    Case("dilation", (1, 2, 7, 8), (3, 2, 3, 3), padding=(4, 5), dilation=(2, 3)),
    Case("stride and dilation", (1, 2, 7, 8), (3, 2, 3, 2), 2, ((4, 1), (2, 5)), 3),
    Case("groups", (2, 4, 5, 6), (6, 2, 3, 3), padding=2, groups=2),
    Case("depthwise", (1, 5, 5, 6), (5, 1, 3, 3), padding=2, groups=5),
    Case("kernel 1x1", (1, 3, 4, 5), (2, 3, 1, 1), padding=(2, 3)),
    Case("kernel larger than the image", (1, 1, 3, 3), (2, 1, 7, 7), padding=3),
    Case("same", (1, 2, 7, 8), (3, 2, 3, 4), stride=2, padding="same"),
    Case("same_lower", (1, 2, 7, 8), (3, 2, 4, 4), padding="same_lower"),
    Case("full", (1, 2, 4, 5), (3, 2, 3, 4), padding="full"),
    Case("valid", (1, 2, 4, 5), (3, 2, 3, 4), padding="valid"),
    Case("no images", (0, 2, 5, 6), (3, 2, 3, 3), padding=1),
    Case("no channels", (1, 0, 5, 6), (3, 0, 3, 3), padding=1),
    Case("no rows, none added", (1, 2, 5, 6), (3, 2, 3, 3), padding=(0, 2)),
    Case("many channels", (1, 40, 12, 13), (24, 40, 3, 3), padding=2),
    Case("a large image", (1, 3, 60, 70), (5, 3, 5, 5), padding=((61, 3), (2, 150))),
]
every_case = pytest.mark.parametrize("case", PAD_CASES, ids=str)

POOL_PAD_CASES = [
    PoolCase("one cell", (2, 2, 5, 6), 3, 1, 1),
    PoolCase("each side", (2, 2, 5, 6), 3, 2, ((1, 2), (0, 3))),
    PoolCase("several times the image", (1, 2, 3, 4), 2, 3, (7, 9)),
    PoolCase("one row", (1, 2, 1, 5), (3, 2), 1, 2),
    PoolCase("cropped on one side", (1, 2, 7, 8), 3, 2, ((-1, 2), (3, -2))),
    PoolCase("dilation", (1, 2, 7, 8), 3, 1, 4, (2, 3)),
    PoolCase("same", (1, 2, 7, 8), 3, 2, "same"),
    PoolCase("ceil", (1, 2, 6, 7), 3, 2, 2, 1, True),
]
every_pool_case = pytest.mark.parametrize("case", POOL_PAD_CASES, ids=str)


def sides(case: Case | PoolCase) -> list[tuple[int, int]]:
    """Tell how many cells are added before and after each axis."""
    pads: list[tuple[int, int]] = []
    kernel = case.weight_shape[2:] if isinstance(case, Case) else case.kernel_size
    steps: Any = (case.stride, case.dilation, kernel)
    for axis, size in enumerate(case.x_shape[2:]):
        stride, dilation, taps = (int(np.broadcast_to(value, 2)[axis]) for value in steps)
        span = (taps - 1) * dilation + 1
        total = max(0, (-(-size // stride) - 1) * stride + span - size)
        if case.padding == "same":
            pads.append((total // 2, total - total // 2))
        elif case.padding == "same_lower":
            pads.append((total - total // 2, total // 2))
        elif isinstance(case.padding, str):
            pads.append((span - 1, span - 1) if case.padding == "full" else (0, 0))
        else:
            numbers: Any = np.asarray(case.padding)
            numbers = numbers[:, None] if numbers.ndim == 1 else numbers
            before, after = np.broadcast_to(numbers, (2, 2))[axis]
            pads.append((int(before), int(after)))
    return pads


def padded(x: Array, case: Case | PoolCase, mode: Any) -> Array:
    """Pad by `numpy.pad`, then crop: a cell that is cropped may be seen in the padding."""
    pads = sides(case)
    grown = np.pad(x, [(0, 0), (0, 0), *((max(a, 0), max(b, 0)) for a, b in pads)], mode=mode)
    (top, bottom), (left, right) = pads
    height, width = grown.shape[2:]
    rows = slice(max(-top, 0), height - max(-bottom, 0))
    return grown[:, :, rows, max(-left, 0) : width - max(-right, 0)]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("reflect", [1, 2, 3, 2, 1, 2, 3, 2, 1, 2]),
        ("symmetric", [3, 3, 2, 1, 1, 2, 3, 3, 2, 1]),
        ("edge", [1, 1, 1, 1, 1, 2, 3, 3, 3, 3]),
        ("wrap", [3, 1, 2, 3, 1, 2, 3, 1, 2, 3]),
    ],
)
def test_a_row_of_three(mode: Any, expected: list[float]) -> None:
    x = np.array([[[1.0, 2.0, 3.0]]])
    pads = ((0, 0), (4, 3))
    y = convpool.conv2d(x, np.ones((1, 1, 1, 1)), padding=pads, pad_mode=mode)
    assert_array_equal(y, [[expected]])
    cols = convpool.im2col(x, 1, padding=pads, pad_mode=mode)
    assert_array_equal(cols, [expected])
    counts = [expected.count(cell) for cell in (1, 2, 3)]
    back = convpool.col2im(np.ones_like(cols), x.shape, 1, padding=pads, pad_mode=mode)
    assert_array_equal(back, [[counts]])


@forward_algorithm
@every_mode
@every_case
def test_forward(case: Case, mode: PadMode, algorithm: Any) -> None:
    for dtype in (np.float32, np.int16):
        x, w = integers(case.x_shape, dtype), integers(case.weight_shape, dtype, seed=1)
        bias = integers(case.weight_shape[:1], dtype, seed=2)
        y = convpool.conv2d(x, w, bias, **case.geometry, pad_mode=mode, algorithm=algorithm)
        steps: Any = {**case.geometry, "padding": 0}
        assert_array_equal(y, convpool.conv2d(padded(x, case, mode), w, bias, **steps))
        assert_array_equal(y, reference.conv2d(x, w, bias, **case.geometry, pad_mode=mode))


@every_algorithm
@every_mode
@every_case
def test_gradients(case: Case, mode: PadMode, algorithm: Any) -> None:
    x, w = integers(case.x_shape), integers(case.weight_shape, seed=1)
    kernel = w.shape[2:]
    kwargs: Any = {**case.geometry, "pad_mode": mode}
    y = convpool.conv2d(x, w, **kwargs)
    dy = integers(y.shape, seed=2)
    dx = convpool.conv2d_grad_input(dy, w, x.shape, **kwargs, algorithm=algorithm)
    dw = convpool.conv2d_grad_weight(dy, x, kernel, **kwargs, algorithm=algorithm)
    assert_array_equal(dx, reference.conv2d_grad_input(dy, w, x.shape, **kwargs))
    assert_array_equal(dw, reference.conv2d_grad_weight(dy, x, kernel, **kwargs))
    exact: Any = {"dtype": np.float64}
    assert (y * dy).sum(**exact) == (x * dx).sum(**exact) == (w * dw).sum(**exact)


@every_mode
@every_case
def test_columns(case: Case, mode: PadMode) -> None:
    kernel = case.weight_shape[2:]
    kwargs: Any = {name: value for name, value in case.geometry.items() if name != "groups"}
    x = integers(case.x_shape)
    cols = convpool.im2col(x, kernel, **kwargs, pad_mode=mode)
    plain: Any = {**kwargs, "padding": 0}
    assert_array_equal(cols, convpool.im2col(padded(x, case, mode), kernel, **plain))
    weights = integers(cols.shape, seed=1)
    back = convpool.col2im(weights, x.shape, kernel, **kwargs, pad_mode=mode)
    assert_array_equal(back, reference.col2im(weights, x.shape, kernel, **kwargs, pad_mode=mode))
    assert (cols * weights).sum(dtype=np.float64) == (x * back).sum(dtype=np.float64)


@every_mode
@every_pool_case
def test_sums_and_averages(case: PoolCase, mode: PadMode) -> None:
    x, plain = integers(case.x_shape), {**case.geometry, "padding": 0}
    y = convpool.sum_pool2d(x, **case.geometry, pad_mode=mode)
    assert_array_equal(y, reference.sum_pool2d(x, **case.geometry, pad_mode=mode))
    if not case.ceil_mode:
        # The rule for the last window looks at the image without its padding.
        assert_array_equal(y, convpool.sum_pool2d(padded(x, case, mode), **plain))
        average = convpool.avg_pool2d(padded(x, case, mode), **plain)
        assert_array_equal(convpool.avg_pool2d(x, **case.geometry, pad_mode=mode), average)
    dy = integers(y.shape, seed=1)
    back = convpool.avg_pool2d_grad(dy, x.shape, **case.geometry, pad_mode=mode, divisor_override=1)
    assert (y * dy).sum(dtype=np.float64) == (x * back).sum(dtype=np.float64)


@pytest.mark.parametrize("count_include_pad", [True, False])
@every_mode
@every_pool_case
def test_averages_that_count_or_not(case: PoolCase, mode: PadMode, count_include_pad: bool) -> None:
    # A multiple of every number of cells that these windows have.
    x = integers(case.x_shape, np.float64) * 2520
    kwargs: Any = {**case.geometry, "pad_mode": mode, "count_include_pad": count_include_pad}
    y = convpool.avg_pool2d(x, **kwargs)
    assert_array_equal(y, reference.avg_pool2d(x, **kwargs))
    dy = integers(y.shape, np.float64, seed=1) * 2520
    dx = convpool.avg_pool2d_grad(dy, x.shape, **kwargs)
    assert_array_equal(dx, reference.avg_pool2d_grad(dy, x.shape, **kwargs))
    if not np.isnan(y).any():
        assert (y * dy).sum() == (x * dx).sum()
    if not count_include_pad:
        # Cells that do not count are not summed either, so that their mode has no influence.
        constant = convpool.avg_pool2d(x, **{**kwargs, "pad_mode": "constant"})
        assert_array_equal(y, constant)


@every_mode
@pytest.mark.parametrize("dtype", [np.int8, np.uint64, np.float16, np.complex64, bool])
def test_other_types(dtype: Any, mode: PadMode) -> None:
    rng = np.random.default_rng(3)
    x = rng.integers(0, 2, (2, 2, 4, 5)).astype(dtype)
    w = rng.integers(0, 2, (3, 2, 3, 3)).astype(dtype)
    kwargs: Any = {"padding": ((5, 1), (2, 9)), "pad_mode": mode}
    y = convpool.conv2d(x, w, **kwargs)
    assert_array_equal(y, reference.conv2d(x, w, **kwargs))
    dy = rng.integers(0, 2, y.shape).astype(dtype)
    dx = convpool.conv2d_grad_input(dy, w, x.shape, **kwargs)
    assert_array_equal(dx, reference.conv2d_grad_input(dy, w, x.shape, **kwargs))
    dw = convpool.conv2d_grad_weight(dy, x, 3, **kwargs)
    assert_array_equal(dw, reference.conv2d_grad_weight(dy, x, 3, **kwargs))
    total = convpool.sum_pool2d(x, 3, **kwargs)
    assert_array_equal(total, reference.sum_pool2d(x, 3, **kwargs))


@forward_algorithm
@every_mode
def test_layout_batch_and_strides(mode: PadMode, algorithm: Any) -> None:
    x, w = normal((2, 4, 6, 7)), normal((6, 2, 3, 3), seed=1)
    kwargs: Any = {"padding": 8, "pad_mode": mode, "groups": 2, "algorithm": algorithm}
    y = convpool.conv2d(x, w, **kwargs)
    last = convpool.conv2d(x.transpose(0, 2, 3, 1), w, **kwargs, layout="NHWC")
    assert_array_equal(last, y.transpose(0, 2, 3, 1))
    assert_array_equal(convpool.conv2d(x[1], w, **kwargs), y[1])
    flipped = np.ascontiguousarray(x[..., ::-1, ::-1])[..., ::-1, ::-1]
    assert_array_equal(convpool.conv2d(flipped, w, **kwargs), y)
    row = np.broadcast_to(x[:, :, :1], x.shape)
    assert_array_equal(convpool.conv2d(row, w, **kwargs), convpool.conv2d(row.copy(), w, **kwargs))
    image = x.copy()
    out = image[:, :, :4, :]
    kwargs = {"padding": 2, "pad_mode": mode, "algorithm": algorithm}
    square = normal((4, 4, 7, 5), seed=2)
    expected = convpool.conv2d(image, square, **kwargs)
    assert_array_equal(convpool.conv2d(image, square, **kwargs, out=out), expected)


@every_mode
def test_nan_spreads_to_its_reflections_only(mode: PadMode) -> None:
    x = normal((1, 1, 5, 6))
    x[0, 0, 0, 1] = np.nan
    kwargs: Any = {"padding": 4, "pad_mode": mode}
    pads: Any = ((0, 0), (0, 0), (4, 4), (4, 4))
    w = normal((2, 1, 3, 3), seed=1)
    y = convpool.conv2d(x, w, **kwargs)
    reached = reference.conv2d(np.isnan(np.pad(x, pads, mode=mode)), np.ones((2, 1, 3, 3))) > 0
    assert_array_equal(np.isnan(y), reached)


@every_mode
def test_an_empty_axis_cannot_be_extended(mode: PadMode) -> None:
    x, w = np.ones((1, 2, 0, 5)), np.ones((3, 2, 3, 3))
    kwargs: Any = {"padding": 2, "pad_mode": mode}
    with pytest.raises(ValueError, match="pad"):
        convpool.conv2d(x, w, **kwargs)
    for function in (convpool.im2col, convpool.avg_pool2d, convpool.sum_pool2d):
        with pytest.raises(ValueError, match="pad"):
            function(x, 3, 1, **kwargs)


def test_words() -> None:
    for word in ("zeros", "replicate", "circular", "mean", "REFLECT"):
        for name in ("conv2d", "conv2d_grad_weight", "im2col", "col2im", "avg_pool2d"):
            with pytest.raises(ValueError, match=f"pad_mode.*{word}"):
                call(name, pad_mode=word)


@pytest.mark.parametrize("size", [(5, 6), (9, 4)])
@pytest.mark.parametrize(
    ("mode", "name"), [("reflect", "reflect"), ("edge", "replicate"), ("wrap", "circular")]
)
def test_torch_pads_alike_where_it_can(mode: Any, name: str, size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    x, w = normal((2, 3, *size), np.float64), normal((4, 3, 3, 3), np.float64, seed=1)
    image, kernel = torch.tensor(x, requires_grad=True), torch.tensor(w, requires_grad=True)
    grown = torch.nn.functional.pad(image, (3, 2, 1, 3), mode=name)
    y = torch.nn.functional.conv2d(grown, kernel, stride=2)
    dy = normal(tuple(y.shape), np.float64, seed=2)
    y.backward(torch.tensor(dy))
    kwargs: Any = {"stride": 2, "padding": ((1, 3), (3, 2)), "pad_mode": mode}
    close: Any = {"rtol": 1e-12, "atol": 1e-12}
    assert_allclose(convpool.conv2d(x, w, **kwargs), y.detach().numpy(), **close)
    dx = convpool.conv2d_grad_input(dy, w, x.shape, **kwargs)
    assert_allclose(dx, image.grad.numpy(), **close)
    dw = convpool.conv2d_grad_weight(dy, x, 3, **kwargs)
    assert_allclose(dw, kernel.grad.numpy(), **close)
