"""Random problems that are valid: any function, with any value of each of its arguments.

The size of the output is drawn and that of the input follows. Numbers are small and whole, so that
every type computes without rounding and results can be compared bit by bit; where a division or a
root must round, the problem states its bound.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import convpool
from convpool import reference
from convpool._typing import Array

try:
    from ml_dtypes import bfloat16

    HALVES = [np.dtype(np.float16), np.dtype(bfloat16)]
except ImportError:
    HALVES = [np.dtype(np.float16)]

INTEGERS = [np.dtype(code) for code in "?bhilBHIL"]
FLOATS = [np.dtype(np.float32), np.dtype(np.float64)]
COMPLEX = [np.dtype(np.complex64), np.dtype(np.complex128)]
NUMBERS = INTEGERS[1:] + FLOATS + HALVES + COMPLEX
MODES = ["constant", "reflect", "symmetric", "edge", "wrap"]
# A multiple of every number of cells up to 5 x 5 that a window may have.
DIVISIBLE = 2**4 * 3**2 * 5**2

IMAGES = ("x", "dy", "y", "indices")
SHAPES = ("input_shape", "output_shape")


@dataclass
class Problem:
    """A call that must succeed, and what it must return."""

    name: str
    arguments: dict[str, Any]
    expected: list[Array]
    epsilons: float = 0
    """Largest error, in units of the last place of the largest result, or of 1, which is the
    size of the operands, where all results are smaller; 0 means every bit."""
    without_layout: tuple[str, ...] = field(default=())
    """Arguments and results ("0", "1") without a channel axis to move."""


@dataclass(frozen=True)
class Axis:
    """Windows along one axis."""

    size: int
    kernel: int
    stride: int
    dilation: int
    pads: tuple[int, int]
    out: int


def draw_axis(rng: np.random.Generator, mode: str) -> Axis:
    """Draw windows, then an image on which they lie."""
    # Seldom so many windows that several tiles of pixels are needed.
    out = int(rng.integers(1, 60 if rng.random() < 0.03 else 9))
    kernel = int(rng.integers(1, 6))
    stride, dilation = int(rng.integers(1, 5)), int(rng.choice([1, 1, 2, 3]))
    span = (kernel - 1) * dilation + 1
    padded = (out - 1) * stride + span + int(rng.integers(0, stride))
    before, after = (int(n) for n in rng.choice([0, 0, 1, 2, 5, -1, -2], 2))
    size = max(1, padded - before - after)
    after = padded - size - before
    if mode == "constant" and rng.random() < 0.02 and before + after >= 0:
        return Axis(0, kernel, stride, dilation, (before, padded - before), out)
    return Axis(size, kernel, stride, dilation, (before, after), out)


def draw_dtype(rng: np.random.Generator, *, with_complex: bool = True) -> Any:
    """Draw float32 half of the time."""
    kinds = [FLOATS, HALVES, INTEGERS, COMPLEX if with_complex else FLOATS]
    if rng.random() < 0.4:
        return FLOATS[0]
    kind = kinds[int(rng.choice(4, p=[0.3, 0.15, 0.4, 0.15]))]
    return kind[int(rng.integers(len(kind)))]


def draw_array(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    dtype: Any,
    *,
    special: bool = False,
    large: bool = False,
) -> Array:
    """Draw whole numbers; if asked, integers of any size, or some NaN and infinities."""
    if dtype.kind in "iu" and large:
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    low = 0 if dtype.kind in "bu" else -3
    numbers: Array = rng.integers(low, 2 if dtype.kind == "b" else 4, shape)
    if dtype.kind == "c":
        numbers = numbers + 1j * rng.integers(-3, 4, shape)
    array = numbers.astype(dtype)
    if special and dtype.kind not in "biuc" and rng.random() < 0.2:
        where = rng.random(shape)
        array[where < 0.1] = np.nan
        array[where > 0.9] = rng.choice([np.inf, -np.inf])
    for axis, size in enumerate(shape):
        if size > 1 and rng.random() < 0.05:
            array = np.repeat(array.take([0], axis), size, axis)
    return array


def sum_dtype(*arrays: Array) -> Any:
    """Type of a sum of products."""
    common = np.result_type(*(array.dtype for array in arrays))
    return np.sum(np.empty(0, common)).dtype if common.kind in "biu" else common


def other_dtype(rng: np.random.Generator, arrays: list[Array], kinds: list[Any]) -> Any:
    """Draw a ``dtype=`` to which the arrays may be cast and in which the result is exact."""
    common = np.result_type(*(array.dtype for array in arrays))
    if common.kind in "biu" and any(np.abs(a.astype(float)).max(initial=0) > 6 for a in arrays):
        kinds = [dtype for dtype in kinds if dtype.kind in "iu"]
    if common.kind not in "biuc" and not all(np.isfinite(a.astype(float)).all() for a in arrays):
        kinds = [dtype for dtype in kinds if dtype.kind != "c"]
    # ml_dtypes calls the cast from complex numbers to bfloat16 one of the same kind.
    kinds = [dtype for dtype in kinds if common.kind != "c" or dtype.kind == "c"]
    kinds = [dtype for dtype in kinds if np.can_cast(common, dtype, "same_kind")]
    return kinds[int(rng.integers(len(kinds)))] if kinds else None


class Drawing:
    """What the functions below share: the generator and one drawn geometry."""

    def __init__(self, rng: np.random.Generator, name: str) -> None:
        self.rng, self.name, self.finite = rng, name, True
        self.mode = str(rng.choice(MODES)) if rng.random() < 0.5 else "constant"
        if name in ("conv2d_transpose", "max_pool2d", "min_pool2d", "lp_pool2d"):
            self.mode = "constant"
        self.rows, self.columns = draw_axis(rng, self.mode), draw_axis(rng, self.mode)
        self.n = int(rng.choice([0, 1, 1, 2, 3], p=[0.03, 0.4, 0.27, 0.2, 0.1]))
        self.groups = int(rng.choice([1, 1, 1, 2, 3]))
        few = [0.02, 0.4, 0.27, 0.2, 0.09, 0.02]
        self.ic = self.groups * int(rng.choice([0, 1, 2, 3, 5, 40], p=few))
        self.oc = self.groups * int(rng.choice([0, 1, 2, 4, 9, 50], p=few))
        self.kernel = self.rows.kernel, self.columns.kernel
        self.padding: Any = self.rows.pads, self.columns.pads
        if rng.random() < 0.3 and self.rows.size and self.columns.size:
            self.padding = str(rng.choice(["same", "same_lower", "full"]))

    def flip(self) -> bool:
        """Toss a coin."""
        return bool(self.rng.random() < 0.5)

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of the images."""
        return self.n, self.ic, self.rows.size, self.columns.size

    @property
    def windows(self) -> dict[str, Any]:
        """Where the windows lie."""
        return {
            "stride": (self.rows.stride, self.columns.stride),
            "padding": self.padding,
            "dilation": (self.rows.dilation, self.columns.dilation),
        }

    def array(self, shape: tuple[int, ...], dtype: Any, **kwargs: bool) -> Array:
        """Draw the numbers of an array."""
        return draw_array(self.rng, shape, dtype, **kwargs)

    def pad_value(self, dtype: Any) -> dict[str, Any]:
        """Draw a constant that the type holds."""
        if self.mode != "constant" or self.flip():
            return {}
        if dtype.kind == "f" and self.rng.random() < 0.1:
            self.finite = False
            return {"pad_value": float(self.rng.choice([np.nan, np.inf, -np.inf]))}
        return {"pad_value": int(self.rng.integers(0, 2 if dtype.kind in "bu" else 4))}

    def dtype(self, arrays: list[Array], usual: Any, kinds: list[Any]) -> dict[str, Any]:
        """Draw ``dtype=`` sometimes; return the type of the result in any case."""
        if self.rng.random() < 0.2:
            kinds = [kind for kind in kinds if self.finite or kind.kind != "c"]
            other = other_dtype(self.rng, arrays, kinds)
            if other is not None:
                return {"dtype": other}
        return {"": usual}


def draw_convolution(d: Drawing) -> Problem:
    """`conv2d`, its gradients and its transpose."""
    name, weight_shape = d.name, (d.oc, d.ic // d.groups, *d.kernel)
    geometry = {**d.windows, "groups": d.groups}
    y_shape = convpool.conv2d_output_shape(d.x_shape, weight_shape, **geometry)
    first = draw_dtype(d.rng)
    second = draw_dtype(d.rng) if d.rng.random() < 0.15 else first
    third = draw_dtype(d.rng) if d.rng.random() < 0.15 else first
    try:
        common = np.result_type(first, second, third)
    except TypeError:  # bfloat16 has no common type with some others
        common = second = third = first
    # Complex infinities have no agreed products; large integers are exact among integers only.
    special = {"special": common.kind != "c", "large": common.kind in "iu" and d.flip()}
    options: dict[str, Any] = {}
    if name == "conv2d_transpose":
        axes = d.rows, d.columns
        options["output_padding"] = tuple(
            0 if isinstance(d.padding, str) else int(d.rng.integers(max(a.stride, a.dilation)))
            for a in axes
        )
        for n, a in zip(y_shape[2:], axes, strict=True):
            span = (a.kernel - 1) * a.dilation + 1
            cropped = 2 * (span - 1) if d.padding == "full" else sum(a.pads)
            if (n - 1) * a.stride + span < cropped and "same" not in d.padding:
                geometry["padding"] = 0
    elif d.mode != "constant":
        options["pad_mode"] = d.mode
    arrays: dict[str, Array] = {}
    if name in ("conv2d", "conv2d_grad_weight"):
        arrays["x"] = d.array(d.x_shape, first, **special)
        options |= d.pad_value(first)
    if name == "conv2d_transpose":
        arrays["x"] = d.array(y_shape, first, **special)
    if name in ("conv2d_grad_input", "conv2d_grad_weight"):
        arrays["dy"] = d.array(y_shape, first, **special)
    if name != "conv2d_grad_weight":
        arrays["weight"] = d.array(weight_shape, second, **special)
    if name in ("conv2d", "conv2d_transpose") and d.flip():
        channels = d.oc if name == "conv2d" else d.ic
        arrays["bias"] = d.array((channels,), third, **special)
    if name == "conv2d_grad_input":
        options["input_shape"] = d.x_shape
    if name == "conv2d_grad_weight":
        options["kernel_size"] = d.kernel
    options = {**geometry, **options}
    with np.errstate(invalid="ignore"):
        expected = getattr(reference, name)(**arrays, **options)
    operands = list(arrays.values())
    dtype = d.dtype(operands, sum_dtype(*operands), NUMBERS)
    # Input gradients with a padding mode are not implemented by every algorithm.
    others = ["implicit_gemm", "fft"] if name != "conv2d_grad_input" else []
    options["algorithm"] = str(d.rng.choice(["auto", "direct", "im2col", *others]))
    options["precision"] = str(d.rng.choice(["highest", "high", "medium"]))
    kept = ("weight", "bias", *(["0"] if name == "conv2d_grad_weight" else []))
    # Transforms are computed in float64: of results of that type the last digits are wrong.
    (result,) = dtype.values()
    wide = options["algorithm"] == "fft" and result in (FLOATS[1], COMPLEX[1])
    epsilons = 10000 if wide else 0
    return problem(name, {**arrays, **options}, expected, dtype, epsilons=epsilons, kept=kept)


def draw_columns(d: Drawing) -> Problem:
    """`im2col`, `col2im` and the gradient of the bias."""
    dtype = draw_dtype(d.rng)
    special = {"special": dtype.kind != "c", "large": d.flip()}
    options: dict[str, Any] = {"kernel_size": d.kernel, **d.windows, "pad_mode": d.mode}
    if d.name == "conv2d_grad_bias":
        dy = d.array(d.x_shape, dtype, **special)
        with np.errstate(invalid="ignore"):
            expected = reference.conv2d_grad_bias(dy)
        return problem(
            d.name, {"dy": dy}, expected, d.dtype([dy], sum_dtype(dy), NUMBERS), kept=("0",)
        )
    if d.name == "im2col":
        x = d.array(d.x_shape, dtype, **special)
        options |= d.pad_value(dtype)
        expected = reference.im2col(x, **options)
        return problem(
            d.name, {"x": x, **options}, expected, d.dtype([x], dtype, NUMBERS), kept=("0",)
        )
    options["input_shape"] = d.x_shape
    shape = convpool.im2col(np.zeros(d.x_shape), d.kernel, **d.windows).shape
    cols = d.array(shape, dtype, **special)
    with np.errstate(invalid="ignore"):
        expected = reference.col2im(cols, **options)
    usual = d.dtype([cols], sum_dtype(cols), NUMBERS)
    return problem(d.name, {"cols": cols, **options}, expected, usual)


def draw_extreme(d: Drawing) -> Problem:
    """Maximum and minimum, and what their indices are for."""
    every: dict[str, bool] = {"special": True, "large": d.flip()}
    x = d.array(d.x_shape, draw_dtype(d.rng, with_complex=False), **every)
    if d.name in ("adaptive_max_pool2d", "global_max_pool2d"):
        options: dict[str, Any] = {}
        if d.name == "adaptive_max_pool2d":
            options["output_size"] = tuple(int(n) for n in d.rng.integers(1, 7, 2))
        x = d.array((*d.x_shape[:2], d.rows.size + 1, d.columns.size + 1), x.dtype, **every)
    else:
        options = {"kernel_size": d.kernel, **d.windows, "ceil_mode": d.flip()}
    pool = "max_pool2d" if d.name in ("max_pool2d_grad", "max_unpool2d") else d.name
    y, indices = getattr(reference, pool)(x, **options, return_indices=True)
    if d.name == pool:
        with_indices = d.flip()
        arguments = {"x": x, **options, "return_indices": with_indices}
        return Problem(d.name, arguments, [cast(y, x.dtype), indices][: 1 + with_indices])
    dtype = draw_dtype(d.rng, with_complex=d.name == "max_pool2d_grad")
    values = d.array(y.shape, dtype, large=d.flip())
    expected = cast(getattr(reference, d.name)(values, indices, x.shape), dtype)
    argument, shape = {
        "max_pool2d_grad": ("dy", "input_shape"),
        "max_unpool2d": ("y", "output_shape"),
    }[d.name]
    indices = indices.astype(d.rng.choice(["i8", "i4", "i2"]))
    return Problem(d.name, {argument: values, "indices": indices, shape: x.shape}, [expected])


def draw_sum(d: Drawing) -> Problem:
    """Averages, sums and norms."""
    dtype = draw_dtype(d.rng, with_complex=d.name != "lp_pool2d")
    wide = np.dtype(np.float64) if dtype.kind in "biu" else dtype
    # Halves may round on the way from float64 to float32 and again to themselves.
    epsilons = 1 if dtype in HALVES else 40 if dtype.kind == "c" else 0
    options: dict[str, Any] = {"kernel_size": d.kernel, **d.windows, "ceil_mode": d.flip()}
    if d.name == "lp_pool2d":
        x = d.array(d.x_shape, dtype)
        options["norm_type"] = float(d.rng.choice([1, 2, 3, 0.5, np.inf]))
        expected = reference.lp_pool2d(x, **options)
        return problem(d.name, {"x": x, **options}, expected, {"": wide}, epsilons=16)
    options["pad_mode"] = d.mode
    if d.name == "sum_pool2d":
        x = d.array(d.x_shape, dtype, special=dtype.kind != "c", large=d.flip())
        options |= d.pad_value(dtype)
        with np.errstate(invalid="ignore"):
            expected = reference.sum_pool2d(x, **options)
        usual = d.dtype([x], sum_dtype(x), NUMBERS)
        return problem(d.name, {"x": x, **options}, expected, usual, epsilons=epsilons)
    counts: dict[str, Any] = {
        "count_include_pad": d.flip(),
        "divisor_override": [None, None, 3][int(d.rng.integers(3))],
    }
    if d.name == "avg_pool2d_grad":
        shape = reference.sum_pool2d(np.ones(d.x_shape), **options).shape
        exact = dtype in FLOATS
        dy = d.array(shape, dtype) * dtype.type(DIVISIBLE if exact else 1)
        expected = reference.avg_pool2d_grad(dy, d.x_shape, **options, **counts)
        arguments = {"dy": dy, "input_shape": d.x_shape, **options, **counts}
        epsilons = 0 if exact else 40
        return problem(d.name, arguments, expected, {"": wide}, epsilons=epsilons)
    x = d.array(d.x_shape, dtype, special=dtype.kind != "c")
    options |= d.pad_value(dtype) | counts
    with np.errstate(invalid="ignore"):
        expected = reference.avg_pool2d(x, **options)
    return problem(d.name, {"x": x, **options}, expected, {"": wide}, epsilons=epsilons)


def draw_adaptive(d: Drawing) -> Problem:
    """Averages over parts of the image and over all of it."""
    dtype = draw_dtype(d.rng)
    wide = {"": np.dtype(np.float64) if dtype.kind in "biu" else dtype}
    shape = (*d.x_shape[:2], d.rows.size + 1, d.columns.size + 1)
    size = tuple(int(n) for n in d.rng.integers(1, 7, 2))
    if d.name == "adaptive_avg_pool2d_grad":
        dy = d.array((*shape[:2], *size), dtype)
        expected = reference.adaptive_avg_pool2d_grad(dy, shape)
        return problem(d.name, {"dy": dy, "input_shape": shape}, expected, wide, epsilons=40)
    x = d.array(shape, dtype, special=dtype.kind != "c")
    options: dict[str, Any] = {} if d.name == "global_avg_pool2d" else {"output_size": size}
    with np.errstate(invalid="ignore"):
        expected = getattr(reference, d.name)(x, **options)
    return problem(d.name, {"x": x, **options}, expected, wide, epsilons=40)


def problem(
    name: str,
    arguments: dict[str, Any],
    expected: Array,
    dtype: dict[str, Any],
    *,
    epsilons: float = 0,
    kept: tuple[str, ...] = (),
) -> Problem:
    """Make a problem; `dtype` is ``{"": type}`` by default or ``{"dtype": type}`` as asked for."""
    ((key, value),) = dtype.items()
    if key:
        arguments[key] = value
    return Problem(name, arguments, [cast(expected, value)], epsilons, kept)


def cast(array: Array, dtype: Any) -> Array:
    """Round once, or take the lowest bits of integers."""
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(dtype)


DRAW: dict[str, Callable[[Drawing], Problem]] = {
    **dict.fromkeys(
        ["conv2d", "conv2d_transpose", "conv2d_grad_input", "conv2d_grad_weight"], draw_convolution
    ),
    **dict.fromkeys(["im2col", "col2im", "conv2d_grad_bias"], draw_columns),
    **dict.fromkeys(
        ["max_pool2d", "min_pool2d", "max_pool2d_grad", "max_unpool2d", "adaptive_max_pool2d",
         "global_max_pool2d"], draw_extreme,
    ),
    **dict.fromkeys(["avg_pool2d", "avg_pool2d_grad", "sum_pool2d", "lp_pool2d"], draw_sum),
    **dict.fromkeys(
        ["adaptive_avg_pool2d", "adaptive_avg_pool2d_grad", "global_avg_pool2d"], draw_adaptive
    ),
}  # fmt: skip


def draw_problem(rng: np.random.Generator, functions: list[str]) -> Problem:
    """Draw any valid problem."""
    names = [name for name in functions for _ in range(4 if "conv2d" in name else 1)]
    name = str(rng.choice(names))
    return DRAW[name](Drawing(rng, name))
