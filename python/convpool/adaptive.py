"""Pools whose output size is given: adaptive and global ones.

As in ``conv.py``, this module only documents and names the arguments.
"""

from collections.abc import Sequence
from typing import Literal, overload

from numpy.typing import ArrayLike, DTypeLike

from convpool import _core
from convpool._typing import Array, Layout, Pair

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_grad",
    "adaptive_max_pool2d",
    "global_avg_pool2d",
    "global_max_pool2d",
]


def adaptive_avg_pool2d(
    x: ArrayLike,
    output_size: Pair,
    *,
    layout: Layout = "NCHW",
    dtype: DTypeLike | None = None,
    threads: int | None = None,
    out: Array | None = None,
) -> Array:
    """Mean of windows that share out the image.

    Window i of n cells into m is ``floor(i*n/m) ... ceil((i+1)*n/m)``, as in PyTorch: neighbours
    overlap by a cell where m does not divide n.

    Parameters
    ----------
    x : array_like, ``(N, C, H, W)`` or ``(C, H, W)``
        Any numeric dtype; whole numbers give float64.
    output_size : int or ``(height, width)``
        Cells of the result.
    layout, dtype, threads, out
        See `conv2d`.

    Returns
    -------
    ndarray, ``(N, C, height, width)``

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        As `conv2d`.

    Examples
    --------
    >>> import numpy as np, convpool
    >>> convpool.adaptive_avg_pool2d(np.arange(5.0).reshape(1, 1, 5), (1, 2))
    array([[[1., 3.]]])
    """
    return _core.adaptive_avg_pool2d(x, output_size, layout, dtype, threads, out)


def adaptive_avg_pool2d_grad(
    dy: ArrayLike,
    input_shape: Sequence[int],
    *,
    layout: Layout = "NCHW",
    dtype: DTypeLike | None = None,
    threads: int | None = None,
    out: Array | None = None,
) -> Array:
    """Gradient of `adaptive_avg_pool2d` with respect to `x`.

    Parameters
    ----------
    dy : array_like, ``(N, C, height, width)`` or ``(C, height, width)``
    input_shape : sequence of int
        Shape of `x`.
    layout, dtype, threads, out
        See `conv2d`.

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
    >>> convpool.adaptive_avg_pool2d_grad(np.array([[[3.0, 6.0]]]), (1, 1, 5))
    array([[[1., 1., 3., 2., 2.]]])
    """
    return _core.adaptive_avg_pool2d_grad(dy, input_shape, layout, dtype, threads, out)


@overload
def adaptive_max_pool2d(
    x: ArrayLike,
    output_size: Pair,
    return_indices: Literal[False] = False,
    *,
    layout: Layout = "NCHW",
    threads: int | None = None,
    out: Array | None = None,
) -> Array: ...
@overload
def adaptive_max_pool2d(
    x: ArrayLike,
    output_size: Pair,
    return_indices: Literal[True],
    *,
    layout: Layout = "NCHW",
    threads: int | None = None,
    out: Array | None = None,
) -> tuple[Array, Array]: ...
def adaptive_max_pool2d(
    x: ArrayLike,
    output_size: Pair,
    return_indices: bool = False,
    *,
    layout: Layout = "NCHW",
    threads: int | None = None,
    out: Array | None = None,
) -> Array | tuple[Array, Array]:
    """Maximum of windows that share out the image, as in `adaptive_avg_pool2d`.

    Parameters
    ----------
    x : array_like, ``(N, C, H, W)`` or ``(C, H, W)``
        Any real dtype, which the result keeps.
    output_size : int or ``(height, width)``
        Cells of the result.
    return_indices : bool
        Also return where each maximum stands, for `max_pool2d_grad`.
    layout, threads, out
        See `conv2d`.

    Returns
    -------
    y, indices : ndarray, ``(N, C, height, width)``
        As `max_pool2d`.

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        As `conv2d`.

    Examples
    --------
    >>> import numpy as np, convpool
    >>> convpool.adaptive_max_pool2d(np.arange(5).reshape(1, 1, 5), (1, 2))
    array([[[2, 4]]])
    """
    return _core.adaptive_max_pool2d(x, output_size, return_indices, layout, threads, out)


def global_avg_pool2d(
    x: ArrayLike,
    *,
    layout: Layout = "NCHW",
    dtype: DTypeLike | None = None,
    threads: int | None = None,
    out: Array | None = None,
) -> Array:
    """Mean of every image plane: `adaptive_avg_pool2d` into one cell.

    Parameters
    ----------
    x, layout, dtype, threads, out
        See `adaptive_avg_pool2d`.

    Returns
    -------
    ndarray, ``(N, C, 1, 1)``

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        As `conv2d`.

    Examples
    --------
    >>> import numpy as np, convpool
    >>> convpool.global_avg_pool2d(np.arange(6.0).reshape(1, 2, 3))
    array([[[2.5]]])
    """
    return _core.adaptive_avg_pool2d(x, 1, layout, dtype, threads, out)


@overload
def global_max_pool2d(
    x: ArrayLike,
    return_indices: Literal[False] = False,
    *,
    layout: Layout = "NCHW",
    threads: int | None = None,
    out: Array | None = None,
) -> Array: ...
@overload
def global_max_pool2d(
    x: ArrayLike,
    return_indices: Literal[True],
    *,
    layout: Layout = "NCHW",
    threads: int | None = None,
    out: Array | None = None,
) -> tuple[Array, Array]: ...
def global_max_pool2d(
    x: ArrayLike,
    return_indices: bool = False,
    *,
    layout: Layout = "NCHW",
    threads: int | None = None,
    out: Array | None = None,
) -> Array | tuple[Array, Array]:
    """Maximum of every image plane: `adaptive_max_pool2d` into one cell.

    Parameters
    ----------
    x, return_indices, layout, threads, out
        See `adaptive_max_pool2d`.

    Returns
    -------
    y, indices : ndarray, ``(N, C, 1, 1)``

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        As `conv2d`.

    Examples
    --------
    >>> import numpy as np, convpool
    >>> convpool.global_max_pool2d(np.arange(6).reshape(1, 2, 3))
    array([[[5]]])
    """
    return _core.adaptive_max_pool2d(x, 1, return_indices, layout, threads, out)
