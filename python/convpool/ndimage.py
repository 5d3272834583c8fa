"""Filters for two-dimensional arrays with the arguments and results of SciPy's functions.

Padding, `convpool.conv2d` or one pool along each axis, and a cast. `scipy.ndimage.correlate`,
`convolve`, `uniform_filter`, `maximum_filter` and `minimum_filter` (SciPy 1.17, reference guide and
behaviour) say what the result is: sums are kept in double precision, and the result has the dtype
of the input (complex if anything is complex) or of `output`, whole numbers cut towards zero and
wrapped. `mode` is "reflect" (d c b a | a b c d | d c b a, also "grid-mirror"), "constant" (`cval`
all around, also "grid-constant"), "nearest" (the edge cell repeated), "mirror" (d c b | a b c d |
c b a) or "wrap" (the image repeated, also "grid-wrap").

Where convpool differs on purpose:

- A NaN in a window of `maximum_filter` or `minimum_filter` gives NaN; SciPy calls it undefined.
- `uniform_filter` adds, and subtracts nothing, so that a NaN or an infinity reaches the windows
  that hold it and no others; SciPy's running sum carries it on to the border.
- In `correlate` and `convolve` every weight takes part: zero times NaN is NaN and 1e-17 counts.
  SciPy skips weights below 2.2e-16.
- Maxima and minima of 64-bit integers are exact; SciPy passes them through double precision.
- float16 is accepted, a size below 1 is an error, and a masked array raises TypeError.
- Other than two dimensions, and footprints with holes, are not there.

Sums are rounded in another order than SciPy's. With fractional weights and an integer result, a
sum that would be whole but for rounding may therefore be cut to the neighbouring number.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from convpool._typing import Array, PadMode, Pair
from convpool.conv import conv2d
from convpool.pool import avg_pool2d, max_pool2d, min_pool2d

__all__ = ["convolve", "correlate", "maximum_filter", "minimum_filter", "uniform_filter"]

_PAD_MODES: dict[str, PadMode] = {
    "reflect": "symmetric",
    "grid-mirror": "symmetric",
    "constant": "constant",
    "grid-constant": "constant",
    "nearest": "edge",
    "mirror": "reflect",
    "wrap": "wrap",
    "grid-wrap": "wrap",
}

_Pool = Callable[[Array, Pair, int], Array]


def correlate(
    input: ArrayLike,
    weights: ArrayLike,
    output: Array | DTypeLike | None = None,
    mode: str = "reflect",
    cval: complex = 0.0,
    origin: int | Sequence[int] = 0,
) -> Array:
    """Sum the cells around each cell of an image, multiplied by the conjugate of `weights`.

    Parameters
    ----------
    input, weights : array_like, two-dimensional
    output : ndarray or dtype, optional
        Array that receives the result (it may be `input`), or the result's dtype.
    mode : str
        What stands around the image, see the module.
    cval : scalar
        What ``mode="constant"`` fills with.
    origin : int or ``(row, column)``
        How far the window is moved up and to the left. At 0 its cell ``size // 2`` lies on the
        cell of the result; from ``-(size // 2)`` to ``(size - 1) // 2``.

    Returns
    -------
    ndarray of the shape of `input`

    Raises
    ------
    ValueError
        For an input that is not two-dimensional, an `origin` outside the window, or a complex
        `cval` around a real image.
    RuntimeError
        For weights that are not two-dimensional or empty, an unknown or repeated `mode`, an
        `output` that does not fit. (SciPy's choice of errors.)
    TypeError
        For masked arrays and arrays that are not numeric.

    Examples
    --------
    >>> import numpy as np
    >>> from convpool import ndimage
    >>> x = np.array([[1, 2, 3], [4, 5, 6]])
    >>> ndimage.correlate(x, [[0, 1, 0], [1, 1, 1], [0, 1, 0]])
    array([[ 9, 13, 17],
           [18, 22, 26]])
    >>> ndimage.correlate(x, [[0.25, 0.5]], output=float, mode="constant")
    array([[0.5 , 1.25, 2.  ],
           [2.  , 3.5 , 4.25]])
    """
    kernel = _kernel(weights)
    return _correlate(input, kernel.conj(), output, mode, cval, _per_axis(origin))


def convolve(
    input: ArrayLike,
    weights: ArrayLike,
    output: Array | DTypeLike | None = None,
    mode: str = "reflect",
    cval: complex = 0.0,
    origin: int | Sequence[int] = 0,
) -> Array:
    """Filter an image with `weights` rotated by 180 degrees, not conjugated.

    Parameters
    ----------
    input, weights, output, mode, cval
        See `correlate`.
    origin : int or ``(row, column)``
        How far the window is moved down and to the right; same range as in `correlate`.

    Returns
    -------
    ndarray of the shape of `input`

    Raises
    ------
    ValueError, RuntimeError, TypeError
        As `correlate`.

    Examples
    --------
    >>> from convpool import ndimage
    >>> ndimage.convolve([[0, 0, 1, 0, 0]], [[1, 2, 3]])
    array([[0, 1, 2, 3, 0]])
    """
    kernel = _kernel(weights)
    # Rotating an even kernel moves its middle cell by one.
    origins = [-o - (size + 1) % 2 for o, size in zip(_per_axis(origin), kernel.shape, strict=True)]
    return _correlate(input, kernel[::-1, ::-1], output, mode, cval, origins)


def uniform_filter(
    input: ArrayLike,
    size: int | Sequence[int] = 3,
    output: Array | DTypeLike | None = None,
    mode: str | Sequence[str] = "reflect",
    cval: complex = 0.0,
    origin: int | Sequence[int] = 0,
) -> Array:
    """Take the mean of the window around each cell, first along columns, then along rows.

    Parameters
    ----------
    input, output, cval, origin
        See `correlate`. The means along columns are cast to the result's dtype before the means
        along rows are taken, as in SciPy; ``output=float`` avoids the double truncation of whole
        numbers.
    size : int or ``(height, width)``
        Cells of the window; an axis of size 1 is left alone.
    mode : str or ``(row, column)``
        See `correlate`; here each axis may have its own.

    Returns
    -------
    ndarray of the shape of `input`

    Raises
    ------
    ValueError, RuntimeError, TypeError
        As `correlate`; RuntimeError for a size below 1.

    Examples
    --------
    >>> from convpool import ndimage
    >>> ndimage.uniform_filter([[0, 9, 0, 0]], size=(1, 3))
    array([[3, 3, 3, 0]])
    """
    return _along_both_axes(_mean, _image(input), size, output, mode, cval, origin)


def maximum_filter(
    input: ArrayLike,
    size: int | Sequence[int] | None = None,
    footprint: ArrayLike | None = None,
    output: Array | DTypeLike | None = None,
    mode: str | Sequence[str] = "reflect",
    cval: float = 0.0,
    origin: int | Sequence[int] = 0,
) -> Array:
    """Take the maximum of the window around each cell; a NaN in it gives NaN.

    Parameters
    ----------
    input, size, output, mode, cval, origin
        See `uniform_filter`; `input` must be real.
    footprint : array_like, two-dimensional, optional
        All true: its shape is the size. A footprint with holes is not implemented.

    Returns
    -------
    ndarray of the shape of `input`

    Raises
    ------
    NotImplementedError
        For a footprint that is not all true.
    ValueError, RuntimeError, TypeError
        As `uniform_filter`; TypeError for complex arrays, RuntimeError without `size` and
        `footprint`.

    Warns
    -----
    UserWarning
        If both `size` and `footprint` are given, since `footprint` counts then.

    Examples
    --------
    >>> from convpool import ndimage
    >>> ndimage.maximum_filter([[2, 8, 0, 4, 1]], size=3)
    array([[8, 8, 8, 4, 4]])
    >>> ndimage.maximum_filter([[2, 8, 0, 4, 1]], size=(1, 2), mode="constant", cval=9)
    array([[9, 8, 8, 4, 4]])
    """
    return _extreme_filter(max_pool2d, input, size, footprint, output, mode, cval, origin)


def minimum_filter(
    input: ArrayLike,
    size: int | Sequence[int] | None = None,
    footprint: ArrayLike | None = None,
    output: Array | DTypeLike | None = None,
    mode: str | Sequence[str] = "reflect",
    cval: float = 0.0,
    origin: int | Sequence[int] = 0,
) -> Array:
    """Take the minimum of the window around each cell; a NaN in it gives NaN.

    Parameters
    ----------
    input, size, footprint, output, mode, cval, origin
        See `maximum_filter`.

    Returns
    -------
    ndarray of the shape of `input`

    Raises
    ------
    NotImplementedError, ValueError, RuntimeError, TypeError
        As `maximum_filter`.

    Examples
    --------
    >>> from convpool import ndimage
    >>> ndimage.minimum_filter([[2, 8, 0, 4, 1]], size=3)
    array([[2, 0, 0, 0, 1]])
    """
    return _extreme_filter(min_pool2d, input, size, footprint, output, mode, cval, origin)


def _correlate(
    input: ArrayLike, kernel: Array, output: Any, mode: str, cval: Any, origins: Sequence[int]
) -> Array:
    x = _image(input)
    if not isinstance(mode, str):
        raise RuntimeError(f"mode must be one word for both axes here, not {mode!r}")
    padding = [_sides(k, o) for k, o in zip(kernel.shape, origins, strict=True)]
    pad_mode, is_complex = _pad_mode(mode), x.dtype.kind == "c" or kernel.dtype.kind == "c"
    if kernel.dtype.kind == "c" and x.dtype.kind != "c" and np.iscomplexobj(cval):
        raise ValueError("cval must be real, since the input is")
    out, value = _destination(output, x, is_complex), _number(cval, x)
    if x.size:
        wide = np.complex128 if is_complex else np.float64
        weight = kernel.astype(wide)[np.newaxis, np.newaxis]
        out[...] = _cast(
            conv2d(
                x[np.newaxis],
                weight,
                padding=padding,
                pad_mode=pad_mode,
                pad_value=value,
                dtype=wide,
            ).squeeze(0),
            out.dtype,
        )
    return out


def _extreme_filter(
    pool: _Pool,
    input: ArrayLike,
    size: Any,
    footprint: Any,
    output: Any,
    mode: Any,
    cval: Any,
    origin: Any,
) -> Array:
    x = _image(input)
    if x.dtype.kind == "c":
        raise TypeError("complex numbers have no maximum or minimum")
    if footprint is not None:
        if size is not None:
            warnings.warn("ignoring size because footprint is set", UserWarning, stacklevel=3)
        mask = np.asarray(footprint, dtype=bool)
        if not mask.any():
            raise ValueError("footprint must have a true element")
        if not mask.all():
            raise NotImplementedError("footprint must be all true; holes are not implemented")
        size = mask.shape
    elif size is None:
        raise RuntimeError("either size or footprint must be given")
    return _along_both_axes(pool, x, size, output, mode, cval, origin)


def _mean(x: Array, kernel: Pair, stride: int) -> Array:
    return avg_pool2d(x, kernel, stride, dtype=np.result_type(x, np.float64))


def _along_both_axes(
    pool: _Pool, x: Array, size: Any, output: Any, mode: Any, cval: Any, origin: Any
) -> Array:
    """Filter columns, then rows: as many operations as height plus width, not times."""
    sizes = [int(k) for k in _per_axis(size)]
    modes = [_pad_mode(m) for m in _per_axis(mode)]
    # As in SciPy, the origin of an axis that is left alone is not looked at.
    sides = [_sides(k, o if k > 1 else 0) for k, o in zip(sizes, _per_axis(origin), strict=True)]
    out, value = _destination(output, x, x.dtype.kind == "c"), _number(cval, x)
    for axis, k in enumerate(sizes):
        if x.size and k > 1:
            kernel, padding = [1, 1], [(0, 0), (0, 0)]
            kernel[axis], padding[axis] = k, sides[axis]
            padded = _pad(x, padding, modes[axis], value)
            x = _cast(pool(padded[np.newaxis], kernel, 1).squeeze(0), out.dtype)
    out[...] = _cast(x, out.dtype)
    return out


def _pad(x: Array, padding: list[tuple[int, int]], mode: PadMode, value: Any) -> Array:
    if mode != "constant":
        return np.pad(x, padding, mode=mode)
    with np.errstate(invalid="ignore", over="ignore"):
        exact = np.asarray(value).astype(x.dtype) == value
    # SciPy compares and sums a cval that the dtype cannot hold as it is.
    wide = x if exact else x.astype(np.result_type(x, np.float64))
    return np.pad(wide, padding, constant_values=value)


def _image(values: ArrayLike) -> Array:
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError("input is a masked array; fill it first: input.filled(value)")
    array = np.asarray(values)
    if array.dtype.kind in "OSUMm":
        raise TypeError(f"input must be an array of numbers, not of dtype {array.dtype}")
    if array.ndim != 2:
        raise ValueError(f"input must have 2 dimensions, not {array.ndim}")
    return array


def _kernel(values: ArrayLike) -> Array:
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError("weights is a masked array; fill it first: weights.filled(value)")
    array = np.asarray(values)
    if array.ndim != 2 or array.size == 0:
        raise RuntimeError(f"weights must have 2 dimensions and elements, not shape {array.shape}")
    return array if array.dtype.kind == "c" else array.astype(np.float64)


def _per_axis(value: Any) -> list[Any]:
    if isinstance(value, str) or not np.iterable(value):
        return [value, value]
    values = list(value)
    if len(values) != 2:
        raise RuntimeError(f"a sequence must have one entry for each of 2 axes, not {values!r}")
    return values


def _pad_mode(mode: Any) -> PadMode:
    if mode not in _PAD_MODES:
        words = ", ".join(map(repr, _PAD_MODES))
        raise RuntimeError(f"mode must be one of {words}, not {mode!r}")
    return _PAD_MODES[mode]


def _sides(size: int, origin: int) -> tuple[int, int]:
    """Return how many cells a window of this size reaches before and after its own cell."""
    if size < 1:
        raise RuntimeError(f"size must be at least 1, not {size}")
    before = size // 2 + origin
    if not 0 <= before < size:
        limits = f"{-(size // 2)} to {(size - 1) // 2}"
        raise ValueError(f"origin must be from {limits} for a window of size {size}")
    return before, size - 1 - before


def _number(cval: Any, x: Array) -> Any:
    return complex(cval) if x.dtype.kind == "c" else float(cval)


def _destination(output: Any, x: Array, is_complex: bool) -> Array:
    """Return the array that receives the result, by SciPy's rules for `output`."""
    if isinstance(output, (type, str, np.dtype)):
        dtype = np.dtype(output)
        if isinstance(output, str) and dtype.kind not in "iufc":
            raise RuntimeError(f"output must be a numeric dtype, not {output!r}")
        if is_complex and dtype.kind != "c":
            if isinstance(output, str):
                raise RuntimeError(f"output must be a complex dtype, not {output!r}")
            dtype = np.promote_types(dtype, np.complex64)
            message = f"promoting specified output dtype to complex: {dtype}"
            warnings.warn(message, UserWarning, stacklevel=4)
        return np.empty(x.shape, dtype)
    if output is None:
        dtype = np.promote_types(x.dtype, np.complex64) if is_complex else x.dtype
        return np.empty(x.shape, dtype.newbyteorder("="))
    array = np.asarray(output)
    if array.shape != x.shape:
        raise RuntimeError(f"output must have the shape {x.shape} of input, not {array.shape}")
    if is_complex and array.dtype.kind != "c":
        raise RuntimeError(f"output must be complex, not {array.dtype}")
    return array


def _cast(y: Array, dtype: np.dtype[Any]) -> Array:
    """Convert as C does on common machines: whole numbers are cut towards zero and wrap."""
    with np.errstate(invalid="ignore", over="ignore"):
        if y.dtype.kind != "f" or dtype.kind not in "biu":
            return y.astype(dtype, copy=False)
        whole = y.astype(np.int64).astype(dtype)
        if dtype == np.uint64:
            large = y >= 2.0**63
            whole[large] = y[large].astype(np.uint64)
        return whole
