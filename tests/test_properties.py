"""Properties on drawn problems. The size of the output is drawn and that of the input follows.

So every example is valid, and small ones are as likely to have many windows as one.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import convpool
from cases import integers
from convpool import reference
from convpool._typing import Array

dtypes = st.sampled_from([np.float32, np.float64])
algorithms = st.sampled_from(["auto", "direct", "im2col"])
forward_algorithms = st.sampled_from(["auto", "direct", "im2col", "implicit_gemm", "fft"])
pad_values = st.sampled_from([0, 0, -2, 5])


@dataclass(frozen=True)
class Axis:
    """One axis of a drawn problem."""

    size: int
    kernel: int
    stride: int
    dilation: int
    pads: tuple[int, int]


@st.composite
def axes(draw: st.DrawFn, largest_output: int = 12) -> Axis:
    """Draw windows, then an image on which they lie: any padding and any leftover rows."""
    out = draw(st.integers(1, largest_output))
    kernel, stride = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    dilation = draw(st.integers(1, 3))
    padded = (out - 1) * stride + (kernel - 1) * dilation + 1
    padded += draw(st.integers(0, stride - 1))
    before, after = draw(st.integers(-2, 6)), draw(st.integers(-2, 6))
    # An image of at least one cell; what would be missing is taken from the padding.
    size = max(1, padded - before - after)
    return Axis(size, kernel, stride, dilation, (before, padded - size - before))


@dataclass(frozen=True)
class Problem:
    """A drawn convolution or pooling."""

    n: int
    group_in: int
    group_out: int
    groups: int
    rows: Axis
    columns: Axis
    padding: Any

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of the images."""
        return self.n, self.group_in * self.groups, self.rows.size, self.columns.size

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the kernels."""
        return self.group_out * self.groups, self.group_in, *self.kernel

    @property
    def kernel(self) -> tuple[int, int]:
        """Height and width of a kernel."""
        return self.rows.kernel, self.columns.kernel

    @property
    def windows(self) -> dict[str, Any]:
        """Keyword arguments that say where the windows lie."""
        return {
            "stride": (self.rows.stride, self.columns.stride),
            "padding": self.padding,
            "dilation": (self.rows.dilation, self.columns.dilation),
        }

    @property
    def geometry(self) -> dict[str, Any]:
        """Keyword arguments of a convolution."""
        return {**self.windows, "groups": self.groups}


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Draw a convolution that is valid."""
    rows, columns = draw(axes()), draw(axes())
    given_pads = (rows.pads, columns.pads)
    rule = draw(st.sampled_from([given_pads] * 4 + ["same", "same_lower", "full"]))
    channels = st.integers(1, 9)
    return Problem(
        n=draw(st.integers(0, 3)),
        group_in=draw(channels),
        group_out=draw(channels),
        groups=draw(st.sampled_from([1, 1, 1, 2, 3])),
        rows=rows,
        columns=columns,
        padding=rule,
    )


def operands(problem: Problem, dtype: Any) -> tuple[Array, Array]:
    """Whole numbers for `x` and `weight`."""
    return integers(problem.x_shape, dtype), integers(problem.weight_shape, dtype, seed=1)


@given(problems(), dtypes, forward_algorithms, pad_values)
def test_forward(problem: Problem, dtype: Any, algorithm: Any, pad_value: float) -> None:
    x, w = operands(problem, dtype)
    bias = integers(w.shape[:1], dtype, seed=2)
    kwargs: Any = {**problem.geometry, "pad_value": pad_value}
    y = convpool.conv2d(x, w, bias, **kwargs, algorithm=algorithm)
    assert y.dtype == dtype
    # Transforms are computed in float64, and rounded to float32.
    rounded = algorithm == "fft" and dtype == np.float64
    expected = reference.conv2d(x, w, bias, **kwargs)
    assert_allclose(y, expected, rtol=0, atol=1e-11 if rounded else 0)
    assert convpool.conv2d_output_shape(x.shape, w.shape, **problem.geometry) == y.shape


@given(problems(), dtypes, algorithms)
def test_gradients(problem: Problem, dtype: Any, algorithm: Any) -> None:
    x, w = operands(problem, dtype)
    kwargs: Any = problem.geometry
    y = convpool.conv2d(x, w, **kwargs, algorithm=algorithm)
    dy = integers(y.shape, dtype, seed=2)
    dx = convpool.conv2d_grad_input(dy, w, x.shape, **kwargs, algorithm=algorithm)
    dw = convpool.conv2d_grad_weight(dy, x, problem.kernel, **kwargs, algorithm=algorithm)
    assert_array_equal(dx, reference.conv2d_grad_input(dy, w, x.shape, **kwargs))
    assert_array_equal(dw, reference.conv2d_grad_weight(dy, x, problem.kernel, **kwargs))
    exact: Any = {"dtype": np.float64}
    assert (y * dy).sum(**exact) == (x * dx).sum(**exact) == (w * dw).sum(**exact)


@given(problems(), dtypes, algorithms)
def test_transpose(problem: Problem, dtype: Any, algorithm: Any) -> None:
    shape = convpool.conv2d_output_shape(problem.x_shape, problem.weight_shape, **problem.geometry)
    if problem.padding not in ("same", "same_lower"):
        # Rows left over are not restored: with much padding less than nothing may remain.
        for axis in (problem.rows, problem.columns):
            assume(axis.size >= axis.stride)
    x, w = integers(shape, dtype), integers(problem.weight_shape, dtype, seed=1)
    bias = integers((problem.x_shape[1],), dtype, seed=2)
    y = convpool.conv2d_transpose(x, w, bias, **problem.geometry, algorithm=algorithm)
    assert_array_equal(y, reference.conv2d_transpose(x, w, bias, **problem.geometry))


@given(problems(), dtypes, pad_values)
def test_columns(problem: Problem, dtype: Any, pad_value: float) -> None:
    x, kernel = integers(problem.x_shape, dtype), problem.kernel
    cols = convpool.im2col(x, kernel, **problem.windows, pad_value=pad_value)
    assert_array_equal(cols, reference.im2col(x, kernel, **problem.windows, pad_value=pad_value))
    cols = integers(cols.shape, dtype, seed=1)
    back = convpool.col2im(cols, x.shape, kernel, **problem.windows)
    assert_array_equal(back, reference.col2im(cols, x.shape, kernel, **problem.windows))
    taken = convpool.im2col(x, kernel, **problem.windows)
    assert (taken * cols).sum() == (x * back).sum()


@given(problems(), dtypes, st.booleans(), st.booleans())
def test_max_pooling(problem: Problem, dtype: Any, ceil_mode: bool, with_nan: bool) -> None:
    x = integers(problem.x_shape, dtype)
    if with_nan:
        x[x == 3] = np.nan
        x[x == -3] = -np.inf
    kwargs: Any = {**problem.windows, "ceil_mode": ceil_mode}
    y, indices = convpool.max_pool2d(x, problem.kernel, **kwargs, return_indices=True)
    expected, places = reference.max_pool2d(x, problem.kernel, **kwargs, return_indices=True)
    assert_array_equal(y, expected)
    assert_array_equal(indices, places)
    assert convpool.pool2d_output_shape(x.shape, problem.kernel, **kwargs) == y.shape
    dy = integers(y.shape, dtype, seed=1)
    dx = convpool.max_pool2d_grad(dy, indices, x.shape)
    assert_array_equal(dx, reference.max_pool2d_grad(dy, places, x.shape))
    back = convpool.max_unpool2d(dy, indices, x.shape)
    assert_array_equal(back, reference.max_unpool2d(dy, places, x.shape))


@given(
    problems(),
    dtypes,
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, None, 1, 6]),
    pad_values,
)
def test_average_pooling(
    problem: Problem,
    dtype: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    pad_value: float,
) -> None:
    x = integers(problem.x_shape, dtype)
    kwargs: Any = {
        **problem.windows,
        "ceil_mode": ceil_mode,
        "count_include_pad": count_include_pad,
        "divisor_override": divisor_override,
    }
    y = convpool.avg_pool2d(x, problem.kernel, **kwargs, pad_value=pad_value)
    expected = reference.avg_pool2d(x, problem.kernel, **kwargs, pad_value=pad_value)
    assert_array_equal(y, expected.astype(dtype))
    # Windows of up to 25 cells: this product is a multiple of each possible number of them.
    dy = integers(y.shape, dtype, seed=1) * 2**4 * 3**2 * 5**2
    dx = convpool.avg_pool2d_grad(dy, x.shape, problem.kernel, **kwargs)
    expected = reference.avg_pool2d_grad(dy, x.shape, problem.kernel, **kwargs)
    assert_array_equal(dx, expected.astype(dtype))


@given(problems(), algorithms)
def test_nhwc(problem: Problem, algorithm: Any) -> None:
    x, w = operands(problem, np.float32)
    y = convpool.conv2d(x, w, **problem.geometry, algorithm=algorithm)
    last = x.transpose(0, 2, 3, 1)
    kwargs: Any = {**problem.geometry, "layout": "NHWC", "algorithm": algorithm}
    assert_array_equal(convpool.conv2d(last, w, **kwargs), y.transpose(0, 2, 3, 1))
    dy = integers(y.shape, seed=2).transpose(0, 2, 3, 1)
    dx = convpool.conv2d_grad_input(dy, w, last.shape, **kwargs)
    expected = reference.conv2d_grad_input(dy.transpose(0, 3, 1, 2), w, x.shape, **problem.geometry)
    assert_array_equal(dx, expected.transpose(0, 2, 3, 1))


@given(problems(), algorithms)
def test_flipping_image_and_kernel_flips_the_result(problem: Problem, algorithm: Any) -> None:
    x, w = operands(problem, np.float32)
    kwargs: Any = {**problem.geometry, "stride": 1, "algorithm": algorithm}
    if isinstance(problem.padding, str):
        kwargs["padding"] = 1
    try:
        y = convpool.conv2d(x, w, **kwargs)
    except ValueError:
        return
    kwargs["padding"] = [
        side[::-1] for side in np.broadcast_to(np.array(kwargs["padding"]), (2, 2)).tolist()
    ]
    flipped = convpool.conv2d(x[..., ::-1, ::-1], w[..., ::-1, ::-1], **kwargs)
    assert_array_equal(flipped, y[..., ::-1, ::-1])
