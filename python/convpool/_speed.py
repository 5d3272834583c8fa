"""A small speed table for the tour; ``benchmarks/`` measures with more care."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from statistics import median
from typing import Any

import numpy as np

from convpool._typing import Array
from convpool.conv import conv2d

__all__ = ["speed_table"]


@dataclass(frozen=True)
class Shape:
    """One convolution to be timed."""

    name: str
    x: tuple[int, int, int, int]
    weight: tuple[int, int, int, int]
    stride: int = 1
    padding: int = 0


SHAPES = (
    Shape("photograph 600x512, 5x5", (1, 1, 600, 512), (1, 1, 5, 5)),
    Shape("3 to 64 channels, 7x7 / 2", (1, 3, 224, 224), (64, 3, 7, 7), 2, 3),
    Shape("64 to 64 channels, 3x3", (1, 64, 56, 56), (64, 64, 3, 3), 1, 1),
    Shape("256 to 1024 channels, 1x1", (1, 256, 14, 14), (1024, 256, 1, 1)),
)

Call = Callable[[], object]
Peer = Callable[[Shape, Array, Array], Call | None]


def speed_table(quick: bool) -> Iterator[str]:
    """Time every way that is installed, one thread each; yield the table line by line."""
    peers = _peers()
    with _one_thread() as limited:
        blas = "" if limited is not None else "; NumPy's BLAS uses its own number of threads"
        yield f"Speed: median milliseconds of conv2d, float32, one thread{blas}"
        yield " " * 28 + "".join(f"{name:>9}" for name in peers)
        for shape in SHAPES[:2] if quick else SHAPES:
            times = _times(shape, list(peers.values()), seconds=0.1 if quick else 0.4)
            cells = ("-" if t is None else f"{1e3 * t:.2f}" for t in times)
            yield f"  {shape.name:<26}" + "".join(f"{cell:>9}" for cell in cells)


def _times(shape: Shape, peers: list[Peer], seconds: float) -> list[float | None]:
    """Return each peer's median; rounds are interleaved so that all meet the same conditions."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape.x).astype(np.float32)
    weight = rng.normal(size=shape.weight).astype(np.float32)
    calls = [peer(shape, x, weight) for peer in peers]
    for call in calls:
        if call is not None:
            call()
    measured: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds * len(calls)
    for _ in range(15):
        for call, durations in zip(calls, measured, strict=True):
            if call is not None:
                start = time.perf_counter()
                call()
                durations.append(time.perf_counter() - start)
        if time.perf_counter() > end:
            break
    return [median(durations) if durations else None for durations in measured]


def _one_thread() -> AbstractContextManager[object]:
    """Limit BLAS to one thread, where threadpoolctl is there to do it."""
    try:
        limits: AbstractContextManager[object] = import_module("threadpoolctl").threadpool_limits(1)
    except ImportError:
        return nullcontext()
    return limits


def _peers() -> dict[str, Peer]:
    peers: dict[str, Peer] = {"direct": _direct, "im2col": _im2col, "NumPy": _numpy}
    for title, module, peer in (
        ("torch", "torch", _torch),
        ("SciPy", "scipy.signal", _scipy),
        ("OpenCV", "cv2", _opencv),
    ):
        try:
            peers[title] = peer(import_module(module))
        except (ImportError, OSError):  # OSError: installed, but a shared library is missing
            continue
    return peers


def _direct(shape: Shape, x: Array, weight: Array) -> Call:
    return lambda: conv2d(x, weight, None, shape.stride, shape.padding, algorithm="direct")


def _im2col(shape: Shape, x: Array, weight: Array) -> Call:
    return lambda: conv2d(x, weight, None, shape.stride, shape.padding, algorithm="im2col")


def _numpy(shape: Shape, x: Array, weight: Array) -> Call:
    p, s = shape.padding, shape.stride

    def call() -> Array:
        padded = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], (2, 3))
        y = np.tensordot(windows[:, :, ::s, ::s], weight, axes=((1, 4, 5), (1, 2, 3)))
        return y.transpose(0, 3, 1, 2)

    return call


def _torch(torch: Any) -> Peer:
    def peer(shape: Shape, x: Array, weight: Array) -> Call:
        tensors = torch.from_numpy(x), torch.from_numpy(weight)

        def call() -> None:
            with torch.inference_mode():
                torch.nn.functional.conv2d(*tensors, None, shape.stride, shape.padding)

        return call

    torch.set_num_threads(1)
    return peer


def _scipy(signal: Any) -> Peer:
    def peer(shape: Shape, x: Array, weight: Array) -> Call | None:
        if shape.x[1] != 1:
            return None
        return lambda: signal.correlate2d(x[0, 0], weight[0, 0], "valid")

    return peer


def _opencv(cv2: Any) -> Peer:
    def peer(shape: Shape, x: Array, weight: Array) -> Call | None:
        if shape.x[1] != 1:
            return None
        return lambda: cv2.filter2D(x[0, 0], -1, weight[0, 0], borderType=cv2.BORDER_CONSTANT)

    cv2.setNumThreads(1)
    return peer
