"""Two-dimensional pooling: maximum, minimum, average, sum, power mean.

As in ``conv.py``, this module only documents and names the arguments.
"""

from collections.abc import Sequence
from typing import Literal, overload

from numpy.typing import ArrayLike, DTypeLike

from convpool import _core
from convpool._typing import Array, Layout, Padding, PadMode, Pair

__all__ = [
    "avg_pool2d",
    "lp_pool2d",
    "max_pool2d",
    "min_pool2d",
    "pool2d_output_shape",
    "sum_pool2d",
]


@overload
def max_pool2d(
    x: ArrayLike,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: Literal[False] = False,
    *,
    layout: Layout = "NCHW",
    threads: int | None = None,
    out: Array | None = None,
) -> Array: ...
@overload
def max_pool2d(
    x: ArrayLike,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    *,
    return_indices: Literal[True],
    layout: Layout = "NCHW",
    threads: int | None = None,
    out: Array | None = None,
) -> tuple[Array, Array]: ...
def max_pool2d(
    x: ArrayLike,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    layout: Layout = "NCHW",
    threads: int | None = None,
    out: Array | None = None,
) -> Array | tuple[Array, Array]:
    """Maximum of every window.

    Parameters
    ----------
    x : array_like, ``(N, C, H, W)`` or ``(C, H, W)``
        Any real dtype, which the result keeps.
    kernel_size : int or ``(height, width)``
        Cells of a window.
    stride : int or ``(height, width)``, optional
        Step between windows; by default `kernel_size`.
    padding : int, ``(height, width)``, ``((top, bottom), (left, right))`` or str
        As in `conv2d`; padded cells never win.
    dilation : int or ``(height, width)``
        Step between the cells of one window.
    ceil_mode : bool
        Keep a last window that overhangs the image, if it starts inside it or its leading padding.
    return_indices : bool
        Also return where each maximum stands.
    layout, threads, out
        See `conv2d`.

    Returns
    -------
    y : ndarray, ``(N, C, H_out, W_out)``
        A NaN in a window gives NaN; a window without any cell of the image gives -inf, or the
        least number of an integer type.
    indices : ndarray of int64, only with `return_indices`
        ``row * W + column`` in the image without padding, of the first maximum or the first NaN;
        -1 for a window without any cell.

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        As `conv2d`.

    Notes
    -----
    *Dive into Deep Learning*, section 6.5.

    Examples
    --------
    >>> import numpy as np, convpool
    >>> convpool.max_pool2d(np.arange(9.0).reshape(1, 3, 3), 2, stride=1)
    array([[[4., 5.],
            [7., 8.]]])
    """
    return _core.max_pool2d(
        x, kernel_size, stride, padding, dilation, ceil_mode, return_indices, layout, threads, out
    )


@overload
def min_pool2d(
    x: ArrayLike,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: Literal[False] = False,
    *,
    layout: Layout = "NCHW",
    threads: int | None = None,
    out: Array | None = None,
) -> Array: ...
@overload
def min_pool2d(
    x: ArrayLike,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    *,
    return_indices: Literal[True],
    layout: Layout = "NCHW",
    threads: int | None = None,
    out: Array | None = None,
) -> tuple[Array, Array]: ...
def min_pool2d(
    x: ArrayLike,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    layout: Layout = "NCHW",
    threads: int | None = None,
    out: Array | None = None,
) -> Array | tuple[Array, Array]:
    """Minimum of every window.

    Parameters
    ----------
    x, kernel_size, stride, padding, dilation, ceil_mode, return_indices, layout, threads, out
        See `max_pool2d`.

    Returns
    -------
    y, indices : ndarray
        As `max_pool2d`; a window without any cell gives inf, or the greatest number of an integer
        type. `max_pool2d_grad` takes the indices.

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        As `conv2d`.

    Examples
    --------
    >>> import numpy as np, convpool
    >>> convpool.min_pool2d(np.arange(9).reshape(1, 3, 3), 2, stride=1)
    array([[[0, 1],
            [3, 4]]])
    """
    return _core.min_pool2d(
        x, kernel_size, stride, padding, dilation, ceil_mode, return_indices, layout, threads, out
    )


def avg_pool2d(
    x: ArrayLike,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dilation: Pair = 1,
    pad_mode: PadMode = "constant",
    pad_value: complex = 0,
    layout: Layout = "NCHW",
    dtype: DTypeLike | None = None,
    threads: int | None = None,
    out: Array | None = None,
) -> Array:
    """Mean of every window; sums are kept in float64.

    Parameters
    ----------
    x : array_like, ``(N, C, H, W)`` or ``(C, H, W)``
        Any numeric dtype; whole numbers give float64.
    kernel_size, stride, padding, dilation, ceil_mode, layout, threads, out
        See `max_pool2d`.
    count_include_pad : bool
        Whether padded cells count in the divisor. The overhang of `ceil_mode` never does.
    divisor_override : int, optional
        Divide every sum by this number instead.
    pad_mode, pad_value, dtype
        See `conv2d`. Padding that does not count is not summed either.

    Returns
    -------
    ndarray, ``(N, C, H_out, W_out)``
        NaN for a window in which no cell counts.

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        As `conv2d`.

    Notes
    -----
    *Dive into Deep Learning*, section 6.5.

    Examples
    --------
    >>> import numpy as np, convpool
    >>> convpool.avg_pool2d(np.arange(9.0).reshape(1, 3, 3), 2, stride=1)
    array([[[2., 3.],
            [5., 6.]]])
    """
    return _core.avg_pool2d(
        x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, dilation,
        pad_mode, pad_value, layout, dtype, threads, out,
    )  # fmt: skip


def sum_pool2d(
    x: ArrayLike,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    *,
    dilation: Pair = 1,
    pad_mode: PadMode = "constant",
    pad_value: complex = 0,
    layout: Layout = "NCHW",
    dtype: DTypeLike | None = None,
    threads: int | None = None,
    out: Array | None = None,
) -> Array:
    """Sum of every window; its gradient is that of `avg_pool2d` with ``divisor_override=1``.

    Parameters
    ----------
    x : array_like, ``(N, C, H, W)`` or ``(C, H, W)``
        Any numeric dtype; whole numbers widen as in `numpy.sum`.
    kernel_size, stride, padding, ceil_mode, dilation, layout, threads, out
        See `max_pool2d`.
    pad_mode, pad_value, dtype
        See `conv2d`.

    Returns
    -------
    ndarray, ``(N, C, H_out, W_out)``

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        As `conv2d`.

    Examples
    --------
    >>> import numpy as np, convpool
    >>> convpool.sum_pool2d(np.full((1, 2, 2), 200, np.uint8), 2)
    array([[[800]]], dtype=uint64)
    """
    return _core.sum_pool2d(
        x, kernel_size, stride, padding, ceil_mode, dilation,
        pad_mode, pad_value, layout, dtype, threads, out,
    )  # fmt: skip


def lp_pool2d(
    x: ArrayLike,
    norm_type: float,
    kernel_size: Pair,
    stride: Pair | None = None,
    ceil_mode: bool = False,
    *,
    padding: Padding = 0,
    dilation: Pair = 1,
    layout: Layout = "NCHW",
    dtype: DTypeLike | None = None,
    threads: int | None = None,
    out: Array | None = None,
) -> Array:
    """Lp norm of every window: ``sum(abs(x)**p)**(1/p)``.

    Parameters
    ----------
    x : array_like, ``(N, C, H, W)`` or ``(C, H, W)``
        Any real dtype; whole numbers give float64.
    norm_type : float
        The power p, positive; ``inf`` gives the largest absolute value.
    kernel_size, stride, ceil_mode, padding, dilation, layout, threads, out
        See `max_pool2d`.
    dtype
        See `conv2d`.

    Returns
    -------
    ndarray, ``(N, C, H_out, W_out)``

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        As `conv2d`.

    Examples
    --------
    >>> import numpy as np, convpool
    >>> convpool.lp_pool2d(np.array([[[3.0, -4.0]]]), 2, (1, 2))
    array([[[5.]]])
    """
    return _core.lp_pool2d(
        x, norm_type, kernel_size, stride, ceil_mode, padding, dilation, layout, dtype, threads, out
    )


def pool2d_output_shape(
    x_shape: Sequence[int],
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    *,
    layout: Layout = "NCHW",
) -> tuple[int, ...]:
    """Shape of the result of a pooling function, by the same rules and with the same errors.

    Parameters
    ----------
    x_shape : sequence of int
        Shape of `x`.
    kernel_size, stride, padding, dilation, ceil_mode, layout
        See `max_pool2d`.

    Returns
    -------
    tuple of int

    Raises
    ------
    ValueError
        As `conv2d`.

    Examples
    --------
    >>> import convpool
    >>> convpool.pool2d_output_shape((8, 64, 112, 112), 3, stride=2, padding=1)
    (8, 64, 56, 56)
    """
    return _core.pool2d_output_shape(
        x_shape, kernel_size, stride, padding, dilation, ceil_mode, layout
    )
