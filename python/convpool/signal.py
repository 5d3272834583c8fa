"""`correlate2d` and `convolve2d` with the arguments and results of SciPy's functions.

Geometry only: each function is one call of `convpool.conv2d`, which pads while it reads, releases
the GIL and needs no SciPy. `scipy.signal.correlate2d` and `convolve2d` (SciPy 1.17, reference
guide and behaviour) say what the result is; where convpool differs on purpose:

- Two boolean arrays count in int64, and float16 gives float16; SciPy refuses both. SciPy takes
  longdouble; convpool raises NotImplementedError.
- A masked array raises TypeError; SciPy ignores the mask.
- A kernel without elements, and ``"wrap"`` or ``"symm"`` around an image without elements, raise
  ValueError; SciPy returns zeros of an unrelated shape, or divides by zero and ends the process.
- float32 sums keep more digits than one running float32 sum, so that last digits differ.

>>> from convpool import signal
>>> signal.convolve2d([[1, 2], [3, 4]], [[1, 1]])
array([[1, 3, 2],
       [3, 7, 4]])
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from convpool._typing import Array, PadMode
from convpool.conv import conv2d

__all__ = ["convolve2d", "correlate2d"]

_PAD_MODES: dict[str, PadMode] = {
    "fill": "constant",
    "pad": "constant",
    "wrap": "wrap",
    "circular": "wrap",
    "symm": "symmetric",
    "symmetric": "symmetric",
}


def correlate2d(
    in1: ArrayLike,
    in2: ArrayLike,
    mode: Literal["full", "valid", "same"] = "full",
    boundary: str = "fill",
    fillvalue: complex = 0,
) -> Array:
    """Cross-correlate two images: ``in1`` with the complex conjugate of ``in2``.

    Parameters
    ----------
    in1, in2 : array_like, two-dimensional
    mode : {"full", "valid", "same"}
        ``"full"`` keeps every placement of `in2` that touches `in1`, ``"valid"`` those inside it,
        ``"same"`` the middle of ``"full"`` in the shape of `in1`; an `in2` of even size reaches one
        cell further down and right than up and left.
    boundary : {"fill", "wrap", "symm"}
        What stands around `in1`: `fillvalue`, its repetition, or its mirror image with the edge
        cells repeated; ``"pad"``, ``"circular"`` and ``"symmetric"`` are the same three.
    fillvalue : scalar
        Cut to a whole number where the result is one.

    Returns
    -------
    ndarray
        Of dtype ``numpy.result_type(in1, in2)``; integers wrap in it.

    Raises
    ------
    ValueError
        For arrays that are not two-dimensional or not numeric, unknown words, a `fillvalue` that
        is not one number or does not fit the dtype, and for ``"valid"`` if neither array is at
        least as large as the other along both axes.
    TypeError
        For masked arrays.

    See Also
    --------
    convpool.conv2d : with channels, batches, stride, dilation, and a wide result for integers.

    Notes
    -----
    With ``"valid"`` and an `in2` larger than `in1` the roles change and the result is rotated by
    180 degrees. As in SciPy, the conjugate is then that of `in1`.

    Examples
    --------
    >>> import numpy as np
    >>> from convpool import signal
    >>> signal.correlate2d(np.arange(9).reshape(3, 3), [[0, 1], [2, 3]], mode="valid")
    array([[19, 25],
           [37, 43]])
    >>> signal.correlate2d([[1, 2, 3]], [[1, 1]], mode="same", boundary="wrap")
    array([[3, 5, 4]])
    """
    image, kernel, swapped = _operands("correlate2d", in1, in2, mode)
    before = [(k - 1) // 2 for k in kernel.shape]
    y = _slide(image, kernel.conj(), mode, before, boundary, fillvalue)
    return y[::-1, ::-1] if swapped else y


def convolve2d(
    in1: ArrayLike,
    in2: ArrayLike,
    mode: Literal["full", "valid", "same"] = "full",
    boundary: str = "fill",
    fillvalue: complex = 0,
) -> Array:
    """Convolve two images: `correlate2d` with ``in2`` rotated by 180 degrees, not conjugated.

    Parameters
    ----------
    in1, in2, boundary, fillvalue
        See `correlate2d`.
    mode : {"full", "valid", "same"}
        See `correlate2d`; with ``"same"`` a rotated `in2` of even size reaches one cell further
        up and left. ``"valid"`` gives the same result for either order of the arrays.

    Returns
    -------
    ndarray
        Of dtype ``numpy.result_type(in1, in2)``; integers wrap in it.

    Raises
    ------
    ValueError, TypeError
        As `correlate2d`.

    Examples
    --------
    >>> from convpool import signal
    >>> signal.convolve2d([[1, 2, 3]], [[1, 0, -1]], mode="same", boundary="symm")
    array([[1, 2, 1]])
    >>> signal.convolve2d([[1, 2, 3]], [[1j]])
    array([[0.+1.j, 0.+2.j, 0.+3.j]])
    """
    image, kernel, _ = _operands("convolve2d", in1, in2, mode)
    before = [k // 2 for k in kernel.shape]
    return _slide(image, kernel[::-1, ::-1], mode, before, boundary, fillvalue)


def _operands(name: str, in1: ArrayLike, in2: ArrayLike, mode: str) -> tuple[Array, Array, bool]:
    """Return image, kernel, and whether their roles were changed."""
    image, kernel = _numbers("in1", in1), _numbers("in2", in2)
    if image.ndim != 2 or kernel.ndim != 2:
        message = f"{name} inputs must both be 2-D arrays, not of shapes {image.shape}"
        raise ValueError(f"{message} and {kernel.shape}")
    if mode not in {"full", "valid", "same"}:
        raise ValueError(f"mode must be 'full', 'valid' or 'same', not {mode!r}")
    swapped = mode == "valid" and not _covers(image, kernel)
    if swapped and not _covers(kernel, image):
        message = "for mode='valid' one input must be at least as large as the other along both"
        raise ValueError(f"{message} axes: {image.shape} and {kernel.shape}")
    if swapped:
        image, kernel = kernel, image
    if 0 in kernel.shape:
        raise ValueError(f"{name} needs a kernel that has elements, not of shape {kernel.shape}")
    return image, kernel, swapped


def _covers(large: Array, small: Array) -> bool:
    return all(a >= b for a, b in zip(large.shape, small.shape, strict=True))


def _numbers(name: str, values: ArrayLike) -> Array:
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array; fill it first: {name}.filled(value)")
    array = np.asarray(values)
    if array.dtype.kind in "OSUMm":
        raise ValueError(f"{name} must be an array of numbers, not of dtype {array.dtype}")
    return array


def _slide(
    image: Array, kernel: Array, mode: str, before: list[int], boundary: str, fillvalue: Any
) -> Array:
    """Correlate; `before` is the padding above and left of the image for ``"same"``."""
    if boundary not in _PAD_MODES:
        words = ", ".join(map(repr, _PAD_MODES))
        raise ValueError(f"boundary must be one of {words}, not {boundary!r}")
    pad_mode = _PAD_MODES[boundary]
    dtype = np.result_type(image, kernel)
    if dtype == np.bool_:
        dtype = np.dtype(int)
    fill = _fill(fillvalue, dtype) if pad_mode == "constant" else 0
    if mode == "valid":
        padding = [(0, 0), (0, 0)]
    elif mode == "same":
        padding = [(b, k - 1 - b) for b, k in zip(before, kernel.shape, strict=True)]
    else:
        padding = [(k - 1, k - 1) for k in kernel.shape]
    shape = [
        size + sum(added) + 1 - k
        for size, added, k in zip(image.shape, padding, kernel.shape, strict=True)
    ]
    if 0 in shape:
        return np.empty(shape, dtype)
    x, weight = image[np.newaxis], kernel[np.newaxis, np.newaxis]
    return conv2d(
        x, weight, padding=padding, pad_mode=pad_mode, pad_value=fill, dtype=dtype
    ).squeeze(0)


def _fill(fillvalue: Any, dtype: np.dtype[Any]) -> Any:
    """Return the number that fits `dtype`, cut towards zero if that holds whole numbers only."""
    array = np.asarray(fillvalue)
    # Both messages begin as SciPy's do, since its tests look for these words.
    if array.size != 1:
        message = "`fillvalue` must be scalar or an array with one element"
        raise ValueError(f"{message}, not of shape {array.shape}")
    try:
        if dtype.kind == "c":
            return complex(array.item())
        if dtype.kind not in "iu":
            return float(array.item())
        value, limits = int(array.item()), np.iinfo(dtype)
        if limits.min <= value <= limits.max:
            return value
    except (TypeError, ValueError, OverflowError):
        pass
    message = "could not cast `fillvalue` directly to the output dtype"
    raise ValueError(f"{message} {dtype}: {fillvalue!r}")
