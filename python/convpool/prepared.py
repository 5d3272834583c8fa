"""Convolutions whose weights are packed once."""

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from convpool import _core
from convpool._typing import Algorithm, Array, Layout, Padding, PadMode, Pair, Precision

__all__ = ["PreparedConv2d", "prepare_conv2d"]

# From stride to algorithm, in the order of `conv2d`.
_Arguments: TypeAlias = tuple[
    Pair, Padding, Pair, int, PadMode, complex, Layout, DTypeLike | None, Precision, Algorithm
]


class PreparedConv2d:
    """A `conv2d` with everything given but the image; `prepare_conv2d` makes it.

    It keeps copies: changing the arrays that it was made from changes nothing. Threads may share
    it.
    """

    def __init__(
        self, weight: _core.PackedWeight, bias: Array | None, arguments: _Arguments
    ) -> None:
        self._weight = weight
        self._bias = bias
        self._arguments = arguments

    def __call__(
        self, x: ArrayLike, *, threads: int | None = None, out: Array | None = None
    ) -> Array:
        """Return ``conv2d(x, weight, bias, ...)``, bit for bit.

        Parameters
        ----------
        x : array_like, ``(N, C_in, H, W)`` or ``(C_in, H, W)``
            Of any size.
        threads, out
            See `conv2d`.
        """
        # By name: a starred tuple in the call would take 0.1 us more.
        (
            stride, padding, dilation, groups,
            pad_mode, pad_value, layout, dtype, precision, algorithm,
        ) = self._arguments  # fmt: skip
        return _core.conv2d(
            x, self._weight, self._bias, stride, padding, dilation, groups,
            pad_mode, pad_value, layout, dtype, precision, algorithm, threads, out,
        )  # fmt: skip


def prepare_conv2d(
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    pad_mode: PadMode = "constant",
    pad_value: complex = 0,
    layout: Layout = "NCHW",
    dtype: DTypeLike | None = None,
    precision: Precision = "highest",
    algorithm: Algorithm = "auto",
) -> PreparedConv2d:
    """Keep the weights of a convolution packed, for calls with many images.

    They are packed when an image first asks for it: small and large images may ask for two forms.

    Parameters
    ----------
    weight, bias, stride, padding, dilation, groups, pad_mode, pad_value, layout, dtype, \
precision, algorithm
        See `conv2d`. What depends on the image is checked with each call.

    Returns
    -------
    PreparedConv2d
        Call it with `x`.

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        As `conv2d`.

    Examples
    --------
    >>> import numpy as np, convpool
    >>> edges = convpool.prepare_conv2d(np.array([[[[1.0, -1.0]]]]))
    >>> edges(np.array([[[1.0, 1.0, 0.0, 0.0, 1.0]]]))
    array([[[ 0.,  1.,  0., -1.]]])
    """
    packed = _core.pack_weight(weight, groups, dtype)
    kept = None if bias is None else np.array(bias)
    arguments = (
        stride, padding, dilation, groups,
        pad_mode, pad_value, layout, dtype, precision, algorithm,
    )  # fmt: skip
    return PreparedConv2d(packed, kept, arguments)
