"""Two-dimensional cross-correlation with channels: forward, gradients, plans.

This module documents and names the arguments; every rule about them lives in ``csrc/problem.cpp``
and every loop below it. Arguments are forwarded by position, since keywords would cost more
than a small convolution.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from convpool import _core
from convpool._typing import Algorithm, Array, Layout, Padding, PadMode, Pair, Precision

__all__ = [
    "Plan",
    "conv2d",
    "conv2d_grad_bias",
    "conv2d_grad_input",
    "conv2d_grad_weight",
    "conv2d_output_shape",
    "conv2d_transpose",
    "explain_conv2d",
]


def conv2d(
    x: ArrayLike,
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
    threads: int | None = None,
    out: Array | None = None,
) -> Array:
    """Cross-correlate a batch of images with a bank of kernels (the kernel is not flipped).

    ``y[n, o, i, j] = bias[o] + sum over c, p, q of
    weight[o, c, p, q] * x_padded[n, c, i*stride + p*dilation, j*stride + q*dilation]``

    Parameters
    ----------
    x : array_like, ``(N, C_in, H, W)`` or ``(C_in, H, W)``
        Any numeric dtype; ``(N, H, W, C_in)`` with ``layout="NHWC"``.
    weight : array_like, ``(C_out, C_in / groups, kh, kw)`` in both layouts
        A Keras kernel ``(kh, kw, C_in, C_out)`` fits after ``kernel.transpose(3, 2, 0, 1)``.
    bias : array_like, ``(C_out,)``, optional
    stride, dilation : int or ``(height, width)``
        Step between windows, and between the taps of one window, in cells; at least 1.
    padding : int, ``(height, width)``, ``((top, bottom), (left, right))`` or str
        Cells added around each image; negative numbers crop. ``"valid"`` adds none; ``"same"``
        gives ``ceil(size / stride)`` outputs with the odd cell at the end (TensorFlow's rule and
        ONNX' SAME_UPPER), ``"same_lower"`` with the odd cell at the start; ``"full"`` keeps every
        window that touches the image.
    groups : int
        Channels are split into this many groups that do not see each other.
    pad_mode : {"constant", "reflect", "symmetric", "edge", "wrap"}
        What padding shows, as in `numpy.pad`; negative padding crops afterwards.
    pad_value : number
        What constant padding is filled with.
    layout : {"NCHW", "NHWC"}
        Where the channels stand in `x` and in the result.
    dtype : dtype, optional
        Type of the computation and of the result. By default ``numpy.result_type`` of the arrays;
        for whole numbers what `numpy.sum` makes of that, exact modulo 2**64, of which a narrower
        integer `dtype` keeps the lowest bits. Half precision is computed in float32 and rounded
        once.
    precision : {"highest", "high", "medium"}
        Below ``"highest"``, ``"auto"`` may take ``"winograd"``.
    algorithm : {"auto", "direct", "im2col", "implicit_gemm", "winograd", "fft"}
        ``"direct"`` is plain loops, ``"im2col"`` a matrix product over copied windows
        (Chellapilla, Puri and Simard, 2006), ``"implicit_gemm"`` the same product over the padded
        image itself, ``"winograd"`` products of transformed tiles of 4x4 results, for kernels of
        3x3 with stride and dilation 1 (Lavin and Gray, 2016), ``"fft"`` a product of Fourier
        transforms in float64, for large kernels; `explain_conv2d` tells which one ``"auto"``
        takes.
        ``"winograd"`` takes half of the time with many channels, but its error is two to three
        times that of sums in order, and relative to the largest numbers near a result in all
        channels. In float64 the error of ``"fft"`` is relative to the largest numbers of an image,
        so ``"auto"`` takes it for float32, halves and whole numbers only, which it gives as
        accurately as the others do. NaN and infinity stay where they are in all of them.
    threads : int, optional
        How many threads the call may use; by default `get_num_threads` says. The result has the
        same bits for every number.
    out : ndarray, optional
        Receives the result; its shape and dtype must be the result's.

    Returns
    -------
    ndarray, ``(N, C_out, H_out, W_out)``, or without N if `x` has none

    Raises
    ------
    ValueError
        For shapes or numbers that do not fit; the message names the argument.
    TypeError
        For arrays that are not numeric.
    NotImplementedError
        For what is in the signature but not built yet.

    Notes
    -----
    *Dive into Deep Learning*, sections 6.2 to 6.4. Signal processing calls this correlation;
    for a true convolution flip the kernel: ``weight[:, :, ::-1, ::-1]``.

    Examples
    --------
    >>> import numpy as np, convpool
    >>> x = np.arange(9.0).reshape(1, 1, 3, 3)
    >>> convpool.conv2d(x, np.arange(4.0).reshape(1, 1, 2, 2))
    array([[[[19., 25.],
             [37., 43.]]]])
    """
    return _core.conv2d(
        x, weight, bias, stride, padding, dilation, groups,
        pad_mode, pad_value, layout, dtype, precision, algorithm, threads, out,
    )  # fmt: skip


def conv2d_transpose(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
    *,
    layout: Layout = "NCHW",
    dtype: DTypeLike | None = None,
    precision: Precision = "highest",
    algorithm: Algorithm = "auto",
    threads: int | None = None,
    out: Array | None = None,
) -> Array:
    """Transposed convolution: the map from outputs back to inputs that `conv2d` transposes.

    Each input cell adds ``weight * x`` to a window of the result. With the same arguments it is
    `conv2d_grad_input` plus a bias, but for a complex weight, which only gradients conjugate; the
    result's size is
    ``(size - 1)*stride - padding + (kernel - 1)*dilation + 1 + output_padding``; an axis of size 0
    stays empty but for its `output_padding`.

    Parameters
    ----------
    x : array_like, ``(N, C_in, H, W)`` or ``(C_in, H, W)``
    weight : array_like, ``(C_in, C_out / groups, kh, kw)``
        The weight of the convolution that is transposed, as in PyTorch.
    bias : array_like, ``(C_out,)``, optional
    stride, padding, dilation, groups
        Of the convolution that is transposed, see `conv2d`. The rules ``"same"`` and
        ``"same_lower"`` give ``size * stride`` results.
    output_padding : int or ``(height, width)``
        Rows and columns added at the end, since a strided convolution maps several input sizes
        to one output size; smaller than the stride or the dilation.
    layout, dtype, precision, algorithm, threads, out
        See `conv2d`.

    Returns
    -------
    ndarray, ``(N, C_out, H_out, W_out)``

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        As `conv2d`.

    Notes
    -----
    Zeiler, Krishnan, Taylor and Fergus, "Deconvolutional networks", 2010.

    Examples
    --------
    >>> import numpy as np, convpool
    >>> convpool.conv2d_transpose(np.ones((1, 1, 2)), np.ones((1, 1, 1, 3)), stride=2)
    array([[[1., 1., 2., 1., 1.]]])
    """
    return _core.conv2d_transpose(
        x, weight, bias, stride, padding, output_padding, groups, dilation,
        layout, dtype, precision, algorithm, threads, out,
    )  # fmt: skip


def conv2d_grad_input(
    dy: ArrayLike,
    weight: ArrayLike,
    input_shape: Sequence[int],
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
    threads: int | None = None,
    out: Array | None = None,
) -> Array:
    """Gradient of `conv2d` with respect to `x`.

    Parameters
    ----------
    dy : array_like, ``(N, C_out, H_out, W_out)`` or ``(C_out, H_out, W_out)``
        Gradient with respect to the result of `conv2d`.
    weight : array_like, ``(C_out, C_in / groups, kh, kw)``
    input_shape : sequence of int
        Shape of `x`, which a stride leaves ambiguous.
    stride, padding, dilation, groups, pad_mode, pad_value, layout, dtype, precision, \
algorithm, threads, out
        As they were in `conv2d`; `pad_value` has no influence.

    Returns
    -------
    ndarray of shape `input_shape`

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        As `conv2d`.

    Notes
    -----
    The adjoint of the forward map: ``(conv2d(x) * dy).sum() == (x * dx).sum()`` without bias.

    Examples
    --------
    >>> import numpy as np, convpool
    >>> weight = np.array([[[[1.0, -1.0]]]])
    >>> convpool.conv2d_grad_input(np.ones((1, 2, 2)), weight, (1, 2, 3))
    array([[[ 1.,  0., -1.],
            [ 1.,  0., -1.]]])
    """
    return _core.conv2d_grad_input(
        dy, weight, input_shape, stride, padding, dilation, groups,
        pad_mode, pad_value, layout, dtype, precision, algorithm, threads, out,
    )  # fmt: skip


def conv2d_grad_weight(
    dy: ArrayLike,
    x: ArrayLike,
    kernel_size: Pair,
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
    threads: int | None = None,
    out: Array | None = None,
) -> Array:
    """Gradient of `conv2d` with respect to `weight`, summed over the batch.

    Parameters
    ----------
    dy : array_like, ``(N, C_out, H_out, W_out)`` or ``(C_out, H_out, W_out)``
        Gradient with respect to the result of `conv2d`.
    x : array_like, ``(N, C_in, H, W)`` or ``(C_in, H, W)``
    kernel_size : int or ``(kh, kw)``
        Which several kernels may share, given a stride.
    stride, padding, dilation, groups, pad_mode, pad_value, layout, dtype, precision, \
algorithm, threads, out
        As they were in `conv2d`.

    Returns
    -------
    ndarray, ``(C_out, C_in / groups, kh, kw)``

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        As `conv2d`.

    Examples
    --------
    >>> import numpy as np, convpool
    >>> x = np.arange(6.0).reshape(1, 2, 3)
    >>> convpool.conv2d_grad_weight(np.ones((1, 2, 2)), x, (1, 2))
    array([[[[ 8., 12.]]]])
    """
    return _core.conv2d_grad_weight(
        dy, x, kernel_size, stride, padding, dilation, groups,
        pad_mode, pad_value, layout, dtype, precision, algorithm, threads, out,
    )  # fmt: skip


def conv2d_grad_bias(
    dy: ArrayLike,
    *,
    layout: Layout = "NCHW",
    dtype: DTypeLike | None = None,
    threads: int | None = None,
    out: Array | None = None,
) -> Array:
    """Gradient of `conv2d` with respect to `bias`: `dy` summed over batch, rows and columns.

    Parameters
    ----------
    dy : array_like, ``(N, C_out, H_out, W_out)`` or ``(C_out, H_out, W_out)``
    layout, dtype, threads, out
        See `conv2d`. Sums are kept in float64.

    Returns
    -------
    ndarray, ``(C_out,)``

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        As `conv2d`.

    Examples
    --------
    >>> import numpy as np, convpool
    >>> convpool.conv2d_grad_bias(np.ones((2, 3, 4, 5)))
    array([40., 40., 40.])
    """
    return _core.conv2d_grad_bias(dy, layout, dtype, threads, out)


def conv2d_output_shape(
    x_shape: Sequence[int],
    weight_shape: Sequence[int],
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    layout: Layout = "NCHW",
) -> tuple[int, ...]:
    """Shape of the result of `conv2d`, by the same rules and with the same errors.

    Parameters
    ----------
    x_shape, weight_shape : sequence of int
        Shapes of `x` and `weight`.
    stride, padding, dilation, groups, layout
        See `conv2d`.

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
    >>> convpool.conv2d_output_shape((8, 3, 224, 224), (64, 3, 7, 7), stride=2, padding=3)
    (8, 64, 112, 112)
    """
    return _core.conv2d_output_shape(
        x_shape, weight_shape, stride, padding, dilation, groups, layout
    )


@dataclass(frozen=True)
class Plan:
    """How a convolution will be computed, and why."""

    algorithm: str
    instruction_set: str
    tile: tuple[int, int]
    """Rows (output channels) and columns (pixels) that the inner kernel keeps in registers; for
    ``"fft"`` those of a transform."""
    scratch_bytes: int
    """Most memory that a call takes besides its arrays."""
    flops: int
    """Floating-point operations of the definition; a multiply-add counts two."""
    output_shape: tuple[int, ...]
    reason: str

    def __str__(self) -> str:
        rows, columns = self.tile
        return (
            f"{self.algorithm} {rows}x{columns} {self.instruction_set}: {self.reason}; "
            f"{self.flops / 1e6:.3g} Mflop, {self.scratch_bytes / 2**20:.3g} MiB scratch, "
            f"result {self.output_shape}"
        )


def explain_conv2d(
    x_shape: Sequence[int],
    weight_shape: Sequence[int],
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    layout: Layout = "NCHW",
    dtype: DTypeLike = np.float32,
    precision: Precision = "highest",
    algorithm: Algorithm = "auto",
    threads: int | None = None,
) -> Plan:
    """Tell which way `conv2d` would go for these shapes; nothing is computed.

    Parameters
    ----------
    x_shape, weight_shape : sequence of int
        Shapes of `x` and `weight`.
    stride, padding, dilation, groups, layout, dtype, precision, algorithm, threads
        See `conv2d`.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        As `conv2d`.

    Examples
    --------
    >>> import convpool
    >>> plan = convpool.explain_conv2d((1, 64, 56, 56), (64, 64, 3, 3), padding=1)
    >>> plan.algorithm, plan.flops
    ('implicit_gemm', 231211008)
    """
    return Plan(
        *_core.explain_conv2d(
            x_shape, weight_shape, stride, padding, dilation, groups,
            layout, dtype, precision, algorithm, threads,
        )
    )  # fmt: skip
