"""Random problems: ``python tests/fuzz.py --valid 20000 --invalid 20000 --seed 0``.

Valid problems (`fuzz_valid`) must give the result of `convpool.reference`; invalid ones
(`fuzz_invalid`) must raise an error that names an argument. Every problem has its own number: what
fails is printed with the command that draws it again. The problems run in a process of their own,
so that one that kills it is reported like any other.
"""

import argparse
import faulthandler
import mmap
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

import convpool
from convpool._typing import Array
from fuzz_invalid import check_refused
from fuzz_valid import DRAW, IMAGES, SHAPES, Problem, draw_problem

FUNCTIONS = [name for name in DRAW if hasattr(convpool, name)]


def finfo_eps(dtype: Any) -> float:
    """Distance from 1 to the next number, of bfloat16 too."""
    if dtype.kind in "fc":
        return float(np.finfo(dtype).eps)
    one = np.array([0x3F80, 0x3F81], np.uint16).view(dtype).astype(float)
    return float(one[1] - one[0])


def differs(actual: Any, expected: Array, epsilons: float) -> str:
    """Say in what a result is not the expected one; nothing if it is."""
    if not isinstance(actual, np.ndarray):
        return f"not an array but {type(actual)}"
    if actual.dtype != expected.dtype or actual.shape != expected.shape:
        return f"{actual.dtype}{actual.shape} instead of {expected.dtype}{expected.shape}"
    if actual.dtype.kind in "biu":
        wrong = actual != expected
    else:
        wide = complex if expected.dtype.kind == "c" else float
        a, b = actual.astype(wide), expected.astype(wide)
        largest = np.abs(b[np.isfinite(b)]).max(initial=1)
        bound = epsilons * finfo_eps(expected.dtype) * largest
        with np.errstate(invalid="ignore"):
            wrong = ~((np.abs(a - b) <= bound) | (a == b) | (np.isnan(a) & np.isnan(b)))
    if not wrong.any():
        return ""
    first = tuple(int(i) for i in np.argwhere(wrong)[0])
    values = f"{actual[first]!r} for {expected[first]!r}"
    return f"{int(wrong.sum())} of {wrong.size} differ, first {first}: {values}"


# Forms of arrays with the same numbers


def as_view(rng: np.random.Generator, array: Array) -> Array:
    """Give the array other strides, another byte order or address, or make it read-only."""
    kind = rng.integers(0, 9)
    if kind == 0:
        flips = tuple(slice(None, None, int(rng.choice([-1, 1]))) for _ in array.shape)
        return array[flips].copy()[flips]
    if kind == 1:
        order = rng.permutation(array.ndim)
        return array.transpose(order).copy().transpose(np.argsort(order))
    if kind == 2:
        larger = np.zeros([2 * size + 1 for size in array.shape], array.dtype)
        view = larger[tuple(slice(1, None, 2) for _ in array.shape)]
        view[...] = array
        return view
    if kind == 3:
        larger = np.zeros([size + 3 for size in array.shape], array.dtype)
        view = larger[tuple(slice(1, size + 1) for size in array.shape)]
        view[...] = array
        return view
    if kind == 4:
        memory = np.zeros(array.nbytes + 1, np.uint8)
        view = memory[1:].view(array.dtype).reshape(array.shape)
        view[...] = array
        return view
    if kind == 5 and array.dtype.kind in "iufc":
        return array.astype(array.dtype.newbyteorder())
    if kind == 6:
        copy = array.copy()
        copy.flags.writeable = False
        return copy
    if kind == 7:
        for axis, size in enumerate(array.shape):
            first = array.take([0], axis) if size else array
            if size > 1 and first.tobytes() * size == np.moveaxis(array, axis, 0).tobytes():
                return np.broadcast_to(first, array.shape)
    return array


def moved(value: Any) -> Any:
    """Move the channels of an array or a shape to the end."""
    if isinstance(value, np.ndarray):
        return np.moveaxis(value, -3, -1)
    return (*value[:-3], *value[-2:], value[-3])


def shorter(value: Any) -> Any:
    """Write one number for two equal ones."""
    if isinstance(value, str | int):
        return value
    if all(isinstance(side, tuple) for side in value):
        if any(before != after for before, after in value):
            return value
        value = tuple(before for before, _ in value)
    return value[0] if value[0] == value[1] else value


def disguise(rng: np.random.Generator, problem: Problem) -> None:
    """Say the same problem in another way: no batch, layout, spelling, views, `out`."""
    arguments, expected = problem.arguments, problem.expected
    images = [name for name in arguments if name in IMAGES + SHAPES]
    sizes = {name: np.shape(v) if name in IMAGES else v for name, v in arguments.items()}
    if {sizes[name][0] for name in images} == {1} and rng.random() < 0.5:
        for name in [*images, *(["cols"] if "cols" in arguments else [])]:
            value = arguments[name]
            arguments[name] = value[0] if isinstance(value, np.ndarray) else value[1:]
        if problem.name not in ("conv2d_grad_weight", "conv2d_grad_bias"):
            expected[:] = [y[0] for y in expected]
    if rng.random() < 0.3:
        arguments["layout"] = "NHWC"
        for name in images:
            arguments[name] = moved(arguments[name])
        for place, y in enumerate(expected):
            if str(place) not in problem.without_layout:
                expected[place] = moved(y)
    for name in ("stride", "padding", "dilation", "kernel_size", "output_size", "output_padding"):
        if name in arguments and rng.random() < 0.5:
            arguments[name] = shorter(arguments[name])
    for name, value in arguments.items():
        if isinstance(value, np.ndarray):
            arguments[name] = as_view(rng, value)
    if rng.random() < 0.5:
        arguments["threads"] = int(rng.choice([1, 2, 3, 8]))
    if rng.random() < 0.2:
        given = [value for value in arguments.values() if isinstance(value, np.ndarray)]
        # An operand of the right shape may be overwritten; so may anything that is as large.
        for out in [*given, as_view(rng, np.zeros_like(expected[0]))]:
            fits = out.shape == expected[0].shape and out.dtype == expected[0].dtype
            if fits and out.flags.writeable and out.dtype.isnative:
                arguments["out"] = out


# Running


def describe(name: str, arguments: dict[str, Any]) -> str:
    """Write the call down, arrays by their shape."""

    def text(value: Any) -> str:
        if not isinstance(value, np.ndarray):
            return repr(value)
        return f"<{value.dtype!r} {value.shape} strides {value.strides}>"

    return f"convpool.{name}({', '.join(f'{k}={text(v)}' for k, v in arguments.items())})"


def announced(problem: Problem) -> tuple[int, ...] | None:
    """Ask for the shape of the result where a function tells it."""
    names = ["stride", "padding", "dilation", "layout"]
    names += ["groups"] if problem.name == "conv2d" else ["kernel_size", "ceil_mode"]
    options = {k: v for k, v in problem.arguments.items() if k in names}
    if problem.name == "conv2d":
        shapes = (problem.arguments[name].shape for name in ("x", "weight"))
        return convpool.conv2d_output_shape(*shapes, **options)
    if problem.name in ("max_pool2d", "min_pool2d", "avg_pool2d", "sum_pool2d", "lp_pool2d"):
        return convpool.pool2d_output_shape(problem.arguments["x"].shape, **options)
    return None


def check_valid(rng: np.random.Generator) -> tuple[str, str]:
    """Draw a valid problem and solve it; return the function's name and what went wrong."""
    problem = draw_problem(rng, FUNCTIONS)
    disguise(rng, problem)
    call = describe(problem.name, problem.arguments)
    try:
        results = getattr(convpool, problem.name)(**problem.arguments)
    except Exception as error:
        return problem.name, f"{call}\n  raised {type(error).__name__}: {error}"
    results = results if isinstance(results, tuple) else (results,)
    if "out" in problem.arguments and results[0] is not problem.arguments["out"]:
        return problem.name, f"{call}\n  did not return out"
    if (shape := announced(problem)) not in (None, results[0].shape):
        return problem.name, f"{call}\n  announced as {shape}, but {results[0].shape}"
    for actual, expected in zip(results, problem.expected, strict=True):
        if wrong := differs(actual, expected, problem.epsilons):
            return problem.name, f"{call}\n  {wrong}"
    return problem.name, ""


def check_invalid(rng: np.random.Generator) -> tuple[str, str]:
    """Draw an invalid problem; return the function's name and what went wrong."""
    problem = draw_problem(rng, FUNCTIONS)
    arguments, wrong = check_refused(rng, problem)
    return problem.name, wrong and f"{describe(problem.name, arguments)}\n  {wrong}"


CHECKS: dict[str, Callable[[np.random.Generator], tuple[str, str]]] = {
    "valid": check_valid,
    "invalid": check_invalid,
}


def run(kind: str, numbers: range, seed: int, at: Callable[[int], None]) -> list[str]:
    """Run the problems of these numbers and return what went wrong."""
    counts: Counter[str] = Counter()
    failures: list[str] = []
    start = time.monotonic()
    for number in numbers:
        at(number)
        name, wrong = CHECKS[kind](np.random.default_rng([seed, kind == "valid", number]))
        counts[name] += 1
        if wrong:
            failures.append(f"{wrong}\n  again: {command(kind, number, seed)}")
            print(failures[-1], flush=True)
        done = number - numbers.start + 1
        if done % 2000 == 0 or done == len(numbers):
            seconds = time.monotonic() - start
            print(f"{done} {kind}, {len(failures)} failed, {seconds:.0f} s", flush=True)
    print(", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
    return failures


def command(kind: str, number: int, seed: int) -> str:
    """Give the command line that draws one problem again."""
    other = "invalid" if kind == "valid" else "valid"
    return f"python tests/fuzz.py --seed {seed} --start {number} --{kind} 1 --{other} 0"


def work(args: argparse.Namespace, place: str) -> int:
    """Run everything, and keep the current number in a file that outlives a crash."""
    faulthandler.enable()
    failed = 0
    with open(place, "r+b") as file, mmap.mmap(file.fileno(), 16) as memory:
        for which, kind in enumerate(CHECKS):
            numbers = range(args.start, args.start + getattr(args, kind))

            def at(number: int, which: int = which) -> None:
                memory[:] = struct.pack("qq", which, number)

            failed += len(run(kind, numbers, args.seed, at))
    return min(failed, 1)


def main() -> int:
    """Start a process for the work, and report if it dies."""
    parser = argparse.ArgumentParser(description="Random problems against the specification.")
    parser.add_argument("--valid", type=int, default=2000)
    parser.add_argument("--invalid", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="number of the first problem")
    parser.add_argument("--place", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.place:
        return work(args, args.place)
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(bytes(16))
    try:
        code = subprocess.run([sys.executable, *sys.argv, "--place", file.name]).returncode
        if code not in (0, 1):
            with open(file.name, "rb") as last:
                which, number = struct.unpack("qq", last.read(16))
            print(f"the process died ({code})")
            print(f"  again: {command(list(CHECKS)[which], number, args.seed)}")
    finally:
        os.unlink(file.name)
    return code


if __name__ == "__main__":
    sys.exit(main())
