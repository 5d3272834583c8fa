"""What the Python modules need to read and prepare before they call the core."""

from operator import index

import numpy as np
from numpy.typing import ArrayLike

from convpool._typing import Array, Pair

__all__ = ["as_float", "as_pair", "glorot_uniform"]


def as_float(name: str, values: ArrayLike) -> Array:
    """Return an array in which integers and booleans have become float64, as in `numpy.mean`."""
    if type(values) is np.ndarray and values.dtype.kind == "f":
        return values  # at once: the checks below take longer than a small pool
    array = np.asanyarray(values)
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array; fill it first: {name}.filled(value)")
    if array.dtype.kind not in "biufc":
        raise TypeError(f"{name} must be an array of numbers, not of dtype {array.dtype}")
    return array.astype(np.float64) if array.dtype.kind in "biu" else array


def as_pair(name: str, value: Pair) -> tuple[int, int]:
    """Return ``(height, width)`` from one or two integers; the core checks their range."""
    try:
        if isinstance(value, int | np.integer):
            return index(value), index(value)
        height, width = value
        return index(height), index(width)
    except (TypeError, ValueError):
        message = f"{name} must be an integer or (height, width), not {value!r}"
        raise TypeError(message) from None


def glorot_uniform(shape: tuple[int, int, int, int], rng: "np.random.Generator") -> Array:
    """Draw a weight ``(C_out, C_in / groups, kh, kw)`` as Keras does by default.

    Uniform within ``sqrt(6 / (fan_in + fan_out))`` of zero (Glorot and Bengio, "Understanding the
    difficulty of training deep feedforward neural networks", 2010).
    """
    c_out, c_in, kh, kw = shape
    limit = np.sqrt(6 / max(1, (c_in + c_out) * kh * kw))
    return rng.uniform(-limit, limit, shape)
