"""Random problems made wrong in one argument: each must raise an error that names it.

A value of `WRONG` can never be right; one of `DOUBTFUL` may be right in some problems, and then
only must not crash. Sizes are either small or beyond any memory, so that nothing is allocated that
a machine could begin to fill.
"""

import inspect
import re
from typing import Any

import numpy as np

import convpool
from fuzz_valid import SHAPES, Problem

ERRORS = (ValueError, TypeError, IndexError, MemoryError, NotImplementedError)

NO_NUMBERS: list[Any] = [
    1.5, "2", (1, 2, 3), (), (1,), ((1, 2),), (1, 2.5), (1, None), [[1, 2], [3, 4], [5, 6]],
    float("nan"), float("inf"), {}, object(), np.ones(3, int), np.ones(2), b"1", 2j,
]  # fmt: skip
TOO_LARGE = [2**63, 2**64, 2**70, -(2**63), -(2**63) - 1, -(2**70)]
STEPS: list[Any] = [*NO_NUMBERS, *TOO_LARGE, 0, -1, (0, 1), (1, -(2**31)), 2**62, 2**63 - 1, 2**41]

WRONG: dict[str, list[Any]] = {
    "stride": STEPS,
    "dilation": [*STEPS, None],
    "kernel_size": [*STEPS, None],
    "output_padding": [*NO_NUMBERS, *TOO_LARGE, -1, 2**40, 100, None, (0, -1)],
    "output_size": [*NO_NUMBERS, *TOO_LARGE, -1, (2, -3), 2**62],
    "groups": [1.5, "2", None, (1, 2), 0, -1, *TOO_LARGE, 2**62, float("nan")],
    "divisor_override": [1.5, "2", (1, 2), 0, -1, *TOO_LARGE, float("nan")],
    "norm_type": ["2", None, (1, 2), 0, -1, float("nan"), -float("inf"), 2j, {}],
    "threads": [0, -1, 1.5, "1", (1, 1), *TOO_LARGE],
    "padding": [
        1.0, None, (1, 2, 3), (), ((1, 2), (3, 4), (5, 6)), ((1, 2, 3), (1, 2, 3)), (1, (2, 3)),
        (1, 0.5), "SAME", "", "reflect", 2**62, -(2**62), *TOO_LARGE, float("nan"), {}, b"same",
        ((1, 2), (3, "4")), [[[1, 2], [3, 4]]], object(), -1000, (0, -500),
    ],
    "pad_mode": ["zeros", "", "REFLECT", None, 3, "maximum", ("reflect",), b"wrap"],
    "pad_value": ["0", None, (1, 2), {}, object()],
    "layout": ["CHWN", "nchw", "", None, 3, b"NCHW"],
    "algorithm": ["gemm", "", None, 3, "Direct"],
    "precision": ["low", "", None, 3, "HIGHEST"],
    "dtype": ["U3", "no such type", object, "M8[s]", "S2", [("a", "f4")], 3, "V4"],
    "input_shape": [
        (), (7, 6), (1, 1, 4, 7, 6), 7, None, "2476", (2, 4, 7.0, 6), (2, -4, 7, 6), (-1, 7, 6),
        (2, 4, 2**62, 6), (2, 4, 2**70, 6), (2**63, 1, 1), (None, 1, 1), (1, (2, 3), 4, 5),
    ],
    "out": ["shape", "dtype", "read-only", [1.0], 3, "x"],
}  # fmt: skip
WRONG["output_shape"] = WRONG["input_shape"]

DOUBTFUL: dict[str, list[Any]] = {
    "stride": [2**40, 2**31 - 1, 2**31 + 1, True, np.int8(1), np.uint64(1), (2**31, 2**33)],
    "dilation": [2**40, 2**31 - 1, 2**31 + 1, True, (2**31, 2**33), 7],
    "kernel_size": [2**40, 2**31 - 1, 2**31 + 1, (2**20, 2**20), 50, (1, 60), True],
    "padding": [2**40, (2**38, 2**38), ((2**39, 0), (0, 2**39)), -3, (-2, -1), ((-9, 9), (0, 0))],
    "groups": [2, 3, 5, 1009, True],
    "algorithm": ["winograd", "fft"],
    "dtype": ["f2", "i1", "?", "c8", ">f8", "g", int, "u8"],
    "output_size": [(2**20, 2**30), 2**31 + 1, 0, (0, 3)],
    "ceil_mode": [None, "yes", 2, [], object()],
    "count_include_pad": [None, "yes", 2],
    "return_indices": [None, "yes", 2],
    "divisor_override": [2**40, 2**63 - 1],
    "threads": [2, 2**31],
    "pad_value": [float("nan"), float("inf"), 1e300, 2**70, 1j, np.float32(2), True],
}  # fmt: skip


def wrong_array(rng: np.random.Generator, problem: Problem, name: str) -> Any:
    """Change an array so that it cannot be right."""
    array = problem.arguments[name]
    masked = np.ma.masked_array(array, np.zeros(array.shape, bool))
    kind = int(rng.integers(0, 9))
    if kind == 0:
        shape = tuple(int(n) for n in rng.integers(1, 3, int(rng.choice([0, 1, 2, 5, 6]))))
        ndim = {"bias": 1, "cols": 3}.get(name, 4)
        shape = shape if len(shape) not in (ndim, 2 if name == "cols" else ndim) else (1,) * 7
        return np.ones(shape, array.dtype)
    if kind == 1:
        kinds: list[Any] = ["U3", "S3", object, "M8[s]", "m8[s]", [("a", "f4")], "V3"]
        return np.zeros(array.shape, kinds[int(rng.integers(len(kinds)))])
    if kind == 2:
        return masked
    if kind == 3:
        values = ["abc", [[1.0], [2.0, 3.0]], {}, object(), [[["a"]]], None]
        return values[int(rng.integers(6 - (name == "bias")))]
    if kind == 4 and np.dtype("g") != np.dtype("d") and name != "indices":
        return array.astype(rng.choice(["G"] if array.dtype.kind == "c" else ["g", "G"]))
    if name == "indices":
        if kind < 6 and array.size:
            places = array.astype(np.int64)
            h, w = next(problem.arguments[s] for s in SHAPES if s in problem.arguments)[-2:]
            places.flat[int(rng.integers(array.size))] = rng.choice([-2, h * w, 2**32, -(2**63)])
            return places
        return array.astype(rng.choice(["f8", "?", "c16", "f2"]))
    # One more of something whose number is fixed by the other arguments.
    if name in ("dy", "cols", "bias", "y") and len(problem.arguments) > 1:
        alone = problem.name in ("conv2d_grad_bias", "adaptive_avg_pool2d_grad")
        if not (alone and name == "dy"):
            # The weight's gradient has as many output channels as there are.
            free = problem.name == "conv2d_grad_weight"
            axis = int(rng.choice([0, 2, 3] if free else np.arange(array.ndim)))
            return np.concatenate([array, np.zeros_like(array, shape=_one(array, axis))], axis)
    if "weight" in problem.arguments and name in ("x", "weight"):
        axis = 1 if name == "x" or problem.name != "conv2d_transpose" else 0
        return np.concatenate([array, np.zeros_like(array, shape=_one(array, axis))], axis)
    return masked


def _one(array: Any, axis: int) -> tuple[int, ...]:
    return tuple(1 if a == axis else n for a, n in enumerate(array.shape))


def wrong_out(problem: Problem, how: Any) -> Any:
    """Make an `out` that does not fit."""
    result = problem.expected[0]
    if how == "shape":
        return np.zeros((*result.shape, 1), result.dtype)
    if how == "dtype":
        return np.zeros(result.shape, "i2" if result.dtype != np.int16 else "i4")
    if how == "read-only":
        result = result.copy()
        result.flags.writeable = False
        return result
    return how


def check_refused(rng: np.random.Generator, problem: Problem) -> tuple[dict[str, Any], str]:
    """Make one argument wrong, call, and say what is wrong with the answer."""
    function = getattr(convpool, problem.name)
    parameters = list(inspect.signature(function).parameters)
    arrays = [n for n, v in problem.arguments.items() if isinstance(v, np.ndarray)]
    doubtful = rng.random() < 0.15
    table = DOUBTFUL if doubtful else WRONG
    names = [n for n in parameters if n in table or (n in arrays and not doubtful)]
    name = str(rng.choice(names)) if names else arrays[0]
    if name in arrays:
        value = wrong_array(rng, problem, name)
    else:
        value = table[name][int(rng.integers(len(table[name])))]
        value = wrong_out(problem, value) if name == "out" else value
    arguments = {**problem.arguments, name: value}
    if problem.name == "conv2d_transpose":
        if name == "padding":
            doubtful = True  # a crop adds rows there
        if doubtful and name in ("stride", "dilation"):
            value = 2**40  # smaller ones ask for results that some machines could hold
    try:
        function(**arguments)
    except ERRORS as error:
        return arguments, judge(error, name, parameters)
    except Exception as error:
        return arguments, f"{name}={value!r:.60} raised {type(error).__name__}: {error}"
    return arguments, "" if doubtful else f"{name}={value!r:.60} was accepted"


def judge(error: Exception, name: str, parameters: list[str]) -> str:
    """Find an argument's name in the message."""
    message = str(error)
    # Sizes that do not fit together are those of several arguments: one of them is enough.
    words = {name, name.removesuffix("_shape"), *(p for p in parameters if len(p) > 3)}
    words |= {"bias must", "dy must", "cols must", "x must", "x has", "y must", "channels of x"}
    words |= {"kernel height", "kernel width", "the result", "the columns", "data type"}
    if any(re.search(rf"\b{re.escape(word)}\b", message) for word in words):
        return ""
    return f"{name}: the message names no argument: {type(error).__name__}: {message}"
