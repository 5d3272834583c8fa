"""The functions of *Dive into Deep Learning*, sections 6.2 to 6.5, on NumPy arrays.

Names, arguments and results are the book's; the loops are `convpool.conv2d` and the pools. Arrays
are float32 or float64; integers are taken as float64, since the book computes with floats.

>>> from convpool import d2l
>>> d2l.corr2d([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 7.0, 8.0]], [[0.0, 1.0], [2.0, 3.0]])
array([[19., 25.],
       [37., 43.]])
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy import newaxis
from numpy.typing import ArrayLike

from convpool._arguments import as_float
from convpool._typing import Array, Pair
from convpool.conv import conv2d as _conv2d
from convpool.pool import avg_pool2d, max_pool2d

__all__ = [
    "Conv2D",
    "comp_conv2d",
    "corr2d",
    "corr2d_multi_in",
    "corr2d_multi_in_out",
    "corr2d_multi_in_out_1x1",
    "pool2d",
]


def corr2d(X: ArrayLike, K: ArrayLike) -> Array:
    """Cross-correlate an image ``(H, W)`` with a kernel ``(kh, kw)``; section 6.2.1."""
    X, K = _floats("X", X, 2), _floats("K", K, 2)
    return _conv2d(X[newaxis], K[newaxis, newaxis]).squeeze(0)


class Conv2D:
    """The layer of section 6.2.2: `corr2d` plus a bias, both to be drawn by `build`.

    Parameters
    ----------
    seed : int, optional
        Not in the book: makes the drawn numbers repeatable.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.weight: Array | None = None
        self.bias: Array | None = None
        self._rng = np.random.default_rng(seed)

    def build(self, kernel_size: tuple[int, int]) -> None:
        """Draw weight and bias from a normal distribution of deviation 0.05, as Keras does."""
        self.weight = self._rng.normal(0.0, 0.05, kernel_size).astype(np.float32)
        self.bias = self._rng.normal(0.0, 0.05, 1).astype(np.float32)

    def call(self, inputs: ArrayLike) -> Array:
        """Return ``corr2d(inputs, weight) + bias``."""
        if self.weight is None or self.bias is None:
            raise RuntimeError("Conv2D.call needs build(kernel_size) before")
        inputs, weight = _floats("inputs", inputs, 2), _floats("weight", self.weight, 2)
        return _conv2d(inputs[newaxis], weight[newaxis, newaxis], self.bias).squeeze(0)


def comp_conv2d(conv2d: Callable[[Array], Array], X: ArrayLike) -> Array:
    """Apply a layer with one filter, such as `convpool.nn.Conv2D`, to ``(H, W)``; section 6.3.1.

    The layer gets one example with one channel, in its own layout.
    """
    X = _floats("X", X, 2)
    nhwc = getattr(conv2d, "layout", "NCHW") == "NHWC"
    Y = conv2d(X.reshape((1, *X.shape, 1) if nhwc else (1, 1, *X.shape)))
    return Y.reshape(Y.shape[1:3] if nhwc else Y.shape[2:4])


def corr2d_multi_in(X: ArrayLike, K: ArrayLike) -> Array:
    """Sum `corr2d` over the channels of ``(C, H, W)`` and ``(C, kh, kw)``; section 6.4.1."""
    return _conv2d(_floats("X", X, 3), _floats("K", K, 3)[newaxis]).squeeze(0)


def corr2d_multi_in_out(X: ArrayLike, K: ArrayLike) -> Array:
    """Stack `corr2d_multi_in` for each kernel of ``(C_out, C, kh, kw)``; section 6.4.2."""
    return _conv2d(_floats("X", X, 3), _floats("K", K, 4))


def corr2d_multi_in_out_1x1(X: ArrayLike, K: ArrayLike) -> Array:
    """Mix the channels of ``(C, H, W)`` by ``(C_out, C, 1, 1)``; section 6.4.3."""
    X, K = _floats("X", X, 3), as_float("K", K)
    return _conv2d(X, K.reshape(K.shape[0], X.shape[0], 1, 1))


def pool2d(X: ArrayLike, pool_size: Pair, mode: Literal["max", "avg"] = "max") -> Array:
    """Take the maximum or the mean of every window of ``(H, W)``, one by one; section 6.5.1."""
    X = _floats("X", X, 2)[newaxis]
    if mode == "max":
        return max_pool2d(X, pool_size, 1).squeeze(0)
    if mode == "avg":
        return avg_pool2d(X, pool_size, 1).squeeze(0)
    raise ValueError(f"mode must be 'max' or 'avg', not {mode!r}")


def _floats(name: str, values: ArrayLike, ndim: int) -> Array:
    array = as_float(name, values)
    if array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimensions, not {array.ndim}")
    return array
