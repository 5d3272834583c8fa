"""Gradients of pools, and unpooling.

As in ``conv.py``, this module only documents and names the arguments.
"""

from collections.abc import Sequence

from numpy.typing import ArrayLike, DTypeLike

from convpool import _core
from convpool._typing import Array, Layout, Padding, PadMode, Pair

__all__ = ["avg_pool2d_grad", "max_pool2d_grad", "max_unpool2d"]


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
