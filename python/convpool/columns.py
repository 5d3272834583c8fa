"""Windows of images as columns of a matrix, and back.

As in ``conv.py``, this module only documents and names the arguments.
"""

from collections.abc import Sequence

from numpy.typing import ArrayLike, DTypeLike

from convpool import _core
from convpool._typing import Array, Layout, Padding, PadMode, Pair

__all__ = ["col2im", "im2col"]


def im2col(
    x: ArrayLike,
    kernel_size: Pair,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    *,
    pad_mode: PadMode = "constant",
    pad_value: complex = 0,
    layout: Layout = "NCHW",
    dtype: DTypeLike | None = None,
    threads: int | None = None,
    out: Array | None = None,
) -> Array:
    """Copy every window of `x` into a column of a matrix.

    Parameters
    ----------
    x : array_like, ``(N, C, H, W)`` or ``(C, H, W)``
    kernel_size : int or ``(kh, kw)``
    stride, padding, dilation, pad_mode, pad_value, layout, dtype, threads, out
        See `conv2d`.

    Returns
    -------
    ndarray, ``(N, C * kh * kw, H_out * W_out)``, or without N if `x` has none
        The order of ``torch.nn.functional.unfold``: ``weight.reshape(C_out, -1) @ cols`` is the
        convolution.

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        As `conv2d`.

    Notes
    -----
    Chellapilla, Puri and Simard, "High performance convolutional neural networks for document
    processing", 2006.

    Examples
    --------
    >>> import numpy as np, convpool
    >>> convpool.im2col(np.arange(9.0).reshape(1, 3, 3), 2)
    array([[0., 1., 3., 4.],
           [1., 2., 4., 5.],
           [3., 4., 6., 7.],
           [4., 5., 7., 8.]])
    """
    return _core.im2col(
        x, kernel_size, stride, padding, dilation, pad_mode, pad_value, layout, dtype, threads, out
    )


def col2im(
    cols: ArrayLike,
    input_shape: Sequence[int],
    kernel_size: Pair,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    *,
    pad_mode: PadMode = "constant",
    layout: Layout = "NCHW",
    dtype: DTypeLike | None = None,
    threads: int | None = None,
    out: Array | None = None,
) -> Array:
    """Add every column back to the window it came from: the adjoint of `im2col`.

    Parameters
    ----------
    cols : array_like, ``(N, C * kh * kw, H_out * W_out)`` or without N
    input_shape : sequence of int
        Shape of the images that `im2col` took.
    kernel_size, stride, padding, dilation, pad_mode, layout, dtype, threads, out
        As they were in `im2col`.

    Returns
    -------
    ndarray of shape `input_shape`

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        As `conv2d`.

    Examples
    --------
    How many windows of two cells cover each cell of a row of three:

    >>> import numpy as np, convpool
    >>> convpool.col2im(np.ones((2, 2)), (1, 1, 3), (1, 2))
    array([[[1., 2., 1.]]])
    """
    return _core.col2im(
        cols, input_shape, kernel_size, stride, padding, dilation,
        pad_mode, layout, dtype, threads, out,
    )  # fmt: skip
