"""Two-dimensional pooling: maximum and average, their gradients, unpooling.

As in ``conv.py``, this module only documents and names the arguments.
"""

from collections.abc import Sequence
from typing import Literal, overload

from numpy.typing import ArrayLike, DTypeLike

from convpool import _core
from convpool._typing import Array, Layout, Padding, PadMode, Pair

__all__ = [
    "avg_pool2d",
    "avg_pool2d_grad",
    "max_pool2d",
    "max_pool2d_grad",
    "max_unpool2d",
    "pool2d_output_shape",
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
        float32 or float64.
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
        A NaN in a window gives NaN; a window without any cell of the image gives -inf.
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


def max_pool2d_grad(
    dy: ArrayLike,
    indices: ArrayLike,
    input_shape: Sequence[int],
    *,
    layout: Layout = "NCHW",
    threads: int | None = None,
    out: Array | None = None,
) -> Array:
    """Gradient of `max_pool2d` with respect to `x`.

    Parameters
    ----------
    dy : array_like, ``(N, C, H_out, W_out)`` or ``(C, H_out, W_out)``
    indices : array_like of int, same shape
        From ``max_pool2d(..., return_indices=True)``. The gradient of index -1 is dropped;
        windows that share their maximum add up.
    input_shape : sequence of int
        Shape of `x`.
    layout, threads, out
        See `conv2d`.

    Returns
    -------
    ndarray of shape `input_shape`

    Raises
    ------
    IndexError
        For an index outside ``-1 ... H*W - 1``.
    ValueError, TypeError, NotImplementedError
        As `conv2d`.

    Examples
    --------
    >>> import numpy as np, convpool
    >>> y, indices = convpool.max_pool2d(np.array([[[1.0, 5.0, 2.0]]]), (1, 2), 1,
    ...                                  return_indices=True)
    >>> convpool.max_pool2d_grad(np.ones_like(y), indices, (1, 1, 3))
    array([[[0., 2., 0.]]])
    """
    return _core.max_pool2d_grad(dy, indices, input_shape, layout, threads, out)


def max_unpool2d(
    y: ArrayLike,
    indices: ArrayLike,
    output_shape: Sequence[int],
    *,
    layout: Layout = "NCHW",
    threads: int | None = None,
    out: Array | None = None,
) -> Array:
    """Put every maximum back where it came from; all other cells are zero.

    Parameters
    ----------
    y : array_like, ``(N, C, H_out, W_out)`` or ``(C, H_out, W_out)``
    indices : array_like of int, same shape
        From ``max_pool2d(..., return_indices=True)``. Values of index -1 are dropped; where
        several values have one index, the last in memory order stays.
    output_shape : sequence of int
        Shape of the result, usually that of the pooled image.
    layout, threads, out
        See `conv2d`.

    Returns
    -------
    ndarray of shape `output_shape`

    Raises
    ------
    IndexError
        For an index outside ``-1 ... H*W - 1``.
    ValueError, TypeError, NotImplementedError
        As `conv2d`.

    Examples
    --------
    >>> import numpy as np, convpool
    >>> convpool.max_unpool2d(np.array([[[5.0]]]), np.array([[[1]]]), (1, 1, 3))
    array([[[0., 5., 0.]]])
    """
    return _core.max_unpool2d(y, indices, output_shape, layout, threads, out)


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
    pad_value: float = 0,
    layout: Layout = "NCHW",
    dtype: DTypeLike | None = None,
    threads: int | None = None,
    out: Array | None = None,
) -> Array:
    """Mean of every window; sums are kept in float64.

    Parameters
    ----------
    x, kernel_size, stride, padding, dilation, ceil_mode, layout, threads, out
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


def avg_pool2d_grad(
    dy: ArrayLike,
    input_shape: Sequence[int],
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dilation: Pair = 1,
    pad_mode: PadMode = "constant",
    layout: Layout = "NCHW",
    dtype: DTypeLike | None = None,
    threads: int | None = None,
    out: Array | None = None,
) -> Array:
    """Gradient of `avg_pool2d` with respect to `x`.

    Parameters
    ----------
    dy : array_like, ``(N, C, H_out, W_out)`` or ``(C, H_out, W_out)``
    input_shape : sequence of int
        Shape of `x`.
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, dilation, \
pad_mode, layout, dtype, threads, out
        As they were in `avg_pool2d`.

    Returns
    -------
    ndarray of shape `input_shape`

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        As `conv2d`.

    Examples
    --------
    >>> import numpy as np, convpool
    >>> convpool.avg_pool2d_grad(np.ones((1, 1, 2)), (1, 1, 3), (1, 2), 1)
    array([[[0.5, 1. , 0.5]]])
    """
    return _core.avg_pool2d_grad(
        dy, input_shape, kernel_size, stride, padding, ceil_mode, count_include_pad,
        divisor_override, dilation, pad_mode, layout, dtype, threads, out,
    )  # fmt: skip


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
